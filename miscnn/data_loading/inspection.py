"""What a data set is like: a table of its subjects, and a summary of them all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from joblib import Parallel, delayed
from tqdm.auto import tqdm

from miscnn._files import write_text
from miscnn._text import write_tsv
from miscnn.data_loading._inspection_subject import SubjectFacts, look_at
from miscnn.data_loading._inspection_summary import summarize
from miscnn.data_loading._inspection_text import WIDTH, as_html, as_text
from miscnn.data_loading._inspection_values import STATISTICS

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO

__all__ = ["Inspection", "SubjectFacts", "inspect"]

_MOST_ROWS = 40


@dataclass(frozen=True)
class Inspection:
    """What was found out about a data set.

    Attributes
    ----------
    subjects : tuple of SubjectFacts
        One for each subject, in their order.
    labels : tuple of int
        The classes of the interface, and whatever other labels occur.
    class_names : mapping of int to str
        Names of classes, where the interface knows them.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.data_io import DataIO
    >>> from miscnn.data_loading.interfaces import DictionaryInterface
    >>> image = np.arange(1000.0).reshape(10, 10, 10)
    >>> found = inspect(DataIO(DictionaryInterface({"a": (image, image > 899)})), verbose=False)
    >>> found.subjects[0].ml, found.subjects[0].intensities[0]["p50"]
    ({0: 0.9, 1: 0.1}, 499.5)
    """

    subjects: tuple[SubjectFacts, ...]
    labels: tuple[int, ...]
    class_names: Mapping[int, str]

    @property
    def ok(self) -> bool:
        """Whether everything could be found out about every subject."""
        return not any(subject.error for subject in self.subjects)

    def summary(self) -> dict[str, Any]:
        """Return medians, ranges and frequencies over all subjects, as JSON values."""
        return summarize(self.subjects, self.labels, self.class_names)

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            "summary": self.summary(),
            "subjects": [subject.to_dict() for subject in self.subjects],
        }

    def to_json(self) -> str:
        """Return everything as an indented JSON document."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` to a file."""
        write_text(path, self.to_json() + "\n")

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write one row for each subject as tab-separated text.

        Columns: ``shape_0`` …, ``spacing_0`` … (mm), ``min_0``, ``p0.5_0`` … for channel 0,
        ``foreground_min_0`` … for its voxels in the foreground, ``voxels_1`` and ``ml_1`` for
        class 1. What is not known is empty.
        """
        rows = [dict(self._cells(subject)) for subject in self.subjects]
        longest = max(rows, key=len, default={})
        header = [*longest, *(name for row in rows for name in row if name not in longest)]
        header = list(dict.fromkeys(header))
        lines = [[_cell(row.get(name)) for name in header] for row in rows]
        write_tsv(path, header, lines)

    def table(self, most_rows: int | None = _MOST_ROWS, width: int = WIDTH) -> str:
        """Return tables for the screen, the summary last.

        Parameters
        ----------
        most_rows : int, optional
            How many subjects are shown; None shows all.
        width : int
            Length of the lines in characters.
        """
        return as_text(self.subjects, self.summary(), most_rows, width)

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        return as_html(self.subjects, self.summary())

    def _cells(self, subject: SubjectFacts) -> Iterator[tuple[str, Any]]:
        yield "index", subject.index
        yield "error", subject.error
        for name, values in (("shape", subject.shape), ("spacing", subject.spacing)):
            yield from ((f"{name}_{axis}", value) for axis, value in enumerate(values or ()))
        for name in ("orientation", "slice_axis", "n_slices", "slice_thickness", "dtype"):
            yield name, getattr(subject, name)
        yield "channels", subject.channels
        yield "memory", subject.memory
        for prefix, channels in (
            ("", subject.intensities),
            ("foreground_", subject.foreground_intensities),
        ):
            for number, values_of in enumerate(channels):
                for name in STATISTICS:
                    yield f"{prefix}{name}_{number}", (values_of or {}).get(name)
        yield "foreground", subject.foreground
        yield "ignored", None if subject.voxels is None else subject.ignored
        for label in self.labels:
            yield (
                f"voxels_{label}",
                None if subject.voxels is None else subject.voxels.get(label, 0),
            )
            yield f"ml_{label}", None if subject.ml is None else subject.ml.get(label, 0.0)


def inspect(
    data_io: DataIO,
    indices: Sequence[str] | None = None,
    n_jobs: int = 1,
    verbose: bool = True,
    *,
    infer_classes: bool = False,
) -> Inspection:
    """Read every subject once and describe it: grid, intensities and labels.

    All voxels are counted. A subject that cannot be read, wholly or in part, has the reason in
    its row.

    Parameters
    ----------
    data_io : DataIO
    indices : sequence of str, optional
        Default: all of the data set.
    n_jobs : int
        Number of threads (joblib's convention). Each holds one subject in memory.
    verbose : bool
        Whether to show a progress bar.
    infer_classes : bool
        List the labels that are found only, and not those that the interface expects besides.
    """
    interface = data_io.interface
    chosen = list(data_io.indices_list if indices is None else indices)
    pool = Parallel(n_jobs=n_jobs, prefer="threads", return_as="generator")
    work = pool(delayed(look_at)(interface, index) for index in chosen)
    subjects = tuple(tqdm(work, total=len(chosen), desc="inspect", disable=not verbose))
    occurring = {label for subject in subjects for label in subject.voxels or ()}
    known = range(0 if infer_classes or not occurring else interface.classes)
    names = interface.class_names or ()
    return Inspection(subjects, tuple(sorted({*occurring, *known})), dict(enumerate(names)))


def _cell(value: Any) -> Any:
    return "" if value is None else value
