"""Validation on one part of the subjects that is held out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from miscnn.evaluation._results import CrossValidationResult
from miscnn.evaluation._run import Settings, run
from miscnn.evaluation.detailed_validation import ClassNames, EvaluatedModel
from miscnn.evaluation.splits import hold_out, make_folds, write_fold
from miscnn.neural_network._callback_copies import Callbacks


def split_validation(
    sample_list: Sequence[str],
    model: EvaluatedModel,
    percentage: float = 0.2,
    epochs: int = 20,
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
) -> CrossValidationResult:
    """Train on a random part of the subjects, predict and score the others.

    Parameters
    ----------
    percentage : float
        Share of the subjects that is held out, between 0 and 1: ``ceil(percentage × n)``,
        drawn with ``seed``.
    evaluation_path : path
        Folder for what a fold of ``cross_validation`` writes, without the fold's own folder.
    sample_list, model, epochs, iterations, draw_figures, run_detailed_evaluation, callbacks, \
    save_models, return_output, inner_validation, seed, class_names, overlays, verbose
        As in :func:`miscnn.evaluation.cross_validation.cross_validation`.

    Returns
    -------
    CrossValidationResult
        With one fold.
    """
    settings = Settings(
        epochs=epochs,
        iterations=iterations,
        draw_figures=draw_figures,
        run_detailed_evaluation=run_detailed_evaluation,
        callbacks=callbacks,
        save_models=save_models,
        inner_validation=inner_validation,
        seed=seed,
        class_names=class_names,
        overlays=overlays,
        verbose=verbose,
    )
    path = Path(evaluation_path)
    samples = list(sample_list)
    held_out = set(hold_out(samples, percentage, np.random.default_rng(seed)).validation)
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
    settings.check(model, [fold])
    write_fold(path / "sample_list.json", fold.training, fold.validation)
    result = CrossValidationResult(path, (run(0, fold, path, model, settings),))
    if draw_figures:
        result.draw()
    return result
