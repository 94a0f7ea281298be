"""Resizing to a number of voxels."""

from __future__ import annotations

from collections.abc import Sequence

from miscnn.data_loading.sample import Sample
from miscnn.processing.subfunctions._arguments import check_per_axis, expand
from miscnn.processing.subfunctions._regridding import Regridding


class Resize(Regridding):
    """Bring all samples to one number of voxels; the voxel size becomes what it must.

    Parameters
    ----------
    new_shape : sequence of int or None, or int
        Number of voxels per array axis; None leaves an axis as it is. Two numbers for a volume
        are those within its slices, wherever the file's slice axis is: ``(128, 128)`` makes
        the slices of a CT smaller and keeps their number.
    order_img, order_seg, antialias, clip, anisotropy_threshold, order_coarse
        As of :class:`~miscnn.processing.subfunctions.Resampling`, whose notes hold here too.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.sample import Sample
    >>> sample = Sample("case", np.zeros((64, 64, 10, 1), np.float32))
    >>> Resize((16, 32, None)).preprocessing(sample).geometry.spacing
    (4.0, 2.0, 1.0)
    >>> Resize((16, 32)).preprocessing(sample).geometry.shape
    (16, 32, 10)
    """

    def __init__(
        self,
        new_shape: Sequence[int | None] | int = (128, 128, 128),
        order_img: int = 3,
        order_seg: int = 1,
        antialias: bool = True,
        clip: bool = True,
        anisotropy_threshold: float | None = 3,
        order_coarse: int = 0,
    ) -> None:
        check_per_axis("new_shape", new_shape, "count", "(128, 128, None)")
        super().__init__(order_img, order_seg, antialias, clip, anisotropy_threshold, order_coarse)
        self.new_shape = new_shape

    def target_shape(self, sample: Sample) -> tuple[int, ...]:
        """Return the number of voxels per axis after resizing."""
        shape = sample.geometry.shape
        given = self.new_shape
        if len(shape) == 3 and isinstance(given, Sequence) and len(given) == 2:
            given = list(given)
            given.insert(sample.geometry.slice_axis, None)
        wanted = expand("new_shape", given, len(shape), sample.index)
        return tuple(
            size if new is None else int(new) for size, new in zip(shape, wanted, strict=True)
        )
