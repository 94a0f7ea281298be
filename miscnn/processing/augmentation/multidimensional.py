"""Multidimensional image augmentation (MIA): the baseline of the CT paper."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import _bspline, _lookup, _mm_map, _ranges, _spatial
from miscnn.processing.augmentation._ranges import Range
from miscnn.processing.augmentation.base import Augmentation, PatchGrid, center_crop, check_arrays
from miscnn.processing.augmentation.ct import BATCH_PROBABILITIES

_ROTATION: Final = (-20.0, 20.0)
_SCALING: Final = (0.8, 1.2)
_SHEAR: Final = (-0.1, 0.1)
_DEFORMATION: Final = (12.0, 12.0)
_DEFORMATION_SPACING: Final = 80.0
_CROPPING: Final = (-10.0, 10.0)
_BLACK: Final = (-0.1, 0.1)
_WHITE: Final = (0.9, 1.1)
_SLOPE: Final = (0.8, 1.2)

_CHOICES: Final = {"labels": ("nearest", "linear"), "border": ("reflect", "nearest", "constant")}


class MultidimensionalAugmentation(Augmentation):
    """Deformation, rotation, scaling, shear, mirror, and monotone change of intensity.

    What the CT paper compares its CT-specific augmentation with: changes that suit images of any
    kind. Works on prepared images, after windows and normalisation. All operations that are
    on are done to every patch of an augmented batch; ``None`` or ``False`` switches one off,
    ``True`` on with its default.

    Neither the paper nor the library it used [1]_ prints amplitudes. The defaults here are our
    choice: those of the examples in the library's documentation, its pixels read as those of a
    CT slice (0.78 mm).

    Parameters
    ----------
    rotation : range or three ranges, optional
        Degrees; one number ``a`` is ``(-a, a)``. One range holds for all axes, three are those
        about x, y and z. A positive angle turns objects from the first towards the second
        axis of the planes (y, z), (z, x), (x, y). Default: ±20.
    scaling : range, optional
        Factor of size, drawn for each axis: above 1 objects become larger; below 1 as often as
        above. Default: 0.8 to 1.2.
    shear : range, optional
        mm along one axis for each mm along another, drawn for each pair: two in 2D, six in 3D.
        One number ``a`` is ``(-a, a)``. Default: ±0.1.
    deformation : range, optional
        Standard deviation of the displacement of the control points along each axis, mm; one
        number ``a`` is ``(0, a)``. That of the voxels is smaller, a third of it in 3D and a half
        in 2D. Default: 12.
    deformation_spacing : float
        Distance of the control points, mm. Default: 80.
    mirror : bool or tuple of int, optional
        Axes that may be mirrored; ``True``, the default, for all. Where the sides of the body
        are to be told apart (left and right kidney, liver and spleen), leave out that axis.
    mirror_probability : float
        For each axis. Default: 0.5.
    cropping : range, optional
        Displacement of the patch in the image along every axis, mm; one number ``a`` is
        ``(-a, a)``. Rounded to whole voxels. Default when ``True``: ±10. Off by default: where
        random patches are drawn they are displaced anyway.
    intensity : bool
        Change intensities by a random table for each channel.
    black, white : (float, float)
        What the lowest and the highest intensity become, on a scale on which they are 0 and 1.
        Default: -0.1 to 0.1 and 0.9 to 1.1.
    slope : (float, float)
        Limits of the slope between neighbouring points of the table; not negative. They must
        hold all slopes from ``black`` to ``white``. Default: 0.8 to 1.2.
    insertions : int
        How often points are inserted between those of the table: it has
        ``2 ** insertions + 1``. Default: 2.
    intensity_range : (float, float), optional
        What the lowest and the highest intensity are. Default: those of each channel of the
        patch. Beyond a range given here the table goes straight on.
    labels : {"nearest", "linear"}
        Interpolation of the labels: the nearest voxel's, or the label of which there is most when
        their one-hot maps are interpolated linearly (smoother borders; a tenth slower).
    border : {"reflect", "nearest", "constant"}
        What lies beyond the input, for image and labels alike: its mirror image, the voxel at
        the border, or ``fill`` and label 0.
    fill : float
        Intensity beyond a constant border. Default: 0, the mean of a z-scored image.
    probability : float, optional
        Share of the batches that are augmented. Default (the paper's): 0.9 of those of 2D and
        0.8 of those of 3D patches.

    Notes
    -----
    *The map.* An output voxel ``o`` shows what lies at
    ``c + S⁻¹ Z⁻¹ (I + H) Rᵀ (S (o − c) + u(o)) + t`` of the input: ``c`` the centre, ``S`` the
    spacing, ``u`` the deformation, ``R`` the rotation, ``H`` the shear, ``Z`` the factors of size,
    ``t`` the cropping; then it is mirrored. All in mm, so that voxels of unequal sides are turned
    without shearing what they show. ``u`` is a cubic B-spline, which does not pass through the
    control points.

    *Slices drawn at random.* If the slices of a patch are no neighbours in the scan
    (``PatchGrid.regular``), rotation, scaling, shear, deformation and cropping are those of the
    plane of the slice, the same for all slices.

    *Interpolation.* One, linear, at the same positions for image and labels. A map that moves
    voxels by whole voxels only (mirror, cropping) interpolates nothing.

    Examples
    --------
    >>> import numpy as np
    >>> augmentation = MultidimensionalAugmentation(rotation=(0, 0, 20), mirror=(0,))
    >>> image, labels = np.ones((40, 40, 40, 1), np.float32), np.zeros((40, 40, 40), np.uint8)
    >>> drawn = augmentation.sample_parameters(np.random.default_rng(0), (32, 32, 32), channels=1)
    >>> image, labels = augmentation.apply(image, labels, drawn, (32, 32, 32))
    >>> image.shape, labels.shape
    ((32, 32, 32, 1), (32, 32, 32))

    References
    ----------
    .. [1] google-deepmind/multidim-image-augmentation, 2018 (Apache-2.0).
    .. [2] P. Kloenne et al., "Domain-specific cues improve robustness of deep learning-based
       segmentation of CT volumes", Scientific Reports 10, 2020.
    """

    def __init__(
        self,
        *,
        rotation: Range | Sequence[Range] = _ROTATION,
        scaling: Range = _SCALING,
        shear: Range = _SHEAR,
        deformation: Range = _DEFORMATION,
        deformation_spacing: float = _DEFORMATION_SPACING,
        mirror: bool | Sequence[int] | None = True,
        mirror_probability: float = 0.5,
        cropping: Range = None,
        intensity: bool = True,
        black: Sequence[float] = _BLACK,
        white: Sequence[float] = _WHITE,
        slope: Sequence[float] = _SLOPE,
        insertions: int = 2,
        intensity_range: Sequence[float] | None = None,
        labels: Literal["nearest", "linear"] = "nearest",
        border: Literal["reflect", "nearest", "constant"] = "reflect",
        fill: float = 0.0,
        probability: float | None = None,
    ) -> None:
        self.rotation = rotation
        self.scaling = scaling
        self.shear = shear
        self.deformation = deformation
        self.deformation_spacing = deformation_spacing
        self.mirror = mirror
        self.mirror_probability = mirror_probability
        self.cropping = cropping
        self.intensity = intensity
        self.black = black
        self.white = white
        self.slope = slope
        self.insertions = insertions
        self.intensity_range = intensity_range
        self.labels = labels
        self.border = border
        self.fill = fill
        self.probability = probability
        self._check()

    def _check(self) -> None:
        for name, values in _CHOICES.items():
            if getattr(self, name) not in values:
                raise ConfigurationError(
                    f"{name} must be one of {', '.join(map(repr, values))}; "
                    f"received {getattr(self, name)!r}"
                )
        _ranges.check_probability("mirror_probability", self.mirror_probability)
        if self.probability is not None:
            _ranges.check_probability("probability", self.probability)
        # Whether an argument suits 2D or 3D patches is known with the first patch only.
        ndim = 3 if self._names_third_axis() else 2
        self._read_ranges(ndim)
        _ranges.read_axes(self.mirror, ndim)
        self._read_table()

    def _names_third_axis(self) -> bool:
        three_ranges = isinstance(self.rotation, (list, tuple)) and len(self.rotation) == 3
        return three_ranges or (isinstance(self.mirror, (list, tuple)) and 2 in self.mirror)

    def _read_ranges(self, ndim: int) -> dict[str, Any]:
        """Return rotation, scaling, shear, deformation and cropping as ranges; off is empty."""
        shear = _ranges.read_range("shear", self.shear, _SHEAR, "symmetric")
        if shear is not None and max(map(abs, shear)) >= 0.5:
            # above, in 3D, the map may turn space inside out
            raise ConfigurationError(
                f"shear must lie between -0.5 and 0.5 mm for each mm; received {self.shear!r}"
            )
        distance = self.deformation_spacing
        if not (isinstance(distance, (int, float)) and math.isfinite(distance) and distance > 0):
            raise ConfigurationError(
                f"deformation_spacing must be a distance in mm above 0; received {distance!r}"
            )
        found = {
            "rotation": _ranges.read_rotation(self.rotation, ndim, _ROTATION),
            "scaling": _ranges.read_factors("scaling", self.scaling, _SCALING),
            "shear": shear,
            "deformation": _ranges.read_magnitudes("deformation", self.deformation, _DEFORMATION),
            "cropping": _ranges.read_range("cropping", self.cropping, _CROPPING, "symmetric"),
        }
        return {name: limits for name, limits in found.items() if limits}

    def _read_table(self) -> tuple[_lookup.Limits, _lookup.Limits, _lookup.Limits]:
        black = _ranges.read_range("black", self.black, _BLACK) or _BLACK
        white = _ranges.read_range("white", self.white, _WHITE) or _WHITE
        slope = _ranges.read_range("slope", self.slope, _SLOPE) or _SLOPE
        if slope[0] < 0:
            raise ConfigurationError(
                f"slope must not be negative, intensities would change places; received {slope}"
            )
        if not _lookup.slopes_fit(black, white, slope):
            raise ConfigurationError(
                f"slope {slope} must hold all slopes from black {black} to white {white}, which "
                f"are {white[0] - black[1]:g} to {white[1] - black[0]:g}; widen slope or narrow "
                "black and white"
            )
        if type(self.insertions) is not int or not 0 <= self.insertions <= 8:
            raise ConfigurationError(
                f"insertions must be a whole number from 0 to 8; received {self.insertions!r}"
            )
        if self.intensity_range is not None:
            limits = _ranges.read_range("intensity_range", self.intensity_range, (0.0, 1.0))
            if limits is None or limits[0] == limits[1]:
                raise ConfigurationError(
                    "intensity_range must be (lowest, highest) with highest above lowest, or None "
                    f"for those of each patch; received {self.intensity_range!r}"
                )
        return black, white, slope

    def batch_probability(self, dimensions: int) -> float:
        """Return how often a batch is augmented; see :meth:`Augmentation.batch_probability`."""
        return BATCH_PROBABILITIES[dimensions] if self.probability is None else self.probability

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return how far the map may look beyond the patch, at most half of the patch.

        See :meth:`Augmentation.margin`. Without parameters the spacing is not known, and half
        of the patch is returned if anything but scaling and mirroring is on.
        """
        shape = tuple(patch_shape)
        if parameters is not None:
            return _mm_map.margin(parameters, shape)
        ranges = self._read_ranges(len(shape))
        if ranges.keys() - {"scaling"}:
            return tuple(size // 2 for size in shape)
        smallest = min(ranges.get("scaling", (1.0, 1.0))[0], 1.0)
        half = (np.asarray(shape) - 1) / 2
        return _spatial.bounded(half / smallest - half, shape)

    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw what happens to one patch; see :meth:`Augmentation.sample_parameters`.

        The parameters are JSON values or arrays, of the operations that were drawn only:

        - ``spacing`` in mm per axis, and ``plane``, the axes that the map changes;
        - ``rotation``: degrees, about one axis (2D) or x, y, z (3D);
        - ``scaling``: factor of size per axis;
        - ``shear``: a matrix, mm along the axis of the row for each mm along that of the column;
        - ``deformation``: ``distance`` of the control points, and ``control``, their
          displacements in mm, one array for each axis of the plane;
        - ``cropping``: whole voxels per axis;
        - ``mirror``: axes;
        - ``intensity``: the points of the table of each channel.

        Raises
        ------
        ConfigurationError
            If patch or grid do not have 2 or 3 axes, or not the same number.
        """
        shape = tuple(patch_shape)
        ndim = len(shape)
        spacing = (1.0,) * ndim if grid is None else tuple(float(s) for s in grid.spacing)
        if ndim not in (2, 3) or len(spacing) != ndim or not min(spacing) > 0:
            raise ConfigurationError(
                "patches have 2 or 3 spatial axes and a spacing above 0 for each; received the "
                f"patch shape {shape} and the spacing {spacing}"
            )
        across = None if grid is None or grid.regular or ndim == 2 else grid.slice_axis
        plane = [axis for axis in range(ndim) if axis != across]
        drawn = self._draw_map(rng, shape, spacing, plane)
        axes = _ranges.read_axes(self.mirror, ndim)
        mirrored = [axis for axis in axes if rng.random() < self.mirror_probability]
        if mirrored:
            drawn["mirror"] = mirrored
        if self.intensity:
            black, white, slope = self._read_table()
            drawn["intensity"] = [
                _lookup.draw_points(rng, black, white, slope, self.insertions)
                for _ in range(channels)
            ]
        return drawn

    def _draw_map(
        self,
        rng: np.random.Generator,
        shape: tuple[int, ...],
        spacing: tuple[float, ...],
        plane: list[int],
    ) -> dict[str, Any]:
        ranges = self._read_ranges(len(shape))
        inside = [axis in plane for axis in range(len(shape))]
        drawn: dict[str, Any] = {}
        if "rotation" in ranges:
            # within a plane only about the axis across it
            free = [len(plane) == len(shape) or not turned for turned in inside]
            drawn["rotation"] = [
                _ranges.draw(rng, limits) if may else 0.0
                for limits, may in zip(ranges["rotation"], free, strict=False)
            ]
        if "scaling" in ranges:
            limits = ranges["scaling"]
            drawn["scaling"] = [_ranges.draw_factor(rng, limits) if i else 1.0 for i in inside]
        if "shear" in ranges:
            low, high = ranges["shear"]
            matrix = rng.uniform(low, high, (len(shape), len(shape)))
            np.fill_diagonal(matrix, 0.0)
            drawn["shear"] = np.where(np.outer(inside, inside), matrix, 0.0).tolist()
        if "deformation" in ranges:
            deviation = _ranges.draw(rng, ranges["deformation"])
            distance = float(self.deformation_spacing)
            points = _bspline.control_shape(
                [shape[axis] for axis in plane], [spacing[axis] for axis in plane], distance
            )
            control = deviation * rng.standard_normal((len(plane), *points))
            drawn["deformation"] = {"distance": distance, "control": control}
        if "cropping" in ranges:
            drawn["cropping"] = [
                round(_ranges.draw(rng, ranges["cropping"]) / step) if i else 0
                for step, i in zip(spacing, inside, strict=True)
            ]
        return {"spacing": list(spacing), "plane": plane, **drawn} if drawn else {}

    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters; see :meth:`Augmentation.apply`.

        Parameters of a map that lack ``spacing`` or ``plane`` are of cubes of 1 mm, and of all
        axes.

        Raises
        ------
        ConfigurationError
            If image and segmentation differ in shape, or are smaller than the patch.
        """
        shape = tuple(patch_shape)
        image = np.asarray(image, dtype=np.float32)
        check_arrays(image, segmentation, shape)
        if _mm_map.OPERATIONS & set(parameters):
            image, segmentation = _mm_map.warp(
                image, segmentation, parameters, shape, self.border, self.fill, self.labels
            )
        else:
            image, segmentation = center_crop(image, shape), center_crop(segmentation, shape)
        if "mirror" in parameters:
            axes = tuple(parameters["mirror"])
            image, segmentation = np.flip(image, axes), np.flip(segmentation, axes)
        if "intensity" in parameters:
            image = self._change_intensity(image, parameters["intensity"])
        return image, segmentation

    def _change_intensity(
        self, image: NDArray[np.float32], tables: Sequence[Sequence[float]]
    ) -> NDArray[np.float32]:
        changed = np.empty(image.shape, dtype=np.float32)
        for channel, points in enumerate(tables):
            values = image[..., channel]
            low, high = self.intensity_range or (float(values.min()), float(values.max()))
            changed[..., channel] = _lookup.apply_table(values, points, low, high)
        return changed
