"""Predicting many subjects: finding them, loading them, and writing or returning results.

What a network and an ensemble of networks have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn.data_loading._checks import non_finite
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

# What predict() takes: indices, a folder, or subjects in memory.
Subjects = str | Path | Sample | NDArray[Any] | Sequence[str | Sample | NDArray[Any]]


class PredictSample(Protocol):
    """Predicts one sample: a label map, or probabilities ``(…, classes)``."""

    def __call__(self, sample: Sample, activation_output: bool = False) -> NDArray[Any]:
        """Return the prediction on the grid of the sample's image."""


def predict_subjects(
    given: Subjects,
    data_io: DataIO,
    predict_sample: PredictSample,
    return_output: bool = False,
    activation_output: bool = False,
    output_path: str | Path | None = None,
    verbose: int = 1,
) -> list[NDArray[Any]] | None:
    """Predict subjects one after the other; write the results, or return them.

    Parameters
    ----------
    given : list of str, path, Sample or ndarray, or a list of them
        Indices of the data set, a folder in the layout of its interface, or subjects in memory.
    data_io : DataIO
        The data set.
    predict_sample : callable
        ``predict_sample(sample, activation_output)`` returns one prediction.
    return_output : bool
        Return arrays instead of writing files. Subjects in memory are always returned.
    activation_output : bool
        Probabilities instead of label maps.
    output_path : path, optional
        Folder for the files. Default: the data set's ``output_path``.
    verbose : int
        0 shows no progress bar.

    Returns
    -------
    list of ndarray or None
        In the order asked for; None if files were written.

    Raises
    ------
    ConfigurationError
        If indices and subjects in memory stand in one list and nothing is to be returned, or
        a single file is named.
    MissingFileError
        If a text is neither a folder nor a subject, or there are no subjects in a folder.
    """
    data_io, subjects = find_subjects(given, data_io)
    results, written = [], []
    in_memory = [not isinstance(s, str) for s in subjects]
    if any(in_memory) and not all(in_memory) and not return_output:
        raise ConfigurationError(
            "indices and arrays in one list: ask for return_output=True, or predict them apart"
        )
    keep = return_output or any(in_memory)
    for subject in tqdm(subjects, desc="predicting", unit="sample", disable=not verbose):
        sample = load_subject(subject, data_io)
        prediction = predict_sample(sample, activation_output)
        if keep:
            results.append(prediction)
            continue
        sample.add_prediction(prediction, activation_output)
        data_io.save_prediction(sample, output_path)
        written.append(sample.index)
    if written:
        data_io.complete_predictions(written, output_path)
    return results if keep else None


def find_subjects(
    given: Subjects, data_io: DataIO
) -> tuple[DataIO, Sequence[str | Sample | NDArray[Any]]]:
    """Return the data set that the subjects belong to, and a list of the subjects.

    Raises
    ------
    ConfigurationError
        If a single file is named, or a folder although the interface lists the files of each
        subject.
    MissingFileError
        If there is no such folder, or no subject in it.
    """
    if isinstance(given, Path) or (isinstance(given, str) and given not in data_io.indices_list):
        if Path(given).is_dir():
            return _in_folder(given, data_io)
        if Path(given).is_file():
            raise ConfigurationError(
                f"{str(given)!r} is a file; give a folder in the layout of the data interface "
                f"({data_io.interface.expected_files()}), an index of the data set, or the image "
                "as an array"
            )
        if isinstance(given, Path):
            raise _nowhere(str(given), data_io)
    if isinstance(given, (str, Sample)):
        return data_io, [given]
    if isinstance(given, np.ndarray) and given.dtype.kind not in "UO":
        return data_io, [given]
    return data_io, [str(g) if isinstance(g, np.str_) else g for g in given]


def _in_folder(folder: str | Path, data_io: DataIO) -> tuple[DataIO, list[str]]:
    own = data_io.input_path is not None and Path(folder).samefile(data_io.input_path)
    if not own and _lists_files(data_io.interface):
        raise ConfigurationError(
            "the data interface lists the files of each subject, so it finds none in the folder "
            f"{str(folder)!r}; open that folder, other = miscnn.open_dataset(…), and hand in the "
            "subjects, other.sample_loader(index, load_seg=False)"
        )
    found = DataIO(_unused(data_io.interface), folder, output_path=data_io.output_path)
    if not found.indices_list:
        raise MissingFileError(
            f"there is no subject in the folder {str(folder)!r}; looked for "
            f"{found.interface.expected_files()}: new cases need the same layout as the training "
            "data"
        )
    return found, found.get_indiceslist()


def _nowhere(name: str, data_io: DataIO) -> MissingFileError:
    indices = data_io.indices_list
    more = ", …" if len(indices) > 5 else ""
    known = (
        f"the data set has {len(indices)} subject(s): {', '.join(indices[:5])}{more}"
        if indices
        else "the data set knows no subjects, so name a folder"
    )
    return MissingFileError(f"there is no folder {name!r}, and no subject of this name; {known}")


def _unused(interface: DataInterface) -> DataInterface:
    """Return an interface of the same settings that looks at no folder yet."""
    if isinstance(interface, MergedLabels):  # the one inside may be of a class of the user's
        return MergedLabels(_unused(interface.interface), interface.groups)
    return type(interface).from_config(interface.get_config())


def _lists_files(interface: DataInterface) -> bool:
    """Tell whether an interface knows its subjects by name; a table is looked for in a folder."""
    if isinstance(interface, MergedLabels):
        return _lists_files(interface.interface)
    return isinstance(getattr(interface, "listing", None), Mapping)


def load_subject(subject: str | Sample | NDArray[Any], data_io: DataIO) -> Sample:
    """Return a subject as a sample; no segmentation is needed."""
    if isinstance(subject, Sample):
        return subject
    if isinstance(subject, str):
        return _load_index(subject, data_io)
    interface = data_io.interface
    return Sample(
        "array",
        subject,
        interface.channels,
        interface.classes,
        three_dim=interface.three_dim,
    )


def _load_index(index: str, data_io: DataIO) -> Sample:
    # Also one that is not listed: it may have come into the folder later.
    if index not in data_io.indices_list and Path(index).name != index:
        raise _nowhere(index, data_io)  # a path
    try:
        return data_io.sample_loader(index, load_seg=False)
    except MissingFileError as error:
        if index in data_io.indices_list:
            raise
        raise _nowhere(index, data_io) from error
    except ConfigurationError as error:
        if data_io.input_path is not None or not data_io.interface.reads_files:
            raise
        raise _nowhere(index, data_io) from error  # there is no data folder to look into


def check_finite(sample: Sample) -> None:
    """Raise SampleError if the image holds NaN or infinite values."""
    odd = non_finite(sample.image)
    if odd is not None:
        raise SampleError(
            sample.index, f"{odd[0]} image values are NaN or infinite, the first at {odd[1]}"
        )
