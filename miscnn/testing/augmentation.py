"""Does an augmentation keep its contract?"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, maximum_filter, minimum_filter

from miscnn._configurable import to_json
from miscnn.exceptions import ConfigurationError, ContractError
from miscnn.processing.augmentation.base import Augmentation, PatchGrid, center_crop

_LABELS = (0, 3)  # an interpolated label map would hold 1 and 2
_SPARE = 3  # voxels of margin that nobody asked for
_STRAY = 0.02  # voxels inside a structure that may show the other structure's intensity
# Borders that agree within half a voxel: 0.3 to 0.6 times as many voxels differ as with labels
# displaced by a whole one. Labels that are half a voxel off differ about equally either way.
_SHIFT = 0.75


def check_augmentation(
    augmentation: Augmentation,
    patch_shape: Sequence[int] = (36, 32, 28),
    *,
    channels: int = 1,
    values: tuple[float, float] = (-1.0, 1.0),
    draws: int = 20,
    seed: int = 0,
    grid: PatchGrid | None = None,
) -> None:
    """Put an augmentation through the contract of :class:`Augmentation`.

    It is applied to phantoms of two structures with many borders, whose image is constant
    within each structure. Checked, for every one of ``draws`` drawn parameters:

    - parameters and results repeat, whatever was drawn and applied in between;
    - the parameters can be written as JSON;
    - neither NumPy's nor Python's global random state is changed;
    - the arrays handed in are not changed;
    - shape and type of what is returned, with the whole margin, with the margin that the drawn
      parameters want, and without any;
    - no label comes into being, no value is NaN or infinite;
    - empty parameters leave the patch as it is, also if the image has a margin of 3 voxels that
      nobody asked for;
    - image and labels lie on each other: inside a structure at most 2 % of the voxels show the
      intensity of the other one, and displacing the labels by a voxel along any axis makes the
      agreement worse;

    that slices to draw from (:meth:`Augmentation.sample_slices`) repeat and are ascending
    positions between those that were available, and that the configuration, written as JSON and
    read, gives the same augmentation.

    Parameters
    ----------
    augmentation : Augmentation
    patch_shape : sequence of int
        2 or 3 axes of at least 16 voxels; call twice for an augmentation of both.
    channels : int
        Number of image channels.
    values : (float, float)
        Intensity of the two structures. They must stay distinguishable: choose them farther
        apart than the noise that the augmentation adds, and for an augmentation that works on
        HU in HU, such as ``(-80, 120)``.
    draws : int
        How many parameters are drawn; with rare operations more are needed to meet them.
    seed : int
    grid : PatchGrid, optional
        What the axes of the patch mean: handed to :meth:`Augmentation.sample_parameters`.

    Raises
    ------
    ContractError
        Names the promise that is broken and the parameters with which it was. It is an
        AssertionError.

    Examples
    --------
    >>> from miscnn.processing.augmentation import GeneralAugmentation
    >>> check_augmentation(GeneralAugmentation(mirror=True), (32, 32), draws=5)
    """
    shape = tuple(int(size) for size in patch_shape)
    if len(shape) not in (2, 3) or min(shape) < 16:
        raise ConfigurationError(
            f"patch_shape must have 2 or 3 axes of 16 or more; received {shape}"
        )
    _check_config(augmentation, shape, channels, seed, grid)
    for number in range(draws):
        _check_slices(augmentation, (seed, number))
    widest = _margin(augmentation, shape, None)
    results = []
    for number in range(draws):
        parameters = _draw(augmentation, shape, channels, (seed, number), grid)
        wanted = _margin(augmentation, shape, parameters)
        for margin in (widest, wanted, (0,) * len(shape)):
            image, labels = _phantom(shape, margin, channels, values, (seed, number))
            moved, mapped = _apply(augmentation, image, labels, parameters, shape)
            _check_arrays(moved, mapped, shape, channels, parameters)
            for channel in range(channels):
                _check_alignment(moved[..., channel], mapped, parameters)
        results.append((moved, mapped))
    for number, (moved, mapped) in enumerate(results):
        parameters = _draw(augmentation, shape, channels, (seed, number), grid)
        image, labels = _phantom(shape, (0,) * len(shape), channels, values, (seed, number))
        again, labels_again = _apply(augmentation, image, labels, parameters, shape)
        _require(
            np.array_equal(moved, again) and np.array_equal(mapped, labels_again),
            "drawing with the same generator and applying must give the same result again",
            parameters,
        )
    # Last, so that a fault that drawn parameters show as well is told of these.
    for margin in ((0,) * len(shape), (_SPARE,) * len(shape), widest):
        image, labels = _phantom(shape, margin, channels, values, (seed, 0))
        _check_empty(augmentation, image, labels, shape)


def _require(condition: bool, rule: str, parameters: Mapping[str, Any] | None = None) -> None:
    if not condition:
        drawn = "" if parameters is None else f" (parameters: {dict(parameters)!r})"
        raise ContractError(f"{rule}{drawn}")


def _check_config(
    augmentation: Augmentation,
    shape: tuple[int, ...],
    channels: int,
    seed: int,
    grid: PatchGrid | None,
) -> None:
    config = augmentation.get_config()
    try:
        read = json.loads(json.dumps(config))
    except TypeError as error:
        raise ContractError(f"get_config must return JSON values: {error}") from error
    copy = type(augmentation).from_config(read)
    _require(
        copy.get_config() == config and copy == augmentation,
        f"from_config must give an equal augmentation; {config} became {copy.get_config()}",
    )
    for number in range(5):
        one = _draw(augmentation, shape, channels, (seed, number), grid)
        other = _draw(copy, shape, channels, (seed, number), grid)
        _require(
            to_json(one) == to_json(other), "an augmentation made from its config must draw alike"
        )


def _margin(
    augmentation: Augmentation, shape: tuple[int, ...], parameters: Mapping[str, Any] | None
) -> tuple[int, ...]:
    if parameters is None:
        margin = augmentation.margin(shape)
    else:
        margin = augmentation.margin(shape, parameters)
    good = len(margin) == len(shape) and all(int(n) == n and n >= 0 for n in margin)
    _require(good, f"margin must be one whole number >= 0 per axis, not {margin!r}", parameters)
    return tuple(int(n) for n in margin)


def _global_state() -> list[Any]:
    # The legacy functions of NumPy are what batchgenerators and others draw from.
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return [name, np.asarray(keys).tolist(), *rest, random.getstate()]


def _draw(
    augmentation: Augmentation,
    shape: tuple[int, ...],
    channels: int,
    seed: tuple[int, int],
    grid: PatchGrid | None,
) -> dict[str, Any]:
    before = _global_state()
    parameters, again = (
        augmentation.sample_parameters(np.random.default_rng(seed), shape, channels, grid)
        for _ in range(2)
    )
    unchanged = before == _global_state()
    _require(unchanged, "sample_parameters must draw from the generator it is handed only")
    try:
        json.dumps(to_json(parameters))
    except (TypeError, ValueError) as error:
        raise ContractError(f"parameters must be JSON values or arrays: {error}") from error
    _require(
        to_json(parameters) == to_json(again),
        "sample_parameters must draw the same from generators of the same seed",
        parameters,
    )
    return parameters


def _check_slices(augmentation: Augmentation, seed: tuple[int, int]) -> None:
    for positions in ([7], [2, 3], [0, 1, 2, 5, 6, 9], range(4, 30)):
        available = np.asarray(positions, dtype=np.float64)
        handed, before = available.copy(), _global_state()
        drawn = augmentation.sample_slices(np.random.default_rng(seed), handed, 4)
        again = augmentation.sample_slices(np.random.default_rng(seed), handed, 4)
        unchanged = before == _global_state() and np.array_equal(handed, available)
        told = f"; of {available.tolist()} it made {drawn!r}"
        _require(unchanged, "sample_slices must change neither its input nor global random states")
        _require(
            np.array_equal(drawn, again),
            f"sample_slices must draw the same from generators of the same seed{told}",
        )
        drawn = np.asarray(drawn)
        good = drawn.ndim == 1 and drawn.size > 0 and bool(np.isfinite(drawn).all())
        good = good and bool(np.all(np.diff(drawn) >= 0))
        _require(good, f"sample_slices must return ascending positions, not none{told}")
        inside = available[0] <= drawn[0] and drawn[-1] <= available[-1]
        _require(
            bool(inside), f"sample_slices must stay between the first and last available{told}"
        )


def _phantom(
    shape: tuple[int, ...],
    margin: Sequence[int],
    channels: int,
    values: tuple[float, float],
    seed: tuple[int, int],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    whole = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    noise = np.random.default_rng(seed).standard_normal(whole)
    inside = gaussian_filter(noise, min(shape) / 8, mode="wrap") > 0
    image = np.where(inside, values[1], values[0]).astype(np.float32)
    labels = np.where(inside, _LABELS[1], _LABELS[0]).astype(np.uint8)
    return np.repeat(image[..., np.newaxis], channels, axis=-1), labels


def _apply(
    augmentation: Augmentation,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    parameters: Mapping[str, Any],
    shape: tuple[int, ...],
) -> tuple[NDArray[np.float32], NDArray[Any]]:
    handed_image, handed_labels, before = image.copy(), labels.copy(), _global_state()
    written = json.dumps(to_json(parameters))
    moved, mapped = augmentation.apply(handed_image, handed_labels, parameters, shape)
    _require(before == _global_state(), "apply must leave global random states alone", parameters)
    _require(
        np.array_equal(image, handed_image) and np.array_equal(labels, handed_labels),
        "apply must not change the arrays it is handed",
        parameters,
    )
    _require(json.dumps(to_json(parameters)) == written, "apply must not change the parameters")
    return moved, mapped


def _check_empty(
    augmentation: Augmentation,
    image: NDArray[np.float32],
    labels: NDArray[np.uint8],
    shape: tuple[int, ...],
) -> None:
    rule = (
        f"empty parameters must leave the patch as it is: the centre {shape} of the input "
        f"{labels.shape}"
    )
    try:
        moved, mapped = _apply(augmentation, image, labels, {}, shape)
    except (KeyError, IndexError) as error:
        raise ContractError(f"{rule}; apply fails with {error!r}") from error
    _check_arrays(moved, mapped, shape, image.shape[-1], {})
    same = np.array_equal(moved, center_crop(image, shape))
    _require(same and np.array_equal(mapped, center_crop(labels, shape)), rule, {})


def _check_arrays(
    moved: NDArray[np.float32],
    mapped: NDArray[Any],
    shape: tuple[int, ...],
    channels: int,
    parameters: Mapping[str, Any],
) -> None:
    want = (*shape, channels)
    _require(moved.shape == want, f"image must be {want}, not {moved.shape}", parameters)
    _require(mapped.shape == shape, f"labels must be {shape}, not {mapped.shape}", parameters)
    _require(moved.dtype == np.float32, f"image must be float32, not {moved.dtype}", parameters)
    _require(mapped.dtype == np.uint8, f"labels must stay uint8, not {mapped.dtype}", parameters)
    _require(bool(np.isfinite(moved).all()), "the image holds NaN or infinite values", parameters)
    new = sorted(set(np.unique(mapped).tolist()) - set(_LABELS))
    _require(not new, f"labels {list(_LABELS)} must stay labels, but became {new}", parameters)


def _check_alignment(
    moved: NDArray[np.float32], mapped: NDArray[Any], parameters: Mapping[str, Any]
) -> None:
    inside = mapped == _LABELS[1]
    if inside.all() or not inside.any():
        return
    high, low = float(np.median(moved[inside])), float(np.median(moved[~inside]))
    _require(high != low, "both structures show the same intensity", parameters)
    shown = np.abs(moved - high) < np.abs(moved - low)
    wrong = shown != inside

    deep = minimum_filter(inside, 3) == maximum_filter(inside, 3)
    stray = float(wrong[deep].mean()) if deep.any() else 0.0
    _require(
        stray <= _STRAY,
        f"image and labels do not lie on each other: {stray:.0%} of the voxels that have "
        "neighbours of one label only show the intensity of the other label",
        parameters,
    )
    for axis in range(inside.ndim):
        count = inside.shape[axis] - 1
        front, back = (
            (slice(None),) * axis + (slice(count),),
            (slice(None),) * axis + (slice(1, None),),
        )
        for here, there in ((front, back), (back, front)):
            displaced = int(np.count_nonzero(shown[here] != inside[there]))
            straight = int(np.count_nonzero(wrong[here]))
            _require(
                straight <= _SHIFT * displaced,
                f"image and labels do not lie on each other: displaced by one voxel along axis "
                f"{axis} they would agree about as well or better ({displaced} voxels differ "
                f"displaced, {straight} as they are)",
                parameters,
            )
