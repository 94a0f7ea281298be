"""Resampling to a voxel size."""

from __future__ import annotations

import math
from collections.abc import Sequence

from miscnn.data_loading.sample import Sample
from miscnn.exceptions import SampleError
from miscnn.processing.subfunctions._arguments import check_per_axis, expand
from miscnn.processing.subfunctions._regridding import Regridding


class Resampling(Regridding):
    """Bring all samples to one voxel size.

    The number of voxels along an axis becomes ``round(shape · spacing / new_spacing)``, at
    least one. The image keeps its extent to the last digit, so that the voxel size reached
    differs from ``new_spacing`` by up to half a voxel over the whole length;
    ``sample.geometry`` holds the exact one.

    Parameters
    ----------
    new_spacing : sequence of float or None, or float
        Voxel size per array axis in mm; None leaves an axis as it is. One number holds for
        all axes.
    order_img : {3, 1, 0}
        Interpolation of the image: cubic (natural spline), linear, nearest voxel.
    order_seg : {1, 0}
        1: each voxel gets the label with the largest share in it, the share being the linear
        interpolation of the label's indicator (ties: the lower label). 0: nearest voxel.
    antialias : bool
        Where voxels become larger, average over what a new voxel covers instead of picking
        points. A CT voxel is a mean over its extent; picked points would give a thin-slice
        scan, brought to thick slices, a noise and a sharpness that no thick-slice scan has,
        and so leave the scanner's protocol in the data. Without effect where the order is 0.
    clip : bool
        Cut the image to the range it had before: the cubic spline overshoots at bone and
        metal edges.
    anisotropy_threshold : float or None
        If one axis alone has voxels more than this many times as long as those of the finest
        axis, before or after resampling, it is interpolated with ``order_coarse`` (nnU-Net:
        Isensee et al., Nature Methods 18:203, 2021, online methods). None: all axes alike.
    order_coarse : {0, 1, 3}
        Highest order along such an axis.

    Notes
    -----
    Predictions are taken back as probabilities, interpolated linearly, *before* the argmax. An
    axis whose number of voxels does not change is not touched: a resampling that changes none
    returns image, segmentation and prediction bit by bit.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.geometry import Geometry
    >>> from miscnn.data_loading.sample import Sample
    >>> grid = Geometry.from_spacing((8, 8, 4), (0.75, 0.75, 3.0))
    >>> sample = Sample("case", np.zeros((8, 8, 4, 1), np.float32), geometry=grid)
    >>> Resampling((1.5, 1.5, None)).preprocessing(sample).geometry.shape
    (4, 4, 4)
    """

    def __init__(
        self,
        new_spacing: Sequence[float | None] | float = (1, 1, 1),
        order_img: int = 3,
        order_seg: int = 1,
        antialias: bool = True,
        clip: bool = True,
        anisotropy_threshold: float | None = 3,
        order_coarse: int = 0,
    ) -> None:
        check_per_axis("new_spacing", new_spacing, "length", "(1.5, 1.5, 3.0)")
        super().__init__(order_img, order_seg, antialias, clip, anisotropy_threshold, order_coarse)
        self.new_spacing = new_spacing

    def target_shape(self, sample: Sample) -> tuple[int, ...]:
        """Return the number of voxels per axis after resampling."""
        geometry = sample.geometry
        if not all(math.isfinite(s) and s > 0 for s in geometry.spacing):
            raise SampleError(
                sample.index,
                f"cannot be resampled: its voxel size is {geometry.spacing} mm, expected finite "
                "numbers above 0; mend the affine in the file's header",
            )
        wanted = expand("new_spacing", self.new_spacing, geometry.ndim, sample.index)
        return tuple(
            size if new is None else max(1, math.floor(size * old / new + 0.5))
            for size, old, new in zip(geometry.shape, geometry.spacing, wanted, strict=True)
        )
