"""Where general augmentation brings voxels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from batchgenerators.augmentations.spatial_transformations import augment_spatial
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.processing.augmentation import GeneralAugmentation, PatchGrid
from miscnn.processing.augmentation._spatial import deviation_of_alpha, plane_of, smooth_field


def _applied(
    image: np.ndarray,
    labels: np.ndarray,
    parameters: dict[str, Any],
    shape: tuple[int, ...] | None = None,
    **arguments: Any,
) -> tuple[np.ndarray, np.ndarray]:
    augmentation = GeneralAugmentation(**arguments)
    return augmentation.apply(image, labels, parameters, shape or labels.shape)


def _random(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, np.ndarray]:
    image = rng.standard_normal((*shape, 2), dtype=np.float32)
    return image, rng.integers(0, 5, shape).astype(np.uint8)


def _positions(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An image that shows where it is from, and labels that do."""
    image = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    return image.astype(np.float32), np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize(
    ("angles", "turns"),
    [
        ([90, 0, 0], [(1, (1, 2))]),
        ([0, 90, 0], [(1, (2, 0))]),
        ([0, 0, 90], [(1, (0, 1))]),
        ([0, 0, -90], [(-1, (0, 1))]),
        ([0, 0, 180], [(2, (0, 1))]),
        ([90, 0, 90], [(1, (0, 1)), (1, (1, 2))]),
        ([90, 90, 0], [(1, (2, 0)), (1, (1, 2))]),
    ],
)
def test_a_quarter_turn_is_rot90(rng, size, angles, turns):
    image, labels = _random(rng, size, size, size)
    turned, mapped = _applied(image, labels, {"rotation": angles})
    for times, plane in turns:
        image, labels = np.rot90(image, times, plane), np.rot90(labels, times, plane)
    np.testing.assert_array_equal(mapped, labels)
    np.testing.assert_array_equal(turned, image)


def test_a_quarter_turn_of_a_slice_is_rot90(rng):
    image, labels = _random(rng, 21, 21)
    turned, mapped = _applied(image, labels, {"rotation": [90.0]})
    np.testing.assert_array_equal(mapped, np.rot90(labels))
    np.testing.assert_array_equal(turned, np.rot90(image))


@pytest.mark.parametrize("ndim", [2, 3])
def test_factor_two_doubles_the_size_of_objects(ndim):
    labels = np.zeros((32,) * ndim, dtype=np.uint8)
    labels[(slice(12, 20),) * ndim] = 1
    image = labels[..., np.newaxis].astype(np.float32)
    scaled, mapped = _applied(image, labels, {"scaling": 2.0})
    expected = np.zeros_like(labels)
    expected[(slice(8, 24),) * ndim] = 1
    np.testing.assert_array_equal(mapped, expected)
    assert scaled.sum() == pytest.approx(image.sum() * 2**ndim, rel=0.02)
    _, mapped = _applied(image, labels, {"scaling": 0.5})
    assert mapped.sum() == 4**ndim


def test_scaling_alone_is_the_map_that_a_tiny_rotation_gives(rng):
    # another SciPy routine does maps that mix no axes
    image, labels = _random(rng, 20, 24, 18)
    image = np.cumsum(image, axis=0)
    plain, mapped = _applied(image, labels, {"scaling": 0.83})
    turned, mapped_too = _applied(image, labels, {"scaling": 0.83, "rotation": [1e-9, 0, 0]})
    np.testing.assert_allclose(plain, turned, atol=1e-4)
    assert np.mean(mapped == mapped_too) > 0.999


@pytest.mark.parametrize("border", ["nearest", "reflect"])
@pytest.mark.parametrize("margin", [0, 2, 6])
def test_translation_is_a_shift(rng, border, margin):
    shape, steps = (9, 8, 7), [3, -2, 0]
    image, labels = _random(rng, *(n + 2 * margin for n in shape))
    moved, mapped = _applied(image, labels, {"translation": steps}, shape, border=border)
    mode = {"nearest": "edge", "reflect": "symmetric"}[border]
    padded = np.pad(labels, 5, mode=mode)
    first = [margin + 5 - step for step in steps]
    cut = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
    np.testing.assert_array_equal(mapped, padded[cut])
    padded_image = np.stack([np.pad(image[..., c], 5, mode=mode) for c in range(2)], axis=-1)
    np.testing.assert_array_equal(moved, padded_image[cut])
    # and the interpolating map agrees about direction and border
    turned, _ = _applied(
        image, labels, {"translation": steps, "scaling": 1.0}, shape, border=border
    )
    np.testing.assert_allclose(turned, moved, atol=1e-6)


