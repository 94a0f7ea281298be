"""Finding everything that is wrong with a data set before a training starts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from joblib import Parallel, delayed
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn.data_loading._checks import MANY_LABELS, label_values, make_sample, non_finite, unusable
from miscnn.data_loading._problems import SEVERITIES, Problem, VerificationReport
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.label_mapping import proposal
from miscnn.data_loading.sample import Sample, odd_labels
from miscnn.exceptions import (
    GridMismatchError,
    LabelError,
    MiscnnError,
    MissingFileError,
    SampleError,
    UnreadableFileError,
)

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO

__all__ = ["Problem", "VerificationReport", "verify"]

_LOG = logging.getLogger("miscnn.data_loading.verification")

# A spacing this many times larger or smaller than the data set's median is worth a look.
_SPREAD = 3.0
# Voxels of a body part in mm; outside, the unit is more likely wrong than the scanner odd.
_SMALLEST, _LARGEST = 0.005, 50.0
_SHOWN = 8

_T = TypeVar("_T")


@dataclass
class _Subject:
    """What one subject was found to be."""

    index: str
    problems: list[Problem] = field(default_factory=list)
    geometry: Geometry | None = None
    labelled: bool = False
    labels: list[float] | None = None
    dtype: np.dtype[Any] | None = None

    def add(self, severity: str, check: str, message: str) -> None:
        problem = Problem(self.index, severity, check, message)
        if problem not in self.problems:  # image and segmentation may fail for one reason
            self.problems.append(problem)


def verify(
    data_io: DataIO,
    indices: Sequence[str] | None = None,
    *,
    infer_classes: bool = False,
    n_jobs: int = 1,
    verbose: bool = True,
) -> VerificationReport:
    """Read every subject once and report all problems together.

    Errors are: a file that is missing or cannot be read; an image that does not fit the
    interface's channels and axes, is constant, or holds NaN or infinite values; an affine
    that is singular or not finite; a segmentation on another grid (by more than a hundredth
    of a voxel); a label that is no whole number or no class; no
    subject at all. Warnings are: an empty
    segmentation, a voxel size far from the data set's median or in doubt, a class that never
    occurs, files and folders that look like subjects but are not read. The interface's
    ``ignore_label`` is no class and no error; a note tells in how many subjects it occurs. No
    content of any file makes it fail.

    Parameters
    ----------
    data_io : DataIO
    indices : sequence of str, optional
        Default: all of the data set.
    infer_classes : bool
        Take the number of classes from the labels found (consecutive from 0) instead of the
        interface.
    n_jobs : int
        Number of threads (joblib's convention). Each holds one subject in memory.
    verbose : bool
        Whether to show a progress bar.
    """
    chosen = list(data_io.indices_list if indices is None else indices)
    interface = data_io.interface
    work = _each(lambda index: _look_at(interface, index), chosen, n_jobs)
    subjects = list(tqdm(work, total=len(chosen), desc="verify", disable=not verbose))
    notes = _check_ignored(subjects, interface.ignore_label)
    values = sorted({v for s in subjects for v in s.labels or ()})
    classes = _count_classes(values) if infer_classes else interface.classes
    for subject in subjects:
        _check_labels(subject, classes, values)
    notes += _check_any(data_io, chosen)
    whole = [*notes, *_check_halves(subjects), *_check_occurrence(subjects, values, classes)]
    _check_spread(subjects)
    overlooked = _overlooked(data_io, None if indices is None else chosen)
    problems = [
        *whole,
        *overlooked,
        *(problem for subject in subjects for problem in subject.problems),
    ]
    problems.sort(key=lambda problem: SEVERITIES.index(problem.severity))
    return VerificationReport(tuple(chosen), tuple(problems), classes)


def _overlooked(data_io: DataIO, chosen: Sequence[str] | None) -> list[Problem]:
    """Return what the interface did not take for subjects, or of those chosen only."""
    ignored = [Path(p).resolve() for p in (data_io.output_path, data_io.batch_path)]
    whole = _Subject("")
    found = _attempt(whole, lambda: data_io.interface.overlooked(ignored)) or []
    told = [problem for problem in found if chosen is None or problem.index in chosen]
    return whole.problems + told


def _each(function: Callable[[str], _T], indices: list[str], n_jobs: int) -> Iterator[_T]:
    if n_jobs == 1:
        return map(function, indices)
    pool = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    results: Iterator[_T] = pool(delayed(function)(index) for index in indices)
    return results


def _look_at(interface: DataInterface, index: str) -> _Subject:
    subject = _Subject(index)
    image = _attempt(subject, lambda: interface.load_image(index))
    sample = None if image is None else _check_sample(subject, interface, *image)
    if sample is not None:
        array = sample.image
        _attempt(subject, lambda: _check_intensities(subject, array))
        del array
    shape = None if sample is None else sample.spatial_shape
    del image, sample  # before the segmentation is read
    subject.labelled = bool(_attempt(subject, lambda: interface.has_segmentation(index)))
    if subject.labelled:
        labels = _attempt(subject, lambda: _labels(interface, index))
        if labels is not None:
            _attempt(subject, lambda: _check_segmentation(subject, interface, labels, shape))
    return subject


def _labels(interface: DataInterface, index: str) -> NDArray[Any]:
    return interface.to_classes(np.asarray(interface.load_segmentation(index)), index)


def _attempt(subject: _Subject, function: Callable[[], _T]) -> _T | None:
    """Call a reader; whatever it raises is a finding about the file."""
    try:
        return function()
    except MissingFileError as error:
        subject.add("error", "missing", _reason(error, subject.index))
    except GridMismatchError as error:
        subject.add("error", "grid", error.reason)
    except LabelError as error:
        subject.add("error", "labels", error.reason)
    except SampleError as error:
        subject.add("error", "unreadable", error.reason)
    except MiscnnError as error:
        subject.add("error", "unreadable", str(error))
    except Exception as error:  # a user's own interface may raise anything
        _LOG.debug("reading %r failed", subject.index, exc_info=True)
        subject.add("error", "unreadable", f"reading failed: {type(error).__name__}: {error}")
    return None


def _reason(error: MiscnnError, index: str) -> str:
    return str(error).removeprefix(f"sample {index!r}: ")


def _check_sample(
    subject: _Subject, interface: DataInterface, image: NDArray[Any], details: dict[str, Any]
) -> Sample | None:
    try:
        sample = make_sample(interface, subject.index, image, details)
    except UnreadableFileError as error:
        subject.add("error", "unreadable", error.reason)
        return None
    except SampleError as error:
        singular = "affine is" in error.reason
        subject.add("error", "spacing" if singular else "channels", error.reason)
        return None
    remarks = _attempt(subject, lambda: interface.remarks(subject.index, details))
    for remark in remarks or ():
        subject.add(*remark)
    subject.geometry = sample.geometry
    small, large = min(sample.spacing), max(sample.spacing)
    if small < _SMALLEST or large > _LARGEST:
        sizes = " x ".join(f"{size:.4g}" for size in sample.spacing)
        subject.add("warning", "spacing", f"voxels of {sizes} mm; is the unit right?")
    return sample


def _check_intensities(subject: _Subject, image: NDArray[Any]) -> None:
    odd = non_finite(image)
    if odd is not None:
        count, first = odd
        subject.add(
            "error",
            "finite",
            f"{count} of {image.size} values are NaN or infinite, the first at {first}; "
            "replace them in the file",
        )
        return
    constant = [c for c in range(image.shape[-1]) if image[..., c].min() == image[..., c].max()]
    if len(constant) == image.shape[-1]:
        value = image.flat[0]
        subject.add("error", "constant", f"all values of the image are {value:g}; leave it out")
    elif constant:
        numbers = ", ".join(str(c + 1) for c in constant)
        subject.add("warning", "constant", f"channel {numbers} is constant")


def _check_segmentation(
    subject: _Subject,
    interface: DataInterface,
    labels: NDArray[Any],
    shape: tuple[int, ...] | None,
) -> None:
    ndim = 3 if interface.three_dim else 2
    if labels.ndim == ndim + 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    grid = _attempt(subject, lambda: interface.load_segmentation_geometry(subject.index))
    if labels.ndim != ndim or (shape is not None and labels.shape != shape):
        wanted = f"the image {shape}" if shape is not None else f"{ndim} axes are expected"
        subject.add(
            "error",
            "grid",
            f"the segmentation has shape {labels.shape}, {wanted}; resample it onto the image",
        )
    elif grid is not None and not grid.usable:
        subject.add("error", "grid", f"in the segmentation, {unusable(grid)}; copy the image's")
    elif grid is not None and subject.geometry and not subject.geometry.matches(grid):
        subject.add(
            "error",
            "grid",
            "the segmentation does not lie on the image's grid: "
            f"{grid.describe_difference(subject.geometry)}; resample it onto the image, or copy "
            "the image's header if it only got lost",
        )
    if labels.dtype.kind not in "biuf":
        subject.add("error", "labels", f"labels must be integers, not {labels.dtype}")
        return
    if labels.dtype.kind == "f" and not bool(np.all(np.isfinite(labels))):
        subject.add("error", "labels", odd_labels(labels))
        subject.labels = label_values(np.where(np.isfinite(labels), labels, 0))
        return
    subject.labels = label_values(labels)
    subject.dtype = labels.dtype


def _count_classes(values: Sequence[float]) -> int:
    """Return the length of the run 0, 1, 2 … among the values; at least two."""
    n = 0
    while n in values:
        n += 1
    return max(n, 2)


def _check_labels(subject: _Subject, classes: int, everywhere: Sequence[float]) -> None:
    values = subject.labels
    if values is None:
        return
    if len(values) > MANY_LABELS:
        text = f"more than {MANY_LABELS} different values; is it an image?"
        subject.add("error", "labels", text)
        return
    odd = [value for value in values if not value.is_integer()]
    outside = [v for v in values if v.is_integer() and not 0 <= v < classes]
    if odd:
        text = f"labels must be whole numbers, found {_list(odd)}; was it interpolated?"
        subject.add("error", "labels", text)
        return
    if outside:
        subject.add(
            "error",
            "labels",
            f"{'label' if len(outside) == 1 else 'labels'} {_list(outside)} "
            f"{'lies' if len(outside) == 1 else 'lie'} outside 0 … {classes - 1} "
            f"(classes={classes}); "
            f"{_proposal(everywhere)}",
        )
        return
    if subject.dtype is not None and subject.dtype.kind == "f":
        text = f"labels are stored as {subject.dtype}; integers are smaller"
        subject.add("note", "labels", text)
    if values == [0.0]:
        subject.add("warning", "empty", "the segmentation holds background only")


def _proposal(everywhere: Sequence[float]) -> str:
    """Say how to mend labels that are no classes; of the whole data set, which has one mapping."""
    everywhere = [value for value in everywhere if value.is_integer()]
    if everywhere == list(range(len(everywhere))):
        return f"set classes={len(everywhere)}"
    proposed = proposal(everywhere)
    return f"declare what they mean, for example {proposed}" if proposed else "rewrite them"


def _check_ignored(subjects: Sequence[_Subject], ignore_label: int | None) -> list[Problem]:
    """Take the label of voxels without annotation out of what was found, and tell of it."""
    if ignore_label is None:
        return []
    holding = [subject for subject in subjects if ignore_label in (subject.labels or ())]
    for subject in holding:
        subject.labels = [v for v in subject.labels or () if v != ignore_label]
        if not subject.labels:
            subject.labels = None
            text = f"all voxels have the label {ignore_label} (ignore_label): none is annotated"
            subject.add("warning", "empty", text)
    text = (
        f"label {ignore_label} (ignore_label) marks voxels without annotation in {len(holding)} "
        f"of {sum(subject.labelled for subject in subjects)} segmentations; they are left out of "
        "training and scores"
    )
    return [Problem("", "note", "labels", text)]


def _check_any(data_io: DataIO, chosen: Sequence[str]) -> list[Problem]:
    """Nothing that was looked at is no data set without faults."""
    if chosen:
        return []
    text = (
        "indices: no subject is chosen; name some, or leave indices out to look at all"
        if data_io.indices_list
        else f"no subject was found; looked for {data_io.interface.expected_files()}"
    )
    return [Problem("", "error", "missing", text)]


def _check_halves(subjects: Sequence[_Subject]) -> list[Problem]:
    without = [subject for subject in subjects if not subject.labelled]
    if subjects and len(without) == len(subjects):
        text = "no subject has a segmentation: fine to predict on, not to train on"
        return [Problem("", "note", "missing", text)]
    for subject in without:
        subject.add(
            "error",
            "missing",
            "there is no segmentation; add it, or leave the subject out of training",
        )
    return []


def _check_occurrence(
    subjects: Sequence[_Subject], values: Sequence[float], classes: int
) -> list[Problem]:
    absent = [str(c) for c in range(classes) if c not in values]
    if not values or not absent:
        return []
    told = f"label {absent[0]} occurs" if len(absent) == 1 else f"labels {', '.join(absent)} occur"
    text = f"{told} in no subject; is classes={classes} right?"
    return [Problem("", "warning", "labels", text)]


def _check_spread(subjects: Sequence[_Subject]) -> None:
    known = [(s, s.geometry) for s in subjects if s.geometry is not None]
    if len(known) < 3:
        return
    sizes = np.array([sorted(geometry.spacing) for _, geometry in known])
    median = np.median(sizes, axis=0)
    ratio = sizes / median
    far = np.any((ratio > _SPREAD) | (ratio < 1 / _SPREAD), axis=1)
    usual = " x ".join(f"{size:.3g}" for size in median)
    for (subject, geometry), odd in zip(known, far, strict=True):
        if odd:
            own = " x ".join(f"{size:.3g}" for size in sorted(geometry.spacing))
            subject.add(
                "warning",
                "spacing",
                f"voxels of {own} mm (sorted); the median of the data set is {usual} mm",
            )


def _list(values: Sequence[float]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:_SHOWN])
    return shown + (f" and {len(values) - _SHOWN} more" if len(values) > _SHOWN else "")
