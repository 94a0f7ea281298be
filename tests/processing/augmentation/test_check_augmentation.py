"""The contract check passes the library's own parts and catches broken ones."""

from __future__ import annotations

import random

import numpy as np
import pytest
from scipy.ndimage import shift

from miscnn.exceptions import ConfigurationError, ContractError
from miscnn.processing.augmentation import (
    Augmentation,
    Data_Augmentation,
    GeneralAugmentation,
    PatchGrid,
)
from miscnn.processing.augmentation.base import center_crop
from miscnn.testing.augmentation import check_augmentation

_STRONG = {"translation": True, "elastic": True, "mirror": True, "probabilities": 0.6}


@pytest.mark.parametrize(
    ("shape", "order", "border"),
    [
        ((26, 24, 22), 0, "reflect"),
        ((26, 24, 22), 1, "nearest"),
        ((26, 24, 22), 3, "nearest"),
        ((16, 52, 56), 1, "reflect"),
        ((40, 36), 1, "nearest"),
        ((40, 36), 3, "reflect"),
    ],
)
def test_general_augmentation_keeps_its_contract(shape, order, border):
    augmentation = GeneralAugmentation(**_STRONG, order=order, border=border)
    check_augmentation(augmentation, shape, channels=2, draws=8)


def test_default_augmentations_keep_their_contract():
    check_augmentation(GeneralAugmentation(), (36, 32), draws=12)
    check_augmentation(GeneralAugmentation(), (22, 20, 18), draws=8)
    check_augmentation(Data_Augmentation(elastic_deform=True), (22, 20, 18), draws=8)


class _Still(Augmentation):
    """Keeps the contract by doing nothing; what is wrong is added by subclasses."""

    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {"value": float(rng.random())}

    def apply(self, image, segmentation, parameters, patch_shape):
        return center_crop(image, patch_shape), center_crop(segmentation, patch_shape)


def test_doing_nothing_keeps_the_contract():
    check_augmentation(_Still(), (20, 20))
    check_augmentation(_Still(), (18, 17, 16), channels=3, values=(-80, 120), draws=4)


class _DrawsGlobally(_Still):
    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {"value": np.random.random()}  # noqa: NPY002


class _AppliesGlobally(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        random.random()
        return super().apply(image, segmentation, parameters, patch_shape)


class _ChangesInput(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image *= 1.5
        return super().apply(image, segmentation, parameters, patch_shape)


class _ForgetsMargin(_Still):
    def margin(self, patch_shape, parameters=None):
        return (2,) * len(patch_shape)

    def apply(self, image, segmentation, parameters, patch_shape):
        return image, segmentation


class _TakesDouble(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, segmentation = super().apply(image, segmentation, parameters, patch_shape)
        return image.astype(np.float64), segmentation


class _BlursLabels(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return image, shift(labels, 0.5, order=1, mode="nearest")


class _HalfAVoxelOff(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        axes = (0.5, *(0 for _ in patch_shape))
        return shift(image, axes, order=1, mode="nearest"), labels


class _FlipsImageOnly(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return image[::-1], labels


class _LosesLabelsAtTheBorder(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        labels = labels.copy()
        labels[:4] = 0
        return image, labels


class _MakesNaN(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return np.where(image == image.flat[0], np.float32(np.nan), image), labels


class _Remembers(_Still):
    def __init__(self) -> None:
        self._calls = 0

    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        self._calls += 1
        return image + np.float32(0.001 * self._calls), labels


class _ForgetsConfig(_Still):
    def __init__(self, strength: float = 1.0) -> None:
        self.strength = strength

    def get_config(self):
        return {}

    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {"value": float(rng.random()) * self.strength}


class _KeepsGenerator(_Still):
    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {"generator": rng}


class _IgnoresEmpty(_Still):
    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {}

    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return image * 2, labels


class _TakesPatchesOnly(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        return image, segmentation


class _ActsOnEmpty(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return image if parameters else -image, labels


class _NeedsParameters(_Still):
    def apply(self, image, segmentation, parameters, patch_shape):
        image, labels = super().apply(image, segmentation, parameters, patch_shape)
        return image + np.float32(0.01 * parameters["value"]), labels


class _LosesSlices(_Still):
    def sample_slices(self, rng, available, wanted):
        return available[1:]


class _SlicesInDisorder(_Still):
    def sample_slices(self, rng, available, wanted):
        return rng.permutation(available)


class _SlicesBeyond(_Still):
    def sample_slices(self, rng, available, wanted):
        return available + 0.5


class _OtherSlicesEachTime(_Still):
    def sample_slices(self, rng, available, wanted):
        return available[: 1 + np.random.default_rng().integers(len(available))]


class _ChangesSlices(_Still):
    def sample_slices(self, rng, available, wanted):
        available[0] = available[-1]
        return available


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        (_DrawsGlobally(), "draw from the generator"),
        (_AppliesGlobally(), "global random states"),
        (_ChangesInput(), "must not change the arrays"),
        (_ForgetsMargin(), "image must be"),
        (_TakesDouble(), "float32, not float64"),
        (_BlursLabels(), r"labels \[0, 3\] must stay labels, but became \[1, 2\]"),
        (_HalfAVoxelOff(), "displaced by one voxel along axis 0"),
        (_FlipsImageOnly(), "do not lie on each other"),
        (_LosesLabelsAtTheBorder(), "do not lie on each other"),
        (_MakesNaN(), "NaN"),
        (_Remembers(), "same result again"),
        (_ForgetsConfig(2.0), "draw alike"),
        (_KeepsGenerator(), "JSON values or arrays"),
        (_IgnoresEmpty(), "empty parameters"),
        (_TakesPatchesOnly(), r"image must be \(24, 22, 20, 1\), not \(30, 28, 26, 1\)"),
        (_ActsOnEmpty(), "empty parameters must leave the patch as it is"),
        (_NeedsParameters(), "empty parameters .* KeyError"),
        (_LosesSlices(), "ascending positions, not none"),
        (_SlicesInDisorder(), "ascending positions, not none"),
        (_SlicesBeyond(), "between the first and last available"),
        (_OtherSlicesEachTime(), "sample_slices must draw the same"),
        (_ChangesSlices(), "change neither its input"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Augmentation) else None,
)
def test_broken_augmentations_are_caught(broken, words):
    with pytest.raises(ContractError, match=words):
        check_augmentation(broken, (24, 22, 20), draws=5)


class _WantsGrid(_Still):
    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        return {"spacing": list(grid.spacing)}


def test_the_grid_is_handed_on():
    check_augmentation(_WantsGrid(), (18, 17), draws=2, grid=PatchGrid((1.0, 2.0)))
    with pytest.raises(AttributeError, match="spacing"):
        check_augmentation(_WantsGrid(), (18, 17), draws=2)


def test_too_small_a_patch_is_named():
    with pytest.raises(ConfigurationError, match=r"16 or more; received \(8, 20\)"):
        check_augmentation(_Still(), (8, 20))