@pytest.mark.parametrize("axes", [[0], [1, 2], [0, 1, 2]])
def test_mirroring_is_a_flip(rng, axes):
    image, labels = _random(rng, 9, 8, 7)
    moved, mapped = _applied(image, labels, {"mirror": axes}, (5, 4, 3))
    np.testing.assert_array_equal(moved, np.flip(image[2:7, 2:6, 2:5], axes))
    np.testing.assert_array_equal(mapped, np.flip(labels[2:7, 2:6, 2:5], axes))


def test_mirroring_follows_the_spatial_map(rng):
    image, labels = _random(rng, 16, 16, 16)
    map_only = {"rotation": [10, 20, 30], "scaling": 1.1, "translation": [1, 2, 3]}
    moved, mapped = _applied(image, labels, map_only)
    both, mapped_both = _applied(image, labels, {**map_only, "mirror": [0]})
    np.testing.assert_array_equal(both, moved[::-1])
    np.testing.assert_array_equal(mapped_both, mapped[::-1])


@pytest.mark.parametrize("shape", [(20, 24, 18), (30, 26)])
def test_rotation_and_scaling_are_those_of_batchgenerators(rng, shape):
    image, labels = _random(rng, *shape)
    angles = [12.0, -25.0, 31.0][: 3 if len(shape) == 3 else 1]
    x, y, z = np.radians([*angles, 0.0, 0.0][:3])
    theirs, their_labels = augment_spatial(
        np.moveaxis(image, -1, 0)[np.newaxis],
        labels[np.newaxis, np.newaxis].astype(np.float32),
        shape,
        do_elastic_deform=False,
        angle_x=(x, x),
        angle_y=(y, y),
        angle_z=(z, z),
        scale=(1.25, 1.25),
        order_data=1,
        border_mode_seg="nearest",
        random_crop=False,
    )
    ours, our_labels = _applied(image, labels, {"rotation": angles, "scaling": 1 / 1.25})
    np.testing.assert_allclose(ours, np.moveaxis(theirs[0], 0, -1), atol=1e-5)
    np.testing.assert_array_equal(our_labels, their_labels[0, 0])


_PARAMETERS = st.fixed_dictionaries(
    {},
    optional={
        "rotation": st.lists(st.floats(-180, 180), min_size=3, max_size=3),
        "scaling": st.floats(0.4, 2.5),
        "translation": st.lists(st.integers(-12, 12), min_size=3, max_size=3),
        "elastic": st.fixed_dictionaries(
            {
                "displacement": st.floats(0, 3),
                "sigma": st.floats(2, 12),
                "axes": st.just([0, 1, 2]),
                "seed": st.integers(0, 2**53),
            }
        ),
        "mirror": st.just([0, 2]),
    },
)


@given(
    parameters=_PARAMETERS, border=st.sampled_from(["nearest", "reflect"]), margin=st.integers(0, 3)
)
@settings(max_examples=40, deadline=None)
def test_image_and_labels_stay_aligned(parameters, border, margin):
    shape = (12, 14, 11)
    image, labels = _positions(tuple(n + 2 * margin for n in shape))
    moved, mapped = _applied(image, labels, parameters, shape, border=border)
    shown = np.stack(np.unravel_index(mapped, labels.shape), axis=-1)
    # what the image shows lies within half a voxel of the voxel whose label was taken
    assert np.abs(moved - shown).max() <= 0.5 + 1e-4
    # with nearest interpolation image and labels are the same
    moved, mapped = _applied(
        labels[..., np.newaxis].astype(np.float32),
        labels,
        parameters,
        shape,
        order=0,
        border=border,
    )
    np.testing.assert_array_equal(moved[..., 0], mapped)


