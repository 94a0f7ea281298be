"""Multidimensional augmentation."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform, map_coordinates
from scipy.spatial.transform import Rotation

from miscnn._configurable import to_json
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import PatchGrid
from miscnn.processing.augmentation._bspline import SplineField, control_shape
from miscnn.processing.augmentation._sampling import resample
from miscnn.processing.augmentation.ct import CTAugmentation
from miscnn.processing.augmentation.multidimensional import MultidimensionalAugmentation
from miscnn.testing.augmentation import check_augmentation


def _random(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    image = rng.standard_normal((*shape, 2), dtype=np.float32)
    return image, rng.integers(0, 5, shape).astype(np.uint8)


def _applied(
    image: np.ndarray, labels: np.ndarray, drawn: dict[str, Any], shape: Any = None, **kwargs: Any
) -> tuple[np.ndarray, np.ndarray]:
    augmentation = MultidimensionalAugmentation(**kwargs)
    return augmentation.apply(image, labels, drawn, shape or labels.shape)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({}, (36, 32, 28)),
        ({}, (40, 36)),
        ({"labels": "linear", "border": "nearest", "cropping": 3}, (30, 26, 28)),
        ({"border": "constant", "fill": -1.0, "intensity_range": (-2, 2)}, (36, 32)),
    ],
)
def test_the_contract(arguments, shape):
    augmentation = MultidimensionalAugmentation(**arguments)
    check_augmentation(augmentation, shape, channels=2, draws=8)


def test_batches_are_augmented_as_often_as_with_ct_augmentation():
    for dimensions, expected in ((2, 0.9), (3, 0.8)):
        assert MultidimensionalAugmentation().batch_probability(dimensions) == expected
        assert CTAugmentation().batch_probability(dimensions) == expected
    assert MultidimensionalAugmentation(probability=0.3).batch_probability(2) == 0.3
    assert not MultidimensionalAugmentation().hounsfield


@pytest.mark.parametrize("border", ["reflect", "nearest", "constant"])
@pytest.mark.parametrize("shape", [(9, 8, 7), (12, 10)])
def test_identity_parameters_return_the_patch(rng, border, shape):
    ndim = len(shape)
    image, labels = _random(rng, *(n + 4 for n in shape))
    drawn = {
        "spacing": [0.7, 1.3, 3.1][:ndim],
        "plane": list(range(ndim)),
        "rotation": [0.0] * (1 if ndim == 2 else 3),
        "scaling": [1.0] * ndim,
        "shear": np.zeros((ndim, ndim)).tolist(),
        "deformation": {"distance": 4.0, "control": np.zeros((ndim,) + (5,) * ndim)},
        "cropping": [0] * ndim,
    }
    inner = (slice(2, -2),) * ndim
    for parameters in ({}, drawn):
        moved, mapped = _applied(image, labels, parameters, shape, border=border)
        np.testing.assert_array_equal(moved, image[inner])
        np.testing.assert_array_equal(mapped, labels[inner])


@pytest.mark.parametrize(
    ("border", "mode"), [("reflect", "symmetric"), ("nearest", "edge"), ("constant", "constant")]
)
@pytest.mark.parametrize("margin", [0, 1, 5])
def test_cropping_and_mirroring_move_voxels_only(rng, border, mode, margin):
    shape, steps = (9, 8, 7), [3, -2, 1]
    image, labels = _random(rng, *(n + 2 * margin for n in shape))
    drawn = {"cropping": steps, "mirror": [0, 2]}
    moved, mapped = _applied(image, labels, drawn, shape, border=border)
    cut = tuple(
        slice(5 + margin + s, 5 + margin + s + n) for n, s in zip(shape, steps, strict=True)
    )
    np.testing.assert_array_equal(mapped, np.pad(labels, 5, mode=mode)[cut][::-1, :, ::-1])
    for channel in range(2):
        padded = np.pad(image[..., channel], 5, mode=mode)
        np.testing.assert_array_equal(moved[..., channel], padded[cut][::-1, :, ::-1])


def _affine_of(drawn: dict[str, Any], spacing: np.ndarray) -> np.ndarray:
    """The documented matrix S⁻¹ Z⁻¹ (I + H) Rᵀ S, made with SciPy's rotations."""
    ndim = len(spacing)
    if ndim == 3:
        x, y, z = drawn["rotation"]
        axes = (([1, 0, 0], x), ([0, 1, 0], y), ([0, 0, 1], z))
        turn = np.eye(3)
        for axis, angle in axes:
            turn = turn @ Rotation.from_rotvec(np.radians(angle) * np.array(axis)).as_matrix()
    else:
        (angle,) = np.radians(drawn["rotation"])
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = np.diag(1 / np.asarray(drawn["scaling"])) @ (np.eye(ndim) + drawn["shear"]) @ turn.T
    return np.diag(1 / spacing) @ matrix @ np.diag(spacing)


