"""Merging overlapping windows: ours against MONAI's sliding_window_inference.

The network returns its input, repeated for three classes, so that nothing but cutting,
weighting and merging is timed.
"""

from __future__ import annotations

import numpy as np
import torch
from _timing import arguments, in_turns, report, write
from monai.inferers import sliding_window_inference

from miscnn.processing.patches import WindowGrid, WindowMerger, cut


def three_classes(window: torch.Tensor) -> torch.Tensor:
    return window.repeat(1, 3, 1, 1, 1)


def main() -> None:
    options = arguments(__doc__ or "", repeats=5)
    rows = {}
    for shape, window in (((192, 192, 144), (96, 96, 96)), ((256, 256, 64), (96, 96, 32))):
        image = np.random.default_rng(0).random((*shape, 1), dtype=np.float32)
        tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))[None]
        grid = WindowGrid(shape, window, tuple(n // 2 for n in window))

        def ours(image: np.ndarray = image, grid: WindowGrid = grid) -> np.ndarray:
            merger = WindowMerger(grid, 3, "gaussian")
            for start in grid:
                patch = cut(image, start, grid.window)
                merger.add(start, np.repeat(patch, 3, axis=-1))
            return merger.result()

        def monai(tensor: torch.Tensor = tensor, window: tuple[int, ...] = window) -> torch.Tensor:
            with torch.inference_mode():
                return sliding_window_inference(
                    tensor,
                    window,
                    1,
                    lambda x: x.repeat(1, 3, 1, 1, 1),
                    overlap=0.5,
                    mode="gaussian",
                )

        np.testing.assert_allclose(ours()[..., :1], image, atol=1e-5)
        np.testing.assert_allclose(monai()[0, 0].numpy(), image[..., 0], atol=1e-4)
        work = f"{shape}, {len(grid)} windows of {window}"
        rows[work] = in_turns({"ours": ours, "monai": monai}, options.repeats)
    report("Merging, medians per volume", rows, "ours")
    write(options.json, rows)


if __name__ == "__main__":
    main()
