"""Which steps of post-processing help: chosen by predictions of subjects that were held out.

The rule is strict on purpose. A step is taken only if it raises the mean score of a class, and
lets neither the mean nor the lower quartile nor the worst case of any class fall. That a network
has errors which a step could mend is no reason to trust the step: it must not have harmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn.evaluation._choice_result import (
    CandidateRow,
    ChoiceEstimate,
    PostProcessingChoice,
    told,
)
from miscnn.evaluation._choice_rule import Figures, Selection, Stage, select
from miscnn.evaluation._choice_scores import SCORES, Bench
from miscnn.evaluation._choice_subjects import Predictions, read
from miscnn.evaluation.detailed_validation import (
    ClassNames,
    EvaluationData,
    class_names_by_label,
)
from miscnn.exceptions import ConfigurationError
from miscnn.processing.postprocessing import (
    FillHoles,
    KeepLargest,
    PerClass,
    PostProcessing,
    PostProcessingStep,
    RemoveSmall,
)

__all__ = [
    "CandidateRow",
    "ChoiceEstimate",
    "PostProcessingChoice",
    "choose_postprocessing",
    "default_candidates",
]

_SIZES_ML = (0.01, 0.1, 1.0, 10.0)
_SIZES_MM2 = (1.0, 10.0, 100.0)


def choose_postprocessing(
    predictions: Predictions,
    data_io: EvaluationData,
    candidates: Sequence[PostProcessingStep] | None = None,
    score: str = "dice",
    *,
    minimum_gain: float = 0.001,
    estimate: bool = True,
    class_names: ClassNames = None,
    verbose: int = 1,
) -> PostProcessingChoice:
    """Choose those steps that help, by predictions of subjects that were not trained on.

    First those candidates compete that work on several classes, then, class by class, those
    that name just this one. Of those that help, the one with the largest gain is taken, and the
    others are tried after it, until none helps. A step *helps* if it raises the mean score of
    at least one class, and the mean, the lower quartile and the worst case of no class fall.

    Parameters
    ----------
    predictions : path, CrossValidationResult, or pairs of index and label map
        A folder of ``cross_validation`` (its folds keep their predictions), its result, or
        what was predicted otherwise: a mapping, or an iterable, which is gone through once.
        Predictions of subjects that were trained on say nothing. They must be as the network
        made them, not post-processed yet.
    data_io : DataIO
        Where the segmentations are.
    candidates : sequence of PostProcessingStep, optional
        Default: the largest component of the whole foreground; for each class the largest
        component, its holes filled, and components removed below 0.01, 0.1, 1 and 10 ml (in 2D
        1, 10 and 100 mm²).
    score : {"dice", "jaccard", "hd95_mm", "assd_mm"}
        As in :mod:`miscnn.evaluation.scores`.
    minimum_gain : float
        Smaller gains of the mean, in the unit of the score, are worth no step.
    estimate : bool
        Choose for each fold by the other folds as well, to tell what choosing is worth. Without
        folds each subject is one.
    class_names : sequence or mapping, optional
        As in ``cross_validation``. Default: those of the data interface.
    verbose : int
        0 shows no progress bars.

    Returns
    -------
    PostProcessingChoice

    Raises
    ------
    ConfigurationError
        If there are no predictions, a subject is there twice, or candidates or score are none.
    MissingFileError, SampleError
        If the folder is none of ``cross_validation``, or a segmentation is missing or on another
        grid.

    Notes
    -----
    Means, and what is undefined, are as in a :class:`~miscnn.evaluation.summary.Summary`. More
    infinite distances (a class that is gone) count as a fall, fewer as a gain. Label maps are
    held in memory, compressed.

    Because all subjects take part in the choice, their scores after it are optimistic. The
    estimate is not: there, steps are chosen by some folds and scored on another (nested
    cross-validation; Varma & Simon, BMC Bioinformatics 7:91, 2006).
    """
    if score not in SCORES:
        raise ConfigurationError(
            f"score={score!r} cannot choose; use one of {', '.join(SCORES)}: they judge what is "
            "missing and what is too much"
        )
    classes = data_io.interface.classes
    if class_names is None:
        class_names = getattr(data_io.interface, "class_names", None)
    names = class_names_by_label(class_names, classes)
    subjects = read(predictions, data_io, verbose)
    if candidates is None:
        candidates = default_candidates(classes, subjects[0].geometry.ndim)
    steps = _checked(candidates, classes)
    bench = Bench(subjects, steps, score)
    groups = list(dict.fromkeys(subject.group for subject in subjects))
    nested = groups if estimate and len(groups) > 1 else []
    stages = _stages(steps, classes)
    everyone = np.arange(len(subjects))
    of_group = np.array([groups.index(subject.group) for subject in subjects])
    total = len(stages) * (1 + len(nested))
    with tqdm(total=total, desc="choosing steps", disable=not verbose) as bar:
        selection = select(bench, everyone, stages, minimum_gain, bar.update)
        others = [
            select(bench, np.flatnonzero(of_group != group), stages, minimum_gain, bar.update)
            for group in range(len(nested))
        ]
    held_out = [np.flatnonzero(of_group == group) for group in range(len(nested))]
    return PostProcessingChoice(
        postprocessing=_chain(steps, selection),
        table=tuple(_rows(bench, names, selection, others)),
        estimate=tuple(
            _estimated(bench, label, names, selection, list(zip(others, held_out, strict=True)))
            for label in range(1, classes)
        ),
        per_fold=tuple(_chain(steps, other) for other in others),
        score=score,
        n_subjects=len(subjects),
    )


def default_candidates(classes: int, ndim: int) -> list[PostProcessingStep]:
    """Return the steps that are tried if none are named."""
    steps: list[PostProcessingStep] = []
    if classes > 2:
        steps.append(KeepLargest("foreground"))
    for label in range(1, classes):
        steps += [KeepLargest([label]), FillHoles([label])]
        if ndim == 3:
            steps += [RemoveSmall(size, [label]) for size in _SIZES_ML]
        else:
            steps += [RemoveSmall(labels=[label], minimum_mm2=size) for size in _SIZES_MM2]
    return steps


def _checked(candidates: Any, classes: int) -> tuple[PostProcessingStep, ...]:
    steps = PostProcessing(candidates).steps
    if not steps:
        raise ConfigurationError("candidates is empty; leave it out for the default ones")
    for step in steps:
        unknown = sorted(label for label in _labels(step) if label >= classes)
        if unknown:
            raise ConfigurationError(
                f"{told(step)} names the class(es) {unknown}, but the data set has the classes "
                f"0 … {classes - 1}"
            )
    return steps


def _stages(steps: Sequence[PostProcessingStep], classes: int) -> list[Stage]:
    every = list(range(1, classes))
    only: dict[int | None, list[int]] = {}
    for position, step in enumerate(steps):
        labels = _labels(step)
        alone = len(labels) == 1 and getattr(step, "replace_with", 0) == 0
        only.setdefault(next(iter(labels)) if alone else None, []).append(position)
    stages = [Stage(only[None], every, shared=True)] if None in only else []
    return stages + [Stage(only[n], [n], shared=False) for n in every if n in only]


def _labels(step: PostProcessingStep) -> set[int]:
    """Return the classes that a step names; none if it is for all, or its own affair."""
    if isinstance(step, PerClass):
        return set(step.steps)
    if not isinstance(step, (KeepLargest, RemoveSmall, FillHoles)) or step.labels is None:
        return set()
    entries = step.labels if isinstance(step.labels, tuple) else ()
    return {label for e in entries for label in (e if isinstance(e, tuple) else (e,))}


def _chain(steps: Sequence[PostProcessingStep], selection: Selection) -> PostProcessing:
    return PostProcessing([steps[position] for position in selection.chain])


def _rows(
    bench: Bench, names: Mapping[int, str], selection: Selection, others: Sequence[Selection]
) -> Iterator[CandidateRow]:
    for (candidate, label), trial in sorted(selection.trials.items()):
        taken = candidate in selection.chain
        before, after = (_shown(figures, bench.sign) for figures in (trial.before, trial.after))
        yield CandidateRow(
            step=bench.steps[candidate],
            label=label,
            class_name=names[label],
            chosen=selection.chain.index(candidate) + 1 if taken else None,
            folds=sum(candidate in other.chain for other in others) if others else None,
            mean_before=before[0],
            mean_after=after[0],
            quartile_before=before[1],
            quartile_after=after[1],
            worst_before=before[2],
            worst_after=after[2],
            better=trial.better,
            worse=trial.worse,
        )


def _estimated(
    bench: Bench,
    label: int,
    names: Mapping[int, str],
    selection: Selection,
    nested: Sequence[tuple[Selection, NDArray[np.intp]]],
) -> ChoiceEstimate:
    everyone, every = np.arange(len(bench.subjects)), range(1, len(names))
    parts = [bench.values(chosen.chain, label, who, every) for chosen, who in nested]
    columns = [
        bench.values((), label, everyone, every),
        bench.values(selection.chain, label, everyone, every),
        np.concatenate(parts) if parts else None,
    ]
    means, worst = [], []
    for values in columns:
        defined = np.array([]) if values is None else bench.sign * values[~np.isnan(values)]
        finite = defined[np.isfinite(defined)]
        means.append(float(finite.mean()) if finite.size else float("nan"))
        extreme = np.min if bench.sign > 0 else np.max
        worst.append(float(extreme(defined)) if defined.size else float("nan"))
    return ChoiceEstimate(label, names[label], *means, *worst)


def _shown(figures: Figures, sign: float) -> list[float]:
    """Return mean, quartile and worst case as the score has them; NaN if all are undefined."""
    values = (figures.mean, figures.quartile, figures.worst)
    return [float("nan") if value == np.inf else sign * value for value in values]
