"""Arguments and settings of MIScnn 1.x' Data_Augmentation, and what they mean today."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from miscnn.processing.augmentation._drawing import DEFAULT_PROBABILITIES
from miscnn.processing.augmentation._spatial import deviation_of_alpha

ARGUMENTS: Final = (
    "cycles",
    "scaling",
    "rotations",
    "elastic_deform",
    "mirror",
    "brightness",
    "contrast",
    "gamma",
    "gaussian_noise",
)

_ANGLES: Final = (-math.radians(15), math.radians(15))

SETTINGS: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "config_p_per_sample": 0.15,
        "config_mirror_axes": (0, 1, 2),
        "config_contrast_range": (0.3, 3.0),
        "config_contrast_preserverange": True,
        "config_brightness_range": (0.5, 2.0),
        "config_gamma_range": (0.7, 1.5),
        "config_gaussian_noise_range": (0.0, 0.05),
        "config_rotations_angleX": _ANGLES,
        "config_rotations_angleY": _ANGLES,
        "config_rotations_angleZ": _ANGLES,
        "config_scaling_range": (0.85, 1.25),
        "config_elastic_deform_alpha": (0.0, 900.0),
        "config_elastic_deform_sigma": (9.0, 13.0),
        "coloraug_per_channel": True,
        "seg_augmentation": True,
        "cropping": False,
        "cropping_patch_shape": None,
        "infaug": False,
        "infaug_flip_current": None,
        "infaug_flip_list": (1, 2, 3),
    }
)


def general_arguments(values: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    """Return the arguments of GeneralAugmentation, for images of 2 or 3 axes.

    Parameters
    ----------
    values : mapping
        All of :data:`ARGUMENTS` and :data:`SETTINGS`.
    """

    def switched(name: str, setting: Any) -> Any:
        return setting if values[name] else None

    angles = [
        [math.degrees(angle) for angle in values[f"config_rotations_angle{axis}"]] for axis in "XYZ"
    ]
    smallest, largest = values["config_scaling_range"]
    sigma = values["config_elastic_deform_sigma"]
    # 1.x multiplied noise, whose strength depends on sigma, with alpha
    strength = deviation_of_alpha(sum(sigma) / 2, ndim)
    displacement = [alpha * strength for alpha in values["config_elastic_deform_alpha"]]
    chance = dict.fromkeys(DEFAULT_PROBABILITIES, values["config_p_per_sample"])
    return {
        "rotation": switched("rotations", angles[0] if ndim == 2 else angles),
        "scaling": switched("scaling", (1 / largest, 1 / smallest)),
        "elastic": switched("elastic_deform", displacement),
        "elastic_sigma": sigma,
        "mirror": switched("mirror", [a for a in values["config_mirror_axes"] if a < ndim]),
        "contrast": switched("contrast", values["config_contrast_range"]),
        "contrast_preserve_range": values["config_contrast_preserverange"],
        "brightness": switched("brightness", values["config_brightness_range"]),
        "gamma": switched("gamma", values["config_gamma_range"]),
        "gamma_inverted": 0.0,
        "gaussian_noise": switched("gaussian_noise", values["config_gaussian_noise_range"]),
        "per_channel": values["coloraug_per_channel"],
        "probabilities": {**chance, "mirror": 0.5},
    }
