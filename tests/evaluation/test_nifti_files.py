"""Cross-validation over real files: written, read back and scored in mm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.evaluation import SliceSortedKFold, cross_validation


class ShiftByTwo:
    """Writes, through the interface, the truth moved by two voxels across the slices."""

    def __init__(self, data_io: DataIO) -> None:
        self.preprocessor = SimpleNamespace(data_io=data_io)

    def reset(self) -> None:
        pass

    def train(self, training: Sequence[str], **options: Any) -> Any:
        return SimpleNamespace(
            history={"loss": [1.0]}, to_tsv=lambda path: None, plot=lambda path: None
        )

    def predict(self, samples: Sequence[str], *, output_path: str | Path, verbose: int) -> None:
        data_io = self.preprocessor.data_io
        for index in samples:
            sample = data_io.sample_loader(index)
            axis = sample.geometry.slice_axis
            sample.add_prediction(np.roll(sample.segmentation[..., 0], 2, axis=axis))
            data_io.interface.save_prediction(sample, output_path)


def write_volume(folder: Path, n_slices: int, thickness: float, slice_first: bool) -> None:
    labels = np.zeros((12, 12, n_slices), dtype=np.uint8)
    labels[2:9, 3:9, 2:6] = 1
    turn = np.deg2rad(12.0)
    affine = np.eye(4)
    affine[:3, :3] = np.diag([-0.8, 0.8, thickness])
    affine[:3, :3] = [
        [np.cos(turn), 0, np.sin(turn)],
        [0, 1, 0],
        [-np.sin(turn), 0, np.cos(turn)],
    ] @ affine[:3, :3]
    if slice_first:
        labels, affine = labels.transpose(2, 1, 0), affine[:, [2, 1, 0, 3]]
    folder.mkdir(parents=True)
    nib.save(nib.Nifti1Image(labels.astype(np.int16) * 40, affine), folder / "imaging.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "segmentation.nii.gz")


def test_oblique_files_are_scored_in_mm_whatever_their_axes(tmp_path: Path) -> None:
    volumes = {
        "a": (30, 3.0, False),
        "b": (10, 5.0, True),
        "c": (20, 2.5, True),
        "d": (9, 4, False),
    }
    for name, volume in volumes.items():
        write_volume(tmp_path / "data" / name, *volume)
    data_io = DataIO(NIfTIInterface(channels=1, classes=2), tmp_path / "data")
    model: Any = ShiftByTwo(data_io)
    result = cross_validation(
        data_io.get_indiceslist(),
        model,
        splitter=SliceSortedKFold(2),
        evaluation_path=tmp_path / "evaluation",
        save_models=False,
        overlays=["worst"],
        verbose=0,
    )
    assert [set(fold.validation) for fold in result.folds] == [{"b", "d"}, {"a", "c"}]
    written = sorted(p.name for p in (tmp_path / "evaluation" / "fold_0" / "predictions").iterdir())
    assert written == ["b.nii.gz", "d.nii.gz"]
    for name, (n_slices, thickness, _) in volumes.items():
        rows = {row.metric: row for row in result.scores.select(sample=name)}
        assert rows["dice"].value == 0.5  # two of four layers overlap
        # Half of the far surface lies two slices away.
        assert rows["hd95_mm"].value == pytest.approx(2 * thickness, rel=1e-5)
        expected = 7 * 6 * 4 * 0.8 * 0.8 * thickness / 1000
        assert rows["volume_truth_ml"].value == pytest.approx(expected, rel=1e-5)
        assert (rows["dice"].n_slices, rows["dice"].slice_thickness) == (
            n_slices,
            pytest.approx(thickness, rel=1e-5),
        )
    assert len(list((tmp_path / "evaluation").glob("fold_*/overlay.worst.*.gif"))) == 2
