"""What the benchmarks share: timing, memory, processes of their own, made-up batches."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


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


def timed(function: Callable[[], Any], repeats: int, warm_up: int) -> list[float]:
    """Return the times of ``repeats`` runs in seconds, after some that do not count."""
    times = []
    for _ in range(warm_up + repeats):
        begin = time.perf_counter()
        function()
        times.append(time.perf_counter() - begin)
    return times[warm_up:]


def peak_memory() -> float:
    """Return the peak memory of this process in GB.

    Unlike ``ru_maxrss`` it does not remember the process that started this one.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e9


def in_own_process(script: str, *arguments: str, threads: int | None = None) -> dict[str, Any]:
    """Run a script in a process of its own and read the JSON that it prints last."""
    environment = dict(os.environ)
    if threads is not None:
        environment.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads)))
    command = [sys.executable, script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}"
        )
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def limit_tensorflow(threads: int) -> None:
    """Have TensorFlow take so many threads; before its first work."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def random_batch(shape: tuple[int, ...], labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Return one-channel images of ``(batch, …)`` and their one-hot truth, channels last."""
    images = np.random.default_rng(0).normal(size=(*shape, 1)).astype("float32")
    truth = np.digitize(images[..., 0], np.arange(labels - 1))
    return images, np.eye(labels, dtype="float32")[truth]


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
