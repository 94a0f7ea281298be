"""The subjects that steps are chosen by: truth and prediction, however they are handed in."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import blosc2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from tqdm.auto import tqdm

from miscnn.data_loading._indices import subject_of
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._results import CrossValidationResult
from miscnn.evaluation.detailed_validation import EvaluationData, load_predicted
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
)

Predictions = (
    str
    | os.PathLike[str]
    | CrossValidationResult
    | Mapping[str, NDArray[Any]]
    | Iterable[tuple[str, NDArray[Any]]]
)


@dataclass(frozen=True)
class Subject:
    """Truth and prediction of one subject, compressed, cut to the box that holds both."""

    group: int | str
    geometry: Geometry
    ignore_label: int | None
    _truth: Any
    _prediction: Any

    @classmethod
    def of(cls, sample: Sample, group: int | str) -> Subject:
        """Take what is needed from a sample with segmentation and prediction.

        Raises
        ------
        SampleError
            If there is no segmentation, or the prediction is no label map on its grid.
        """
        if sample.segmentation is None:
            raise SampleError(sample.index, "there is no segmentation; scores need one")
        truth, prediction = sample.segmentation[..., 0], np.asarray(sample.prediction)
        if prediction.shape != truth.shape or prediction.dtype.kind not in "biu":
            raise GridMismatchError(
                sample.index,
                f"the prediction has shape {prediction.shape} and type {prediction.dtype}, the "
                f"segmentation shape {truth.shape}; steps are chosen by label maps of "
                "whole numbers on the grid of the input",
            )
        box = _box(truth, prediction)
        geometry = sample.geometry.cropped(
            [part.start for part in box], [part.stop - part.start for part in box]
        )
        packed = (blosc2.asarray(np.ascontiguousarray(a[box])) for a in (truth, prediction))
        return cls(group, geometry, sample.ignore_label, *packed)

    def truth(self) -> NDArray[Any]:
        """Return the segmentation."""
        unpacked: NDArray[Any] = self._truth[:]
        return unpacked

    def prediction(self) -> NDArray[Any]:
        """Return the label map that was predicted."""
        unpacked: NDArray[Any] = self._prediction[:]
        return unpacked


def _box(truth: NDArray[Any], prediction: NDArray[Any]) -> tuple[slice, ...]:
    """Return the box of all that is no background, with a margin.

    The margin keeps what does not touch the border of the image from touching that of the box.
    """
    found = ndimage.find_objects(((truth != 0) | (prediction != 0)).view(np.uint8), max_label=1)[0]
    if found is None:
        return tuple(slice(0, n) for n in truth.shape)
    return tuple(
        slice(max(part.start - 1, 0), min(part.stop + 1, n))
        for part, n in zip(found, truth.shape, strict=True)
    )


def read(predictions: Predictions, data_io: EvaluationData, verbose: int) -> list[Subject]:
    """Read all subjects, one after the other.

    Raises
    ------
    ConfigurationError
        If there are none, one is there twice, or these are no predictions.
    MissingFileError
        If the folder is none of ``cross_validation``.
    """
    if isinstance(predictions, (str, os.PathLike)):
        predictions = _result_of(Path(predictions))
    if isinstance(predictions, CrossValidationResult):
        found = _of_folds(predictions, data_io)
    else:
        found = _of_pairs(predictions, data_io)
    subjects: list[Subject] = []
    seen: set[tuple[int | str, str]] = set()
    for group, sample in tqdm(found, desc="reading", unit="sample", disable=not verbose):
        if (group, sample.index) in seen:
            raise ConfigurationError(
                f"predictions holds sample {sample.index!r} twice; each subject counts once"
            )
        seen.add((group, sample.index))
        subjects.append(Subject.of(sample, group))
    if not subjects:
        raise ConfigurationError("predictions holds no subject; steps are chosen by their scores")
    return subjects


def _result_of(path: Path) -> CrossValidationResult:
    if not (path / "folds.json").is_file():
        raise MissingFileError(
            f"{path} is no folder of cross_validation (there is no folds.json); hand in its "
            "evaluation_path, or predictions made otherwise as pairs: "
            "{index: data_io.load_prediction(index, folder) for index in ...}"
        )
    return CrossValidationResult.load(path)


def _of_folds(
    result: CrossValidationResult, data_io: EvaluationData
) -> Iterator[tuple[int | str, Sample]]:
    for fold in result.folds:
        for index in fold.validation:
            yield fold.number, load_predicted(data_io, index, fold.path / "predictions")


def _of_pairs(pairs: Any, data_io: EvaluationData) -> Iterator[tuple[int | str, Sample]]:
    for entry in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if not isinstance(entry, (tuple, list)) or len(entry) != 2:
            raise ConfigurationError(
                "predictions must be a folder of cross_validation, its result, or pairs of index "
                f"and label map; got an entry {str(entry)[:80]!r}"
            )
        index, prediction = entry
        sample = data_io.sample_loader(index, load_seg=True)
        if sample.segmentation is None:
            raise SampleError(sample.index, "there is no segmentation; scores need one")
        sample.add_prediction(prediction)
        yield subject_of(index), sample
