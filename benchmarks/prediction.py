"""Prediction of images by windows: what it costs beside the network.

- ``merging``: cutting, weighting and merging windows, ours against MONAI's
  ``sliding_window_inference``. The network repeats its input for three classes, in two threads on
  both sides; its time is part of the first figures, and taken off in those "beside the network".
  Ours hands out final cells of probabilities (or keeps the labels of each); MONAI returns a
  volume of them (of which the labels are taken at the end).

- ``memory``: the peak memory beyond the network's own for long volumes (compressed NIfTI, windows
  of 96^3 that overlap by half). ``--quick`` leaves out the 105 classes, which take half an hour.
- ``overhead``: the whole time of ``model.predict`` (reading, resampling there and back, writing)
  against that of the network alone.

Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_own_process, in_turns, report, write

from miscnn.processing.argmax import argmax_labels
from miscnn.processing.merging import WindowMerger
from miscnn.processing.patches import WindowGrid, cut

Rows = dict[str, dict[str, float]]

CLASSES = 3


class Repeating:
    """A network that repeats its input for each class, and how long it took."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._other = ThreadPoolExecutor(1)

    def numpy(self, window: np.ndarray) -> np.ndarray:
        begin = time.perf_counter()
        output = np.empty((*window.shape[:-1], CLASSES), dtype=window.dtype)

        def half(first: int) -> None:
            for label in range(CLASSES):
                output[first::2, ..., label] = window[first::2, ..., 0]

        waiting = self._other.submit(half, 1)
        half(0)
        waiting.result()
        self.seconds += time.perf_counter() - begin
        return output

    def torch(self, window: Any) -> Any:
        begin = time.perf_counter()
        output = window.repeat(1, CLASSES, 1, 1, 1)
        self.seconds += time.perf_counter() - begin
        return output


def merging(options: argparse.Namespace) -> Rows:
    """Time ours and MONAI's in turns, on the same images and windows."""
    import torch
    from monai.inferers import sliding_window_inference

    rows: Rows = {}
    for shape, window in (
        ((192, 192, 144), (96, 96, 96)),
        ((256, 256, 64), (96, 96, 32)),
        ((250, 230, 130), (96, 96, 96)),  # steps that do not divide the window
    ):
        image = np.random.default_rng(0).random((*shape, 1), dtype=np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))[None]
        grid = WindowGrid(shape, window, tuple(n // 2 for n in window))
        network = Repeating()

        def ours(
            take: Callable[[Any], Any],
            image: np.ndarray = image,
            grid: WindowGrid = grid,
            network: Repeating = network,
        ) -> None:
            merger = WindowMerger(grid, CLASSES)
            for start in grid:
                for block in merger.add(start, network.numpy(cut(image, start, grid.window))):
                    take(block)

        def monai(
            tensor: torch.Tensor = tensor,
            window: tuple[int, ...] = window,
            network: Repeating = network,
        ) -> torch.Tensor:
            with torch.inference_mode():
                return sliding_window_inference(
                    tensor, window, 1, network.torch, overlap=0.5, mode="gaussian"
                )

        def whole(ours: Callable[..., None] = ours, shape: tuple[int, ...] = shape) -> np.ndarray:
            merged = np.empty((*shape, CLASSES), dtype=np.float32)
            ours(lambda block: merged.__setitem__(block.box, block.values))
            return merged

        def labels(ours: Callable[..., None] = ours, shape: tuple[int, ...] = shape) -> np.ndarray:
            found = np.empty(shape, dtype=np.uint8)
            ours(lambda block: found.__setitem__(block.box, argmax_labels(block.values)))
            return found

        def cells(ours: Callable[..., None] = ours) -> None:
            ours(lambda block: None)

        np.testing.assert_allclose(whole()[..., 1:2], image, atol=1e-6)
        np.testing.assert_allclose(monai()[0, 1].numpy(), image[..., 0], atol=1e-4)
        work = "x".join(map(str, shape)) + f", {len(grid)} windows"
        whole_job, beside = in_turns_beside(
            {"ours": cells, "monai": monai}, network, options.repeats
        )
        rows[f"{work}: all"] = whole_job
        rows[f"{work}: beside network"] = beside
        rows[f"{work}: one array"] = in_turns({"ours": whole, "monai": monai}, options.repeats)
        rows[f"{work}: labels"] = in_turns(
            {"ours": labels, "monai": lambda monai=monai: torch.argmax(monai(), dim=1)},
            options.repeats,
        )
    return rows


def in_turns_beside(
    functions: dict[str, Callable[[], Any]], network: Repeating, repeats: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Return median times of functions, and those without what the network took."""
    beside: dict[str, list[float]] = {name: [] for name in functions}

    def timed(name: str, function: Callable[[], Any]) -> Callable[[], Any]:
        def call() -> None:
            network.seconds = 0.0
            begin = time.perf_counter()
            function()
            beside[name].append(time.perf_counter() - begin - network.seconds)

        return call

    whole = in_turns({name: timed(name, call) for name, call in functions.items()}, repeats)
    return whole, {name: float(np.median(times[1:])) for name, times in beside.items()}


def memory(options: argparse.Namespace) -> Rows:
    """Measure each volume in a process of its own."""
    rows: Rows = {}
    for slices, classes in ((100, 3), (400, 3), (1059, 3), (824, 105)):
        if options.quick and classes > CLASSES:
            continue
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            script = str(Path(__file__).with_name("_prediction_memory.py"))
            found = in_own_process(script, str(slices), str(classes), folder)
        rows[f"512x512x{slices}, {classes} classes"] = found
    return rows


def overhead(options: argparse.Namespace) -> Rows:
    """Measure ``predict`` as a whole."""
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        script = str(Path(__file__).with_name("_prediction_overhead.py"))
        found = in_own_process(script, str(options.repeats), folder)
    return {"2 volumes of 320x320x120": found}


def tell(title: str, rows: Rows) -> None:
    """Print figures as they are."""
    print(title)
    for work, figures in rows.items():
        told = "   ".join(f"{name} {value:.3f}" for name, value in figures.items())
        print(f"  {work:30} {told}")


PARTS: dict[str, Callable[[argparse.Namespace], Rows]] = {
    "merging": merging,
    "memory": memory,
    "overhead": overhead,
}
TITLES = {
    "merging": "Merging, medians per volume",
    "memory": "Peak memory beyond the network's own",
    "overhead": "Whole prediction against the network alone, medians in seconds",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", choices=PARTS, help="default: all, one after the other")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="leave out the 105 classes")
    parser.add_argument("--folder", type=Path, help="where made-up volumes go, on a disk")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        print(json.dumps(merging(options)))
        return
    figures = {}
    for part in [options.part] if options.part else PARTS:
        if part == "merging":  # beside torch, which keeps threads busy
            given = ["--here", "--repeats", str(options.repeats)]
            figures[part] = in_own_process(__file__, *given)
            report(TITLES[part], figures[part], "ours")
        else:
            figures[part] = PARTS[part](options)
            tell(TITLES[part], figures[part])
    write(options.json, figures)


if __name__ == "__main__":
    main()
