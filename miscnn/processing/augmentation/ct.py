"""CT-specific image augmentation (CTIA)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import _hounsfield, _ranges, _slices
from miscnn.processing.augmentation._intensity import add_gaussian_noise
from miscnn.processing.augmentation._ranges import Range
from miscnn.processing.augmentation._spatial import bounded
from miscnn.processing.augmentation.base import Augmentation, PatchGrid, center_crop, check_arrays

#: Probability of each operation for a patch of an augmented batch.
DEFAULT_PROBABILITIES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "range_shift": 0.2,
        "noise": 0.5,
        "slice_skipping": 0.25,
        "slice_interpolation": 0.25,
        "rotation": 0.5,
    }
)
#: Share of the batches that are augmented, by the number of axes of their patches.
BATCH_PROBABILITIES: Final[Mapping[int, float]] = MappingProxyType({2: 0.9, 3: 0.8})

_NOISE: Final = (0.0, 20.0)
_ROTATION: Final = (-16.0, 16.0)
_SKIPPING: Final = (2, 3)
_INTERPOLATION: Final = (2, 2)
_LARGEST_SEED: Final = 2**53  # a JSON reader may hold numbers as float64


class CTAugmentation(Augmentation):
    """Range shift of tissues, noise, slice skipping and interpolation, rotation in the slice.

    What varies between CT scanners, protocols and patients' positions, and nothing else [1]_.
    Works on Hounsfield units: the preprocessor runs it before windows and normalisation.
    There is no mirroring: the body has a left and a right.

    Every operation takes ``None`` or ``False`` (off), ``True`` (on with its default), or its
    range; each is drawn with its own probability for each patch.

    Parameters
    ----------
    windows : mapping of str to (float, float), optional
        Base windows of the range shift: ``{"fat": (-150, -30), ...}``, in whole HU. They may
        share edges but not overlap. Default (our choice, the paper's are in a supplement):
        lung -950 to -500, fat -150 to -30, soft tissue 0 to 90, contrast 90 to 300, bone 300
        to 1500 HU.
    range_shift : range, optional
        Displacement of a window, as a fraction of its width; one number ``a`` is ``(-a, a)``.
        Default (our choice): ±0.1.
    range_scale : range, optional
        Factor of a window's width, below 1 as often as above. Default (our choice): 0.8
        to 1.25. With ``range_shift`` and ``range_scale`` off there is no range shift.
    range_limits : (float, float)
        Whole HU below and above which nothing is changed. Default (our choice): -1000, the
        definition of air, to 3000.
    noise : range, optional
        Standard deviation of the Gaussian noise map in HU; one number ``a`` is ``(0, a)``.
        Default (our choice): 0 to 20.
    slice_skipping : (int, int), optional
        Every k-th slice is kept. Default (our choice): 2 to 3.
    slice_interpolation : (int, int), optional
        Number of slices that are made of one, by linear interpolation.
        Default (our choice): 2.
    rotation : range, optional
        Degrees, in the plane of the slice; one number ``a`` is ``(-a, a)``. A positive angle
        turns objects from the first towards the second axis of the plane. Default (the
        paper's): ±16.
    probabilities : float or mapping of str to float, optional
        Probability of all operations, or of those named: ``{"rotation": 1.0}``. Default:
        ``range_shift`` 0.2 (the paper's; read as a share of the patches of augmented batches),
        ``noise`` and ``rotation`` 0.5, ``slice_skipping`` and ``slice_interpolation`` 0.25 (our
        choice).
    probability : float, optional
        Share of the batches that are augmented. Default (the paper's): 0.9 of those of 2D and
        0.8 of those of 3D patches.

    Notes
    -----
    *Order.* Slice operations and rotation are one map of coordinates and one linear
    interpolation, labels take the nearest voxel of the same map; then range shift, then noise.
    If nothing spatial is drawn, nothing is interpolated. Beyond the input lies what is
    at its border.

    *Range shift.* Every window is displaced and widened or narrowed by its own numbers, and
    the values in it are rescaled. Between and outside the windows the map is continued by
    straight lines, so that it is continuous and strictly monotone (slope 0.2 at
    least: windows that would cross are moved apart) and the identity beyond ``range_limits``.
    All channels are taken for HU.

    *Slices.* Where neighbouring slices of the patch are neighbours in the scan, slice operations
    are part of the map and look at ``k - 1`` times the patch's slices beyond it for skipping. The
    slice axis is the grid's; without a grid it is the last. Where slices are drawn from a volume
    (2D slices, random stacks), :meth:`sample_slices` changes the slices that they are drawn from
    instead. With both drawn, the patch shows a coarse scan that was interpolated;
    of drawn slices, those skipped leave no neighbours to interpolate.

    *Rotation* is done in mm, if a grid tells the spacing, about the patch's centre.

    Examples
    --------
    >>> import numpy as np
    >>> augmentation = CTAugmentation(probabilities={"rotation": 1.0, "noise": 0.0})
    >>> rng = np.random.default_rng(0)
    >>> parameters = augmentation.sample_parameters(rng, (32, 32), channels=1)
    >>> image, labels = np.full((40, 40, 1), -80, np.float32), np.zeros((40, 40), np.uint8)
    >>> image, labels = augmentation.apply(image, labels, parameters, (32, 32))
    >>> image.shape, labels.shape
    ((32, 32, 1), (32, 32))

    References
    ----------
    .. [1] P. Kloenne et al., "Domain-specific cues improve robustness of deep learning-based
       segmentation of CT volumes", Scientific Reports 10, 2020, section "Image augmentation".
    """

    hounsfield = True

    def __init__(
        self,
        *,
        windows: Mapping[str, Sequence[float]] | None = None,
        range_shift: Range = _hounsfield.SHIFT,
        range_scale: Range = _hounsfield.SCALE,
        range_limits: Sequence[float] = _hounsfield.LIMITS,
        noise: Range = _NOISE,
        slice_skipping: bool | Sequence[int] | None = _SKIPPING,
        slice_interpolation: bool | Sequence[int] | None = _INTERPOLATION,
        rotation: Range = _ROTATION,
        probabilities: float | Mapping[str, float] | None = None,
        probability: float | None = None,
    ) -> None:
        self.windows = windows
        self.range_shift = range_shift
        self.range_scale = range_scale
        self.range_limits = range_limits
        self.noise = noise
        self.slice_skipping = slice_skipping
        self.slice_interpolation = slice_interpolation
        self.rotation = rotation
        self.probabilities = probabilities
        self.probability = probability
        if probability is not None:
            _ranges.check_probability("probability", probability)
        _hounsfield.read_windows(windows, range_limits)
        self._read_ranges()
        self._read_factors()
        self._read_rotation()
        self._read_noise()
        self._chances()

    def batch_probability(self, dimensions: int) -> float:
        """Return how often a batch is augmented; see :meth:`Augmentation.batch_probability`."""
        return BATCH_PROBABILITIES[dimensions] if self.probability is None else self.probability

    def sample_slices(
        self, rng: np.random.Generator, available: NDArray[np.float64], wanted: int
    ) -> NDArray[np.float64]:
        """Skip slices, or insert positions between neighbours.

        See :meth:`Augmentation.sample_slices`. Skipping keeps every k-th of the available
        slices, from a random one of the first k on, with k bounded so that as many are left as
        are wanted. Interpolation
        inserts positions between those that lie one slice apart; none is midway, where it
        would be open which of the two slices the labels are those of.
        """
        found = np.asarray(available, dtype=np.float64)
        skip, interpolate = self._draw_factors(rng)
        skip = max(1, min(skip, len(found) // max(wanted, 1)))
        if skip > 1:
            found = found[int(rng.integers(skip)) :: skip]
        if interpolate > 1:
            neighbours = found[:-1][np.diff(found) == 1]
            even = interpolate % 2 == 0
            steps = np.arange(0.5, interpolate) if even else np.arange(1, interpolate)
            parts = [neighbours + step / interpolate for step in steps]
            found = np.sort(np.concatenate([found, *parts]))
        return found

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return how far the map may look beyond the patch; see :meth:`Augmentation.margin`.

        At most half of the patch for the rotation. Slice skipping is not bounded: slices that
        were not read cannot be made up. Without parameters any axis may be that across the
        slices, and pixels are taken for squares.
        """
        shape = tuple(patch_shape)
        return self._widest_margin(shape) if parameters is None else _margin(shape, parameters)

    def _widest_margin(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        rotation = self._read_rotation()
        angle = max(map(abs, rotation)) if rotation else 0.0
        skip = (self._read_factors()[0] or (1, 1))[1]
        widest = np.zeros(len(shape), dtype=int)
        for axis in range(3) if len(shape) == 3 else (None,):
            plane = [a for a in range(len(shape)) if a != axis]
            pixels = [shape[a] for a in plane]
            here = np.zeros_like(widest)
            here[plane] = bounded(_slices.farthest_reach(pixels, angle), pixels)
            if axis is not None:
                here[axis] = _slices.stack_reach(shape[axis], skip)
            widest = np.maximum(widest, here)
        return tuple(int(n) for n in widest)

    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw what happens to one patch; see :meth:`Augmentation.sample_parameters`.

        The parameters are JSON values, of the operations that were drawn only:

        - ``slices``: ``axis``, ``skip`` and ``interpolate``, 1 for what is not done;
        - ``rotation``: ``angle`` in degrees, ``plane`` of two axes, their ``spacing`` in mm;
        - ``range_shift``: ``source`` and ``target``, knots in HU;
        - ``noise``: ``deviation`` in HU, ``seed``.

        Raises
        ------
        ConfigurationError
            If patch or grid do not have 2 or 3 axes, or not the same number.
        """
        shape = tuple(patch_shape)
        spacing = (1.0,) * len(shape) if grid is None else tuple(grid.spacing)
        if len(shape) not in (2, 3) or len(spacing) != len(shape):
            raise ConfigurationError(
                "patches have 2 or 3 spatial axes and a spacing for each; received the patch "
                f"shape {shape} and the spacing {spacing}"
            )
        axis = None
        if len(shape) == 3:
            axis = 2 if grid is None or grid.slice_axis is None else grid.slice_axis
        chances = self._chances()
        drawn: dict[str, Any] = {}
        if axis is not None and shape[axis] > 1 and (grid is None or grid.regular):
            skip, interpolate = self._draw_factors(rng)
            if skip > 1 or interpolate > 1:
                drawn["slices"] = {"axis": axis, "skip": skip, "interpolate": interpolate}
        rotation = self._read_rotation()
        if rotation and rng.random() < chances["rotation"]:
            plane = [a for a in range(len(shape)) if a != axis]
            angle = _ranges.draw(rng, rotation)
            between = [float(spacing[a]) for a in plane]
            drawn["rotation"] = {"angle": angle, "plane": plane, "spacing": between}
        shift, scale = self._read_ranges()
        if (shift or scale) and rng.random() < chances["range_shift"]:
            windows = _hounsfield.read_windows(self.windows, self.range_limits)
            limits = float(self.range_limits[0]), float(self.range_limits[1])
            drawn["range_shift"] = _hounsfield.draw_knots(rng, windows, limits, shift, scale)
        noise = self._read_noise()
        if noise and rng.random() < chances["noise"]:
            deviation = _ranges.draw(rng, noise)
            drawn["noise"] = {"deviation": deviation, "seed": int(rng.integers(_LARGEST_SEED))}
        return drawn

    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters; see :meth:`Augmentation.apply`.

        Raises
        ------
        ConfigurationError
            If image and segmentation differ in shape, or are smaller than the patch.
        """
        shape = tuple(patch_shape)
        image = np.asarray(image, dtype=np.float32)
        check_arrays(image, segmentation, shape)
        if "rotation" in parameters or "slices" in parameters:
            image, segmentation = _slices.warp(
                image, segmentation, shape, parameters.get("rotation"), parameters.get("slices")
            )
        else:
            image, segmentation = center_crop(image, shape), center_crop(segmentation, shape)
        if "range_shift" in parameters:
            image = _hounsfield.change_ranges(image, **parameters["range_shift"])
        if "noise" in parameters:
            noise = parameters["noise"]
            image = add_gaussian_noise(image, [noise["deviation"]], noise["seed"])
        return image, segmentation

    def _draw_factors(self, rng: np.random.Generator) -> tuple[int, int]:
        """Draw by how much slices are skipped and interpolated; 1 is not at all."""
        chances = self._chances()
        drawn = [1, 1]
        names = ("slice_skipping", "slice_interpolation")
        for place, (name, limits) in enumerate(zip(names, self._read_factors(), strict=True)):
            if limits and rng.random() < chances[name]:
                drawn[place] = int(rng.integers(limits[0], limits[1] + 1))
        return drawn[0], drawn[1]

    def _chances(self) -> dict[str, float]:
        return _ranges.read_probabilities(self.probabilities, DEFAULT_PROBABILITIES)

    def _read_ranges(self) -> tuple[tuple[float, float] | None, tuple[float, float] | None]:
        shift, scale = _hounsfield.SHIFT, _hounsfield.SCALE
        return (
            _ranges.read_range("range_shift", self.range_shift, shift, "symmetric"),
            _ranges.read_factors("range_scale", self.range_scale, scale),
        )

    def _read_factors(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        return (
            _read_whole("slice_skipping", self.slice_skipping, _SKIPPING),
            _read_whole("slice_interpolation", self.slice_interpolation, _INTERPOLATION),
        )

    def _read_noise(self) -> tuple[float, float] | None:
        return _ranges.read_magnitudes("noise", self.noise, _NOISE)

    def _read_rotation(self) -> tuple[float, float] | None:
        found = _ranges.read_range("rotation", self.rotation, _ROTATION, "symmetric")
        if found is not None and max(map(abs, found)) > 180:
            raise ConfigurationError(
                f"rotation must lie within ±180 degrees; received {self.rotation!r}"
            )
        return found


def _read_whole(name: str, value: Any, default: tuple[int, int]) -> tuple[int, int] | None:
    found = _ranges.read_range(name, value, default)
    if found is None:
        return None
    if found[0] < 2 or any(number != int(number) for number in found):
        raise ConfigurationError(
            f"{name} must be two whole numbers from 2 on, (lowest, highest); received {value!r}"
        )
    return int(found[0]), int(found[1])


def _margin(shape: tuple[int, ...], parameters: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the margin that drawn parameters want."""
    margin = [0] * len(shape)
    if "rotation" in parameters:
        rotation = parameters["rotation"]
        pixels = [shape[axis] for axis in rotation["plane"]]
        looks = _slices.plane_reach(pixels, float(rotation["angle"]), rotation["spacing"])
        for axis, wanted in zip(rotation["plane"], bounded(looks, pixels), strict=True):
            margin[axis] = wanted
    if "slices" in parameters:
        drawn = parameters["slices"]
        size = shape[drawn["axis"]]
        margin[drawn["axis"]] = _slices.stack_reach(size, drawn["skip"], drawn["interpolate"])
    return tuple(margin)