@pytest.mark.parametrize(
    ("shape", "spacing"), [((12, 30, 26), (4.0, 1.0, 1.5)), ((30, 26), (0.5, 1.5))]
)
@pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("nearest", "nearest")])
def test_the_affine_map_is_that_of_scipy(rng, shape, spacing, border, mode):
    arguments = {"deformation": None, "mirror": None, "intensity": False, "border": border}
    augmentation = MultidimensionalAugmentation(**arguments)
    image, labels = _random(rng, *shape)
    drawn = augmentation.sample_parameters(rng, shape, 2, PatchGrid(spacing, 0))
    assert min(np.abs(drawn["rotation"])) > 0.1
    moved, mapped = augmentation.apply(image, labels, drawn, shape)
    matrix = _affine_of(drawn, np.asarray(spacing))
    half = (np.asarray(shape) - 1) / 2
    offset = half - matrix @ half
    for channel in range(2):
        expected = affine_transform(image[..., channel], matrix, offset, order=1, mode=mode)
        np.testing.assert_allclose(moved[..., channel], expected, atol=5e-5)
    expected = affine_transform(labels, matrix, offset, order=0, mode=mode)
    assert np.mean(mapped == expected) > 0.999


def test_a_ball_in_mm_stays_a_ball_whichever_way_it_is_turned():
    spacing = np.array([3.0, 1.0, 1.5])
    shape = (20, 60, 40)
    grid = np.meshgrid(
        *((np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape, spacing, strict=True)),
        indexing="ij",
    )
    radius = np.sqrt(np.sum(np.square(grid), axis=0))
    image, labels = radius[..., None].astype(np.float32), (radius < 20).astype(np.uint8)
    drawn = {"spacing": spacing.tolist(), "rotation": [30.0, -50.0, 70.0]}
    moved, mapped = _applied(image, labels, drawn, border="nearest")
    inside = (radius < 25) & (radius > 6)
    assert np.abs(moved[..., 0] - radius)[inside].max() < 0.5
    differs = mapped != labels
    assert np.abs(radius[differs] - 20).max() < np.linalg.norm(spacing) / 2 + 0.1
    # with the same numbers in voxels it would not be one
    voxels, _ = _applied(image, labels, {**drawn, "spacing": [1.0, 1.0, 1.0]}, border="nearest")
    assert np.abs(voxels[..., 0] - radius)[inside].max() > 5


