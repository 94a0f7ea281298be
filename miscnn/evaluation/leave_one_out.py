"""Validation of every subject by a network trained on all others."""

from __future__ import annotations

import os
from collections.abc import Sequence

from miscnn.evaluation._results import CrossValidationResult
from miscnn.evaluation.cross_validation import cross_validation
from miscnn.evaluation.detailed_validation import ClassNames, EvaluatedModel
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.splits import Groups, LeaveOneOut
from miscnn.neural_network._callback_copies import Callbacks


def leave_one_out(
    sample_list: Sequence[str],
    model: EvaluatedModel,
    epochs: int | None = None,
    iterations: int | None = None,
    callbacks: Callbacks = (),
    evaluation_path: str | os.PathLike[str] = "evaluation",
    *,
    n_subjects: int | None = None,
    draw_figures: bool = False,
    save_models: bool = False,
    inner_validation: float = 0.0,
    seed: int = 0,
    class_names: ClassNames = None,
    verbose: int = 1,
    resume: bool = False,
    max_minutes: float | None = None,
    early_stopping: int | None = None,
    validate_volumes: int | None = None,
    groups: Groups | None = None,
    scoring: Scoring | None = None,
    previews: bool = True,
    n_jobs: int | None = None,
) -> CrossValidationResult:
    """Train on all subjects but one, score that one, and so on.

    Parameters
    ----------
    n_subjects : int, optional
        How many subjects are left out in turn, drawn with ``seed``. Default: all, which means
        as many trainings as there are subjects.
    groups : sequence or mapping, optional
        The patient of each subject, in their order or by index; one patient is left out
        in turn then.
    sample_list, model, epochs, iterations, callbacks, evaluation_path, draw_figures, save_models
        As in :func:`miscnn.evaluation.cross_validation.cross_validation`.
    inner_validation, seed, class_names, verbose, resume, max_minutes, early_stopping
        As there.
    validate_volumes, scoring, previews, n_jobs
        As there.

    Returns
    -------
    CrossValidationResult
        With one fold per subject that was left out.

    Raises
    ------
    ConfigurationError
        If ``n_subjects`` is not between 1 and the number of subjects.
    """
    return cross_validation(
        sample_list,
        model,
        epochs=epochs,
        iterations=iterations,
        evaluation_path=evaluation_path,
        draw_figures=draw_figures,
        callbacks=callbacks,
        save_models=save_models,
        splitter=LeaveOneOut(n_subjects, seed),
        groups=groups,
        inner_validation=inner_validation,
        seed=seed,
        class_names=class_names,
        verbose=verbose,
        resume=resume,
        max_minutes=max_minutes,
        early_stopping=early_stopping,
        validate_volumes=validate_volumes,
        scoring=scoring,
        previews=previews,
        n_jobs=n_jobs,
    )
