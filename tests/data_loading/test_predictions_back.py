"""Predictions come back as they were handed over, in every format of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.image import ImageInterface
from miscnn.data_loading.interfaces.itk import ITKInterface
from miscnn.data_loading.interfaces.nifti import NIfTIInterface
from miscnn.data_loading.interfaces.numpy_files import NumPyInterface
from miscnn.exceptions import LabelError

sitk = pytest.importorskip("SimpleITK")

BLACK, RED, GREEN = (0, 0, 0), (255, 0, 0), (0, 255, 0)


def written(path: Path, array: NDArray) -> None:
    """Save ``(x, y[, z])`` in the format that the ending names."""
    if path.suffix in (".png", ".tif"):
        rows = np.ascontiguousarray(array.T)
        if path.suffix == ".png":
            Image.fromarray(rows).save(path)
        else:
            tifffile.imwrite(path, rows, photometric="minisblack")
    elif path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez(path, image=array)
    elif path.suffix == ".gz":
        nib.save(nib.Nifti1Image(array, np.eye(4)), path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array.T)), path)


@pytest.mark.parametrize("classes", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("interface", "ending", "shape"),
    [
        (ImageInterface, ".png", (5, 6)),
        (ImageInterface, ".tif", (5, 6)),
        (ImageInterface, ".tif", (5, 6, 7)),
        (ImageInterface, ".tif", (3, 4, 1)),
        (ITKInterface, ".nrrd", (5, 6, 7)),
        (ITKInterface, ".mha", (5, 6, 7)),
        (ITKInterface, ".gipl", (5, 6, 7)),
        (NIfTIInterface, ".nii.gz", (5, 6, 7)),
        (NumPyInterface, ".npz", (5, 6)),
        (NumPyInterface, ".npy", (5, 6, 7)),
    ],
)
def test_probabilities_keep_their_axis(
    interface: Any,
    ending: str,
    shape: tuple[int, ...],
    classes: int,
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    written(tmp_path / f"a{ending}", rng.integers(0, 99, shape).astype(np.uint8))
    opened = interface(image=f"*{ending}", three_dim=len(shape) == 3)
    data_io = DataIO(opened, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a", load_seg=False)
    probabilities = rng.random((*shape, classes)).astype(np.float32)
    sample.add_prediction(probabilities, activation_output=True)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), probabilities)
    back = data_io.sample_loader("a", load_seg=False, load_pred=True)
    np.testing.assert_array_equal(back.prediction, probabilities)
    labels = rng.integers(0, 2, shape).astype(np.uint8)
    sample.add_prediction(labels)
    data_io.save_prediction(sample)
    found = data_io.load_prediction("a")
    np.testing.assert_array_equal(found, labels)
    assert found.dtype.kind == "u"


def test_stacks_with_declared_colours(tmp_path: Path, rng: np.random.Generator) -> None:
    labels = rng.integers(0, 3, (4, 5, 6))
    tifffile.imwrite(tmp_path / "a_i.tif", labels.astype(np.uint8), photometric="minisblack")
    colours = np.array([BLACK, RED, GREEN], np.uint8)
    tifffile.imwrite(tmp_path / "a_m.tif", colours[labels], photometric="rgb")
    interface = ImageInterface(
        classes=3,
        image="*_i.tif",
        segmentation="*_m.tif",
        three_dim=True,
        label_colours=[BLACK, RED, GREEN],
    )
    data_io = DataIO(interface, tmp_path, tmp_path / "out")
    sample = data_io.sample_loader("a")
    np.testing.assert_array_equal(sample.segmentation[..., 0], labels.transpose(2, 1, 0))
    sample.add_prediction(sample.segmentation[..., 0])
    np.testing.assert_array_equal(tifffile.imread(data_io.save_prediction(sample)), labels)
    np.testing.assert_array_equal(data_io.load_prediction("a"), labels.transpose(2, 1, 0))
    single = rng.random((6, 5, 4, 1)).astype(np.float32)
    sample.add_prediction(single, activation_output=True)
    data_io.save_prediction(sample)
    np.testing.assert_array_equal(data_io.load_prediction("a"), single)


def test_pictures_with_declared_colours(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((5, 7), np.uint8)).save(tmp_path / "a.png")
    declared = {BLACK: 0, RED: 1, GREEN: 200}
    few = ImageInterface(image="*.png", label_colours=declared, ignore_label=200)
    many = ImageInterface(
        300, image="*.png", label_colours=[(k // 256, k % 256, 9) for k in range(300)]
    )
    for number, (interface, labels, mode) in enumerate(
        (
            (few, [0, 1, 200], "P"),  # in their colours
            (few, [0, 1, 5], "L"),  # 5 has no colour
            (few, [0, 1, 255], "L"),  # lies beyond the colours
            (many, [0, 1, 255], "P"),
            (many, [0, 1, 256], "I;16"),
            (many, [0, 1, 299], "I;16"),
        )
    ):
        data_io = DataIO(interface, tmp_path, tmp_path / f"out{number}")
        sample = data_io.sample_loader("a", load_seg=False)
        prediction = np.resize(np.array(labels, np.uint16), (7, 5))
        sample.prediction = prediction
        with Image.open(data_io.save_prediction(sample)) as picture:
            assert picture.mode == mode
        np.testing.assert_array_equal(
            interface.load_prediction("a", data_io.output_path), prediction
        )


def test_predictions_that_another_program_coloured(tmp_path: Path) -> None:
    labels = np.resize([0, 1, 2], (5, 7))
    colours = np.array([BLACK, RED, GREEN], np.uint8)
    Image.fromarray(colours[labels]).save(tmp_path / "a.png")
    interface = ImageInterface(3, image="*.png", label_colours=[BLACK, RED, GREEN])
    np.testing.assert_array_equal(interface.load_prediction("a", tmp_path), labels.T)
    indices = Image.fromarray((2 - labels).astype(np.uint8))
    indices.putpalette([*GREEN, *RED, *BLACK])  # the palette in another order
    indices.save(tmp_path / "a.png")
    np.testing.assert_array_equal(interface.load_prediction("a", tmp_path), labels.T)
    indices.putpalette([9, 9, 9, *RED, *BLACK])
    indices.save(tmp_path / "a.png")
    with pytest.raises(LabelError, match=r"\(9, 9, 9\), which label_colours does not declare"):
        interface.load_prediction("a", tmp_path)
