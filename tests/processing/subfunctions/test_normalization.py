"""Normalization."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn._configurable import deserialize, serialize
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, NotFittedError, SampleError
from miscnn.processing.subfunctions import Normalization
from miscnn.processing.subfunctions._statistics import Moments
from miscnn.testing import check_subfunction


def make(name="case", seed=0, channels=1, shape=(9, 8, 7), mean=100.0, std=20.0) -> Sample:
    rng = np.random.default_rng(seed)
    return Sample(name, rng.normal(mean, std, (*shape, channels)).astype(np.float32), channels)


class Recorder(Sequence[Sample]):
    """Training samples that note which of them were read."""

    def __init__(self, samples: list[Sample]) -> None:
        self.samples = samples
        self.read: list[int] = []

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, position):
        assert type(position) is int
        self.read.append(position)
        return self.samples[position]


def several(number=6, **arguments) -> Recorder:
    return Recorder(
        [
            make(f"case {i}", i, shape=(4 + i, 5, 3), mean=100.0 * i, std=1.0 + i, **arguments)
            for i in range(number)
        ]
    )


# ---------------------------------------------------------------------- of each sample


def test_z_score_per_channel_and_jointly():
    sample = make(channels=2)
    sample.image[..., 1] += 1000
    apart = Normalization().preprocessing(sample).image
    for channel in range(2):
        values = sample.image[..., channel].astype(np.float64)
        expected = (values - values.mean()) / values.std()
        np.testing.assert_allclose(apart[..., channel], expected, atol=1e-4)
    together = Normalization(per_channel=False).preprocessing(sample).image
    values = sample.image.astype(np.float64)
    np.testing.assert_allclose(together, (values - values.mean()) / values.std(), atol=1e-4)


@pytest.mark.parametrize("target", [(0, 1), (-1, 1), (5, 250.5)])
def test_minmax_reaches_both_ends_and_no_further(target):
    sample = make(channels=2)
    found = Normalization("minmax", range=target).preprocessing(sample).image
    for channel in range(2):
        values = sample.image[..., channel].astype(np.float64)
        share = (values - values.min()) / np.ptp(values)
        expected = target[0] + share * (target[1] - target[0])
        np.testing.assert_allclose(found[..., channel], expected, atol=1e-4)
        assert found[..., channel].min() == target[0]
        assert found[..., channel].max() == pytest.approx(target[1], rel=1e-6)
        assert found[..., channel].max() <= target[1]


def test_grayscale_is_whole_numbers_up_to_255():
    found = Normalization("grayscale").preprocessing(make()).image
    assert (found.min(), found.max()) == (0, 255)
    np.testing.assert_array_equal(found, np.rint(found))
    assert len(np.unique(found)) > 100


def test_float32_far_from_zero_loses_nothing():
    sample = make(mean=1e6, std=2.0, shape=(40, 30, 20))
    found = Normalization().preprocessing(sample).image
    values = sample.image.astype(np.float64)
    np.testing.assert_allclose(found, (values - values.mean()) / values.std(), atol=1e-5)
    fitted = Normalization(statistics="dataset").fit([sample], np.random.default_rng(0))
    assert fitted.get_state()["mean"] == pytest.approx([values.mean()], abs=1e-6)
    assert fitted.get_state()["std"] == pytest.approx([values.std()], rel=1e-9)


@pytest.mark.parametrize("value", [0.0, -1024.0, 0.1, 1e6])
@pytest.mark.parametrize("statistics", ["sample", "dataset"])
@pytest.mark.parametrize("mode", ["z-score", "minmax", "grayscale"])
@pytest.mark.parametrize("foreground", [None, "nonzero", -2000])
def test_a_constant_image_becomes_zero(value, statistics, mode, foreground):
    sample = Sample("flat", np.full((7, 5, 3, 1), value, np.float32))
    part = Normalization(mode, statistics, foreground=foreground)
    part.fit([sample, sample], np.random.default_rng(0))
    np.testing.assert_array_equal(part.preprocessing(sample).image, 0.0)


def test_whole_numbers_in_float32_out_and_nothing_changed():
    sample = Sample("a", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    before = sample.image.copy()
    after = Normalization("minmax", range=(0, 23)).preprocessing(sample)
    assert after.image.dtype == np.float32
    np.testing.assert_allclose(after.image, before, atol=1e-5)
    np.testing.assert_array_equal(sample.image, before)


def test_statistics_in_the_foreground_transform_of_all():
    sample = make(channels=2)
    inside = np.zeros(sample.spatial_shape, bool)
    inside[2:5, 1:7, 3:] = True
    sample.image[~inside] = 0
    values = sample.image[inside].astype(np.float64)
    expected = (sample.image - values.mean(axis=0)) / values.std(axis=0)
    for part in (Normalization(foreground="nonzero"), Normalization(foreground=1e-3)):
        np.testing.assert_allclose(part.preprocessing(sample).image, expected, atol=1e-4)
    scaled = Normalization("minmax", foreground="nonzero").preprocessing(sample).image
    assert (scaled[~inside] == 0).all()
    assert scaled[inside].max() == 1
    assert (scaled[inside] > 0).mean() > 0.9


def test_smooth_is_added_to_the_divisor():
    sample = make()
    values = sample.image.astype(np.float64)
    found = Normalization(smooth=3.0).preprocessing(sample).image
    np.testing.assert_allclose(found, (values - values.mean()) / (values.std() + 3), atol=1e-5)


def test_a_patch_is_scaled_as_its_volume():
    sample = make()
    part = Normalization("minmax")
    measures = json.loads(json.dumps(part.measure(sample)))
    np.testing.assert_array_equal(
        part.transform(sample.image[1:4, :2], measures),
        part.preprocessing(sample).image[1:4, :2],
    )


def test_bad_images_are_named():
    sample = make("case 9")
    sample.image[3, 3, 3] = np.inf
    with pytest.raises(SampleError, match=r"'case 9'.*NaN or infinite"):
        Normalization().preprocessing(sample)
    sample.image[3, 3, 3] = np.nan
    with pytest.raises(SampleError, match="NaN or infinite"):
        Normalization("minmax").preprocessing(sample)
    with pytest.raises(SampleError, match=r"'case 9'.*foreground=9000"):
        Normalization(foreground=9000).preprocessing(make("case 9"))


# ---------------------------------------------------------------------- of the data set


@pytest.mark.parametrize("per_channel", [True, False])
def test_data_set_statistics_are_those_of_the_pooled_voxels(per_channel):
    samples = several(channels=2)
    part = Normalization(statistics="dataset", per_channel=per_channel)
    assert part.fit(samples, np.random.default_rng(0)) is part
    axis = 0 if per_channel else None
    pooled = np.concatenate([s.image.reshape(-1, 2) for s in samples.samples]).astype(np.float64)
    state = part.get_state()
    np.testing.assert_allclose(state["mean"], np.atleast_1d(pooled.mean(axis=axis)), rtol=1e-12)
    np.testing.assert_allclose(state["std"], np.atleast_1d(pooled.std(axis=axis)), rtol=1e-12)
    assert state["minimum"] == np.atleast_1d(pooled.min(axis=axis)).tolist()
    assert state["voxels"] == len(pooled) * (1 if per_channel else 2)
    assert state["indices"] == [f"case {i}" for i in range(6)]
    new = make("new", 99, channels=2, mean=250)
    expected = (new.image - pooled.mean(axis=axis)) / pooled.std(axis=axis)
    np.testing.assert_allclose(part.preprocessing(new).image, expected, atol=1e-5)


@given(number=st.integers(1, 8), subset=st.integers(1, 10), seed=st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=40)
def test_a_subset_is_distinct_drawn_by_the_generator_and_nothing_else_is_read(number, subset, seed):
    samples = several(number)
    part = Normalization(statistics="dataset", subset=subset)
    part.fit(samples, np.random.default_rng(seed))
    assert len(samples.read) == len(set(samples.read)) == min(subset, number)
    assert part.get_state()["indices"] == [f"case {i}" for i in samples.read]
    pooled = np.concatenate([samples.samples[i].image.ravel() for i in samples.read])
    assert part.get_state()["mean"] == pytest.approx([pooled.mean(dtype=np.float64)])
    again = several(number)
    other = Normalization(statistics="dataset", subset=subset)
    other.fit(again, np.random.default_rng(seed))
    assert again.read == samples.read
    assert other == part


def test_other_seeds_draw_other_subsets():
    drawn = set()
    for seed in range(20):
        samples = several()
        Normalization(statistics="dataset", subset=2).fit(samples, np.random.default_rng(seed))
        drawn.add(tuple(samples.read))
    assert len(drawn) > 5


def test_data_set_range_holds_for_new_samples():
    part = Normalization("minmax", "dataset", range=(-1, 1))
    part.fit([make(mean=0, std=10)], np.random.default_rng(0))
    low, high = part.get_state()["minimum"][0], part.get_state()["maximum"][0]
    new = Sample(
        "new", np.array([low - 50, low, (low + high) / 2, high, high + 50]).reshape(5, 1, 1)
    )
    found = part.preprocessing(new).image.ravel()
    np.testing.assert_allclose(found, [-1, -1, 0, 1, 1], atol=1e-6)


def test_foreground_of_the_data_set():
    samples = [Sample(str(i), np.array([0, 0, 0, i, i + 2]).reshape(5, 1, 1)) for i in (1, 5)]
    part = Normalization(statistics="dataset", foreground="nonzero")
    part.fit(samples, np.random.default_rng(0))
    assert part.get_state()["mean"] == [4.0]
    assert part.get_state()["voxels"] == 4


def test_nothing_works_before_fit():
    part = Normalization(statistics="dataset")
    assert part.needs_fit
    assert not Normalization().needs_fit
    for use in (
        lambda: part.preprocessing(make()),
        lambda: part.measure(make()),
        lambda: part.transform(make().image, {}),
    ):
        with pytest.raises(NotFittedError, match="learned nothing yet"):
            use()


def test_what_was_learned_survives_json_to_the_last_bit():
    part = Normalization(statistics="dataset", subset=3)
    part.fit(several(), np.random.default_rng(5))
    again = deserialize(json.loads(json.dumps(serialize(part))))
    assert again == part
    np.testing.assert_array_equal(
        again.preprocessing(make()).image, part.preprocessing(make()).image
    )
    part.set_state({})
    assert again != part


def test_states_that_do_not_fit_are_refused():
    with pytest.raises(ConfigurationError, match="lacks std"):
        Normalization(statistics="dataset").set_state({"mean": [0.0]})
    state = Normalization(statistics="dataset").fit([make()], np.random.default_rng(0)).get_state()
    with pytest.raises(ConfigurationError, match="no learned state"):
        Normalization().set_state(state)


def test_fit_checks_its_samples():
    part = Normalization(statistics="dataset")
    with pytest.raises(ConfigurationError, match="empty list"):
        part.fit([], np.random.default_rng(0))
    with pytest.raises(SampleError, match=r"'b'.*2 channel.*1"):
        part.fit([make("a"), make("b", channels=2)], np.random.default_rng(0))
    bad = make("c")
    bad.image[0] = np.nan
    with pytest.raises(SampleError, match="'c'"):
        part.fit([make(), bad], np.random.default_rng(0))
    assert part.get_state() == {}


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"mode": "zscore"}, "mode='zscore'.*'z-score'"),
        ({"statistics": "training"}, "statistics"),
        ({"range": (1, 0)}, "range"),
        ({"foreground": "body"}, "foreground"),
        ({"statistics": "dataset", "subset": 0}, "subset"),
        ({"statistics": "dataset", "subset": 2.5}, "subset"),
        ({"subset": 5}, 'subset=5 is for statistics="dataset"'),
        ({"smooth": -1}, "smooth"),
    ],
)
def test_arguments_are_checked(arguments, match):
    with pytest.raises(ConfigurationError, match=match):
        Normalization(**arguments)


@given(
    blocks=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    mean=st.floats(-1e6, 1e6),
    seed=st.integers(0, 999),
)
@settings(deadline=None)
def test_moments_do_not_depend_on_the_blocks(blocks, mean, seed):
    values = np.random.default_rng(seed).normal(mean, 3.0, (sum(blocks) + 1, 2))
    moments = Moments(2)
    for block in np.split(values, np.cumsum(blocks)):
        moments.add(block)
    assert moments.count == len(values)
    np.testing.assert_allclose(moments.mean, values.mean(axis=0), rtol=1e-12, atol=1e-9)
    np.testing.assert_allclose(moments.std, values.std(axis=0), rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(moments.minimum, values.min(axis=0))
    np.testing.assert_array_equal(moments.maximum, values.max(axis=0))


def test_equal_values_have_no_deviation_at_all():
    # The mean of many 0.1 is not 0.1; a deviation of 1e-17 would blow the difference up.
    moments = Moments(1)
    for count in (7, 1000, 3):
        moments.add(np.full((count, 1), 0.1))
    assert moments.mean[0] != 0.1
    assert moments.std[0] == 0.0


@pytest.mark.parametrize(
    "part",
    [
        Normalization(),
        Normalization("minmax", range=(-1, 1), per_channel=False),
        Normalization("grayscale", foreground=-500.0),
        Normalization(statistics="dataset", subset=2),
        Normalization("minmax", "dataset", foreground="nonzero"),
    ],
    ids=repr,
)
def test_contract(part):
    check_subfunction(part)
