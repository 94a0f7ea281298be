"""Reading: slices of a compressed NIfTI volume, and a DICOM series.

- All slices of a ``.nii.gz`` as 2D subjects, in order: ours, and nibabel loading the file for
  each (of the first few slices, times their number).
- A series of single-slice DICOM files: finding it, sorting it and reading its voxels, ours, and
  SimpleITK's ImageSeriesReader, in turns. Both give the same array, which is checked.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813 - as everybody does
from _timing import arguments, in_turns, report, write

from miscnn.data_loading.dicom.series import find_series, read
from miscnn.data_loading.interfaces import NIfTISliceInterface

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "data_loading"))
from dicom_series import write_series

SHAPE = (256, 256, 120)
FILES = (256, 256, 300)
AFFINE = np.diag([-0.8, -0.8, 1.5, 1.0])
FEW = 5


def slices(folder: Path, voxels: np.ndarray, repeats: int) -> dict[str, float]:
    """Return the seconds that all slices of a volume take."""
    (folder / "case").mkdir(parents=True)
    path = folder / "case" / "imaging.nii.gz"
    nib.save(nib.Nifti1Image(voxels, AFFINE), path)

    def ours() -> None:
        interface = NIfTISliceInterface()  # with nothing in memory yet
        for index in interface.initialize(folder):
            interface.load_image(index)

    def each() -> None:
        for number in range(FEW):
            np.asanyarray(nib.load(path).dataobj)[..., number].copy()

    times = in_turns({"ours": ours, "nibabel": each}, repeats)
    return {**times, "nibabel": times["nibabel"] * voxels.shape[2] / FEW}


def series(folder: Path, voxels: np.ndarray, repeats: int) -> dict[str, float]:
    """Return the seconds until a series' voxels are there."""
    write_series(folder, voxels, AFFINE)

    def ours() -> Any:
        (found,) = find_series(folder)
        return read(found.open())

    def peer() -> Any:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
        return sitk.GetArrayFromImage(reader.Execute()).transpose(2, 1, 0)

    np.testing.assert_array_equal(ours(), peer())
    begin = time.perf_counter()
    find_series(folder)
    print(f"the series is found in {time.perf_counter() - begin:.2f} s")
    return in_turns({"ours": ours, "SimpleITK": peer}, repeats)


def main() -> None:
    options = arguments(__doc__ or "", repeats=3)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        volume = rng.normal(0, 100, SHAPE).astype(np.int16)
        rows = {f"{SHAPE[2]} slices of a .nii.gz": slices(folder / "a", volume, options.repeats)}
        report("Slices, seconds for all", rows, "ours")
        pixels = rng.integers(-1000, 2000, FILES).astype(np.int16)
        more = {f"{FILES[2]} DICOM files": series(folder / "b", pixels, options.repeats)}
        report("DICOM, seconds", more, "ours")
    write(options.json, {**rows, **more})


if __name__ == "__main__":
    main()
