"""Random slices of volumes: which, in which order, and that prediction covers all of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import miscnn
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import Augmentation, Compose, GeneralAugmentation
from miscnn.processing.augmentation.base import center_crop
from miscnn.processing.batches import BatchMaker
from miscnn.processing.slices import (
    choose_slices,
    foreground_slices,
    mean_gap,
    slice_groups,
    take_slices,
)
from miscnn.processing.subfunctions import (
    Clipping,
    Normalization,
    Resampling,
    Resize,
    TransformHU,
    Windowing,
)

NONE = np.empty(0)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(0, 99))
def test_slices_are_drawn_once_and_in_ascending_order(n: int, number: int, seed: int) -> None:
    available = np.arange(n) * 2.0 + 1
    drawn = choose_slices(rng(seed), available, number, NONE, 0.0)
    assert len(drawn) == number
    assert list(drawn) == sorted(drawn)
    assert set(drawn) <= set(available)
    _, times = np.unique(drawn, return_counts=True)
    # None a second time before each was drawn once.
    assert times.max() - (times.min() if len(times) == n else 0) <= 1


def test_a_share_of_the_slices_comes_from_the_background() -> None:
    drawn = choose_slices(rng(), np.arange(20.0, 40), 16, np.arange(20.0), 0.25)
    assert (drawn < 20).sum() == 4
    assert (choose_slices(rng(), NONE, 5, np.arange(9.0), 0.0) < 9).all()


def test_foreground_slices_of_every_axis() -> None:
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2:4, 5] = 2
    assert [list(foreground_slices(labels, axis)) for axis in range(3)] == [[1], [2, 3], [5]]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_stacks_have_their_slices_last(axis: int) -> None:
    volume = rng().random((5, 6, 7, 2), dtype=np.float32)
    stack = take_slices(volume, axis, np.array([0.0, 1.25, 3.0]), blend=True)
    slices = np.moveaxis(volume, axis, 2)
    np.testing.assert_array_equal(stack[:, :, 0], slices[:, :, 0])
    np.testing.assert_array_equal(stack[:, :, 2], slices[:, :, 3])
    between = 0.75 * slices[:, :, 1] + 0.25 * slices[:, :, 2]
    np.testing.assert_allclose(stack[:, :, 1], between, rtol=1e-6)
    labels = (volume[..., 0] * 9).astype(np.uint8)
    nearest = take_slices(labels, axis, np.array([1.25, 1.75]), blend=False)
    np.testing.assert_array_equal(nearest, np.moveaxis(labels, axis, 2)[:, :, [1, 2]])


@given(st.integers(1, 200), st.integers(1, 32), st.integers(1, 9))
def test_stacks_cover_every_slice(n_slices: int, size: int, gap: int) -> None:
    groups = slice_groups(n_slices, size, gap)
    assert set(np.concatenate(groups)) == set(range(n_slices))
    for group in groups:
        assert len(group) == size
        if n_slices >= size:  # all different, and evenly apart
            assert set(np.diff(group)) <= {max(1, min(gap, n_slices // size))}
        else:
            assert np.bincount(group).max() - np.bincount(group).min() <= 1
    assert len(groups) * size < 2 * max(n_slices, size)


def test_known_stacks() -> None:
    first_block, last_block = [[0, 2, 4, 6], [1, 3, 5, 7]], [[1, 3, 5, 7], [2, 4, 6, 8]]
    assert [list(g) for g in slice_groups(9, 4, 2)] == first_block + last_block
    assert [list(g) for g in slice_groups(3, 5)] == [[0, 0, 1, 1, 2]]


def test_the_mean_gap_is_that_of_random_slices() -> None:
    labels = np.zeros((3, 3, 80), np.uint8)
    labels[1, 1, 10:70] = 1
    available = np.arange(10.0, 70)
    drawn = [choose_slices(rng(seed), available, 16, NONE, 0.0) for seed in range(300)]
    expected = np.mean([np.diff(d).mean() for d in drawn])
    assert mean_gap(labels, 2, 16) == pytest.approx(expected, rel=0.02)
    assert mean_gap(np.zeros_like(labels), 2, 16) == 1.0


def stacks(data_io: miscnn.DataIO, **options) -> miscnn.Preprocessor:
    options.setdefault("data_aug", None)
    options.setdefault("analysis", "slice-stack")
    return miscnn.Preprocessor(data_io, options.pop("batch_size", 1), **options)


def scan(make_data_io, axis: int = 2, n: int = 24) -> miscnn.DataIO:
    """A volume whose value is the number of its slice, with foreground in slices 5 to 20."""
    shape = [8, 10]
    shape.insert(axis, n)
    spacing = [1.0, 1.0]
    spacing.insert(axis, 4.0)
    data_io = make_data_io([tuple(shape)], spacing=tuple(spacing))
    image = np.zeros(shape, np.float32)
    np.moveaxis(image, axis, 2)[:] = np.arange(n)
    labels = np.zeros(shape, np.uint8)
    np.moveaxis(labels, axis, 2)[2:5, 3:6, 5:21] = 1
    entry = data_io.interface.dictionary["s0"]
    data_io.interface.dictionary["s0"] = (image, labels, *entry[2:])
    return data_io


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stack_is_made_anew_every_epoch(make_data_io, axis: int) -> None:
    maker = BatchMaker(stacks(scan(make_data_io, axis), slices_per_volume=6), ["s0"], training=True)
    seen = []
    for epoch in range(12):
        images, labels = maker.batch(epoch, 0)
        assert images.shape == (1, 8, 10, 6, 1)
        drawn = images[0, 0, 0, :, 0]
        np.testing.assert_array_equal(images[0, ..., 0], np.broadcast_to(drawn, (8, 10, 6)))
        assert list(drawn) == sorted(set(drawn))
        assert labels[0, ..., 1].any(axis=(0, 1)).all()
        seen.append(tuple(drawn))
    assert len(set(seen)) > 6
    assert set(np.concatenate(seen)) == set(range(5, 21))


def test_validation_stacks_stay_the_same(make_data_io) -> None:
    maker = BatchMaker(stacks(scan(make_data_io)), ["s0"], training=False)
    assert maker.batch(0, 0)[0].shape == (1, 8, 10, 16, 1)
    np.testing.assert_array_equal(maker.batch(0, 0)[0], maker.batch(3, 0)[0])


def test_predictions_are_stacked_as_the_network_was_trained(make_data_io) -> None:
    """16 slices with foreground, 3 in a stack: random ones lie 17 / 4 slices apart on average."""
    recipe = stacks(scan(make_data_io), slices_per_volume=3)
    assert recipe.stack_gap == 1
    recipe.fit(["s0"])
    assert recipe.stack_gap == 4
    again = miscnn.Preprocessor.from_config(recipe.get_config())
    assert (again.stack_gap, again.slice_gap, again.fitted) == (4, None, True)
    other = stacks(scan(make_data_io), slices_per_volume=3)
    other.set_statistics(recipe.get_statistics())
    assert other.stack_gap == 4
    told = stacks(scan(make_data_io), slices_per_volume=3, slice_gap=2)
    told.fit(["s0"])
    assert told.stack_gap == 2
    with pytest.raises(ConfigurationError, match="slice_gap"):
        stacks(scan(make_data_io), slice_gap=0)


def test_slices_are_drawn_anew_each_time_an_epoch_goes_round(make_data_io) -> None:
    recipe = stacks(scan(make_data_io), analysis="slicewise", slices_per_volume=4, batch_size=4)
    maker = BatchMaker(recipe, ["s0"], True)
    rounds = [tuple(sorted(maker.batch(0, k)[0][:, 0, 0, 0])) for k in range(8)]
    assert len(set(rounds)) > 4


def test_slices_of_a_2d_network_are_all_different_within_an_epoch(make_data_io) -> None:
    recipe = stacks(scan(make_data_io), analysis="slicewise", slices_per_volume=5, batch_size=2)
    maker = BatchMaker(recipe, ["s0"], training=False)
    assert maker.n_items == 5
    drawn = np.concatenate([maker.batch(0, k)[0][:, 0, 0, 0] for k in range(len(maker))])
    assert list(drawn) == sorted(set(drawn))
    training = BatchMaker(recipe, ["s0"], training=True)
    epochs = [
        frozenset(np.concatenate([training.batch(e, k)[0][:, 0, 0, 0] for k in range(2)]))
        for e in range(8)
    ]
    assert len(set(epochs)) > 4


def test_stacks_are_as_long_as_the_network_wants(make_data_io) -> None:
    recipe = stacks(scan(make_data_io), slices_per_volume=6)
    images, _ = BatchMaker(recipe, ["s0"], True, multiple=(4, 4, 8)).batch(0, 0)
    assert images.shape == (1, 8, 12, 8, 1)


def test_background_slices_are_shown_if_asked_for(make_data_io) -> None:
    recipe = stacks(scan(make_data_io), slices_per_volume=8, background_slices=0.5)
    images, labels = BatchMaker(recipe, ["s0"], True).batch(0, 0)
    assert labels[0, ..., 1].any(axis=(0, 1)).sum() == 4
    assert len(set(images[0, 0, 0, :, 0])) == 8


def test_resize_within_the_slices_wherever_they_are(make_data_io) -> None:
    data_io = scan(make_data_io, axis=0)
    recipe = stacks(data_io, subfunctions=[Resize((4, 5))], slices_per_volume=16)
    images, _ = BatchMaker(recipe, ["s0"], True).batch(0, 0)
    assert images.shape == (1, 4, 5, 16, 1)
    np.testing.assert_allclose(images[0, 2, 2, :, 0], np.rint(images[0, 2, 2, :, 0]), atol=1e-3)


def test_wrong_uses_are_refused(make_data_io) -> None:
    data_io = scan(make_data_io)
    with pytest.raises(ConfigurationError, match="whole slices"):
        stacks(data_io, patch_shape=(8, 8, 8))
    with pytest.raises(ConfigurationError, match="slices_per_volume"):
        stacks(data_io, analysis="fullimage", slices_per_volume=4)
    with pytest.raises(ConfigurationError, match="at least 1"):
        stacks(data_io, slices_per_volume=0)
    with pytest.raises(ConfigurationError, match="background_slices"):
        stacks(data_io, background_slices=2)
    with pytest.raises(ConfigurationError, match="2D images"):
        stacks(make_data_io([(20, 20)]))


def test_the_recipe_comes_back_from_its_configuration(make_data_io) -> None:
    recipe = stacks(scan(make_data_io), slices_per_volume=7, background_slices=0.25)
    again = miscnn.Preprocessor.from_config(recipe.get_config())
    assert again.get_config() == recipe.get_config()
    assert (again.slices_per_volume, again.background_slices) == (7, 0.25)


class Recorder(Augmentation):
    """Writes down what it is handed; adds a number."""

    def __init__(self, hounsfield: bool = True, probability: float = 1.0) -> None:
        self.hounsfield = hounsfield
        self.probability = probability
        self.grids: list = []
        self.seen: list = []

    def batch_probability(self, dimensions: int) -> float:
        return self.probability

    def sample_slices(self, rng, available, wanted):
        return available[:-1] + 0.5

    def sample_parameters(self, rng, patch_shape, channels, grid=None):
        self.grids.append(grid)
        return {"add": 1.0}

    def apply(self, image, segmentation, parameters, patch_shape):
        self.seen.append((float(image.min()), float(image.max())))
        return center_crop(image, patch_shape) + np.float32(1), center_crop(
            segmentation, patch_shape
        )


def augmented(make_data_io, subfunctions, **options):
    data_io = scan(make_data_io)
    return stacks(data_io, subfunctions=subfunctions, slices_per_volume=4, **options)


def test_augmentation_on_hounsfield_units_comes_before_windows(make_data_io) -> None:
    """(slice + 1 HU), then the window, not the other way round."""
    recipe = augmented(make_data_io, [Windowing(bounds=(0, 10))], data_aug=Recorder())
    images, _ = BatchMaker(recipe, ["s0"], True).batch(0, 0)
    recorder = recipe.data_augmentation
    assert recorder.seen[0][1] > 10  # not yet windowed
    assert images.max() == 10.0  # windowed afterwards, so never above the window
    later = augmented(make_data_io, [Windowing(bounds=(0, 10))], data_aug=Recorder(False))
    images, _ = BatchMaker(later, ["s0"], True).batch(0, 0)
    assert later.data_augmentation.seen[0][1] == 10.0
    assert images.max() == 11.0


def test_slices_between_slices_and_what_the_axes_mean(make_data_io) -> None:
    recipe = augmented(make_data_io, [], data_aug=Recorder())
    images, labels = BatchMaker(recipe, ["s0"], True).batch(0, 0)
    drawn = images[0, 0, 0, :, 0] - 1
    np.testing.assert_array_equal(drawn % 1, 0.5)
    grid = recipe.data_augmentation.grids[0]
    assert (grid.slice_axis, grid.regular) == (2, False)
    np.testing.assert_allclose(grid.spacing, (1, 1, 4 * np.diff(drawn).mean()))
    assert labels[0, ..., 1].any(axis=(0, 1)).all()


def test_a_batch_is_augmented_as_often_as_the_augmentation_says(make_data_io) -> None:
    recipe = augmented(make_data_io, [], data_aug=Recorder(probability=0.3))
    maker = BatchMaker(recipe, ["s0"], True)
    touched = [bool((maker.batch(e, 0)[0] % 1).any()) for e in range(300)]
    assert 0.22 < np.mean(touched) < 0.38


def test_the_order_of_the_chain_is_checked(make_data_io) -> None:
    wrong = augmented(
        make_data_io, [Windowing(bounds=(0, 10)), Resampling((2, 2, 4))], data_aug=Recorder()
    )
    with pytest.raises(ConfigurationError, match="Put Windowing after Resampling"):
        BatchMaker(wrong, ["s0"], True)
    with pytest.raises(ConfigurationError, match="Put Windowing after Resampling"):
        wrong.check_windows((1, 1, 1))
    right = [TransformHU(), Resampling((2, 2, 4)), Clipping(0, 5), Normalization()]
    assert augmented(make_data_io, right, data_aug=Recorder()).augmentation_position == 0
    assert augmented(make_data_io, right, data_aug=Recorder(False)).augmentation_position == 2
    scaled = [TransformHU(normalize=True), Resampling((2, 2, 4))]
    with pytest.raises(ConfigurationError, match="Let TransformHU keep Hounsfield units"):
        BatchMaker(augmented(make_data_io, scaled, data_aug=Recorder()), ["s0"], True)


def test_augmentations_of_both_kinds_cannot_be_composed() -> None:
    with pytest.raises(ConfigurationError, match="Hounsfield"):
        Compose([Recorder(), GeneralAugmentation()])
    assert Compose([Recorder()]).hounsfield
    assert not Compose([GeneralAugmentation()]).hounsfield
