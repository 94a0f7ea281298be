"""Orientation."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, GridMismatchError, SampleError
from miscnn.processing.augmentation import CTAugmentation
from miscnn.processing.chain import augmentation_position, run_chain, undo_chain
from miscnn.processing.subfunctions import Normalization, Orientation, Resampling, Windowing
from miscnn.processing.subfunctions.orientation import ORIENTATIONS
from miscnn.testing import check_subfunction

orientations = st.sampled_from(ORIENTATIONS)
lengths = st.tuples(*[st.integers(1, 6)] * 3)
angles = st.tuples(*[st.floats(-0.6, 0.6)] * 3)
spacings = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 3.27])] * 3)


def affine_of(letters: str, spacing=(0.7, 0.9, 3.0), turn=(0.0, 0.0, 0.0)) -> np.ndarray:
    """Make the affine of a grid whose axes run to the given letters, after a rotation."""
    matrix = np.zeros((3, 3))
    for axis, letter in enumerate(letters):
        row = next(k for k, pair in enumerate(("LR", "PA", "IS")) if letter in pair)
        matrix[row, axis] = spacing[axis] * (1 if letter in "RAS" else -1)
    for k, angle in enumerate(turn):
        a, b = [axis for axis in range(3) if axis != k]
        rotation = np.eye(3)
        rotation[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        ]  # fmt: skip
        matrix = rotation @ matrix
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = (-31.5, 12.25, 407.0)
    return affine


def sample_on(shape, affine, slice_axis=None, channels=2) -> Sample:
    """Make a sample in which each voxel's number and label tell which one it is."""
    geometry = Geometry(shape, affine, slice_axis)
    number = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    image = np.stack([number + 1000.0 * c for c in range(channels)], axis=-1)
    sample = Sample("case", image, channels, 256, geometry)
    sample.add_segmentation(number.astype(np.int64) % 251)
    return sample


def places(geometry: Geometry) -> np.ndarray:
    grid = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), axis=-1)
    return grid @ geometry.affine[:3, :3].T + geometry.affine[:3, 3]


def test_there_are_48():
    assert len(set(ORIENTATIONS)) == 48
    assert {"RAS", "LPS", "IPL", "LSP"} <= set(ORIENTATIONS)


def test_a_case_by_hand():
    """One row of three voxels to the left becomes one to the right, as the last axis."""
    image = np.array([10.0, 20.0, 30.0], np.float32).reshape(3, 1, 1, 1)
    grid = Geometry((3, 1, 1), [[-2, 0, 0, 5], [0, 0, 1, 6], [0, -4, 0, 7], [0, 0, 0, 1]])
    assert grid.orientation == "LIA"
    after = Orientation("ASR").preprocessing(Sample("case", image, geometry=grid))
    assert after.image.shape == (1, 1, 3, 1)
    assert after.image.ravel().tolist() == [30, 20, 10]
    assert after.geometry.affine.tolist() == [
        [0, 0, 2, 1],
        [1, 0, 0, 6],
        [0, 4, 0, 7],
        [0, 0, 0, 1],
    ]
    assert after.geometry.orientation == "ASR"
    assert not np.signbit(after.geometry.affine).any()
    # The slice axis was the second one (4 mm), and still is.
    assert (grid.slice_axis, after.geometry.slice_axis) == (1, 1)


@given(now=orientations, then=orientations, shape=lengths, spacing=spacings, turn=angles)
def test_every_voxel_keeps_its_place_value_and_label(now, then, shape, spacing, turn):
    before = sample_on(shape, affine_of(now, spacing, turn))
    part = Orientation(then)
    after = part.preprocessing(before)
    assert after.geometry.orientation == then
    assert after.geometry.shape == after.image.shape[:3] == after.segmentation.shape[:3]
    number = after.image[..., 0].astype(int).ravel()
    np.testing.assert_allclose(
        places(after.geometry).reshape(-1, 3),
        places(before.geometry).reshape(-1, 3)[number],
        atol=1e-10,
    )
    np.testing.assert_array_equal(after.image[..., 1], after.image[..., 0] + 1000)
    np.testing.assert_array_equal(after.segmentation[..., 0], after.image[..., 0] % 251)
    # The slices are the same ones.
    across = before.geometry.affine[:3, before.geometry.slice_axis]
    np.testing.assert_array_equal(
        np.abs(after.geometry.affine[:3, after.geometry.slice_axis]), np.abs(across)
    )
    # And back.
    view = before.copy()
    view.image = view.segmentation = None
    np.testing.assert_array_equal(
        part.postprocessing(view, after.segmentation[..., 0]), before.segmentation[..., 0]
    )
    np.testing.assert_array_equal(
        part.postprocessing(view, after.image, activation_output=True), before.image
    )
    again = Orientation(before.geometry.orientation).preprocessing(after)
    np.testing.assert_array_equal(again.image, before.image)
    assert again.geometry.difference(before.geometry) < 1e-10


@given(now=orientations, then=orientations, slice_axis=st.integers(0, 2))
def test_the_slice_axis_that_was_given_goes_with_its_axis(now, then, slice_axis):
    before = sample_on((2, 3, 4), affine_of(now, (1, 1, 1)), slice_axis)
    after = Orientation(then).preprocessing(before)
    assert after.geometry.n_slices == before.geometry.n_slices


@given(then=orientations, k=st.integers(0, 2))
def test_halfway_between_two_directions_voxels_keep_their_places_too(then, k):
    turn = [0.0, 0.0, 0.0]
    turn[k] = np.pi / 4
    before = sample_on((2, 3, 4), affine_of("RAS", (1, 1, 1), turn))
    after = Orientation(then).preprocessing(before)
    number = after.image[..., 0].astype(int).ravel()
    np.testing.assert_allclose(
        places(after.geometry).reshape(-1, 3),
        places(before.geometry).reshape(-1, 3)[number],
        atol=1e-12,
    )


