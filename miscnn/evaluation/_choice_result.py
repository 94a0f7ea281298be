"""What choosing steps of post-processing gave: in memory, in words, in a file."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from miscnn._text import aligned, number, shortened, write_tsv
from miscnn.processing.postprocessing import PostProcessing, PostProcessingStep

_HEADER = (
    *("step", "class", "class_name", "chosen", "folds", "mean_before", "mean_after"),
    *("quartile_before", "quartile_after", "worst_before", "worst_after", "better", "worse"),
)
_WIDEST_STEP = 40
# Smaller changes are not seen in three digits.
_VISIBLE = 5e-4


@dataclass(frozen=True, slots=True)
class CandidateRow:
    """What a candidate did to the score of one class when it was tried last.

    Attributes
    ----------
    step : PostProcessingStep
    label : int
    class_name : str
    chosen : int or None
        Position in the chain, from 1 on; None if it was not taken.
    folds : int or None
        How many of the choices by all folds but one took it; None without an estimate.
    mean_before, mean_after : float
        Over the subjects with a finite score, before (after the steps taken so far) and after it.
    quartile_before, quartile_after, worst_before, worst_after : float
        Lower quartile (the score of a subject; upper for distances) and worst case of the defined
        scores.
    better, worse : int
        Number of subjects. An undefined score (nothing to find, nothing found) is the best.
    """

    step: PostProcessingStep
    label: int
    class_name: str
    chosen: int | None
    folds: int | None
    mean_before: float
    mean_after: float
    quartile_before: float
    quartile_after: float
    worst_before: float
    worst_after: float
    better: int
    worse: int


@dataclass(frozen=True, slots=True)
class ChoiceEstimate:
    """What all chosen steps together do to one class.

    Attributes
    ----------
    label : int
    class_name : str
    before, after : float
        Mean score without and with the chosen steps: ``after`` is optimistic, since the steps
        were chosen by these very subjects.
    held_out : float
        Mean score if the steps for each fold are chosen by the other folds only: an honest
        estimate of choosing in this way. NaN if it was not asked for.
    worst_before, worst_after, worst_held_out : float
        The same for the worst case.
    """

    label: int
    class_name: str
    before: float
    after: float
    held_out: float
    worst_before: float
    worst_after: float
    worst_held_out: float


@dataclass(frozen=True)
class PostProcessingChoice:
    """Which steps help, and how that was seen.

    ``str()`` tells it; :meth:`to_tsv` writes the table of all candidates.

    Attributes
    ----------
    postprocessing : PostProcessing
        The chosen steps, for ``NeuralNetwork.postprocessing``; without any if none helps.
    table : tuple of CandidateRow
        Every candidate and class that it was tried for.
    estimate : tuple of ChoiceEstimate
        One per class.
    per_fold : tuple of PostProcessing
        What was chosen without the first group of subjects, without the second, and so on;
        empty without an estimate.
    score : str
    n_subjects : int
    """

    postprocessing: PostProcessing
    table: tuple[CandidateRow, ...]
    estimate: tuple[ChoiceEstimate, ...]
    per_fold: tuple[PostProcessing, ...]
    score: str
    n_subjects: int

    def to_tsv(self, path: str | os.PathLike[str]) -> None:
        """Write one line per candidate and class: the attributes of :class:`CandidateRow`."""
        write_tsv(path, _HEADER, map(_cells, self.table))

    def __str__(self) -> str:
        steps = [told(step) for step in self.postprocessing.steps]
        lines = [
            f"{self.score} of {self.n_subjects} subjects: "
            + (f"{len(steps)} step(s) help" if steps else "no step helps"),
            *(f"  {position}. {step}" for position, step in enumerate(steps, 1)),
        ]
        shown = [row for row in self.table if row.better or row.worse]
        if shown:
            header = ("step", "class", "chosen", "before", "after", "quarter", "worst")
            body = [_printed(row) for row in shown]
            tail = ("better", "worse", f"of {len(self.per_fold)}" if self.per_fold else "")
            lines += ["", *aligned([(*header, *tail), *body], left=2)]
        idle = len({id(row.step) for row in self.table} - {id(row.step) for row in shown})
        if idle:
            lines += ["", f"{idle} candidate(s) changed no score."]
        lines += ["", *self._estimates()]
        return "\n".join(lines)

    def _estimates(self) -> list[str]:
        header = ("class", "", "before", "after", "held out")
        body: list[tuple[str, ...]] = []
        for row in self.estimate:
            means = (row.before, row.after, row.held_out)
            worst = (row.worst_before, row.worst_after, row.worst_held_out)
            body.append((shortened(row.class_name, 16), "mean", *map(number, means)))
            body.append(("", "worst", *map(number, worst)))
        lines = aligned([header, *body], left=2)
        lines += ["", "after: the steps were chosen by these very subjects, so it is optimistic."]
        if self.per_fold:
            lines += ["held out: for each fold, or subject, the steps that the others choose."]
        return lines


def told(step: PostProcessingStep) -> str:
    """Describe a step by the arguments that are not the defaults."""
    parameters = inspect.signature(type(step)).parameters.values()
    arguments = ((p.name, getattr(step, p.name, p.default), p.default) for p in parameters)
    given = (f"{name}={_plain(value)}" for name, value, default in arguments if value != default)
    return f"{type(step).__name__}({', '.join(given)})"


def _plain(value: Any) -> str:
    return f"[{', '.join(map(_plain, value))}]" if isinstance(value, tuple) else repr(value)


def _cells(row: CandidateRow) -> tuple[object, ...]:
    numbers = (getattr(row, name) for name in _HEADER[5:])
    chosen, folds = ("" if n is None else n for n in (row.chosen, row.folds))
    return (told(row.step), row.label, row.class_name, chosen, folds, *numbers)


def _printed(row: CandidateRow) -> tuple[str, ...]:
    return (
        shortened(told(row.step), _WIDEST_STEP),
        shortened(row.class_name, 12),
        "" if row.chosen is None else str(row.chosen),
        number(row.mean_before),
        number(row.mean_after),
        _change(row.quartile_before, row.quartile_after),
        _change(row.worst_before, row.worst_after),
        str(row.better),
        str(row.worse),
        "" if row.folds is None else str(row.folds),
    )


def _change(before: float, after: float) -> str:
    """Return a difference with its sign; nothing if there is none, a dash if it is undefined."""
    difference = after - before if before != after else 0.0
    if not np.isfinite(difference):
        return "—"
    if abs(difference) < _VISIBLE:
        return ""
    return f"{'+' if difference > 0 else '-'}{number(abs(difference))}"