@pytest.mark.parametrize(
    ("shape", "spacing"), [((8, 14, 12), (5.0, 1.0, 1.2)), ((20, 18), (1.0, 0.6))]
)
@pytest.mark.parametrize("labels_as", ["nearest", "linear"])
def test_the_whole_map_against_its_formula(rng, shape, spacing, labels_as):
    augmentation = MultidimensionalAugmentation(
        deformation=(2.0, 2.0),
        deformation_spacing=9.0,
        cropping=3.0,
        mirror=None,
        intensity=False,
        border="nearest",
        labels=labels_as,
    )
    margin = 3
    image, labels = _random(rng, *(n + 2 * margin for n in shape))
    drawn = augmentation.sample_parameters(rng, shape, 2, PatchGrid(spacing, 0))
    drawn = json.loads(json.dumps(to_json(drawn)))
    moved, mapped = augmentation.apply(image, labels, drawn, shape)

    steps = np.asarray(spacing)
    half = ((np.asarray(shape) - 1) / 2).reshape((-1,) + (1,) * len(shape))
    field = SplineField(np.asarray(drawn["deformation"]["control"]), shape, spacing, 9.0)
    column = steps.reshape(half.shape)
    mm = (np.indices(shape) - half) * column + field(0, shape[0])
    matrix = _affine_of(drawn, steps) / steps  # from mm to voxels
    where = np.tensordot(matrix, mm, 1) + half + margin
    where += np.asarray(drawn["cropping"]).reshape(half.shape)
    for channel in range(2):
        expected = map_coordinates(image[..., channel], where, order=1, mode="nearest")
        np.testing.assert_allclose(moved[..., channel], expected, atol=1e-4)
    if labels_as == "nearest":
        expected = map_coordinates(labels, where, order=0, mode="nearest")
    else:
        shares = [
            map_coordinates((labels == label).astype(float), where, order=1, mode="nearest")
            for label in range(5)
        ]
        expected = np.argmax(shares, axis=0)
    assert np.mean(mapped == expected) > 0.995


@given(seed=st.integers(0, 2**32), border=st.sampled_from(["reflect", "nearest", "constant"]))
@settings(max_examples=30)
def test_labels_lie_where_the_image_shows_them(seed, border):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(9, 16, size=int(rng.integers(2, 4))).tolist())
    augmentation = MultidimensionalAugmentation(
        rotation=60, cropping=4, deformation=5, deformation_spacing=20, intensity=False
    )
    grid = PatchGrid(tuple(rng.uniform(0.5, 4, len(shape)).tolist()), 0, bool(rng.integers(2)))
    drawn = augmentation.sample_parameters(rng, shape, 1, grid)
    # an image that is linear in the position shows where it was taken from
    places = np.stack(np.indices(shape), axis=-1).astype(np.float32)
    labels = (1 + np.arange(np.prod(shape))).astype(np.uint16).reshape(shape)
    # and a last channel of zeros whether it is blended with what lies beyond
    places = np.concatenate([places, np.zeros((*shape, 1), dtype=np.float32)], axis=-1)
    moved, mapped = _applied(places, labels, drawn, border=border, fill=-100)
    known = mapped > 0
    shown = np.stack(np.unravel_index(mapped[known].astype(int) - 1, shape), axis=-1)
    within = moved[known][:, -1] == 0
    assert np.abs(moved[known][:, :-1] - shown)[within].max(initial=0) <= 0.5 + 1e-4
    if border == "constant":
        assert moved[known][:, -1].min(initial=0) >= -100 * (1 - 0.5 ** len(shape)) - 1e-3
        assert moved[~known][:, -1].max(initial=-100) <= -50 + 1e-3
    else:
        assert known.all()
        assert within.all()


@pytest.mark.parametrize(("border", "mode"), [("reflect", "reflect"), ("nearest", "nearest")])
def test_sampling_is_that_of_map_coordinates_to_the_bit(rng, border, mode):
    image, labels = _random(rng, 7, 9, 1)
    image = np.round(image * 64) / 64  # products with the weights are exact
    where = rng.integers(-160, 200, (3, 11, 6, 5)) / np.float32(8)  # with many ties
    where = where.astype(np.float32)
    for order in (0, 1):
        moved, mapped = resample(
            image, labels, where.shape[1:], lambda a, b: where[:, a:b].copy(), border, order=order
        )
        expected = map_coordinates(labels, where, order=0, mode=mode)
        np.testing.assert_array_equal(mapped, expected)
        for channel in range(2):
            expected = map_coordinates(image[..., channel], where, order=order, mode=mode)
            np.testing.assert_allclose(moved[..., channel], expected, atol=1e-6 * order)


