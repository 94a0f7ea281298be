"""Timing two functions in turns."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def in_turns(functions: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Return the median time of each function in seconds, after one run that does not count."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            if repeat:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def report(title: str, rows: dict[str, dict[str, float]], ours: str) -> None:
    """Print medians and the ratio of ours to each peer."""
    print(title)
    for work, medians in rows.items():
        for name, seconds in medians.items():
            ratio = "" if name == ours else f"   ours / {name} = {medians[ours] / seconds:.3f}"
            print(f"  {work:46} {name:17} {1e3 * seconds:9.1f} ms{ratio}")


def arguments(description: str, repeats: int) -> argparse.Namespace:
    """Read the options that all benchmarks have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--json", type=Path, help="also write the medians in seconds here")
    return parser.parse_args()


def write(path: Path | None, rows: dict[str, dict[str, float]]) -> None:
    """Write the medians as JSON if a path was given."""
    if path is not None:
        path.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
