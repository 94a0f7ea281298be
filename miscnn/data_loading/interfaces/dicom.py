"""DICOM: image series in, RTSTRUCT and DICOM-SEG in and out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._patterns import index_expression
from miscnn.data_loading._problems import Problem, Remark
from miscnn.data_loading.dicom._annotations import (
    annotation_names,
    choose_annotation,
    fitting_annotations,
    remark_on_results,
)
from miscnn.data_loading.dicom._headers import FileHeader
from miscnn.data_loading.dicom._names import Missing
from miscnn.data_loading.dicom._options import (
    check_names,
    check_option,
    check_tag,
    checked_background,
    checked_structures,
    names_of_results,
)
from miscnn.data_loading.dicom._regions import Overlap, with_background
from miscnn.data_loading.dicom._results import (
    OUTPUTS,
    load_result,
    on_grid,
    result_path,
    save_result,
)
from miscnn.data_loading.dicom._selection import Criteria, choose, criteria_list
from miscnn.data_loading.dicom._subjects import (
    Subject,
    find_subjects,
    open_on_one_grid,
    overlooked_folders,
    own_files,
    possible_files,
    read_subject,
    state_of,
)
from miscnn.data_loading.dicom.segments import read_segments
from miscnn.data_loading.dicom.series import IRREGULAR, Series, read
from miscnn.data_loading.dicom.structures import read_structures
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface, geometry_from_details
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    MissingFileError,
    SampleError,
)

# Subjects whose headers are kept, so that image, grid and segmentation need one look at them.
_REMEMBERED = 4


class DICOMInterface(DataInterface):
    """Reads DICOM image series with their segmentations, and writes predictions that refer to them.

    A subject is a folder in the data folder, with all that lies below it: image series, RTSTRUCTs
    and DICOM-SEGs, in any order and under any names. DICOM files that lie in the data folder itself
    are a subject that is called like the folder; of several patients or studies, each is one.

    Parameters
    ----------
    channels, classes, three_dim
        See :class:`DataInterface`. In 2D a series is one slice.
    mask_background : int
        Value of voxels in no structure; no label of a structure.
    structure_dict : mapping of str to int, optional
        Label of each structure (RTSTRUCT) or segment (DICOM-SEG), by its name, a pattern such as
        ``"GTV*"``, or its number as text. Default: all, by their numbers in a DICOM-SEG, in the
        order of their numbers in an RTSTRUCT. 0 leaves a structure out.
    annotation_tag : str, optional
        Part of the path, inside of the subject's folder, of the RTSTRUCT or DICOM-SEG that is
        meant. Needed where several refer to the image, where it was drawn on another series of the
        same frame of reference, and to read a result that this library wrote as truth.
    pattern : str, optional
        Regular expression that an index must match as a whole to be listed.
    series : str, int, mapping, or sequence of these, optional
        Which series is the image: a modality or a part of the description, a series number, or a
        dictionary with some of ``modality``, ``number``, ``description``, ``stack`` (time point,
        echo or direction, from 1 on, of a series that mixes several), ``slices``, ``files``,
        ``plane``, ``echo_time`` (ms), ``image_type``, ``folder`` (part of the path), ``uid``; a
        list as value means any of these. A sequence names one series for each channel, all on
        one grid. Default: the only series there is, scouts left out.
    suv : bool
        Whether PET is read as standardised uptake value by body weight (g/ml).
    irregular : str
        What to do with a series whose slices form no regular grid: ``"error"``, or
        ``"resample"``, see :meth:`~miscnn.data_loading.dicom.series.Series.open`.
    overlap : str
        What becomes of voxels in structures of several labels: ``"error"``, ``"first"``,
        ``"last"`` or ``"combinations"``, see
        :func:`~miscnn.data_loading.dicom.structures.read_structures`.
    missing_structures : str
        What becomes of structures in ``structure_dict`` that a subject does not have: ``"error"``,
        or ``"background"`` where not everybody has them (no voxel is theirs; a warning names them).
        A subject that has none of them is refused either way.
    output : str
        How predictions are written: ``"dicom-seg"``, ``"rtstruct"`` or ``"nifti"``. Probabilities
        are always written as NIfTI.
    ignore_label, label_values, class_names
        See :class:`DataInterface`. Segments that are written are called by ``class_names``, else
        by ``structure_dict``, and numbered by class: all of them, whether a prediction has voxels
        of them or not. Voxels of ``ignore_label`` are written to DICOM as background, which has no
        value for them.

    Notes
    -----
    Values are those of the scanner's rescaling, HU for CT; see
    :func:`~miscnn.data_loading.dicom.series.read`. The details of an image hold ``affine``,
    ``spacing``, ``grid`` and ``volume`` (:class:`~miscnn.data_loading.dicom.volume.DicomVolume`,
    of the first channel). Nothing is de-identified: DICOM predictions hold the patient's
    attributes, as objects of one study must; NIfTI ones, logs and messages hold none. Names of
    folders and files are taken as they are.

    Examples
    --------
    >>> interface = DICOMInterface(series="CT", structure_dict={"GTV*": 1})
    >>> interface.get_config()["series"]
    'CT'
    """

    def __init__(
        self,
        channels: int = 1,
        classes: int = 2,
        three_dim: bool = True,
        mask_background: int = 0,
        structure_dict: Mapping[str, int] | None = None,
        annotation_tag: str | None = None,
        pattern: str | None = None,
        series: Criteria | Sequence[Criteria] | None = None,
        suv: bool = False,
        irregular: str = "error",
        overlap: Overlap = "error",
        missing_structures: Missing = "error",
        output: str = "dicom-seg",
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(channels, classes, three_dim, ignore_label, label_values, class_names)
        check_option("irregular", irregular, IRREGULAR)
        check_option("overlap", overlap, get_args(Overlap))
        check_option("missing_structures", missing_structures, get_args(Missing))
        check_option("output", output, OUTPUTS)
        if not isinstance(suv, bool):
            raise ConfigurationError(f"suv is {suv!r}; expected True or False")
        check_tag(annotation_tag)
        self.structure_dict = checked_structures(
            structure_dict, classes, self.ignore_label, self.mapping
        )
        self.mask_background = checked_background(
            mask_background, structure_dict, classes, self.mapping
        )
        self.annotation_tag = annotation_tag
        self.pattern = pattern
        self.series = series
        self.suv = suv
        self.irregular = irregular
        self.overlap: Overlap = overlap
        self.missing_structures: Missing = missing_structures
        self.output = output
        self.data_directory: Path | None = None
        self._names = names_of_results(
            class_names, None if self.mapping else structure_dict, classes
        )
        if output != "nifti":
            check_names(self._names, "class_names" if class_names else "structure_dict")
        self._criteria = criteria_list(series, channels)
        self._expression = index_expression(pattern)
        self._subjects: dict[str, tuple[Subject, list[DicomVolume]]] = {}

    def initialize(self, input_path: str | Path) -> list[str]:
        """Take over the data folder and return the indices of its subjects.

        Raises
        ------
        MissingFileError
            If the folder does not exist.
        """
        folder = Path(input_path)
        if not str(input_path) or not folder.is_dir():
            raise MissingFileError(
                f"input_path: there is no folder {str(input_path)!r}; name the folder that "
                f"holds {self.expected_files()}"
            )
        self.data_directory = folder
        self._subjects.clear()
        return [index for index in find_subjects(folder) if self._is_wanted(index)]

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Read one image: ``(x, y, z[, c])``, or ``(x, y[, c])`` in 2D.

        Raises
        ------
        MissingFileError
        UnreadableFileError
        SampleError
            If the series is not there, or several fit.
        GridMismatchError
            If slices form no regular grid, or channels do not share one.
        """
        volumes = self._volumes(index)
        channels = [self._arranged(read(volume, self.suv, index), index) for volume in volumes]
        image = channels[0] if len(channels) == 1 else np.stack(channels, axis=-1)
        grid = Geometry(volumes[0].shape, volumes[0].affine)
        return (
            image,
            {
                "affine": volumes[0].affine.copy(),  # the volume is kept
                "spacing": grid.spacing[: self._ndim],
                "grid": volumes[0].shape[: self._ndim],
                "volume": volumes[0],
            },
        )

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Read the RTSTRUCT or DICOM-SEG that refers to the image, on the image's grid.

        Raises
        ------
        MissingFileError
            If there is none.
        SampleError
            If there are several.
        """
        header = self._annotation(index)
        volume = self._volumes(index)[0]
        reader: Any = read_segments if header.modality == "SEG" else read_structures
        structures = dict(self.structure_dict) if self.structure_dict else None
        labels: NDArray[Any] = reader(
            header.path, volume, structures, index, self.overlap, self.missing_structures
        )
        labels = with_background(labels, self.mask_background, index)
        return self._arranged(labels, index)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether an RTSTRUCT or DICOM-SEG refers to the image."""
        return bool(self._fitting(index))

    def load_geometry(self, index: str) -> Geometry:
        """Return the image's grid from its headers."""
        volume = self._volumes(index)[0]
        shape = volume.shape[: self._ndim]
        return geometry_from_details(shape, {"affine": volume.affine})

    def source_files(self, index: str) -> list[Path]:
        """Return the files of the image, and of the segmentations that can be meant."""
        return [*self.image_files(index), *(header.path for header in self._fitting(index))]

    def image_files(self, index: str) -> list[Path]:
        """Return the files of the image."""
        subject = self._subject(index)
        return [path for series in self._chosen(subject, index) for path in series.files]

    def result_files(
        self, index: str, called: str, output_path: str | Path, labels: bool = True
    ) -> list[Path]:
        """Return the file that :meth:`save_prediction` would write."""
        return [result_path(Path(output_path), called, labels, self.output)]

    def save_prediction(self, sample: Sample, output_path: str | Path) -> Path:
        """Write the prediction as ``index.dcm`` or, as NIfTI, ``index.nii.gz``.

        Raises
        ------
        SampleError
            If there is no prediction.
        GridMismatchError
            If its shape is not the image's.
        LabelError
            If a label map holds values that are no labels.
        """
        if sample.prediction is None:
            raise SampleError(sample.index, "there is no prediction to save")
        volume = sample.details.get("volume")
        if not isinstance(volume, DicomVolume):  # prepared data keep no headers
            volume = self._volumes(sample.index)[0]
        array = on_grid(np.asarray(sample.prediction), volume, self._ndim, sample.index)
        if array.ndim == 3 and self.output != "nifti":  # segments are numbered by class
            array = self.to_classes(array, sample.index)
            if self.ignore_label is not None:
                array = np.where(array == self.ignore_label, array.dtype.type(0), array)
        return save_result(Path(output_path), sample.index, array, volume, self.output, self._names)

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        """Read back what was written last: labels, or probabilities with a last axis.

        Voxels of ``ignore_label`` come back from DICOM as background.
        """
        volume = self._volumes(index)[0]
        array, holds_classes = load_result(Path(output_path), index, volume)
        if holds_classes:
            array = self.to_values(array, index)
        return self._arranged(array, index)

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell how slices were made a regular volume, and what is taken for no segmentation."""
        remarks = [("warning", "grid", text) for text in details["volume"].remarks]
        results = remark_on_results(self._subject(index).annotations, index)
        if results and self.annotation_tag is None:
            remarks.append(("note", "segmentation", results))
        return remarks

    def overlooked(self, ignored: Collection[Path] = ()) -> list[Problem]:
        """Name folders with DICOM files of which none is an image."""
        if self.data_directory is None:
            return []
        return [
            Problem(name, "warning", "files", text)
            for name, text in overlooked_folders(self.data_directory, ignored)
            if self._is_wanted(name)
        ]

    def expected_files(self) -> str:
        """Tell what is looked for in a data folder."""
        return "a folder for each subject with DICOM files, or DICOM files of one subject"

    def get_ROI_names(self, index: str) -> list[str]:  # noqa: N802 - name of MIScnn 1.x
        """Return the names of the structures in the subject's segmentation."""
        return [item.name for item in annotation_names(self._annotation(index), index)]

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are DICOM."""
        return termination.lower().lstrip(".") == "dcm"

    @property
    def _ndim(self) -> int:
        return 3 if self.three_dim else 2

    def _is_wanted(self, index: str) -> bool:
        return self._expression is None or self._expression.fullmatch(index) is not None

    def _subject(self, index: str) -> Subject:
        return self._known(index)[0]

    def _known(self, index: str) -> tuple[Subject, list[DicomVolume]]:
        """Return what was found of a subject, and the volumes once they are opened."""
        if self.data_directory is None:
            raise ConfigurationError(
                "the interface does not know its data folder; call initialize(input_path), or "
                "hand it to DataIO"
            )
        folder, files = possible_files(self.data_directory, index)
        state = state_of(files, index)
        known = self._subjects.get(index)
        if known is None or known[0].state != state:
            if folder == self.data_directory:
                files = own_files(folder, index)
            known = (read_subject(folder, files, state, index), [])
            while len(self._subjects) >= _REMEMBERED:
                self._subjects.pop(next(iter(self._subjects)), None)
            self._subjects[index] = known
        return known

    def _chosen(self, subject: Subject, index: str) -> list[Series]:
        return [choose(subject.series, criteria, index) for criteria in self._criteria]

    def _volumes(self, index: str) -> list[DicomVolume]:
        subject, opened = self._known(index)
        if opened:
            return opened
        opened[:] = open_on_one_grid(self._chosen(subject, index), self.irregular, index)
        return opened

    def _fitting(self, index: str) -> list[FileHeader]:
        subject = self._subject(index)
        series = self._chosen(subject, index)[0]
        return fitting_annotations(
            subject.annotations,
            series,
            subject.folder,
            self.annotation_tag,
            self.structure_dict,
            index,
            self.missing_structures,
        )

    def _annotation(self, index: str) -> FileHeader:
        subject = self._subject(index)
        return choose_annotation(
            self._fitting(index), subject.annotations, subject.folder, self.annotation_tag, index
        )

    def _arranged(self, array: NDArray[Any], index: str) -> NDArray[Any]:
        if self.three_dim:
            return array
        if array.shape[2] != 1:
            raise SampleError(index, f"the series has {array.shape[2]} slices; set three_dim=True")
        return array[:, :, 0]


DICOM_interface = DICOMInterface
"""Name in MIScnn 1.x."""
