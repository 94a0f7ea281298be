"""What an overlay shows, and which way round."""

from __future__ import annotations

import itertools
from pathlib import Path

import imageio.v3 as iio
import nibabel as nib
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from miscnn.data_loading import _drawing
from miscnn.data_loading._view import View, informative_slices, view_of
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.visualizer import overlay_gif, overlay_png, render
from miscnn.exceptions import ConfigurationError

# x to the right of the patient, y to the front, z up: RAS. The largest spacing is along z.
SPACING = (1.0, 1.5, 4.0)


def patient() -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    image = np.random.default_rng(0).normal(size=(8, 10, 5)).astype(np.float32)
    labels = np.zeros((8, 10, 5), dtype=np.uint8)
    labels[1:4, 6:9, 1:4] = 1
    labels[6, 2, 2] = 2
    return image, labels


def oriented(order: tuple[int, ...], flips: tuple[bool, ...]) -> Sample:
    """The same patient, stored with permuted and flipped axes."""
    image, labels = patient()
    affine = np.diag([*SPACING, 1.0])
    step = np.eye(4)
    for axis, flip in enumerate(flips):
        if flip:
            step[axis, axis] = -1
            step[axis, 3] = image.shape[axis] - 1
    affine = affine @ step
    affine = affine[:, [*order, 3]]

    def stored(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.flip(array, [k for k in range(3) if flips[k]]).transpose(order)

    sample = Sample("s", stored(image), 1, 3, Geometry(stored(image).shape, affine))
    sample.add_segmentation(stored(labels))
    sample.add_prediction(stored(labels))
    return sample


def test_patient_is_shown_the_same_way_however_it_is_stored() -> None:
    image, labels = patient()
    # Rows from front to back, columns from the patient's right to the left: on a RAS grid,
    # x and y run the other way.
    expected = labels[::-1, ::-1].transpose(2, 1, 0)
    for order in itertools.permutations(range(3)):
        for flips in itertools.product((False, True), repeat=3):
            view = view_of(oriented(order, flips), margin=None)
            # Slices are counted as they are stored.
            along = slice(None, None, -1 if flips[2] else 1)
            assert view.truth is not None
            np.testing.assert_array_equal(view.truth[along], expected)
            assert view.pixel == pytest.approx((1.5, 1.0))
            assert view.sides == ("R", "A")
            flat = image[::-1, ::-1].transpose(2, 1, 0)
            shown = view.image[along]
            inside = (shown > 0) & (shown < 1)
            assert np.corrcoef(shown[inside], flat[inside])[0, 1] > 0.9999


@pytest.mark.parametrize(
    ("spacing", "sides", "axes"),
    [
        ((1.0, 5.0, 1.0), ("R", "S"), (1, 2, 0)),  # coronal: up is superior
        ((5.0, 1.0, 1.0), ("A", "S"), (0, 2, 1)),  # sagittal: the face to the left
    ],
)
def test_other_planes_follow_convention(
    spacing: tuple[float, ...], sides: tuple[str, str], axes: tuple[int, ...]
) -> None:
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    labels[3, 4, 5] = 1  # of all voxels the furthest to the right, to the front, and up
    sample = Sample("s", labels, 1, 2, Geometry.from_spacing((4, 5, 6), spacing))
    sample.add_segmentation(labels)
    view = view_of(sample, margin=None)
    assert view.sides == sides
    assert view.truth is not None
    assert view.truth.shape == tuple(labels.shape[a] for a in axes)
    (_, row, column) = np.argwhere(view.truth)[0]
    assert (row, column) == (0, 0)  # up is superior; left is the patient's right, or the front


def test_the_first_axis_of_2d_images_runs_to_the_right() -> None:
    labels = np.zeros((4, 6), dtype=np.uint8)
    labels[0, 5] = 1
    sample = Sample("s", labels, 1, 2, Geometry.from_spacing((4, 6), (2.0, 1.0)))
    sample.add_segmentation(labels)
    view = view_of(sample, margin=None)
    assert view.truth is not None
    np.testing.assert_array_equal(view.truth, labels.T[np.newaxis])
    assert view.pixel == (1.0, 2.0)
    assert view.sides == ("", "")


def test_window() -> None:
    values = np.array([[-1000.0, -160.0], [40.0, 3000.0]])
    geometry = Geometry.from_spacing((2, 2), (1.0, 1.0))
    sample = Sample("s", values, 1, 2, geometry)
    np.testing.assert_allclose(view_of(sample).image[0].T, [[0, 0], [0.5, 1]])
    np.testing.assert_allclose(view_of(sample, window=(40.0, 3000.0)).image[0].T, [[0, 0], [0, 1]])
    other = Sample("s", np.arange(1001.0).reshape(7, 143), 1, 2, Geometry((7, 143)))
    image = view_of(other).image[0].T.ravel()
    assert image[10] == pytest.approx(0, abs=1e-6)
    assert image[995] == pytest.approx(1, abs=1e-6)
    assert image[502] == pytest.approx((502 - 10) / 985, abs=1e-6)
    bright = Sample(
        "s", np.linspace(-600.0, 30000.0, 1001).reshape(7, 143), 1, 2, Geometry((7, 143))
    )
    image = view_of(bright).image[0].T.ravel()  # it reaches below -500, but is no CT
    assert image[502] == pytest.approx((502 - 10) / 985, abs=1e-6)
    flat = view_of(Sample("s", np.full((4, 4), 7.0), 1, 2, Geometry((4, 4)))).image
    assert np.isfinite(flat).all()
    with pytest.raises(ConfigurationError, match="low < high"):
        view_of(sample, window=(5.0, 5.0))
    with pytest.raises(ConfigurationError, match="channel 1 of sample 's'"):
        view_of(sample, channel=1)


def test_view_is_cut_to_the_objects_with_a_margin_in_mm() -> None:
    labels = np.zeros((60, 40, 3), dtype=np.uint8)
    labels[30:32, 20, 1] = 1
    sample = Sample("s", labels, 1, 2, Geometry.from_spacing((60, 40, 3), (1.0, 2.0, 5.0)))
    sample.add_segmentation(labels)
    view = view_of(sample, margin=6.0)
    assert view.image.shape == (3, 1 + 2 * 3, 2 + 2 * 6)  # rows of 2 mm, columns of 1 mm


def test_probabilities_are_shown_as_labels() -> None:
    sample = Sample("s", np.zeros((3, 3)), 1, 3, Geometry((3, 3)))
    probabilities = np.eye(3)[np.array([[0, 1, 2], [2, 2, 0], [1, 0, 0]])]
    sample.add_prediction(probabilities, activation_output=True)
    prediction = view_of(sample).prediction
    assert prediction is not None
    np.testing.assert_array_equal(prediction[0].T, [[0, 1, 2], [2, 2, 0], [1, 0, 0]])


def view_with(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> View:
    return View(
        np.zeros(truth.shape, np.float32),
        truth,
        prediction,
        (1.0, 1.0),
        range(len(truth)),
        ("", ""),
    )


def test_slices_with_errors_are_chosen() -> None:
    truth = np.zeros((40, 8, 8), dtype=np.uint8)
    truth[10:30, 2:6, 2:6] = 1
    prediction = truth.copy()
    prediction[27, 2:6, 2:6] = 0
    chosen = informative_slices(view_with(truth, prediction), 5)
    assert len(chosen) == 5
    assert chosen == sorted(chosen)
    assert 27 in chosen
    assert all(10 <= k < 30 for k in chosen)
    empty = np.zeros_like(truth)
    spread = informative_slices(view_with(empty, empty), 4)
    assert len(spread) == 4
    assert spread[-1] - spread[0] > 20
    assert informative_slices(view_with(truth[:3], truth[:3]), 4) == [0, 1, 2]
    one = empty.copy()
    one[7, 2, 2] = 1
    assert informative_slices(view_with(one, empty), 4) == [7]
    with pytest.raises(ConfigurationError, match="at least 1, got 0"):
        informative_slices(view_with(truth, truth), 0)


def test_a_small_error_in_a_large_object_is_chosen() -> None:
    truth = np.ones((90, 8, 8), dtype=np.uint8)
    prediction = truth.copy()
    prediction[37, 2, 2] = 0
    assert 37 in informative_slices(view_with(truth, prediction), 3)


def test_slices_crowd_where_the_errors_are() -> None:
    truth = np.ones((90, 8, 8), dtype=np.uint8)
    prediction = truth.copy()
    prediction[60:, :4] = 0
    chosen = informative_slices(view_with(truth, prediction), 9)
    # Two thirds weigh 64 a slice, the last one 64 + 3 × 32: 3840 to 4800.
    assert sum(k >= 60 for k in chosen) == 5


def colour(label: int, pale: float) -> NDArray[np.float64]:
    strong = np.array(to_rgb(_drawing.COLOURS[label - 1]))
    return np.rint((strong + (1 - strong) * pale) * 255)


def test_outlines_lie_on_the_edges_of_truth_and_prediction() -> None:
    truth = np.zeros((1, 20, 20), dtype=np.uint8)
    truth[0, 4:12, 4:12] = 1
    prediction = np.zeros_like(truth)
    prediction[0, 6:16, 6:16] = 2
    picture = render(view_with(truth, prediction), 0, 400).astype(int)
    assert picture.shape == (400, 400, 3)
    # One voxel is 20 pixels: the truth begins at pixel 80, the prediction ends at 320.
    np.testing.assert_array_equal(picture[81, 100], colour(1, 0.6))
    np.testing.assert_array_equal(picture[100, 81], colour(1, 0.6))
    np.testing.assert_array_equal(picture[318, 200], colour(2, 0.0))
    np.testing.assert_array_equal(picture[100, 100], (0, 0, 0))  # nothing is filled
    np.testing.assert_array_equal(picture[70, 100], (0, 0, 0))


def test_frame_of_the_picture_is_no_outline() -> None:
    truth = np.ones((1, 20, 20), dtype=np.uint8)
    assert render(view_with(truth, np.zeros_like(truth)), 0, 400).max() == 0


def test_truth_is_seen_below_a_prediction_that_agrees() -> None:
    labels = np.zeros((1, 20, 20), dtype=np.uint8)
    labels[0, 4:12, 4:12] = 1
    picture = render(view_with(labels, labels), 0, 400)
    row = picture[80:90, 160].astype(int)
    assert (row == colour(1, 0.0)).all(axis=1).sum() >= 2
    assert (row == colour(1, 0.6)).all(axis=1).sum() >= 2


def test_pixels_are_as_wide_as_the_spacing_says() -> None:
    view = View(np.zeros((1, 10, 20), np.float32), None, None, (3.0, 1.0), range(1), ("", ""))
    assert render(view, 0, 300).shape == (300, 200, 3)


def sample_3d() -> Sample:
    sample = oriented((0, 1, 2), (False, False, False))
    sample.add_prediction(np.roll(sample.prediction, 1, axis=0))  # type: ignore[arg-type]
    return sample


def test_png_holds_both_colours(tmp_path: Path) -> None:
    overlay_png(sample_3d(), tmp_path / "a" / "o.png", n_slices=3, class_names=["b", "k", "t"])
    picture = iio.imread(tmp_path / "a" / "o.png")[..., :3].reshape(-1, 3).astype(int)
    for wanted in (colour(1, 0.6), colour(1, 0.0)):
        assert (np.abs(picture - wanted).max(axis=1) < 3).sum() > 50


def test_gif_has_a_frame_per_slice_and_repeats(tmp_path: Path) -> None:
    overlay_gif(sample_3d(), tmp_path / "o.gif", frames_per_second=5)
    frames = iio.imread(tmp_path / "o.gif")
    assert len(frames) == 5  # three slices with an object, one beyond either end
    meta = iio.immeta(tmp_path / "o.gif")
    assert (meta["loop"], meta["duration"]) == (0, 200)
    assert any((frames[k] != frames[0]).any() for k in range(1, 5))
    overlay_gif(sample_3d(), tmp_path / "short.gif", max_frames=2)
    assert len(iio.imread(tmp_path / "short.gif")) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["o.gif", "short.gif"]


def test_pictures_need_neither_objects_nor_predictions(tmp_path: Path) -> None:
    sample = Sample("empty", np.zeros((8, 8, 4)), 1, 2)
    overlay_png(sample, tmp_path / "o.png")
    overlay_gif(sample, tmp_path / "o.gif")
    flat = Sample("flat", np.arange(64.0).reshape(8, 8), 1, 2, Geometry((8, 8)))
    flat.add_segmentation(np.eye(8, dtype=np.uint8))
    overlay_png(flat, tmp_path / "flat.png")
    overlay_gif(flat, tmp_path / "flat.gif")
    assert iio.imread(tmp_path / "flat.png").std() > 10
    assert len(iio.imread(tmp_path / "flat.gif", index=...)) == 1


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("folder", "index", "classes"),
    [("hippocampus", "hippocampus_001", 3), ("sarcoma_ct", "STS_003", 2)],
)
def test_real_volumes_can_be_shown(
    real_data: Path, tmp_path: Path, folder: str, index: str, classes: int
) -> None:
    image = nib.load(real_data / folder / "images" / f"{index}.nii.gz")
    labels = nib.load(real_data / folder / "labels" / f"{index}.nii.gz")
    array = np.asarray(image.dataobj, dtype=np.float32)
    sample = Sample(index, array, 1, classes, Geometry(array.shape, image.affine))
    sample.add_segmentation(np.asarray(labels.dataobj))
    assert sample.segmentation is not None
    sample.add_prediction(np.roll(sample.segmentation[..., 0], 2, axis=0))
    view = view_of(sample)
    assert view.sides == ("R", "A")
    assert 0.1 < view.image.mean() < 0.9
    overlay_png(sample, tmp_path / "o.png")
    assert iio.imread(tmp_path / "o.png").std() > 10


def test_names_are_no_mathematics(tmp_path: Path) -> None:
    sample = oriented((0, 1, 2), (False, False, False))
    sample.index = "$\\frac{$"
    names = ["air", sample.index, "$"]
    overlay_png(sample, tmp_path / "a.png", class_names=names)
    overlay_gif(sample, tmp_path / "a.gif", class_names=names)
    assert iio.imread(tmp_path / "a.png").any()
    assert len(iio.imread(tmp_path / "a.gif")) > 1
