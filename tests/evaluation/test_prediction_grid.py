"""Predictions are scored where their files say that they lie."""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import ITKInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.evaluation.detailed_validation import load_predicted
from miscnn.exceptions import GridMismatchError

SHAPE = (5, 6, 7)
TURN = np.deg2rad(20.0)
AFFINE = np.array(
    [
        [0.7 * np.cos(TURN), -0.8 * np.sin(TURN), 0, -91.3],
        [0.7 * np.sin(TURN), 0.8 * np.cos(TURN), 0, 44.1],
        [0, 0, 2.5, 1203.7],
        [0, 0, 0, 1],
    ]
)


@pytest.fixture
def labels() -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 2, SHAPE).astype(np.uint8)


@pytest.fixture
def data_io(labels: Any, tmp_path: Path) -> DataIO:
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "p").mkdir()
    for name in ("imaging", "segmentation"):
        save(tmp_path / "data" / "a" / f"{name}.nii.gz", labels, AFFINE)
    return DataIO(NIfTIInterface(), tmp_path / "data")


def save(path: Path, labels: Any, affine: Any) -> None:
    nib.save(nib.Nifti1Image(labels, affine), path)


def test_any_order_and_direction_of_axes_is_turned_to_the_images(
    data_io: DataIO, labels: Any, tmp_path: Path
) -> None:
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        # nibabel is the reference: each array axis gets the place and the direction told.
        turned = nib.as_closest_canonical(nib.Nifti1Image(labels, AFFINE)).as_reoriented(
            np.column_stack([axes, signs])
        )
        nib.save(turned, tmp_path / "p" / "a.nii.gz")
        sample = load_predicted(data_io, "a", tmp_path / "p")
        np.testing.assert_array_equal(sample.prediction, labels)


def test_float_headers_fit(data_io: DataIO, labels: Any, tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", labels, AFFINE.astype(np.float32) * (1 + 1e-7))
    assert load_predicted(data_io, "a", tmp_path / "p").prediction is not None


def moved(column: int, row: int, by: float) -> Any:
    affine = AFFINE.copy()
    affine[row, column] += by
    return affine


@pytest.mark.parametrize(
    ("affine", "told"),
    [
        (moved(3, 0, 20.0), r"origin \(-71\.3, 44\.1, 1203\.7\) mm.*image: .*\(-91\.3, 44\.1"),
        (moved(3, 2, 0.02), "does not lie on the image's grid"),
        (moved(2, 2, 0.5), "spacing 0.7 x 0.8 x 3 mm.*spacing 0.7 x 0.8 x 2.5 mm"),
        (AFFINE @ np.diag([-1, 1, 1, 1]), "axes LAS.*axes RAS"),  # mirrored about the first voxel
        (np.eye(4), "write it with the image's affine"),
    ],
)
def test_other_grids_are_refused(
    affine: Any, told: str, data_io: DataIO, labels: Any, tmp_path: Path
) -> None:
    save(tmp_path / "p" / "a.nii.gz", labels, affine)
    with pytest.raises(GridMismatchError, match=rf"'a': the prediction p/a\.nii\.gz .*{told}"):
        load_predicted(data_io, "a", tmp_path / "p")


def test_other_shapes_are_refused(data_io: DataIO, labels: Any, tmp_path: Path) -> None:
    save(tmp_path / "p" / "a.nii.gz", labels[:-1], AFFINE)
    with pytest.raises(GridMismatchError, match=r"shape \(4, 6, 7\).*shape \(5, 6, 7\)"):
        load_predicted(data_io, "a", tmp_path / "p")


def test_merged_labels_are_looked_through(labels: Any, data_io: DataIO, tmp_path: Path) -> None:
    merged = DataIO(MergedLabels(NIfTIInterface(), [[0], [1]]), tmp_path / "data")
    save(tmp_path / "p" / "a.nii.gz", labels, moved(3, 0, 20.0))
    with pytest.raises(GridMismatchError, match="does not lie"):
        load_predicted(merged, "a", tmp_path / "p")


def test_our_own_files_fit(labels: Any, data_io: DataIO, tmp_path: Path) -> None:
    sample = data_io.sample_loader("a")
    sample.add_prediction(1 - labels)
    data_io.save_prediction(sample, output_path=tmp_path / "p")
    found = load_predicted(data_io, "a", tmp_path / "p").prediction
    np.testing.assert_array_equal(found, 1 - labels)


def test_itk_files(labels: Any, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    (tmp_path / "data" / "a").mkdir(parents=True)
    (tmp_path / "p").mkdir()
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((0.7, 0.8, 2.5))
    for name in ("imaging", "segmentation"):
        sitk.WriteImage(image, str(tmp_path / "data" / "a" / f"{name}.mha"))
    data_io = DataIO(
        ITKInterface(image="{index}/imaging.mha", segmentation="{index}/segmentation.mha"),
        tmp_path / "data",
    )
    sitk.WriteImage(sitk.Flip(image, (False, True, False)), str(tmp_path / "p" / "a.mha"))
    found = load_predicted(data_io, "a", tmp_path / "p").prediction
    np.testing.assert_array_equal(found, labels.T)
    image.SetOrigin((0, 0, 20))
    sitk.WriteImage(image, str(tmp_path / "p" / "a.mha"))
    with pytest.raises(GridMismatchError, match=r"origin .*20\) mm"):
        load_predicted(data_io, "a", tmp_path / "p")