def test_slices_drawn_at_random_are_changed_in_their_plane(rng):
    shape = (20, 5, 18)
    image, labels = _random(rng, *shape)
    augmentation = MultidimensionalAugmentation(mirror=None, cropping=4, intensity=False)
    drawn = augmentation.sample_parameters(
        rng, shape, 2, PatchGrid((1.0, 5.0, 1.3), slice_axis=1, regular=False)
    )
    assert drawn["plane"] == [0, 2]
    assert drawn["rotation"][0] == drawn["rotation"][2] == 0 != drawn["rotation"][1]
    moved, mapped = augmentation.apply(image, labels, drawn, shape)
    assert augmentation.margin(shape, drawn)[1] == 0
    # each slice by itself comes out the same; about y is from z to x, in (x, z) negative
    flat = {
        "spacing": [1.0, 1.3],
        "rotation": [-drawn["rotation"][1]],
        "scaling": [drawn["scaling"][0], drawn["scaling"][2]],
        "shear": np.asarray(drawn["shear"])[np.ix_([0, 2], [0, 2])],
        "deformation": drawn["deformation"],
        "cropping": [drawn["cropping"][0], drawn["cropping"][2]],
    }
    for position in range(5):
        alone, alone_labels = augmentation.apply(
            image[:, position], labels[:, position], flat, (20, 18)
        )
        np.testing.assert_allclose(moved[:, position], alone, atol=1e-5)
        assert np.mean(mapped[:, position] == alone_labels) > 0.99


