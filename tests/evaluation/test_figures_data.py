"""What figures of a data set show."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.evaluation.figures import _data, class_frequencies, intensity_histograms
from miscnn.exceptions import ConfigurationError, SampleError


def data_set(
    samples: dict[str, tuple[NDArray[Any], NDArray[Any] | None]], classes: int = 3, **options: Any
) -> DataIO:
    return DataIO(DictionaryInterface(samples, classes=classes, **options))


def labelled(counts: dict[int, int], shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    flat = np.zeros(int(np.prod(shape)), np.uint8)
    flat[: sum(counts.values())] = np.repeat(list(counts), list(counts.values()))
    return flat.reshape(shape)


@pytest.fixture
def data_io() -> DataIO:
    image = np.zeros((10, 10, 10), np.float32)
    truth = labelled({1: 100}, image.shape)
    both = labelled({1: 300, 2: 10}, image.shape)
    io = data_set({"a": (image, truth), "b": (image, both), "c": (image, None)})
    io.interface.class_names = ("Luft", "Niere $", "Tumor")
    return io


def test_shares_of_voxels_and_numbers_of_subjects(data_io: DataIO) -> None:
    figure = class_frequencies(data_io, verbose=0)
    left, right = figure.axes
    assert left.get_xscale() == "log"
    bars = [bar.get_x() + bar.get_width() for bar in left.patches]
    assert bars == pytest.approx([1590 / 2000, 400 / 2000, 10 / 2000])
    assert [bar.get_width() for bar in right.patches] == [2, 2, 1]
    points = [sorted(line.get_xdata()) for line in left.lines]
    assert points == [pytest.approx(p) for p in ([0.69, 0.9], [0.1, 0.3], [0.01])]
    assert [t.get_text() for t in left.texts] == ["79.5 %", "20 %", "0.5 %"]
    assert [t.get_text() for t in left.get_yticklabels()] == ["Luft", "Niere $", "Tumor"]
    assert left.yaxis_inverted()
    assert figure.get_supxlabel() == "1 of 3 subjects without segmentation"
    only = class_frequencies(data_io, indices=["a"], verbose=0)
    assert only.axes[0].texts[-1].get_text() == "none"
    with pytest.raises(ConfigurationError, match=r"no subject has a segmentation .*1 of 1"):
        class_frequencies(data_io, indices=["c"], verbose=0)


def test_ignored_voxels_are_in_no_total() -> None:
    image = np.zeros((4, 5, 5), np.float32)
    truth = labelled({1: 20, 255: 60}, image.shape)
    io = data_set({"a": (image, truth)}, classes=2, ignore_label=255)
    left = class_frequencies(io, verbose=0).axes[0]
    assert [t.get_text() for t in left.texts] == ["50 %", "50 %"]


def test_labels_are_counted_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_data, "_BLOCK", 7)
    labels = np.random.default_rng(0).integers(0, 5, (6, 7, 3)).astype(np.uint8)
    np.testing.assert_array_equal(_data._counts(labels, None), np.bincount(labels.ravel()))
    assert _data._counts(labels, 4)[-1] > 0
    assert len(_data._counts(labels, 4)) == 4


def test_only_segmentations_are_read(data_io: DataIO, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(index: str) -> Any:
        raise AssertionError(index)

    monkeypatch.setattr(data_io.interface, "load_image", refuse)
    class_frequencies(data_io, verbose=0)


def test_unreadable_subjects_are_counted_and_named(
    data_io: DataIO, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = data_io.interface.load_segmentation

    def damaged(index: str) -> Any:
        if index == "b":
            raise SampleError("b", "the file is damaged")
        return original(index)

    monkeypatch.setattr(data_io.interface, "load_segmentation", damaged)
    with caplog.at_level(logging.WARNING, "miscnn.evaluation.figures"):
        figure = class_frequencies(data_io, ["unused.png"][:0] or None, ["a", "b"], verbose=0)
    assert figure.get_supxlabel() == "1 of 2 subjects cannot be read"
    assert "'b'" in caplog.text


def test_classes_are_called_as_in_tables_or_as_one_likes(data_io: DataIO) -> None:
    def names(**options: Any) -> tuple[list[str], list[str]]:
        ticks = class_frequencies(data_io, verbose=0, **options).axes[0].get_yticklabels()
        (legend,) = histograms(data_io, indices=["b"], **options).legends
        keys = [t.get_text().split("\n")[0] for t in legend.get_texts()]
        return [t.get_text() for t in ticks], keys

    assert names() == (["Luft", "Niere $", "Tumor"],) * 2
    assert names(class_names=("air", "kidney", "tumour")) == (["air", "kidney", "tumour"],) * 2
    assert names(class_names={2: "tumour"}) == (["background", "class-1", "tumour"],) * 2
    data_io.interface.class_names = None
    assert names() == (["background", "class-1", "class-2"],) * 2


def histograms(io: DataIO, **options: Any) -> Any:
    return intensity_histograms(io, verbose=0, **options)


def test_histograms_are_densities_of_each_class() -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[5:15, 5:15, 5:15] = 1
    image = np.where(truth == 1, 40, -100) + rng.normal(0, 10, truth.shape)
    io = data_set({"a": (image.astype(np.float32), truth)}, classes=2)
    figure = histograms(io, window=(-200.0, 100.0), bins=60, unit="HU")
    axes = figure.axes[0]
    steps = [patch.get_data() for patch in axes.patches if hasattr(patch, "get_data")]
    assert len(steps) == 2
    for (density, edges, _), mean in zip(steps, (-100, 40), strict=True):
        assert (density * np.diff(edges)).sum() == pytest.approx(1.0)
        centre = (edges[:-1] + edges[1:]) / 2
        assert (density * np.diff(edges) * centre).sum() == pytest.approx(mean, abs=1.0)
    assert axes.get_xlabel() == "HU"
    assert figure.get_supxlabel().startswith("shaded: 99 % of the foreground of a typical")
    low, high = np.percentile(image[truth == 1], (0.5, 99.5))
    (shade,) = [p for p in axes.patches if not hasattr(p, "get_data")]
    assert shade.get_x() == pytest.approx(low, rel=1e-5)
    assert shade.get_x() + shade.get_width() == pytest.approx(high, rel=1e-5)


def test_the_same_seed_draws_the_same_voxels_whoever_else_is_there() -> None:
    rng = np.random.default_rng(0)
    samples = {
        name: (rng.normal(0, 50, (20, 20, 20)).astype(np.float32), np.ones((20, 20, 20), np.uint8))
        for name in "abc"
    }
    options: dict[str, Any] = {"window": (-200.0, 200.0), "voxels_per_subject": 500}

    def density(io: DataIO, indices: list[str], seed: int) -> list[float]:
        (steps,) = [
            patch
            for patch in histograms(io, indices=indices, seed=seed, **options).axes[0].patches
            if hasattr(patch, "get_data")
        ]
        return list(steps.get_data().values)

    io = data_set(samples, classes=2)
    first = density(io, ["b"], 0)
    assert first == density(io, ["b"], 0)
    assert first != density(io, ["b"], 1)
    both, other = np.array(density(io, ["a", "b"], 0)), np.array(density(io, ["a"], 0))
    np.testing.assert_allclose(both, (np.array(first) + other) / 2)


def test_images_of_another_scale_do_not_hide_the_others() -> None:
    rng = np.random.default_rng(0)
    truth = np.ones((10, 10, 10), np.uint8)
    samples = {str(k): (rng.normal(500, 50, (10, 10, 10)), truth) for k in range(5)}
    samples |= {f"scan {k}": (samples["4"][0] * 1000, truth) for k in range(5)}
    samples |= {str(k): samples["0"] for k in range(5, 10)}
    figure = histograms(data_set(samples, classes=2))
    low, high = figure.axes[0].get_xlim()
    assert 250 < low < 450
    assert 550 < high < 750
    told = figure.get_supxlabel().replace("\n", " ")
    assert told.endswith(
        "; 5 of 15 subjects lie outside for the most part: scan 0, scan 1, scan 2, scan 3, …"
    )
    assert " % of the voxels lie outside of the figure" in told
    (shade,) = [p for p in figure.axes[0].patches if not hasattr(p, "get_data")]
    assert low < shade.get_x() < 450
    assert 550 < shade.get_x() + shade.get_width() < high
    few = histograms(data_set({k: samples[k] for k in ("0", "1", "scan 0")}, classes=2))
    assert few.get_supxlabel().replace("\n", " ").endswith("for the most part: scan 0")
    figure.draw_without_rendering()
    (text,) = [t for t in figure.texts if t.get_text() == figure.get_supxlabel()]
    extent = text.get_window_extent()
    assert extent.x0 >= 0
    assert extent.x1 <= figure.bbox.x1


def test_without_segmentations_all_voxels_are_shown(data_io: DataIO) -> None:
    figure = histograms(data_io, indices=["c"])
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()] == ["all voxels\n1 subject"]
    assert histograms(data_io).axes  # constant images


def test_arguments_are_checked_before_anything_is_read(
    data_io: DataIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data_io, "sample_loader", None)
    for options, text in (
        ({"channel": 1}, "channel=1 does not exist"),
        ({"bins": 0}, "bins=0"),
        ({"window": (3.0, 3.0)}, "low < high"),
        ({"path": "a.txt"}, "unknown ending"),
    ):
        with pytest.raises(ConfigurationError, match=text):
            histograms(data_io, **options)  # type: ignore[arg-type]
