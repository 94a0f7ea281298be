"""Predictions lie on the grid of the image: networks whose output is known."""

from __future__ import annotations

import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.neural_network.inference import predict_probabilities
from miscnn.processing.subfunctions import (
    Clipping,
    CropToForeground,
    Normalization,
    Padding,
    Resampling,
    Resize,
    Windowing,
)

SPACING = np.array([0.8, 1.3, 2.5])
SHAPE = (17, 14, 9)


def labels_as_image() -> np.ndarray:
    """Three classes in blobs of several voxels."""
    x, y, z = np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij")
    label = ((x - 6) ** 2 + (y - 6) ** 2 + (2 * (z - 4)) ** 2 < 30).astype(np.int16)
    label[10:15, 3:12, 2:7] = 2
    return label


def orientations() -> list[np.ndarray]:
    matrices = []
    for axes in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            matrix[list(axes), range(3)] = signs
            matrices.append(matrix)
    assert len(matrices) == 48
    for angles in ((20, 0, 0), (7, -11, 25)):
        matrices.append(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())
    return matrices


def write_subject(folder: Path, direction: np.ndarray) -> nib.Nifti1Image:
    affine = np.eye(4)
    affine[:3, :3] = direction * SPACING
    affine[:3, 3] = (-31.5, 17.25, 402.0)
    image = nib.Nifti1Image(labels_as_image(), affine)
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = b"made for a test"
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=4)
    (folder / "case").mkdir(parents=True)
    nib.save(image, folder / "case" / "imaging.nii.gz")
    return nib.load(folder / "case" / "imaging.nii.gz")


def one_hot_of_input(batch: np.ndarray) -> np.ndarray:
    """A network that says which class the (unscaled) intensity names."""
    distance = np.abs(batch - np.arange(3, dtype=np.float32))
    return np.maximum(0.0, 1.0 - distance).astype(np.float32)


def predict(preprocessor: miscnn.Preprocessor, sample: Sample, multiple=(8, 8, 8)) -> np.ndarray:
    prepared, steps, measures = preprocessor.prepare_prediction(sample)
    probabilities = predict_probabilities(
        one_hot_of_input, preprocessor, prepared, measures, multiple
    )
    return preprocessor.postprocessing(sample, steps, probabilities)


IDENTITY_CHAIN = (
    Resampling(tuple(SPACING)),
    Windowing(bounds=(0, 2)),
    Padding((20, 20, 20)),
    Normalization("minmax", range=(0, 2)),
)


@pytest.mark.parametrize("number", range(50))
def test_the_label_map_comes_back_on_the_same_grid(tmp_path: Path, number: int) -> None:
    """An identity network through window, resample and pad; with files, for all orientations."""
    source = write_subject(tmp_path / "data", orientations()[number])
    data_io = miscnn.DataIO(NIfTIInterface(1, 3), tmp_path / "data", tmp_path / "out")
    preprocessor = miscnn.Preprocessor(
        data_io, 2, IDENTITY_CHAIN, patch_shape=(8, 8, 8), data_aug=None
    )
    sample = data_io.sample_loader("case", load_seg=False)
    sample.add_prediction(predict(preprocessor, sample))
    data_io.save_prediction(sample)

    written = nib.load(tmp_path / "out" / "case.nii.gz")
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels_as_image())
    np.testing.assert_array_equal(written.affine, source.affine)
    for field in source.header:
        if field in ("datatype", "bitpix", "scl_slope", "scl_inter", "cal_min", "cal_max"):
            continue
        np.testing.assert_array_equal(written.header[field], source.header[field], err_msg=field)


@pytest.mark.parametrize("number", [0, 17, 40, 48, 49])
def test_a_real_resampling_keeps_the_objects_in_place(tmp_path: Path, number: int) -> None:
    """Through another grid and back only voxels at the borders of objects may change."""
    write_subject(tmp_path / "data", orientations()[number])
    data_io = miscnn.DataIO(NIfTIInterface(1, 3), tmp_path / "data", tmp_path / "out")
    chain = (Resampling((0.7, 0.9, 1.2), order_img=0), Padding((24, 24, 24)))
    preprocessor = miscnn.Preprocessor(data_io, 2, chain, patch_shape=(16, 16, 16), data_aug=None)
    sample = data_io.sample_loader("case", load_seg=False)
    back = predict(preprocessor, sample)
    truth = labels_as_image()
    for label in (1, 2):
        dice = (
            2
            * np.sum((back == label) & (truth == label))
            / (np.sum(back == label) + np.sum(truth == label))
        )
        assert dice > 0.9
        centre = np.argwhere(truth == label).mean(axis=0)
        np.testing.assert_allclose(np.argwhere(back == label).mean(axis=0), centre, atol=0.3)


@pytest.mark.parametrize(
    ("chain", "options"),
    [
        ((), {"analysis": "fullimage"}),
        ((CropToForeground(),), {"patch_shape": (8, 8, 8)}),
        ((Clipping(0, 2), CropToForeground(margin=1)), {"analysis": "fullimage"}),
        ((), {"analysis": "slicewise"}),
        ((), {"analysis": "slicewise", "patch_shape": (8, 8)}),
        ((), {"analysis": "slicewise", "slices_per_volume": 3}),
        ((), {"analysis": "slice-stack", "slices_per_volume": 5}),
        ((), {"analysis": "slice-stack", "slice_axis": 0}),
        ((CropToForeground(),), {"analysis": "slice-stack", "slice_axis": 1}),
        ((), {"patch_shape": (32, 32, 32)}),
        ((), {"patch_shape": (8, 8, 8), "patchwise_overlap": (7, 0, 3)}),
        ((Resize(SHAPE),), {"analysis": "patchwise-grid", "patch_shape": (8, 8, 8)}),
    ],
)
def test_every_analysis_returns_the_input(chain, options) -> None:
    geometry = miscnn.Geometry.from_spacing(SHAPE, tuple(SPACING))
    sample = Sample("case", labels_as_image(), 1, 3, geometry)
    data_io = miscnn.DataIO(miscnn_dictionary())
    preprocessor = miscnn.Preprocessor(data_io, 3, chain, data_aug=None, **options)
    multiple = (8,) * preprocessor.network_axes
    np.testing.assert_array_equal(predict(preprocessor, sample, multiple), labels_as_image())


def miscnn_dictionary():
    from miscnn.data_loading.interfaces import DictionaryInterface

    return DictionaryInterface({"case": (labels_as_image(), None)}, 1, 3)
