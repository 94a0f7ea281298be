"""CT-specific augmentation: what is drawn, how often, and what it does."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation import Compose, PatchGrid
from miscnn.processing.augmentation.ct import DEFAULT_PROBABILITIES, CTAugmentation
from miscnn.testing.augmentation import check_augmentation

_OFF = {
    "range_shift": None,
    "range_scale": None,
    "noise": None,
    "slice_skipping": None,
    "slice_interpolation": None,
    "rotation": None,
}
_ALIGNED = dict.fromkeys(("range_shift", "noise"), 0.0)


def _only(**arguments):
    return CTAugmentation(**{**_OFF, **arguments}, probabilities=1.0)


def _patch(rng, *shape, channels=1):
    image = (rng.standard_normal((*shape, channels)) * 300).astype(np.float32)
    return image, rng.integers(0, 5, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "grid"),
    [
        ((40, 36), None),
        ((40, 36), PatchGrid((0.7, 0.9))),
        ((32, 30, 28), None),
        ((32, 30, 28), PatchGrid((5.0, 0.8, 0.8), 0)),
        ((32, 30, 28), PatchGrid((1.0, 2.0, 1.5), 1)),
        ((36, 32, 16), PatchGrid((0.8, 0.8, 20.0), 2, regular=False)),
    ],
)
def test_everything_at_once_keeps_the_contract(shape, grid):
    augmentation = CTAugmentation(probabilities=1.0)
    check_augmentation(augmentation, shape, channels=2, values=(-300, 200), draws=6, grid=grid)


def test_the_default_keeps_the_contract():
    grid = PatchGrid((0.8, 0.8, 1.5), 2)
    check_augmentation(CTAugmentation(), (30, 28, 32), values=(-300, 200), draws=16, grid=grid)


@pytest.mark.parametrize("grid", [None, PatchGrid((3.0, 0.8, 1.0), 0), PatchGrid((1, 1, 9), 2)])
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), with_margin=st.booleans())
def test_labels_are_the_label_image_at_order_0(grid, seed, with_margin):
    # Where the interpolated label image is (nearly) a label, all its neighbours are this label.
    rng = np.random.default_rng(seed)
    augmentation = CTAugmentation(probabilities={**_ALIGNED, "rotation": 0.8})
    shape = (18, 17, 20)
    drawn = augmentation.sample_parameters(rng, shape, 1, grid)
    margin = augmentation.margin(shape, drawn) if with_margin else (0, 0, 0)
    whole = tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))
    labels = np.zeros(whole, np.uint8)
    labels[tuple(slice(n // 4, -n // 3) for n in whole)] = 1
    moved, mapped = augmentation.apply(labels[..., None].astype(np.float32), labels, drawn, shape)
    linear = moved[..., 0]
    assert np.all(mapped[linear > 0.999] == 1)
    assert np.all(mapped[linear < 0.001] == 0)
    # The nearest of 8 neighbours has at least an eighth of the weight.
    assert np.all(linear[mapped == 1] >= 0.125 - 1e-4)
    assert np.all(linear[mapped == 0] <= 0.875 + 1e-4)
    assert (mapped == 1).any()


def test_probabilities_over_many_draws():
    rng = np.random.default_rng(3)
    augmentation, draws = CTAugmentation(), 4000
    grid = PatchGrid((1, 1, 3), 2)
    drawn = [augmentation.sample_parameters(rng, (16, 16, 16), 1, grid) for _ in range(draws)]
    slices = [d.get("slices", {"skip": 1, "interpolate": 1}) for d in drawn]
    seen = {
        "range_shift": np.mean(["range_shift" in d for d in drawn]),
        "noise": np.mean(["noise" in d for d in drawn]),
        "rotation": np.mean(["rotation" in d for d in drawn]),
        "slice_skipping": np.mean([s["skip"] > 1 for s in slices]),
        "slice_interpolation": np.mean([s["interpolate"] > 1 for s in slices]),
    }
    assert DEFAULT_PROBABILITIES["range_shift"] == 0.2  # the paper's
    assert seen == pytest.approx(dict(DEFAULT_PROBABILITIES), abs=0.03)
    angles = np.array([d["rotation"]["angle"] for d in drawn if "rotation" in d])
    assert -16 <= angles.min() < -15.8
    assert 15.8 < angles.max() <= 16
    assert angles.std() == pytest.approx(32 / np.sqrt(12), rel=0.05)  # uniform
    skips = [s["skip"] for s in slices if s["skip"] > 1]
    assert np.bincount(skips).tolist()[:2] == [0, 0]
    assert np.mean(np.array(skips) == 2) == pytest.approx(0.5, abs=0.06)
    assert set(skips) == {2, 3}


def test_share_of_augmented_batches_is_the_papers():
    assert CTAugmentation().batch_probability(2) == 0.9
    assert CTAugmentation().batch_probability(3) == 0.8
    assert CTAugmentation(probability=0.3).batch_probability(3) == 0.3
    assert CTAugmentation.hounsfield
    assert Compose([CTAugmentation()]).hounsfield


def test_noise_has_the_drawn_deviation_and_no_structure(rng):
    augmentation = _only(noise=(12.0, 12.0))
    image, labels = _patch(rng, 40, 40, 40, channels=2)
    drawn = augmentation.sample_parameters(rng, (40, 40, 40), 2)
    moved, mapped = augmentation.apply(image, labels, drawn, (40, 40, 40))
    noise = (moved - image).astype(np.float64)
    assert noise.std() == pytest.approx(12, rel=0.01)
    assert noise.mean() == pytest.approx(0, abs=0.2)
    for axis in range(3):
        neighbours = np.moveaxis(noise, axis, 0)
        assert abs(np.corrcoef(neighbours[1:].ravel(), neighbours[:-1].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(noise[..., 0].ravel(), noise[..., 1].ravel())[0, 1]) < 0.02
    np.testing.assert_array_equal(mapped, labels)
    other = augmentation.sample_parameters(rng, (40, 40, 40), 2)
    again, _ = augmentation.apply(image, labels, other, (40, 40, 40))
    assert abs(np.corrcoef((again - image).ravel(), noise.ravel())[0, 1]) < 0.02


def test_range_shift_works_on_hu_and_leaves_labels(rng):
    augmentation = _only(windows={"fat": (-150, -30)}, range_shift=(0.1, 0.1))
    image, labels = _patch(rng, 20, 20)
    drawn = augmentation.sample_parameters(rng, (20, 20), 1)
    moved, mapped = augmentation.apply(image, labels, drawn, (20, 20))
    fat = (image >= -150) & (image <= -30)
    np.testing.assert_allclose(moved[fat], image[fat] + 12, atol=1e-3)
    beyond = (image < -1000) | (image > 3000)
    np.testing.assert_array_equal(moved[beyond], image[beyond])
    assert not np.any(moved[~fat & ~beyond] == image[~fat & ~beyond])
    np.testing.assert_array_equal(mapped, labels)


def test_range_shift_comes_after_the_map_and_noise_last(rng):
    shape = (16, 16, 16)
    image, labels = _patch(rng, *shape)
    augmentation = CTAugmentation(probabilities=1.0)
    drawn = augmentation.sample_parameters(rng, shape, 1)
    together, mapped = augmentation.apply(image, labels, drawn, shape)
    parts = ({"slices", "rotation"}, {"range_shift"}, {"noise"})
    step, label = image, labels
    for part in parts:
        chosen = {name: value for name, value in drawn.items() if name in part}
        step, label = augmentation.apply(step, label, chosen, shape)
    np.testing.assert_array_equal(together, step)
    np.testing.assert_array_equal(mapped, label)


def test_nothing_spatial_interpolates_nothing(rng):
    image, labels = _patch(rng, 20, 22, 24)
    for probabilities in (0.0, {"rotation": 0, "slice_skipping": 0, "slice_interpolation": 0}):
        augmentation = CTAugmentation(probabilities=probabilities, range_shift=0, range_scale=None)
        drawn = augmentation.sample_parameters(rng, (16, 16, 16), 1)
        drawn.pop("noise", None)
        moved, mapped = augmentation.apply(image, labels, drawn, (16, 16, 16))
        np.testing.assert_allclose(moved, image[2:18, 3:19, 4:20], rtol=0, atol=1e-3)
        assert np.shares_memory(mapped, labels)
    assert np.shares_memory(augmentation.apply(image, labels, {}, (16, 16, 16))[0], image)


def test_grids_say_where_slices_are(rng):
    augmentation = _only(slice_skipping=(3, 3), rotation=10)
    shape = (16, 18, 20)
    drawn = augmentation.sample_parameters(rng, shape, 1, PatchGrid((4.0, 0.5, 0.7), 0))
    assert drawn["slices"] == {"axis": 0, "skip": 3, "interpolate": 1}
    assert drawn["rotation"]["plane"] == [1, 2]
    assert drawn["rotation"]["spacing"] == [0.5, 0.7]
    drawn = augmentation.sample_parameters(rng, shape, 1)
    assert drawn["slices"]["axis"] == 2
    assert drawn["rotation"]["spacing"] == [1.0, 1.0]
    stack = PatchGrid((1.0, 1.0, 20.0), 2, regular=False)
    assert "slices" not in augmentation.sample_parameters(rng, shape, 1, stack)
    assert augmentation.sample_parameters(rng, shape, 1, stack)["rotation"]["plane"] == [0, 1]
    assert "slices" not in augmentation.sample_parameters(rng, (18, 20), 1)
    assert "slices" not in augmentation.sample_parameters(rng, (18, 20, 1), 1)


def test_margins_are_what_is_looked_at(rng):
    shape = (16, 40, 30)
    grid = PatchGrid((4.0, 1.0, 1.0), 0)
    augmentation = _only(slice_skipping=(3, 3), rotation=(16, 16))
    drawn = augmentation.sample_parameters(rng, shape, 1, grid)
    # 0.5 (39 cos 16° + 29 sin 16°) − 19.5 = 3.3; 0.5 (29 cos 16° + 39 sin 16°) − 14.5 = 4.8
    assert augmentation.margin(shape, drawn) == (16, 4, 5)
    assert augmentation.margin(shape, {}) == (0, 0, 0)
    assert augmentation.margin((40, 30)) == (4, 5)
    widest = augmentation.margin(shape)
    assert all(a >= b for a, b in zip(widest, augmentation.margin(shape, drawn), strict=True))
    # With its margin the patch shows what it shows of the whole volume.
    image, labels = _patch(rng, 96, 100, 90)
    margin = augmentation.margin(shape, drawn)
    box = tuple(
        slice((n - p) // 2 - m, (n - p) // 2 + p + m)
        for n, p, m in zip(labels.shape, shape, margin, strict=True)
    )
    whole, mapped = augmentation.apply(image, labels, drawn, shape)
    part, labelled = augmentation.apply(image[box], labels[box], drawn, shape)
    np.testing.assert_allclose(part, whole, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(labelled, mapped)


def test_skipped_slices_are_every_kth_from_a_random_one(rng):
    augmentation = _only(slice_skipping=(3, 3))
    available = np.array([4.0, 5, 6, 9, 10, 11, 12, 20])
    drawn = [augmentation.sample_slices(rng, available, 2).tolist() for _ in range(60)]
    assert {tuple(d) for d in drawn} == {(4, 9, 12), (5, 10, 20), (6, 11)}
    # as many are left as are wanted
    assert {augmentation.sample_slices(rng, available, 4).size for _ in range(20)} == {4}
    np.testing.assert_array_equal(augmentation.sample_slices(rng, available, 5), available)
    np.testing.assert_array_equal(augmentation.sample_slices(rng, available[:1], 3), [4])


def test_interpolated_slices_lie_between_neighbours_only(rng):
    augmentation = _only(slice_interpolation=(2, 2))
    found = augmentation.sample_slices(rng, np.array([4.0, 5, 6, 9, 11, 12]), 6)
    np.testing.assert_array_equal(found, [4, 4.25, 4.75, 5, 5.25, 5.75, 6, 9, 11, 11.25, 11.75, 12])
    thirds = _only(slice_interpolation=(3, 3)).sample_slices(rng, np.array([4.0, 5, 7]), 3)
    np.testing.assert_allclose(thirds, [4, 4 + 1 / 3, 4 + 2 / 3, 5, 7])
    np.testing.assert_array_equal(CTAugmentation(**_OFF).sample_slices(rng, thirds, 2), thirds)


def test_slice_sampling_follows_the_probabilities():
    rng = np.random.default_rng(5)
    available = np.arange(30.0)
    drawn = [CTAugmentation().sample_slices(rng, available, 10) for _ in range(3000)]
    assert np.mean([len(d) < 30 for d in drawn]) == pytest.approx(0.25, abs=0.03)
    # those skipped have no neighbours left; others get two in each of 29 gaps
    assert np.mean([len(d) == 88 for d in drawn]) == pytest.approx(0.75 * 0.25, abs=0.03)


def test_a_configuration_comes_back_from_json():
    augmentation = CTAugmentation(
        windows={"fat": (-150, -30), "organs": (-30, 200)},
        range_limits=(-1100, 2000),
        slice_interpolation=None,
        rotation=(-5, 10),
        probabilities={"noise": 0.1},
        probability=0.5,
    )
    for part in (augmentation, CTAugmentation()):
        again = deserialize(json.loads(json.dumps(serialize(part))))
        assert again == part
        one = part.sample_parameters(np.random.default_rng(8), (20, 20, 20), 1)
        assert again.sample_parameters(np.random.default_rng(8), (20, 20, 20), 1) == one
        assert again != CTAugmentation(probability=0.1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"rotation": (-200, 0)}, r"within ±180 degrees; received \(-200, 0\)"),
        ({"noise": (-1, 3)}, "noise must not be negative"),
        ({"slice_skipping": (1, 3)}, r"slice_skipping .* from 2 on.*received \(1, 3\)"),
        ({"slice_interpolation": (2, 2.5)}, "slice_interpolation must be two whole"),
        ({"range_scale": (0, 2)}, "greater than 0"),
        ({"windows": {"bone": (300, 5000)}}, "'bone' .* widen"),
        ({"probabilities": {"mirror": 1}}, r"unknown operation\(s\) mirror"),
        ({"probability": 1.5}, "probability must lie between"),
    ],
)
def test_wrong_arguments_are_named(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        CTAugmentation(**arguments)


def test_a_grid_of_other_axes_is_named(rng):
    with pytest.raises(ConfigurationError, match=r"patch shape \(8, 8\) and the spacing \(1.0, "):
        CTAugmentation().sample_parameters(rng, (8, 8), 1, PatchGrid((1.0, 1.0, 2.0), 2))
    image, labels = _patch(rng, 8, 8)
    with pytest.raises(ConfigurationError, match="smaller than the patch"):
        CTAugmentation().apply(image, labels, {}, (9, 8))
