"""What general augmentation may do to a patch of one shape, and drawing from it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np

from miscnn.processing.augmentation import _ranges, _spatial

if TYPE_CHECKING:
    from miscnn.processing.augmentation.general import GeneralAugmentation

#: Probability of each operation for a patch; of ``mirror`` for each axis.
DEFAULT_PROBABILITIES: Final[Mapping[str, float]] = MappingProxyType(
    {
        "translation": 0.2,
        "rotation": 0.2,
        "scaling": 0.2,
        "elastic": 0.2,
        "mirror": 0.5,
        "contrast": 0.15,
        "brightness": 0.15,
        "gamma": 0.4,
        "gaussian_noise": 0.1,
    }
)
TRANSLATION: Final = (-0.1, 0.1)
ROTATION: Final = (-30.0, 30.0)
SCALING: Final = (0.7, 1.4)
ELASTIC: Final = (0.0, 2.5)
ELASTIC_SIGMA: Final = (9.0, 13.0)
CONTRAST: Final = (0.75, 1.25)
BRIGHTNESS: Final = (0.75, 1.25)
GAMMA: Final = (0.7, 1.5)
NOISE: Final = (0.0, 0.1)

_SPATIAL: Final = frozenset({"rotation", "scaling", "translation", "elastic"})
_LARGEST_SEED: Final = 2**53  # a JSON reader may hold numbers as float64

Limits = tuple[float, float]


@dataclass(frozen=True)
class Choices:
    """The ranges of a :class:`GeneralAugmentation`, read for a patch shape.

    Off is None or empty. ``translation`` is in voxels, ``rotation`` in degrees; both have a
    range per axis.
    """

    patch_shape: tuple[int, ...]
    plane: tuple[int, ...]
    stacked: bool
    translation: list[Limits]
    rotation: list[Limits]
    scaling: Limits | None
    elastic: Limits | None
    elastic_sigma: Limits
    mirror: tuple[int, ...]
    colours: dict[str, Limits]
    gamma_inverted: float
    probabilities: dict[str, float]

    @classmethod
    def read(
        cls,
        source: GeneralAugmentation,
        patch_shape: Sequence[int],
        stacked_along: int | None = None,
    ) -> Self:
        """Read and check the arguments; raises ConfigurationError.

        Between slices that are no neighbours in the scan (along the axis ``stacked_along``)
        nothing is interpolated: all is done within them.
        """
        shape = tuple(patch_shape)
        plane = _spatial.plane_of(shape)
        if stacked_along is not None:
            plane = tuple(axis for axis in range(len(shape)) if axis != stacked_along)
        rotation = _ranges.read_rotation(source.rotation, len(shape), ROTATION)
        if len(plane) < len(shape):
            rotation = [
                (0.0, 0.0) if axis in plane else limits for axis, limits in enumerate(rotation)
            ]
        limits = _ranges.read_range(
            "translation", source.translation, TRANSLATION, number="symmetric"
        )
        units: Sequence[float] = (
            shape if source.translation_unit == "fraction" else (1,) * len(shape)
        )
        if stacked_along is not None:
            units = [n if axis in plane else 0 for axis, n in enumerate(units)]
        colours = {
            "contrast": _ranges.read_factors("contrast", source.contrast, CONTRAST),
            "brightness": _ranges.read_factors("brightness", source.brightness, BRIGHTNESS),
            "gamma": _ranges.read_factors("gamma", source.gamma, GAMMA),
            "gaussian_noise": _ranges.read_magnitudes(
                "gaussian_noise", source.gaussian_noise, NOISE
            ),
        }
        _ranges.check_probability("gamma_inverted", source.gamma_inverted)
        sigma = _ranges.read_factors("elastic_sigma", source.elastic_sigma, ELASTIC_SIGMA)
        return cls(
            patch_shape=shape,
            plane=plane,
            stacked=stacked_along is not None,
            translation=[(limits[0] * n, limits[1] * n) for n in units] if limits else [],
            rotation=rotation,
            scaling=_ranges.read_factors("scaling", source.scaling, SCALING),
            elastic=_ranges.read_magnitudes("elastic", source.elastic, ELASTIC),
            elastic_sigma=sigma or ELASTIC_SIGMA,
            mirror=_ranges.read_axes(source.mirror, len(shape)),
            colours={name: found for name, found in colours.items() if found is not None},
            gamma_inverted=source.gamma_inverted,
            probabilities=_ranges.read_probabilities(source.probabilities, DEFAULT_PROBABILITIES),
        )

    def draw(self, rng: np.random.Generator, channels: int, per_channel: bool) -> dict[str, Any]:
        """Draw parameters: JSON values, only of the operations that were drawn."""
        chance = self.probabilities
        drawn: dict[str, Any] = {}
        if self.rotation and rng.random() < chance["rotation"]:
            drawn["rotation"] = [_ranges.draw(rng, limits) for limits in self.rotation]
        if self.scaling and rng.random() < chance["scaling"]:
            drawn["scaling"] = _ranges.draw_factor(rng, self.scaling)
            if self.stacked:
                drawn["plane"] = list(self.plane)
        if self.translation and rng.random() < chance["translation"]:
            drawn["translation"] = [round(_ranges.draw(rng, lim)) for lim in self.translation]
        if self.elastic and rng.random() < chance["elastic"]:
            drawn["elastic"] = {
                "displacement": _ranges.draw(rng, self.elastic),
                "sigma": _ranges.draw(rng, self.elastic_sigma),
                "axes": list(self.plane),
                "seed": int(rng.integers(_LARGEST_SEED)),
            }
        mirrored = [axis for axis in self.mirror if rng.random() < chance["mirror"]]
        if mirrored:
            drawn["mirror"] = mirrored

        for name, limits in self.colours.items():
            if rng.random() < chance[name]:
                pick = _ranges.draw if name == "gaussian_noise" else _ranges.draw_factor
                if per_channel:
                    values = [pick(rng, limits) for _ in range(channels)]
                else:
                    values = [pick(rng, limits)] * channels
                drawn[name] = {"values": values}
        if "gamma" in drawn:
            drawn["gamma"]["inverted"] = bool(rng.random() < self.gamma_inverted)
        if "gaussian_noise" in drawn:
            drawn["gaussian_noise"]["seed"] = int(rng.integers(_LARGEST_SEED))
        return drawn

    def margin(self) -> tuple[int, ...]:
        """Return the margin that is enough for whatever may be drawn."""
        ndim = len(self.patch_shape)
        drawn: dict[str, Any] = {"scaling": min((self.scaling or (1.0,))[0], 1.0)}
        if self.translation:
            drawn["translation"] = [max(abs(low), abs(high)) for low, high in self.translation]
        strongest = (self.elastic or (0.0, 0.0))[1]
        displacement = _spatial.elastic_reach(strongest, self.plane, ndim)
        looks = np.zeros(ndim)
        for angles in itertools.product(*map(_telling_angles, self.rotation)):
            if angles:
                drawn["rotation"] = angles
            matrix, shift = _spatial.inverse_map(drawn, ndim)
            # absolute values: the worst sign of the displacement along each axis
            reach = _spatial.reach(self.patch_shape, np.abs(matrix), shift, displacement)
            looks = np.maximum(looks, reach)
        return _spatial.bounded(looks, self.patch_shape)


def drawn_margin(parameters: Mapping[str, Any], patch_shape: Sequence[int]) -> tuple[int, ...]:
    """Return the margin that drawn parameters want."""
    ndim = len(patch_shape)
    if not _SPATIAL & set(parameters):
        return (0,) * ndim
    elastic = parameters.get("elastic", {"displacement": 0.0, "axes": ()})
    displacement = _spatial.elastic_reach(float(elastic["displacement"]), elastic["axes"], ndim)
    matrix, shift = _spatial.inverse_map(parameters, ndim)
    return _spatial.bounded(_spatial.reach(patch_shape, matrix, shift, displacement), patch_shape)


def _telling_angles(limits: Limits) -> list[float]:
    # A patch reaches farthest near the diagonals.
    low, high = limits
    return sorted({low, high, *(a for a in (-135.0, -45.0, 0.0, 45.0, 135.0) if low < a < high)})
