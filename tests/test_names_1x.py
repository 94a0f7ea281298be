"""A script as it was published for MIScnn 1.x still runs."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from miscnn._keras import keras


@pytest.fixture
def kits(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for number in range(4):
        folder = tmp_path / "kits" / f"case_{number:05d}"
        folder.mkdir(parents=True)
        label = np.zeros((12, 20, 22), np.uint8)
        label[4:8, 6:14, 6:14] = 1
        label[5:7, 8:11, 8:11] = 2
        image = (rng.normal(0, 30, label.shape) + 100 * label).astype(np.int16)
        affine = np.diag([3.0, 1.5, 1.5, 1.0])
        nib.save(nib.Nifti1Image(image, affine), folder / "imaging.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / "segmentation.nii.gz")
    return tmp_path / "kits"


def test_a_published_script_runs(
    kits: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    from miscnn import Data_Augmentation, Data_IO, Neural_Network, Preprocessor
    from miscnn.data_loading.interfaces.nifti_io import NIFTI_interface
    from miscnn.evaluation.cross_validation import cross_validation
    from miscnn.neural_network.architecture.unet.standard import Architecture
    from miscnn.neural_network.metrics import dice_crossentropy, dice_soft, tversky_loss
    from miscnn.processing.subfunctions import Clipping, Normalization, Resampling

    interface = NIFTI_interface(pattern="case_00[0-9]*", channels=1, classes=3)
    data_io = Data_IO(interface, str(kits))
    sample_list = data_io.get_indiceslist()
    sample_list.sort()
    data_aug = Data_Augmentation(
        cycles=2,
        scaling=True,
        rotations=True,
        elastic_deform=True,
        mirror=True,
        brightness=True,
        contrast=True,
        gamma=True,
        gaussian_noise=True,
    )
    sf_clipping = Clipping(min=-79, max=304)
    sf_normalize = Normalization(mode="z-score")
    sf_resample = Resampling((3.22, 1.62, 1.62))
    pp = Preprocessor(
        data_io,
        data_aug=data_aug,
        batch_size=2,
        subfunctions=[sf_clipping, sf_normalize, sf_resample],
        prepare_subfunctions=True,
        prepare_batches=False,
        analysis="patchwise-crop",
        patch_shape=(8, 16, 16),
    )
    pp.patchwise_overlap = (4, 8, 8)
    model = Neural_Network(
        preprocessor=pp,
        architecture=Architecture(n_filters=2, depth=1),
        loss=tversky_loss,
        metrics=[dice_soft, dice_crossentropy],
        learninig_rate=0.0001,
        batch_queue_size=3,
        workers=3,
    )
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.1, patience=20)
    cross_validation(
        sample_list,
        model,
        k_fold=2,
        epochs=1,
        iterations=1,
        evaluation_path="evaluation",
        draw_figures=True,
        callbacks=[plateau],
    )
    assert (tmp_path / "evaluation" / "fold_1" / "history.tsv").is_file()
    model.dump("model.keras")
    model.load("model.keras")
    predictions = model.predict(sample_list[:1], return_output=True)
    assert predictions is not None
    assert predictions[0].shape == (12, 20, 22)
    model.predict(sample_list[:1])
    assert data_io.sample_loader(sample_list[0], load_pred=True).pred_data.shape == (12, 20, 22, 1)


def test_interfaces_have_their_names_and_the_order_of_their_arguments() -> None:
    from miscnn.data_loading import interfaces
    from miscnn.data_loading.interfaces.dicom_io import DICOM_interface
    from miscnn.data_loading.interfaces.dictionary_io import Dictionary_interface
    from miscnn.data_loading.interfaces.image_io import Image_interface
    from miscnn.data_loading.interfaces.nifti_slicer_io import NIFTIslicer_interface

    dicom = DICOM_interface(1, 3, True, 0, {"GTV": 1, "Lung": 2}, "RTSTRUCT")
    assert (dicom.channels, dicom.classes, dicom.annotation_tag) == (1, 3, "RTSTRUCT")
    assert dict(dicom.structure_dict) == {"GTV": 1, "Lung": 2}
    picture = Image_interface(3, "rgb", "tif", "case_.*")
    assert (picture.channels, picture.classes, picture.three_dim) == (3, 3, False)
    slices = NIFTIslicer_interface(2, 4, 5)
    assert (slices.slice_axis, slices.channels, slices.classes) == (2, 4, 5)
    assert Dictionary_interface({}, 2, 3, False).three_dim is False
    known = interfaces.miscnn_data_interfaces
    assert known["DICOM"] is DICOM_interface is interfaces.DICOMInterface
    assert known["IMG"] is Image_interface is interfaces.ImageInterface
    assert known["NIFTI_S"] is NIFTIslicer_interface is interfaces.NIfTISliceInterface
