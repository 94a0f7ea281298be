"""Resampling a CT volume to another spacing: ours against scipy.ndimage.zoom."""

from __future__ import annotations

import numpy as np
from _timing import arguments, in_turns, report, write
from scipy import ndimage

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.processing.subfunctions import Resampling


def main() -> None:
    options = arguments(__doc__ or "", repeats=3)
    rng = np.random.default_rng(0)
    rows = {}
    for shape, spacing, target in (
        ((256, 256, 100), (1.5, 1.5, 3.0), (3.0, 3.0, 3.0)),
        ((512, 512, 100), (0.78, 0.78, 3.0), (1.62, 1.62, 3.22)),
    ):
        image = rng.normal(size=(*shape, 1)).astype(np.float32)
        sample = Sample("case", image, geometry=Geometry.from_spacing(shape, spacing))
        subfunction = Resampling(target, antialias=False, clip=False)
        after = subfunction.preprocessing(sample).spatial_shape
        factors = [a / n for a, n in zip(after, shape, strict=True)]

        def ours(subfunction: Resampling = subfunction, sample: Sample = sample) -> None:
            subfunction.preprocessing(sample)

        def scipy(image: np.ndarray = image, factors: list[float] = factors) -> None:
            ndimage.zoom(image[..., 0], factors, order=3, grid_mode=True, mode="nearest")

        work = f"{shape} -> {after}, cubic"
        rows[work] = in_turns({"ours": ours, "scipy": scipy}, options.repeats)
    report("Resampling, medians", rows, "ours")
    write(options.json, rows)


if __name__ == "__main__":
    main()