@given(seed=st.integers(0, 2**32), regular=st.booleans())
@settings(max_examples=25)
def test_with_the_margin_nothing_beyond_it_is_looked_at(seed, regular):
    rng = np.random.default_rng(seed)
    shape = (10, 22, 20)
    augmentation = MultidimensionalAugmentation(
        rotation=10, deformation=3, deformation_spacing=15, cropping=2, intensity=False
    )
    grid = PatchGrid((3.0, 1.0, 1.2), 0, regular)
    drawn = augmentation.sample_parameters(rng, shape, 1, grid)
    margin = augmentation.margin(shape, drawn)
    assert all(m <= w for m, w in zip(margin, augmentation.margin(shape), strict=True))
    bounded = [m == n // 2 for m, n in zip(margin, shape, strict=True)]
    wide = tuple(m + 4 for m in margin)
    image = np.stack(
        np.indices([n + 2 * m for n, m in zip(shape, wide, strict=True)]), axis=-1
    ).astype(np.float32)
    labels = np.zeros(image.shape[:-1], dtype=np.uint8)
    full, _ = augmentation.apply(image, labels, drawn, shape)
    inner = (slice(4, -4),) * 3
    enough, _ = augmentation.apply(image[inner], labels[inner], drawn, shape)
    for axis in range(3):
        if not bounded[axis]:
            np.testing.assert_allclose(enough[..., axis], full[..., axis], atol=1e-3)


def test_the_margin_without_parameters():
    off = {"rotation": None, "shear": None, "deformation": None}
    assert MultidimensionalAugmentation().margin((20, 31)) == (10, 15)
    assert MultidimensionalAugmentation(**off, scaling=None).margin((20, 31)) == (0, 0)
    assert MultidimensionalAugmentation(**off, scaling=(0.9, 1.2)).margin((20, 30)) == (2, 2)


def test_intensities_are_those_of_the_table_for_each_channel(rng):
    image, labels = _random(rng, 12, 12)
    tables = [[0.1, 1.1], [-0.1, 0.9]]
    drawn = {"intensity": tables}
    moved, _ = _applied(image, labels, drawn)
    for channel, (black, white) in enumerate(tables):
        values = image[..., channel]
        low, extent = values.min(), np.ptp(values)
        expected = low + extent * (black + (white - black) * (values - low) / extent)
        np.testing.assert_allclose(moved[..., channel], expected, atol=1e-5)
    moved, _ = _applied(image, labels, drawn, intensity_range=(-2.0, 3.0))
    expected = -2 + 5 * (0.1 + (image[..., 0] + 2) / 5)
    np.testing.assert_allclose(moved[..., 0], expected, atol=1e-5)


def test_what_is_drawn(rng):
    augmentation = MultidimensionalAugmentation(cropping=6.0)
    grid = PatchGrid((3.0, 1.0, 1.0), 0)
    draws = [augmentation.sample_parameters(rng, (16, 40, 40), 2, grid) for _ in range(300)]
    angles = np.array([drawn["rotation"] for drawn in draws])
    assert -20 <= angles.min() < -19 < 19 < angles.max() <= 20
    factors = np.array([drawn["scaling"] for drawn in draws])
    assert 0.8 <= factors.min() < 0.82 < 1.18 < factors.max() <= 1.2
    assert np.mean(factors > 1) == pytest.approx(0.5, abs=0.06)
    shear = np.array([drawn["shear"] for drawn in draws])
    assert not np.any(shear[:, range(3), range(3)])
    assert -0.1 <= shear.min() < -0.09 < 0.09 < shear.max() <= 0.1
    control = np.array([drawn["deformation"]["control"] for drawn in draws])
    assert control.shape[1:] == (3, *control_shape((16, 40, 40), (3.0, 1.0, 1.0), 80.0))
    assert control.std() == pytest.approx(12, rel=0.03)
    crops = np.array([drawn["cropping"] for drawn in draws])
    assert np.abs(crops).max(axis=0).tolist() == [2, 6, 6]
    assert all({type(step) for step in drawn["cropping"]} == {int} for drawn in draws)
    mirrored = [axis for drawn in draws for axis in drawn.get("mirror", ())]
    assert np.bincount(mirrored) / 300 == pytest.approx([0.5] * 3, abs=0.1)
    assert all(len(drawn["intensity"]) == 2 for drawn in draws)
    assert draws[0]["intensity"][0] != draws[0]["intensity"][1]


def test_what_is_off_is_not_drawn(rng):
    names = ("rotation", "scaling", "shear", "deformation", "mirror", "cropping")
    off = {**dict.fromkeys(names), "intensity": False}
    for shape in ((20, 20), (20, 20, 20)):
        drawn = MultidimensionalAugmentation(**off).sample_parameters(rng, shape, 1)
        assert drawn == {}
    for name in names:
        on = MultidimensionalAugmentation(**{**off, name: True, "mirror_probability": 1.0})
        drawn = on.sample_parameters(rng, (20, 20, 20), 1)
        assert set(drawn) - {"spacing", "plane"} <= {name, "mirror"}
        assert name in drawn


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"labels": "cubic"}, "labels must be one of"),
        ({"border": "wrap"}, "border must be one of"),
        ({"shear": 0.6}, "shear must lie"),
        ({"scaling": (0.0, 1.0)}, "scaling holds factors"),
        ({"deformation_spacing": 0}, "deformation_spacing must be"),
        ({"mirror": (0, 3)}, "mirror must be"),
        ({"mirror_probability": 2}, "mirror_probability must lie"),
        ({"probability": -1}, "probability must lie"),
        ({"slope": (0.9, 1.1)}, "must hold all slopes"),
        ({"slope": (-0.5, 2.0)}, "slope must not be negative"),
        ({"insertions": 1.5}, "insertions must be"),
        ({"intensity_range": (1.0, 1.0)}, "intensity_range must be"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ConfigurationError, match=message):
        MultidimensionalAugmentation(**arguments)


def test_wrong_patches_are_named(rng):
    augmentation = MultidimensionalAugmentation()
    with pytest.raises(ConfigurationError, match="2 or 3 spatial axes"):
        augmentation.sample_parameters(rng, (4,), 1)
    with pytest.raises(ConfigurationError, match="spacing above 0"):
        augmentation.sample_parameters(rng, (20, 20), 1, PatchGrid((1.0, 1.0, 1.0)))
    for axes in itertools.permutations(range(2)):
        image = np.zeros((8, 8, 1), dtype=np.float32)
        with pytest.raises(ConfigurationError, match="smaller than the patch"):
            augmentation.apply(image, image[..., 0].astype(np.uint8), {"mirror": axes}, (9, 8))
