"""Montages, error maps and surfaces: what they show, and where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from miscnn._colours import CLASS_COLOURS as COLOURS
from miscnn._colours import FALSE, MISSED, OTHER_CLASS
from miscnn.data_loading._drawing import Outlines, drawn
from miscnn.data_loading._view import view_of
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._error_map import error_kinds
from miscnn.evaluation._surface_view import _coarser, _surface
from miscnn.evaluation.visualizer import (
    error_map,
    overlay_gif,
    overlay_montage,
    overlay_png,
    surface_view,
)
from miscnn.exceptions import ConfigurationError, SampleError

FIRST, SECOND = (np.array(to_rgb(colour)) for colour in COLOURS[:2])


def sample_of(
    truth: NDArray[Any] | None, prediction: NDArray[Any] | None, spacing: tuple[float, ...]
) -> Sample:
    given = truth if truth is not None else prediction
    assert given is not None
    geometry = Geometry.from_spacing(given.shape, spacing)
    sample = Sample("s", np.zeros(given.shape), 1, 4, geometry)
    if truth is not None:
        sample.add_segmentation(truth)
    if prediction is not None:
        sample.add_prediction(prediction)
    return sample


def shown(axes: Any) -> NDArray[np.float64]:
    """The picture on axes, in 0 … 1."""
    return np.asarray(axes.images[0].get_array()) / 255.0


def texts(figure: Any) -> list[str]:
    return [text.get_text() for one in figure.legends for text in one.get_texts()]


def flat_pair() -> Sample:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    prediction = np.zeros_like(truth)
    prediction[8:16, 4:12] = 1
    prediction[9:11, 9:11] = 2
    return sample_of(truth, prediction, (10.0, 10.0))


def test_fills_lie_where_the_labels_are() -> None:
    labels = np.zeros((20, 20), np.uint8)
    labels[4:12, 6:16] = 2
    picture = drawn(np.zeros((20, 20), np.float32), (400, 400), [Outlines(labels, 0, fill=0.5)])
    np.testing.assert_allclose(picture[200, 200] / 255, 0.5 * SECOND, atol=0.005)
    np.testing.assert_array_equal(picture[200, 110], 0)
    inside = picture.any(axis=2)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (80, 239, 120, 319)


def test_montage_fills_the_prediction_and_outlines_the_truth() -> None:
    figure = overlay_montage(flat_pair(), margin=None, class_names=["b", "Niere", "Tumor", "x"])
    picture = shown(figure.axes[0])
    voxel = picture.shape[0] / 20  # the first axis runs to the right
    row, column = round(8.0 * voxel), round(14.0 * voxel)
    np.testing.assert_allclose(picture[row, column], 0.45 * FIRST, atol=0.01)
    np.testing.assert_allclose(picture[row, round(6 * voxel)], 0, atol=0.01)  # only truth: open
    np.testing.assert_allclose(picture[row, round(4 * voxel) + 1], FIRST, atol=0.01)
    np.testing.assert_allclose(picture[round(10 * voxel), round(10 * voxel)], 0.45 * SECOND,
                               atol=0.01)  # fmt: skip
    assert texts(figure) == ["Niere", "Tumor", "line: truth, fill: prediction"]


def test_montage_side_by_side_has_the_truth_at_the_left() -> None:
    figure = overlay_montage(flat_pair(), layout="side by side", margin=None)
    picture = shown(figure.axes[0])
    size = picture.shape[0]
    assert picture.shape[1] == 2 * size + 4
    row, column = round(8.0 * size / 20), round(6.0 * size / 20)
    np.testing.assert_allclose(picture[row, column], 0.45 * FIRST, atol=0.01)
    np.testing.assert_allclose(picture[row, size + 4 + column], 0, atol=0.01)
    assert texts(figure)[-1] == "left: truth, right: prediction"


def test_montage_has_slices_with_foreground_only(tmp_path: Path) -> None:
    truth = np.zeros((16, 16, 30), np.uint8)
    truth[4:9, 4:9, 5:20] = 1
    sample = sample_of(truth, np.roll(truth, 1, axis=0), (1.0, 1.0, 3.0))
    figure = overlay_montage(sample, tmp_path / "m.png", n_slices=6, columns=3, title="$\\frac{$")
    assert len(figure.axes) == 6
    numbers = [int(axes.get_title().removeprefix("slice ")) for axes in figure.axes]
    assert numbers == sorted(set(numbers))
    assert all(5 <= k < 20 for k in numbers)
    assert iio.imread(tmp_path / "m.png").std() > 10
    only = overlay_montage(sample_of(truth, None, (1.0, 1.0, 3.0)), n_slices=2)
    assert texts(only)[-1] == "line: truth"
    with pytest.raises(ConfigurationError, match="got 'rows'"):
        overlay_montage(sample, layout="rows")  # type: ignore[arg-type]


def test_kinds_of_errors() -> None:
    truth = np.array([[0, 1, 1, 1, 2, 3]], np.uint8)
    prediction = np.array([[1, 0, 1, 2, 2, 1]], np.uint8)
    sample = sample_of(truth, prediction, (1.0, 1.0))
    view = view_of(sample, margin=None)
    assert error_kinds(view, None, None)[0, :, 0].tolist() == [2, 3, 1, 4, 1, 4]
    assert error_kinds(view, None, 3)[0, :, 0].tolist() == [2, 3, 1, 4, 1, 0]
    assert error_kinds(view, 1, None)[0, :, 0].tolist() == [2, 3, 1, 3, 0, 2]


def test_error_map_colours_and_areas() -> None:
    figure = error_map(flat_pair(), margin=None)
    picture = shown(figure.axes[0])
    voxel = picture.shape[0] / 20
    row = round(5.5 * voxel)

    def at(column: float, height: float = row) -> NDArray[np.float64]:
        return picture[round(height), round(column * voxel)]

    np.testing.assert_allclose(at(5.5), 0.8 * np.array(to_rgb(MISSED)), atol=0.01)
    np.testing.assert_allclose(at(14.5), 0.8 * np.array(to_rgb(FALSE)), atol=0.01)
    np.testing.assert_allclose(at(9.5), 0.35, atol=0.01)
    np.testing.assert_allclose(at(9.5, 10 * voxel), 0.8 * np.array(to_rgb(OTHER_CLASS)), atol=0.01)
    np.testing.assert_allclose(at(1.5), 0, atol=0.01)
    # Of pixels of 1 cm² each: 32 - 4 right, 32 false, 32 missed, 4 mixed.
    assert texts(figure) == [
        "right (TP) 28.00 cm²",
        "false (FP) 32.00 cm²",
        "missed (FN) 32.00 cm²",
        "another class 4.000 cm²",
    ]
    assert figure.axes[0].get_title() == "68.00 cm² wrong"


def test_error_map_shows_the_worst_slices() -> None:
    truth = np.zeros((16, 16, 40), np.uint8)
    truth[4:12, 4:12, 5:35] = 1
    prediction = truth.copy()
    prediction[4:12, 4:12, 20] = 0
    prediction[4:8, 4:12, 21] = 0
    prediction[4:6, 4:12, 30] = 0
    sample = sample_of(truth, prediction, (1.0, 1.0, 3.0))
    figure = error_map(sample, n_slices=2)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["slice 20: 0.640 cm² wrong", "slice 30: 0.160 cm² wrong"]
    # what is left over lies close by
    all_of_them = error_map(sample, n_slices=6)
    used = [axes.get_title()[:8] for axes in all_of_them.axes if axes.images]
    assert used == ["slice 20", "slice 21", "slice 30"]
    assert texts(figure)[2] == "missed (FN) 0.336 ml"
    right = sample_of(truth, truth, (1.0, 1.0, 3.0))
    assert len([a for a in error_map(right).axes if a.images]) == 1
    for one in (sample_of(truth, None, (1, 1, 3)), sample_of(None, truth, (1, 1, 3))):
        with pytest.raises(SampleError, match="needs truth and prediction"):
            error_map(one)


def test_surfaces_lie_in_the_patient_in_mm() -> None:
    mask = np.ones((10, 8, 6), bool)
    affine = np.array([[0, 2.0, 0, 5], [-1.0, 0, 0, 7], [0, 0, 3.0, -4], [0, 0, 0, 1]])
    geometry = Geometry((20, 20, 20), affine)
    box = (slice(3, 13), slice(4, 12), slice(5, 11))
    for steps in ((1, 1, 1), (2, 2, 2)):
        triangles, brightness = _surface(mask, box, geometry, steps)
        corners = np.array([[2.5, 3.5, 4.5], [12.5, 11.5, 10.5]]) @ affine[:3, :3].T + affine[:3, 3]
        low, high = triangles.min(axis=(0, 1)), triangles.max(axis=(0, 1))
        np.testing.assert_allclose(low, corners.min(axis=0), atol=1e-5)
        np.testing.assert_allclose(high, corners.max(axis=0), atol=1e-5)
        assert len(brightness) == len(triangles)
        assert brightness.min() >= 0.4
        assert brightness.max() <= 1.0


def test_a_sphere_keeps_its_volume_on_the_coarser_grid() -> None:
    grid = np.indices((60, 60, 60)) - 29.5
    mask = (grid**2).sum(axis=0) < 25**2
    geometry = Geometry.from_spacing(mask.shape, (1.0, 1.0, 1.0))
    triangles, _ = _surface(mask, (slice(0, 60),) * 3, geometry, (3, 3, 3))
    a, b, c = np.moveaxis(triangles - triangles.mean(axis=(0, 1)), 1, 0)
    volume = abs(np.einsum("ij,ij->i", a, np.cross(b, c)).sum()) / 6
    assert volume == pytest.approx(mask.sum(), rel=0.02)


def test_small_objects_are_not_lost_on_the_coarser_grid() -> None:
    mask = np.zeros((40, 40, 40), bool)
    mask[:20, :20, :20] = True
    mask[30, 30, 30] = True
    coarse = _coarser(mask, (5, 5, 5))
    assert coarse[6, 6, 6] > 0.5
    assert (coarse > 0.5).sum() == 4**3 + 1


def test_surfaces_of_both_are_seen_from_one_point(tmp_path: Path) -> None:
    truth = np.zeros((20, 24, 12), np.uint8)
    truth[4:9, 4:9, 3:9] = 1
    truth[12:16, 12:20, 4:8] = 2
    prediction = np.where(truth == 1, 1, 0).astype(np.uint8)
    sample = sample_of(truth, prediction, (1.0, 1.0, 2.0))
    figure = surface_view(sample, tmp_path / "s.png", class_names=["b", "$kidney", "tumour", "x"])
    left, right = figure.axes
    assert left.get_title() == "truth\n$kidney 0.300 ml\ntumour 0.256 ml"
    assert right.get_title() == "prediction\n$kidney 0.300 ml\ntumour 0.000 ml"
    assert left.get_xlim() == right.get_xlim()
    spans = [np.ptp(getattr(left, f"get_{name}lim")()) for name in "xyz"]
    box = np.asarray(left._box_aspect)
    np.testing.assert_allclose(box / box.max(), np.array(spans) / max(spans))
    picture = iio.imread(tmp_path / "s.png")[..., :3].astype(int)
    half = picture.shape[1] // 2

    def bluish(part: NDArray[Any]) -> int:
        above_legend = part[: int(0.85 * len(part))]
        return int((above_legend[..., 2] - above_legend[..., 0] > 80).sum())

    assert bluish(picture[:, :half]) > 300
    assert bluish(picture[:, half:]) == 0


def test_surfaces_of_nothing_and_in_2d() -> None:
    empty = np.zeros((6, 6, 6), np.uint8)
    figure = surface_view(sample_of(empty, empty, (1.0, 1.0, 1.0)))
    assert figure.axes[0].get_title() == "truth\nnothing there"
    with pytest.raises(SampleError, match="two axes"):
        surface_view(flat_pair())
    with pytest.raises(SampleError, match="neither"):
        surface_view(Sample("s", np.zeros((4, 4, 4)), 1, 2))


def test_animations_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.zeros((60, 60, 9), np.uint8)
    truth[30:50, 30:50, 2:7] = 1
    sample = sample_of(truth, truth, (1.0, 1.0, 1.0))
    sample.image = rng.normal(size=(60, 60, 9, 1)).astype(np.float32)
    overlay_gif(sample, tmp_path / "free.gif")
    free = (tmp_path / "free.gif").stat().st_size
    assert free < 2_000_000
    overlay_gif(sample, tmp_path / "small.gif", max_megabytes=0.5 * free / 1e6)
    assert (tmp_path / "small.gif").stat().st_size < 0.5 * free
    frames = [iio.imread(tmp_path / name) for name in ("free.gif", "small.gif")]
    assert len(frames[0]) == len(frames[1]) == 9
    assert iio.immeta(tmp_path / "small.gif")["loop"] == 0
    overlay_gif(sample, tmp_path / "least.gif", max_megabytes=0.0)
    assert (tmp_path / "least.gif").stat().st_size > 0
    with pytest.raises(ConfigurationError, match="max_frames=0"):
        overlay_gif(sample, tmp_path / "o.gif", max_frames=0)


def test_what_nobody_annotated_is_no_class() -> None:
    truth = np.zeros((20, 20), np.uint8)
    truth[4:12, 4:12] = 1
    truth[:, 18:] = 3
    geometry = Geometry.from_spacing((20, 20), (10.0, 10.0))
    sample = Sample("s", np.zeros((20, 20)), 1, 4, geometry, ignore_label=3)
    sample.add_segmentation(truth)
    names = ["background", "kidney", "tumour", "three"]
    figure = overlay_montage(sample, class_names=names)
    assert texts(figure)[:2] == ["kidney", "not annotated"]
    assert names == ["background", "kidney", "tumour", "three"]


def test_endings_that_are_no_pictures_are_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="unknown ending"):
        overlay_png(flat_pair(), tmp_path / "x.abc")
    with pytest.raises(ConfigurationError, match=r"an animation is a \.gif"):
        overlay_gif(flat_pair(), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())