def test_arrays_are_views_and_nothing_happens_to_volumes_that_lie_right():
    before = sample_on((3, 4, 5), affine_of("LPS"))
    after = Orientation("RAS").preprocessing(before)
    assert np.shares_memory(after.image, before.image)
    assert np.shares_memory(after.segmentation, before.segmentation)
    for part in (Orientation("LPS"), Orientation("lps"), Orientation(None)):
        same = part.preprocessing(before)
        assert same.image is before.image
        assert same.geometry is before.geometry
    canonical = Orientation("canonical").preprocessing(before)
    assert canonical.geometry == after.geometry
    assert Orientation() == Orientation("RAS")


def test_integers_become_float32():
    before = sample_on((3, 4, 5), affine_of("LPS"))
    before.image = before.image.astype(np.int16)
    for part in (Orientation("RAS"), Orientation(None)):
        after = part.preprocessing(before)
        assert after.image.dtype == np.float32
    np.testing.assert_array_equal(after.image, before.image)


@pytest.mark.parametrize("wrong", ["RRS", "RA", "XYZ", "RASL", "", 3, ["R", "A", "S"]])
def test_unknown_orientations(wrong):
    with pytest.raises(ConfigurationError, match=r"orientation=.*'?\"RAS\""):
        Orientation(wrong)


def test_images_in_2d_are_refused_unless_nothing_is_asked():
    flat = Sample("slice", np.zeros((3, 4, 1), np.float32), geometry=Geometry((3, 4)))
    with pytest.raises(SampleError, match=r"'slice'.*'RAS'.*2 spatial axes; leave"):
        Orientation("RAS").preprocessing(flat)
    assert Orientation(None).preprocessing(flat).image is flat.image


def test_a_prediction_on_another_grid_is_refused():
    before = sample_on((3, 4, 5), affine_of("LPS"))
    with pytest.raises(GridMismatchError, match=r"\(5, 4, 3\)"):
        Orientation("SAR").postprocessing(before, np.zeros((3, 4, 5), np.uint8))


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "SPL", "ILA", "canonical", None])
def test_contract(orientation):
    check_subfunction(Orientation(orientation))


def test_it_may_stand_before_an_augmentation_in_hounsfield_units():
    chain = [Orientation("RAS"), Resampling((1, 1, 3)), Windowing(bounds=(-100, 300))]
    assert augmentation_position(chain, CTAugmentation()) == 0
    with pytest.raises(ConfigurationError, match="leaves them with Normalization"):
        augmentation_position([Normalization(), Orientation("RAS")], CTAugmentation())


def _one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[labels]


@pytest.mark.parametrize("oblique", [False, True])
def test_results_lie_on_the_files_grid_bit_by_bit(tmp_path: Path, oblique: bool):
    """A network that answers with the true labels, over files in all 48 orientations."""
    rng = np.random.default_rng(3)
    turn = (0.2, -0.15, 0.3) if oblique else (0.0, 0.0, 0.0)
    truth = {}
    for letters in ORIENTATIONS:
        affine = affine_of(letters, (0.8, 1.0, 3.0), turn)
        folder = tmp_path / "data" / letters
        folder.mkdir(parents=True)
        image = rng.integers(-1000, 1000, (7, 6, 5)).astype(np.int16)
        labels = rng.integers(0, 3, (7, 6, 5)).astype(np.uint8)
        for name, array in (("imaging", image), ("segmentation", labels)):
            file = nib.Nifti1Image(array, affine)
            file.set_qform(affine, 1)
            file.set_sform(affine, 2)
            nib.save(file, folder / f"{name}.nii.gz")
        truth[letters] = labels
    data_io = DataIO(NIfTIInterface(classes=3), tmp_path / "data", tmp_path / "out")
    assert len(data_io.indices_list) == 48
    for letters in ORIENTATIONS:
        sample = data_io.sample_loader(letters)
        # The first spacing is that of the file along every new axis: the way back is exact.
        sizes = [s for _, s in sorted(zip(letters, (0.8, 1.0, 3.0), strict=True), key=_rank)]
        for spacing, exact in ((sizes, True), ((1.6, 1.6, 1.6), False)):
            chain = [Orientation("LPS"), Resampling(spacing), Windowing(bounds=(-100, 300))]
            prepared, steps = run_chain(sample, chain, training=False)
            assert prepared.geometry.orientation == "LPS"
            probabilities = _one_hot(prepared.segmentation[..., 0], 3)
            sample.prediction = undo_chain(sample, chain, steps, probabilities, False)
            assert sample.prediction.shape == (7, 6, 5)
            path = data_io.save_prediction(sample)
            written = nib.load(path)
            original = nib.load(tmp_path / "data" / letters / "imaging.nii.gz")
            assert written.affine.tobytes() == original.affine.tobytes()
            for field in ("qform_code", "sform_code", "pixdim", "quatern_b", "srow_x", "qoffset_x"):
                assert written.header[field].tobytes() == original.header[field].tobytes()
            if exact:
                np.testing.assert_array_equal(np.asanyarray(written.dataobj), truth[letters])
                np.testing.assert_array_equal(data_io.load_prediction(letters), truth[letters])


def _rank(pair: tuple[str, float]) -> int:
    return next(k for k, letters in enumerate(("LR", "PA", "IS")) if pair[0] in letters)
