"""Resampling and Resize."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, GridMismatchError, SampleError
from miscnn.processing.subfunctions import Resampling, Resize
from miscnn.testing import check_subfunction

OBLIQUE = np.array(
    [[0.0, -1.1, 0.5, 3.0], [0.7, 0.1, 0.2, -9.0], [0.1, 0.3, -2.4, 55.0], [0.0, 0.0, 0.0, 1.0]]
)


def make(shape, spacing=None, channels=1, classes=4, seed=0, affine=None) -> Sample:
    rng = np.random.default_rng(seed)
    if affine is None:
        affine = np.diag([*(spacing or (1.0,) * len(shape)), 1.0])
    image = rng.normal(0, 100, (*shape, channels)).astype(np.float32)
    sample = Sample("case 7", image, channels, classes, Geometry(shape, affine))
    sample.add_segmentation(rng.integers(0, classes, shape))
    return sample


def faces(geometry: Geometry) -> np.ndarray:
    """The corners of the volume (not the centres of its corner voxels) in mm."""
    ends = [(-0.5, n - 0.5) for n in geometry.shape]
    corners = np.stack(np.meshgrid(*ends, indexing="ij")).reshape(geometry.ndim, -1)
    return geometry.affine[:-1, :-1] @ corners + geometry.affine[:-1, -1:]


def world(geometry: Geometry) -> np.ndarray:
    """A ramp that is linear in the patient."""
    voxels = np.indices(geometry.shape).reshape(geometry.ndim, -1)
    points = geometry.affine[:-1, :-1] @ voxels + geometry.affine[:-1, -1:]
    direction = np.array([1.0, -0.5, 0.25])[: geometry.ndim]
    return (direction @ points).reshape(geometry.shape)


@pytest.mark.parametrize(
    ("shape", "spacing", "new", "expected"),
    [
        ((512, 512, 60), (0.78, 0.78, 5.0), (1.62, 1.62, 3.22), (247, 247, 93)),
        ((10, 10, 10), (1.0, 1.0, 1.0), (4.0, 4.1, 100.0), (3, 2, 1)),
        ((10, 20, 5), (2.0, 1.0, 3.0), (1.0, None, None), (20, 20, 5)),
        ((10, 20), (2.0, 1.0), 0.5, (40, 40)),
    ],
)
def test_shape_is_the_extent_over_the_new_spacing_rounded(shape, spacing, new, expected):
    sample = Sample(
        "a",
        np.zeros((*shape, 1), np.float32),
        geometry=Geometry.from_spacing(shape, spacing),
    )
    assert Resampling(new).target_shape(sample) == expected


@given(
    shape=st.lists(st.integers(1, 14), min_size=2, max_size=3),
    spacing=st.lists(st.floats(0.3, 6.0), min_size=3, max_size=3),
    new=st.lists(st.one_of(st.none(), st.floats(0.3, 6.0)), min_size=3, max_size=3),
    channels=st.integers(1, 2),
    order_seg=st.sampled_from([0, 1]),
)
@settings(deadline=None, max_examples=60)
def test_there_and_back_for_any_grid(shape, spacing, new, channels, order_seg):
    sample = make(shape, tuple(spacing[: len(shape)]), channels)
    part = Resampling(tuple(new[: len(shape)]), order_seg=order_seg)
    after = part.preprocessing(sample)
    assert after.geometry.shape == after.image.shape[:-1] == after.segmentation.shape[:-1]
    assert after.image.shape[-1] == channels
    np.testing.assert_allclose(faces(after.geometry), faces(sample.geometry), atol=1e-9)
    low, high = (
        sample.image.min(axis=(*range(len(shape)),)),
        sample.image.max(axis=(*range(len(shape)),)),
    )
    assert (after.image >= low - 1e-3).all()
    assert (after.image <= high + 1e-3).all()
    assert np.isin(after.segmentation, sample.segmentation).all()
    labels = part.postprocessing(sample, after.segmentation[..., 0])
    assert labels.shape == sample.spatial_shape
    chances = np.random.default_rng(1).dirichlet(np.ones(3), after.spatial_shape)
    back = part.postprocessing(sample, chances.astype(np.float32), activation_output=True)
    assert back.shape == (*sample.spatial_shape, 3)
    assert back.min() >= 0
    np.testing.assert_allclose(back.sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("antialias", [False, True])
def test_a_ramp_in_the_patient_stays_that_ramp(order, antialias):
    geometry = Geometry((16, 12, 10), OBLIQUE)
    sample = Sample("a", world(geometry).astype(np.float32)[..., np.newaxis], geometry=geometry)
    part = Resampling((1.9, 0.8, 1.3), order, antialias=antialias, anisotropy_threshold=None)
    after = part.preprocessing(sample)
    assert after.geometry.shape == (6, 17, 19)
    inside = (slice(2, -2),) * 3
    np.testing.assert_allclose(
        after.image[..., 0][inside], world(after.geometry)[inside], atol=1e-4
    )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("part", [Resampling((0.8, 0.8, 3.0)), Resize((9, 8, 7)), Resize(None)])
def test_equal_shapes_are_the_identity_bit_by_bit(part, channels):
    sample = make((9, 8, 7), (0.8 + 1e-8, 0.8, 3.0), channels)
    after = part.preprocessing(sample)
    np.testing.assert_array_equal(after.image, sample.image)
    np.testing.assert_array_equal(after.segmentation, sample.segmentation)
    assert after.geometry == sample.geometry
    for prediction, activation in ((sample.segmentation[..., 0], False), (sample.image, True)):
        back = part.postprocessing(sample, prediction, activation)
        assert back.dtype == prediction.dtype
        np.testing.assert_array_equal(back, prediction)


def test_axes_that_keep_their_size_are_not_touched(rng):
    sample = make((20, 18, 6))
    after = Resampling((2.0, 2.0, None)).preprocessing(sample)
    for z in range(6):
        slice_ = Sample("s", sample.image[:, :, z], geometry=Geometry((20, 18)))
        one = Resampling((2.0, 2.0)).preprocessing(slice_)
        np.testing.assert_array_equal(after.image[:, :, z], one.image)


@pytest.mark.parametrize("antialias", [False, True])
def test_order_0_picks_values_and_never_blends_them(antialias):
    sample = make((13, 11, 9), (1.0, 1.0, 1.0))
    part = Resampling((2.3, 1.7, 3.1), order_img=0, order_seg=0, antialias=antialias)
    after = part.preprocessing(sample)
    assert np.isin(after.image, sample.image).all()
    # Image and labels are taken from the same voxels.
    paired = dict(zip(sample.image.ravel(), sample.segmentation.ravel(), strict=True))
    assert [paired[v] for v in after.image.ravel()] == after.segmentation.ravel().tolist()


def test_channels_do_not_mix():
    sample = make((9, 10, 8), channels=2)
    both = Resampling((0.7, 1.4, 2.0)).preprocessing(sample).image
    for channel in range(2):
        alone = Sample("a", sample.image[..., [channel]], geometry=sample.geometry)
        one = Resampling((0.7, 1.4, 2.0)).preprocessing(alone).image
        np.testing.assert_array_equal(both[..., [channel]], one)


def test_whole_numbers_come_out_as_float32_and_are_not_changed():
    sample = make((9, 10, 8))
    sample.image = (sample.image * 3).astype(np.int16)
    before = sample.image.copy()
    for spacing in ((1, 1, 1), (2, 2, 0.5)):
        assert Resampling(spacing).preprocessing(sample).image.dtype == np.float32
    assert sample.image.dtype == np.int16
    np.testing.assert_array_equal(sample.image, before)


# ---------------------------------------------------------------------- anisotropy


def test_along_a_coarse_axis_slices_are_repeated_not_blended():
    sample = make((12, 12, 5), (1.0, 1.0, 5.0))
    after = Resampling((1.0, 1.0, 2.5)).preprocessing(sample)
    np.testing.assert_array_equal(after.image, np.repeat(sample.image, 2, axis=2))
    np.testing.assert_array_equal(after.segmentation, np.repeat(sample.segmentation, 2, axis=2))
    blended = Resampling((1.0, 1.0, 2.5), anisotropy_threshold=None).preprocessing(sample)
    assert np.abs(blended.image - after.image).max() > 10
    linear = Resampling((1.0, 1.0, 2.5), order_coarse=1).preprocessing(sample).image
    np.testing.assert_allclose(
        linear[:, :, 1], 0.75 * sample.image[:, :, 0] + 0.25 * sample.image[:, :, 1], atol=1e-3
    )


def test_the_target_may_be_what_is_coarse():
    # Thin slices brought to thick ones: their mean with antialias, else one of them.
    sample = make((6, 6, 12), (1.0, 1.0, 1.0))
    mean = Resampling((1.0, 1.0, 4.0)).preprocessing(sample).image
    blocks = sample.image.reshape(6, 6, 3, 4, 1).mean(axis=3)
    np.testing.assert_allclose(mean, blocks, atol=1e-4)
    picked = Resampling((1.0, 1.0, 4.0), antialias=False).preprocessing(sample).image
    np.testing.assert_array_equal(picked, sample.image[:, :, 2::4])


def test_two_coarse_axes_are_not_set_apart():
    sample = make((6, 6, 12), (5.0, 5.0, 1.0))
    after = Resampling((2.5, 5.0, 1.0)).preprocessing(sample).image
    assert np.abs(after[0] - after[1]).max() > 10


# ---------------------------------------------------------------------- labels, the way back


def ball(shape, spacing, radius) -> Sample:
    geometry = Geometry.from_spacing(shape, spacing)
    place = (np.indices(shape).T + 0.5 - np.array(shape) / 2) * spacing
    inside = (np.sqrt((place**2).sum(axis=-1)) < radius).T
    sample = Sample("ball", inside.astype(np.float32)[..., np.newaxis], geometry=geometry)
    sample.add_segmentation(inside)
    return sample


def dice(a, b) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("order_seg", [0, 1])
def test_labels_keep_their_volume_and_place(order_seg):
    sample = ball((40, 40, 20), (1.0, 1.0, 2.0), 14.0)
    after = Resampling((1.7, 1.3, 1.4), order_seg=order_seg).preprocessing(sample)
    before_volume = sample.segmentation.sum() * sample.geometry.voxel_volume
    after_volume = after.segmentation.sum() * after.geometry.voxel_volume
    assert after_volume == pytest.approx(before_volume, rel=0.03)
    back = Resampling((1.7, 1.3, 1.4), order_seg=order_seg).postprocessing(
        sample, after.segmentation[..., 0]
    )
    assert dice(back.astype(bool), sample.segmentation[..., 0].astype(bool)) > 0.95


def test_probabilities_come_back_better_than_labels():
    sample = ball((60, 60, 30), (1.0, 1.0, 2.0), 18.0)
    truth = sample.segmentation[..., 0].astype(bool)
    part = Resampling((4.0, 4.0, 4.0), order_img=1)
    after = part.preprocessing(sample)
    soft = np.concatenate([1 - after.image, after.image], axis=-1)
    probable = part.postprocessing(sample, soft, activation_output=True)
    from_soft = probable.argmax(axis=-1).astype(bool)
    nearest = Resampling((4.0, 4.0, 4.0), order_seg=0)
    from_labels = nearest.postprocessing(sample, soft.argmax(axis=-1)).astype(bool)
    assert dice(from_soft, truth) > 0.97 > dice(from_labels, truth)
    np.testing.assert_array_equal(part.postprocessing_argmax(sample, soft), from_soft)


def test_probabilities_along_a_coarse_axis_come_back_as_they_went():
    sample = make((8, 8, 4), (1.0, 1.0, 5.0))
    part = Resampling((1.0, 1.0, 2.5))
    chances = np.random.default_rng(0).dirichlet(np.ones(2), (8, 8, 4)).astype(np.float32)
    back = part.postprocessing(sample, np.repeat(chances, 2, axis=2), activation_output=True)
    np.testing.assert_allclose(back, chances, atol=1e-6)


def test_the_way_back_needs_the_geometry_only():
    sample = make((9, 8, 7), (1.0, 2.0, 3.0))
    part = Resampling((2.0, 1.0, 2.0))
    shape = part.preprocessing(sample).spatial_shape
    sample.image = sample.segmentation = None
    assert part.postprocessing(sample, np.zeros(shape, np.uint8)).shape == (9, 8, 7)


# ---------------------------------------------------------------------- Resize


def test_resize_takes_none_for_axes_that_stay():
    sample = make((20, 18, 6), (0.5, 0.5, 3.0))
    after = Resize((10, 9, None)).preprocessing(sample)
    assert after.geometry.shape == (10, 9, 6)
    assert after.geometry.spacing == (1.0, 1.0, 3.0)
    np.testing.assert_allclose(
        after.image, sample.image.reshape(10, 2, 9, 2, 6, 1).mean(axis=(1, 3)), atol=1e-4
    )


# ---------------------------------------------------------------------- errors


def test_errors_name_what_is_wrong():
    volume = make((4, 4, 4))
    with pytest.raises(SampleError, match=r"case 7.*new_spacing=\(1, 1\) has 2 entries.*3 spatial"):
        Resampling((1, 1)).preprocessing(volume)
    with pytest.raises(GridMismatchError, match=r"shape \(4, 4, 4\).*\(2, 2, 2\)"):
        Resampling(2.0).postprocessing(volume, np.zeros((4, 4, 4), np.uint8))
    with pytest.raises(GridMismatchError, match="probabilities"):
        Resampling(2.0).postprocessing(volume, np.zeros((2, 2, 2)), activation_output=True)
    with pytest.raises(GridMismatchError, match="activation_output=True"):
        Resampling(2.0).postprocessing(volume, np.zeros((2, 2, 2), np.float32))
    flat = Sample("flat", np.zeros((4, 4, 4, 1)), geometry=Geometry((4, 4, 4), np.zeros((4, 4))))
    with pytest.raises(SampleError, match=r"'flat'.*voxel size is \(0.0"):
        Resampling(1.0).preprocessing(flat)


@pytest.mark.parametrize(
    "arguments",
    [
        {"new_spacing": (1, 0, 1)},
        {"new_spacing": (1, -1, 1)},
        {"new_spacing": (1, float("nan"), 1)},
        {"new_spacing": "fine"},
        {"new_spacing": ()},
        {"order_img": 2},
        {"order_seg": 3},
        {"order_coarse": "no"},
        {"anisotropy_threshold": 0.5},
    ],
)
def test_arguments_are_checked(arguments):
    with pytest.raises(ConfigurationError, match=next(iter(arguments))):
        Resampling(**arguments)


@pytest.mark.parametrize("shape", [(0, 4), (1.5, 4), (True, 4), 0])
def test_shapes_are_whole_numbers(shape):
    with pytest.raises(ConfigurationError, match="new_shape"):
        Resize(shape)


@pytest.mark.parametrize(
    "part",
    [
        Resampling((1.0, 1.0, 2.0)),
        Resampling((2.0, None, 1.0), order_img=1, order_seg=0, antialias=False, clip=False),
        Resampling(1.6, order_img=0),
        Resampling((0.4, 2.0)),
        Resize((16, 16, 16)),
        Resize((30, None, 5), anisotropy_threshold=None),
        Resize(18),
    ],
    ids=repr,
)
def test_contract(part):
    check_subfunction(part)
