"""What a network sees of a data set by a recipe: channels, axes, windows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from miscnn.data_loading.data_io import DataIO
from miscnn.exceptions import ConfigurationError
from miscnn.processing.patches import WindowGrid, round_up
from miscnn.processing.regions import Regions

Analysis = Literal["patchwise-crop", "patchwise-grid", "fullimage", "slicewise", "slice-stack"]


class NetworkView:
    """The part of a :class:`~miscnn.processing.preprocessor.Preprocessor` that decides shapes."""

    data_io: DataIO | None
    analysis: Analysis
    patch_shape: tuple[int, ...] | None
    patchwise_overlap: Sequence[int] | None
    slices_per_volume: int | None
    slice_gap: int | None
    regions: Regions | None
    _learned_gap: int | None

    @property
    def data(self) -> DataIO:
        """The data set; an error without one."""
        if self.data_io is None:
            raise ConfigurationError(
                "this preprocessor has no data set; set its data_io to a DataIO first"
            )
        return self.data_io

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return self.data.interface.classes

    @property
    def outputs(self) -> int:
        """Number of channels that a network predicts: the regions, or else the classes."""
        return self.classes if self.regions is None else len(self.regions)

    @property
    def ignore_label(self) -> int | None:
        """Label of voxels that nobody has annotated; None if the data set has no such label."""
        return None if self.data_io is None else self.data_io.interface.ignore_label

    @property
    def channels(self) -> int:
        """Number of image channels."""
        return self.data.interface.channels

    @property
    def is_slicewise(self) -> bool:
        """Whether the network sees single slices of volumes."""
        return self.analysis == "slicewise" and self.three_dim

    @property
    def is_stacked(self) -> bool:
        """Whether the network sees stacks of slices."""
        return self.analysis == "slice-stack"

    @property
    def stack_gap(self) -> int:
        """Distance of neighbours in the stacks of a prediction, in slices."""
        return self.slice_gap or self._learned_gap or 1

    def stack_size(self, multiple: Sequence[int]) -> int:
        """Return the slices in a stack, rounded up to what the network can take."""
        return round_up([self.slices_per_volume or 1], multiple[-1:])[0]

    @property
    def samples_slices(self) -> bool:
        """Whether training sees random slices of each volume."""
        return (self.is_slicewise or self.is_stacked) and self.slices_per_volume is not None

    @property
    def three_dim(self) -> bool:
        """Whether the subjects are volumes."""
        return bool(self.data.interface.three_dim)

    @property
    def network_axes(self) -> int:
        """Number of spatial axes that the network sees: 2 or 3."""
        return 3 if self.three_dim and not self.is_slicewise else 2

    def window_shape(
        self, shape: Sequence[int], slice_axis: int, multiple: Sequence[int]
    ) -> tuple[int, ...]:
        """Return the shape of the windows on an image, in the axes of the image.

        Parameters
        ----------
        shape : sequence of int
            Spatial shape of the image, which is what the window is without a patch shape.
        slice_axis : int
            Axis across which slices are taken.
        multiple : sequence of int
            What the network's input must be a multiple of, per axis of the network; the
            window is rounded up to it.
        """
        if not self.is_slicewise:
            return round_up(self.patch_shape or shape, multiple)
        plane = [axis for axis in range(len(shape)) if axis != slice_axis]
        within = round_up(self.patch_shape or [shape[axis] for axis in plane], multiple)
        window = [1] * len(shape)
        for axis, extent in zip(plane, within, strict=True):
            window[axis] = extent
        return tuple(window)

    def window_overlap(
        self,
        window: Sequence[int],
        slice_axis: int,
        prediction: bool,
        given: float | Sequence[int] | None = None,
    ) -> tuple[int, ...]:
        """Return the least overlap of windows, in the axes of the image.

        ``given``, a share of the window or voxels per axis, takes the place of
        ``patchwise_overlap``.
        """
        if isinstance(given, int | float):
            return tuple(int(given * extent) for extent in window)
        name = "patchwise_overlap" if given is None else "overlap"
        voxels = self.patchwise_overlap if given is None else given
        if voxels is None:
            return tuple(extent // 2 if prediction else 0 for extent in window)
        overlap = [int(o) for o in voxels]
        if self.is_slicewise and len(overlap) == len(window) - 1:  # given for the plane
            overlap.insert(slice_axis, 0)
        if len(overlap) != len(window) or any(
            not 0 <= o < max(w, 1) for o, w in zip(overlap, window, strict=True)
        ):
            raise ConfigurationError(
                f"{name} {tuple(voxels)} does not fit windows of "
                f"{tuple(window)}: one value per axis, each smaller than the window"
            )
        return tuple(overlap)

    def prediction_grid(
        self,
        shape: Sequence[int],
        slice_axis: int,
        multiple: Sequence[int],
        overlap: float | Sequence[int] | None = None,
        region: Sequence[slice] | None = None,
    ) -> WindowGrid:
        """Return the windows that cover a prepared image.

        Parameters
        ----------
        shape, slice_axis, multiple
            As in :meth:`window_shape`.
        overlap : float or sequence of int, optional
            Least overlap in place of ``patchwise_overlap``: a share of the window, or voxels per
            axis.
        region : sequence of slice, optional
            The box to cover. Default: the whole image.
        """
        box = [slice(0, n) for n in shape] if region is None else list(region)
        extent = tuple(part.stop - part.start for part in box)
        window = self.window_shape(extent, slice_axis, multiple)
        if self.patch_shape is None:
            least = (0,) * len(window)
        else:
            least = self.window_overlap(window, slice_axis, True, overlap)
        return WindowGrid(extent, window, least, tuple(part.start for part in box))

    def _check_data(self) -> None:
        """Raise ConfigurationError if patch shape, slices or regions do not fit the data."""
        if self.regions is not None:
            self.regions.check(self.classes)
        axes = self.network_axes
        if self.is_stacked and not self.three_dim:
            raise ConfigurationError(
                'analysis="slice-stack" is for volumes, but the data are 2D images; use "fullimage"'
            )
        if self.patch_shape is not None and (
            len(self.patch_shape) != axes or min(self.patch_shape) < 1
        ):
            raise ConfigurationError(
                f"patch_shape must have {axes} positive values for "
                f"{'volumes' if axes == 3 else 'slices' if self.is_slicewise else '2D images'}, "
                f"got {self.patch_shape}"
            )
