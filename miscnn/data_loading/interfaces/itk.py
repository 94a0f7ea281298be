"""NRRD, MetaImage, GIPL and Analyze volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from miscnn.data_loading._problems import Remark
from miscnn.data_loading.formats.analyze_file import (
    AnalyzeFile,
    data_file,
    open_analyze,
    write_analyze,
)
from miscnn.data_loading.formats.image_file import is_label_map
from miscnn.data_loading.formats.itk_file import ItkFile, itk_ending, open_itk
from miscnn.data_loading.formats.itk_text import read_meta_header, read_nrrd_header
from miscnn.data_loading.formats.itk_write import grid_from_geometry, write_by_itk, write_nrrd
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import UnreadableFileError

# A prediction is one file, whatever the image was.
_RESULT = {
    ".nrrd": ".nrrd",
    ".nhdr": ".nrrd",
    ".mha": ".mha",
    ".mhd": ".mha",
    ".gipl": ".gipl.gz",
    ".gipl.gz": ".gipl.gz",
    ".hdr": ".hdr",
}
# These hold one number per voxel.
_SCALAR = (".gipl.gz", ".hdr")
_KNOWN_SPACES = (
    *("left-posterior-superior", "lps", "right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
)


class ITKInterface(FileInterface):
    """Reads NRRD, MetaImage, GIPL and Analyze volumes, and writes predictions onto their grid.

    Needs SimpleITK: ``pip install 'miscnn[itk]'``.

    Parameters
    ----------
    channels, classes, three_dim, ignore_label, label_values, class_names
        See :class:`DataInterface`.
    pattern, image, segmentation
        Where the files lie, see :class:`FileInterface`. Default: ``{index}/imaging.nrrd`` and
        ``{index}/segmentation.nrrd``. Where voxels lie in a file of their own (``.nhdr``,
        ``.mhd``, ``.hdr``), the header is named.

    Notes
    -----
    Arrays are ``(x, y, z)`` in the file's voxel order and type, not copied. Vector voxels and
    a fourth axis are channels. Directions, spacing and origin become one affine, from LPS to
    RAS.

    *NRRD.* ``space`` may be left-posterior-superior, right-anterior-superior or
    left-anterior-superior. Other spaces, and none, are taken for the first of these, as SimpleITK
    does; ``verify`` tells it. Measurement frames are ignored: they turn vectors, not voxels. A
    detached file of voxels must lie in the header's folder or below it.

    *GIPL* holds no directions, and *Analyze* neither directions nor origin: axes are taken to run
    to the left, to posterior and to superior, as SimpleITK takes them. Left and right may be
    swapped; ``verify`` warns. Scale factors of SPM are ignored.

    Predictions have the format of the image (``.nhdr`` becomes ``.nrrd``, ``.mhd`` becomes
    ``.mha``, GIPL is compressed), and spacing, origin and direction bit by bit. Nothing else of
    the header is taken over, since it may hold the patient's name. Probabilities are vectors of
    float32; GIPL and Analyze cannot hold these, and get a ``.nrrd``.

    Examples
    --------
    >>> interface = ITKInterface(image="images/*.mha", segmentation="labels/*.mha")
    >>> interface.check_file_termination(".nrrd")
    True
    """

    endings = (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl", ".hdr")

    def open_file(self, path: Path, index: str) -> ItkFile | AnalyzeFile:
        """Read and check the header of a file."""
        return (open_analyze if itk_ending(path) == ".hdr" else open_itk)(path, index)

    def source_files(self, index: str) -> list[Path]:
        """Return the files of image and segmentation, detached voxels too."""
        return _with_detached(super().source_files(index), index)

    def image_files(self, index: str) -> list[Path]:
        """Return the files of the image, detached voxels too."""
        return _with_detached(super().image_files(index), index)

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the file that :meth:`save_prediction` would write, and that of its voxels."""
        (path,) = super().result_files(index, called, output_path, labels)
        return [path, data_file(path)] if itk_ending(path) == ".hdr" else [path]

    def planned_ending(self, index: str, labels: bool) -> str:
        """Return the ending of the image, or of its format in one file."""
        ending = _RESULT[itk_ending(self._image_paths(index)[0])]
        return ending if labels or ending not in _SCALAR else ".nrrd"

    def result_ending(self, sample: Sample) -> str:
        """Return the ending of the image, or of its format in one file."""
        ending = _RESULT[sample.details.get("itk", {}).get("ending", self.endings[0])]
        prediction = sample.prediction
        scalar = prediction is None or is_label_map(prediction, sample.geometry.ndim)
        return ending if scalar or ending not in _SCALAR else ".nrrd"

    def write_file(self, path: Path, array: NDArray[Any], sample: Sample) -> None:
        """Write an array onto the grid of the image."""
        grid = sample.details.get("itk") or grid_from_geometry(sample.geometry)
        ending = itk_ending(path)
        if ending == ".hdr":
            write_analyze(path, array, tuple(grid["spacing"]))
        elif ending == ".nrrd":
            write_nrrd(path, array, grid)
        else:
            write_by_itk(path, array, grid)

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell where the format leaves open how the patient lies."""
        grid = details["itk"]
        if len(grid["size"]) < 3 or not self.three_dim:
            return []
        taken = "axes are taken to run to the left, posterior and superior"
        if grid["ending"] == ".hdr":
            text = "Analyze files do not tell where left and right are"
        elif ".gipl" in grid["ending"]:
            text = "GIPL files do not tell where left and right are"
        elif grid["ending"] in (".nrrd", ".nhdr"):
            space = grid["header"].get("space", "").lower()
            if space in _KNOWN_SPACES:
                return []
            named = f"the header's space is {space!r}" if space else "the header names no space"
            text = f"{named}, so that left and right are not known"
        else:
            return []
        remedy = "look at a landmark, and convert the files to a format that tells it"
        return [("warning", "orientation", f"{text}; {taken}: {remedy}")]

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are read by this interface."""
        return "." + termination.lower().lstrip(".") in ITKInterface.endings


def _with_detached(paths: Sequence[Path], index: str) -> list[Path]:
    files = []
    for path in paths:
        files.append(path)
        detached = _detached(path, index)
        if detached is not None and detached != path:
            files.append(detached)
    return files


def _detached(path: Path, index: str) -> Path | None:
    """Return the file with the voxels of a header; None where the header cannot be read."""
    ending = itk_ending(path)
    try:
        if ending in (".nrrd", ".nhdr"):
            return read_nrrd_header(path, index).data
        if ending in (".mha", ".mhd"):
            return read_meta_header(path, index).data
    except (UnreadableFileError, OSError):  # reading it will tell
        return None
    return data_file(path) if ending == ".hdr" else None


ITK_interface = ITKInterface
"""Name in the style of MIScnn 1.x."""