@given(angle=st.floats(-180, 180), scaling=st.floats(0.6, 1.6), seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_slices_stay_aligned(angle, scaling, seed):
    elastic = {"displacement": 2.0, "sigma": 6.0, "axes": [0, 1], "seed": seed}
    image, labels = _positions((24, 20))
    drawn = {"rotation": [angle], "scaling": scaling, "elastic": elastic}
    moved, mapped = _applied(image, labels, drawn, (20, 18))
    shown = np.stack(np.unravel_index(mapped, labels.shape), axis=-1)
    assert np.abs(moved - shown).max() <= 0.5 + 1e-4


@given(
    angles=st.lists(st.floats(-40, 40), min_size=3, max_size=3),
    scaling=st.floats(0.8, 1.3),
    steps=st.lists(st.integers(-2, 2), min_size=3, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_the_margin_is_as_much_as_the_map_looks_beyond_the_patch(angles, scaling, steps):
    shape = (22, 24, 20)
    drawn = {"rotation": angles, "scaling": scaling, "translation": steps}
    augmentation = GeneralAugmentation()
    margin = augmentation.margin(shape, drawn)
    if any(m == n // 2 for m, n in zip(margin, shape, strict=True)):
        return  # bounded
    wide = tuple(m + 3 for m in margin)
    image, labels = _positions(tuple(n + 2 * m for n, m in zip(shape, wide, strict=True)))
    full, _ = augmentation.apply(image, labels, drawn, shape)
    inner = tuple(slice(3, -3) for _ in shape)
    enough, _ = augmentation.apply(image[inner], labels[inner], drawn, shape)
    np.testing.assert_allclose(enough, full, atol=1e-3)
    for axis in range(3):
        reached = full[..., axis].min(), full[..., axis].max()
        used = max(wide[axis] - reached[0], reached[1] - (wide[axis] + shape[axis] - 1))
        assert margin[axis] - 1 <= max(used, 0) + 1e-3 <= margin[axis] + 2e-3


def test_the_margin_without_parameters_holds_every_draw(rng):
    augmentation = GeneralAugmentation(
        rotation=12, scaling=(0.95, 1.2), translation=0.03, elastic=0.5, probabilities=0.8
    )
    for shape in ((48, 40, 44), (60, 50)):
        widest = np.asarray(augmentation.margin(shape))
        drawn = [augmentation.sample_parameters(rng, shape, 1) for _ in range(300)]
        margins = np.asarray([augmentation.margin(shape, parameters) for parameters in drawn])
        assert (margins <= widest).all()
        assert (margins.max(axis=0) >= 0.6 * widest).all()
        assert (widest < np.asarray(shape) // 2).all()


def test_margins():
    colours_only = GeneralAugmentation(rotation=None, scaling=None)
    assert colours_only.margin((20, 20, 20)) == (0, 0, 0)
    assert GeneralAugmentation().margin((20, 20, 20), {"mirror": [0], "gamma": {}}) == (0, 0, 0)
    half = {"rotation": None, "scaling": (0.5, 1.0)}
    assert GeneralAugmentation(**half).margin((20, 30)) == (10, 15)
    assert GeneralAugmentation(rotation=(0, 0), scaling=(0.9, 1.0)).margin((20, 30)) == (2, 2)
    shifts = {"rotation": None, "scaling": None, "translation": (-3, 2)}
    voxels = GeneralAugmentation(**shifts, translation_unit="voxels")
    assert voxels.margin((20, 30, 20)) == (3, 3, 3)
    elastic = GeneralAugmentation(rotation=None, scaling=None, elastic=2.0)
    assert elastic.margin((40, 40, 40)) == (6, 6, 6)
    assert elastic.margin((10, 40, 40)) == (0, 6, 6)  # deformed in plane only
    # a half turn looks nowhere else, but on the way to it the diagonals do
    assert GeneralAugmentation(rotation=180, scaling=None).margin((20, 20)) == (4, 4)


@pytest.mark.parametrize(
    ("shape", "plane"),
    [
        ((30, 30), (0, 1)),
        ((10, 100), (0, 1)),
        ((96, 96, 96), (0, 1, 2)),
        ((48, 144, 96), (0, 1, 2)),
        ((16, 128, 128), (1, 2)),
        ((160, 160, 40), (0, 1)),
        ((16, 16, 128), (0, 1)),
        ((32, 64, 128), (1, 2)),
    ],
)
def test_anisotropic_patches_are_turned_in_plane(shape, plane):
    assert plane_of(shape) == plane
    augmentation = GeneralAugmentation(elastic=1.0, probabilities=1.0)
    drawn = augmentation.sample_parameters(np.random.default_rng(1), shape, 1)
    turned = [axis for axis, angle in enumerate(drawn["rotation"]) if angle != 0]
    if len(plane) == len(shape):
        assert len(turned) == len(drawn["rotation"])
    else:
        assert turned == list({0, 1, 2} - set(plane))
    assert drawn["elastic"]["axes"] == list(plane)


@pytest.mark.parametrize("shape", [(64, 64, 64), (80, 90), (6, 70, 70)])
def test_the_displacement_has_the_deviation_and_smoothness_asked_for(shape):
    sigma = 6.0
    fields = np.stack(
        [smooth_field(np.random.default_rng(seed), shape, sigma, 2.5) for seed in range(40)]
    )
    assert fields.shape == (40, *shape)
    assert fields.dtype == np.float32
    assert fields.std() == pytest.approx(2.5, rel=0.05)
    assert fields[..., :2].std() == pytest.approx(2.5, rel=0.1)  # at the faces as well
    # autocorrelation of Gaussian-smoothed white noise: exp(−d² / 4σ²)
    correlation = np.mean(fields[..., 8:] * fields[..., :-8]) / fields.var()
    assert correlation == pytest.approx(np.exp(-(8**2) / (4 * sigma**2)), abs=0.06)


def test_alpha_of_batchgenerators(monkeypatch):
    from batchgenerators.augmentations.utils import elastic_deform_coordinates

    monkeypatch.setattr(np.random, "random", np.random.default_rng(0).random)
    still = np.zeros((2, 200, 200))
    moved = elastic_deform_coordinates(still, 100.0, 4.0)[:, 20:-20, 20:-20]
    assert moved.std() == pytest.approx(100 * deviation_of_alpha(4.0, 2), rel=0.1)


def test_elastic_deformation_moves_by_its_field():
    shape = (20, 22, 18)
    image, labels = _positions(tuple(n + 16 for n in shape))
    elastic = {"displacement": 1.5, "sigma": 4.0, "axes": [1, 2], "seed": 7}
    moved, _ = _applied(image, labels, {"elastic": elastic}, shape)
    still = image[8:-8, 8:-8, 8:-8]
    rng = np.random.default_rng(7)
    for axis in (1, 2):
        field = smooth_field(rng, shape, 4.0, 1.5)
        np.testing.assert_allclose(moved[..., axis] - still[..., axis], field, atol=1e-4)
    np.testing.assert_allclose(moved[..., 0], still[..., 0], atol=1e-4)


def test_cubic_interpolation_is_closer_to_a_smooth_image():
    x = np.arange(24, dtype=np.float32)
    image = np.sin(x[:, None, None] / 2) * np.cos(x[None, :, None] / 3) + 0 * x
    labels = np.zeros((24, 24, 24), dtype=np.uint8)
    drawn = {"scaling": 1.25}
    true_x = 11.5 + (x - 11.5) / 1.25
    truth = np.sin(true_x[:, None, None] / 2) * np.cos(true_x[None, :, None] / 3) + 0 * x
    errors = [
        np.abs(_applied(image[..., None], labels, drawn, order=order)[0][..., 0] - truth).max()
        for order in (0, 1, 3)
    ]
    assert errors[0] > 5 * errors[1] > 10 * errors[2]


def test_in_a_stack_of_random_slices_no_slice_sees_another() -> None:
    """Slices of 0 and 100 in turn stay what they are, whatever is drawn."""
    shape = (40, 36, 12)
    grid = PatchGrid((1.0, 1.0, 20.0), slice_axis=2, regular=False)
    augmentation = GeneralAugmentation(
        translation=0.2, scaling=(1.3, 1.4), elastic=2.0, probabilities=1.0,
        contrast=None, brightness=None, gamma=None, gaussian_noise=None,
    )  # fmt: skip
    image = np.zeros((*shape, 1), np.float32)
    image[:, :, ::2] = 100
    labels = (image[..., 0] > 0).astype(np.uint8)
    rng = np.random.default_rng(0)
    for _ in range(5):
        drawn = augmentation.sample_parameters(rng, shape, 1, grid)
        assert augmentation.margin(shape, drawn)[2] == 0
        moved, mapped = augmentation.apply(image, labels, drawn, shape)
        np.testing.assert_allclose(moved, image, atol=1e-3)
        np.testing.assert_array_equal(mapped, labels)
    assert drawn["rotation"][2] != 0
    freely = augmentation.sample_parameters(rng, shape, 1)
    assert not np.array_equal(augmentation.apply(image, labels, freely, shape)[1], labels)
