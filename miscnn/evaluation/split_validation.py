"""Validation on one part of the subjects that is held out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from miscnn.evaluation._results import CrossValidationResult
from miscnn.evaluation._resume import Task, finished_tasks, tell_finished
from miscnn.evaluation._run import run_or_load
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.detailed_validation import ClassNames, EvaluatedModel
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.splits import Groups, hold_out, make_folds, patients_of, write_fold
from miscnn.neural_network._callback_copies import Callbacks


def split_validation(
    sample_list: Sequence[str],
    model: EvaluatedModel,
    percentage: float = 0.2,
    epochs: int | None = None,
    iterations: int | None = None,
    evaluation_path: str | os.PathLike[str] = "evaluation",
    draw_figures: bool = True,
    run_detailed_evaluation: bool = True,
    callbacks: Callbacks = (),
    save_models: bool = True,
    return_output: bool = False,
    *,
    inner_validation: float = 0.0,
    seed: int = 0,
    class_names: ClassNames = None,
    overlays: Sequence[str] = ("worst", "median"),
    verbose: int = 1,
    resume: bool = False,
    max_minutes: float | None = None,
    early_stopping: int | None = None,
    validate_volumes: int | None = None,
    scoring: Scoring | None = None,
    previews: bool = True,
    groups: Groups | None = None,
) -> CrossValidationResult:
    """Train on a random part of the subjects, predict and score the others.

    Parameters
    ----------
    percentage : float
        Share of the subjects that is held out, between 0 and 1: ``ceil(percentage × n)``,
        drawn with ``seed``. With ``groups`` it is a share of the patients.
    evaluation_path : path
        Folder for what a fold of ``cross_validation`` writes, without the fold's own folder.
    groups : sequence or mapping, optional
        The patient of each subject, in their order or by index; no patient is on two sides.
    sample_list, model, epochs, iterations, draw_figures, run_detailed_evaluation, callbacks
        As in :func:`miscnn.evaluation.cross_validation.cross_validation`.
    save_models, return_output, inner_validation, seed, class_names, overlays, verbose, resume
        As there.
    max_minutes, early_stopping, validate_volumes, scoring, previews
        As there.

    Returns
    -------
    CrossValidationResult
        With one fold.
    """
    settings = Settings.of(locals())
    path = Path(evaluation_path)
    samples = list(sample_list)
    patients = patients_of(samples, None, groups)
    rng = np.random.default_rng(seed)
    held_out = set(hold_out(samples, percentage, rng, patients).validation)
    positions = range(len(samples))
    (fold,) = make_folds(
        sample_list,
        [
            (
                [k for k in positions if samples[k] not in held_out],
                [k for k in positions if samples[k] in held_out],
            )
        ],
    )
    settings.check(model, [fold], patients)
    task = Task(0, fold, path, "training", patients)
    finished = finished_tasks([task], path, model, settings)
    write_fold(path / "sample_list.json", fold.training, fold.validation)
    tell_finished(finished, 1, path, verbose)
    result = CrossValidationResult(path, (run_or_load(task, model, settings, finished),))
    if draw_figures:
        result.draw()
    return result
