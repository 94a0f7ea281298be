"""One fold: fresh model, training, prediction, scores, pictures."""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from miscnn.evaluation._claim import SupersededError, claimed, forget_claim
from miscnn.evaluation._earlier import (
    LAST_WEIGHTS,
    PREDICTIONS,
    RUN,
    WEIGHTS,
    discard_fold,
)
from miscnn.evaluation._results import FoldResult, write_run
from miscnn.evaluation._resume import Task, begin_training, discard_training, discard_trainings
from miscnn.evaluation._settings import Settings, keeps_checkpoints
from miscnn.evaluation.detailed_validation import (
    EvaluatedModel,
    detailed_validation,
    load_predicted,
)
from miscnn.evaluation.splits import Fold
from miscnn.evaluation.summary import ScoreTable
from miscnn.neural_network._callback_copies import fresh_callbacks
from miscnn.neural_network._process import versions

_log = logging.getLogger("miscnn.evaluation")

_MOST_CLASSES_IN_A_TITLE = 3


def run_or_load(
    task: Task, model: EvaluatedModel, settings: Settings, finished: Collection[int]
) -> FoldResult:
    """Run a fold, or read it if it is among those that are finished."""
    if task.number not in finished:
        forget_claim(task.folder)
        return run_claimed(task, model, settings)
    discard_trainings(task.folder)  # of a run that was killed right after its last file
    return FoldResult.load(task.folder)


def run_claimed(task: Task, model: EvaluatedModel, settings: Settings) -> FoldResult:
    """Run a fold as the only process that does.

    Raises
    ------
    SupersededError
        If another process has taken it meanwhile; nothing was written into its folder then.
    """
    with claimed(task.folder) as claim:
        own = task._replace(training=claim.training)
        try:
            result = run(own, model, settings, claim.check)
        except SupersededError:
            if not claim.shares_training:
                discard_training(own.training_folder, ours=True)
            raise
        discard_trainings(task.folder)  # of others that this one was taken from
    return result


def run(
    task: Task,
    model: EvaluatedModel,
    settings: Settings,
    check: Callable[[], None] = lambda: None,
) -> FoldResult:
    """Train on a fold's training subjects, predict and score the others, write everything.

    ``run.json`` is written last: it marks the fold as finished. ``check`` is called before
    anything is written beside the checkpoints; it raises if the fold is no longer this process'.
    """
    number, path, scored = task.number, task.folder, task.subjects.validation
    (path / RUN).unlink(missing_ok=True)
    inner = task.inner_split(settings)
    details = task.plan(model, settings)
    _log.info(
        "fold %d: %d training, %d inner validation, %d validation subjects",
        number, len(inner.training), len(inner.validation), len(scored),
    )  # fmt: skip
    started = time.perf_counter()
    model.reset()
    history, goes_on = _train(task, inner, model, settings)
    trained = time.perf_counter()
    check()
    path.mkdir(parents=True, exist_ok=True)
    discard_fold(path, [index for side in task.subjects for index in side])
    history.to_tsv(path / "history.tsv")
    chosen = _has_chosen(task, inner, model)
    _keep_weights(task, chosen, model, settings)
    scores = ScoreTable()
    if settings.run_detailed_evaluation:
        scores = detailed_validation(
            scored,
            model,
            path,
            class_names=settings.class_names,
            fold=number,
            verbose=settings.verbose,
            scoring=settings.scoring,
            previews=settings.previews,
        )
    check()
    result = FoldResult(
        number=number,
        path=path,
        training=tuple(inner.training),
        inner_validation=tuple(inner.validation),
        validation=tuple(scored),
        history={name: [float(v) for v in values] for name, values in history.history.items()},
        scores=scores,
    )
    if settings.draw_figures:
        if settings.verbose:
            tqdm.write(f"fold {number}: drawing", file=sys.stderr)  # where the bars are
        _draw(result, history, model, settings)
        check()
    write_run(
        result,
        {
            **details,
            "weights": "best epoch" if chosen else "last epoch",
            "interrupted": goes_on,  # the seconds are those of the last run then
            "training_seconds": round(trained - started, 3),
            "evaluation_seconds": round(time.perf_counter() - trained, 3),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": versions(),
        },
    )
    discard_training(task.training_folder)
    return result


def _train(task: Task, inner: Fold, model: EvaluatedModel, settings: Settings) -> tuple[Any, bool]:
    """Return the history, and whether an interrupted training went on."""
    goes_on = False
    options: dict[str, Any] = {
        "epochs": settings.n_epochs,
        "iterations": settings.iterations,
        "callbacks": fresh_callbacks(settings.callbacks),
        "verbose": settings.verbose,
    }
    if inner.validation:
        options["restore_best"] = True
    if keeps_checkpoints(model):
        goes_on = begin_training(task, model, settings)
        options |= {
            "max_minutes": settings.max_minutes,
            "checkpoint_path": task.training_folder,
            "resume": goes_on,
            "description": task.name,
        }
        if inner.validation:
            options |= {
                "early_stopping": settings.early_stopping,
                "validate_volumes": settings.validate_volumes,
            }
    if inner.validation:
        return model.evaluate(inner.training, inner.validation, **options), goes_on
    return model.train(inner.training, **options), goes_on


def _has_chosen(task: Task, inner: Fold, model: EvaluatedModel) -> bool:
    """Tell whether the model has its best weights: none are if no loss was ever a number."""
    if not inner.validation or not keeps_checkpoints(model):
        return bool(inner.validation)
    from miscnn.neural_network.checkpoint import BEST  # slow to import

    return (task.training_folder / BEST).is_file()


def _keep_weights(task: Task, chosen: bool, model: Any, settings: Settings) -> None:
    """Write the weights that predict, and the last ones if these are others."""
    if not settings.save_models:
        return
    model.dump(task.folder / WEIGHTS)
    if chosen and keeps_checkpoints(model):
        model.load_checkpoint(task.training_folder, "last")
        model.dump(task.folder / LAST_WEIGHTS)
        model.load_checkpoint(task.training_folder, "best")


def _draw(result: FoldResult, history: Any, model: EvaluatedModel, settings: Settings) -> None:
    """Draw the training curves and the overlays.

    The scores are on disk by now: a picture that fails must not end a run of many folds.
    """
    try:
        history.plot(result.path / "training.png")
        for choice, index in chosen_subjects(result.scores, settings.overlays).items():
            _overlay(result, choice, index, model, settings)
    except Exception:
        _log.exception("fold %d: not all pictures could be drawn; its scores are complete",
                       result.number)  # fmt: skip


def _overlay(
    result: FoldResult, choice: str, index: str, model: EvaluatedModel, settings: Settings
) -> None:
    from miscnn.evaluation.visualizer import overlay_gif, overlay_png

    sample = load_predicted(model.preprocessor.data_io, index, result.path / PREDICTIONS)
    scored = result.scores.select("dice", sample=index)
    if len(scored.rows) <= _MOST_CLASSES_IN_A_TITLE:
        dice = ", ".join(f"{row.class_name} {row.value:.3f}" for row in scored)
    else:
        dice = f"{_mean_dice(scored):.3f} on average"
    title = f"{index} · {choice} of fold {result.number}\nDice {dice}"
    name = re.sub(r"[^\w.-]+", "_", index)
    names = settings.class_names
    stem = result.path / f"overlay.{choice}.{name}"
    overlay_png(sample, f"{stem}.png", class_names=names, title=title)
    overlay_gif(sample, f"{stem}.gif", class_names=names, title=title)


def chosen_subjects(table: ScoreTable, choices: Sequence[str]) -> dict[str, str]:
    """Return who is worst, median and best by mean Dice over the classes.

    Subjects without any defined Dice are passed over; nobody is chosen twice.
    """
    dice = {sample: _mean_dice(table.select("dice", sample=sample)) for sample in table.samples}
    ranked = sorted((s for s in dice if np.isfinite(dice[s])), key=lambda s: (dice[s], s))
    if not ranked:
        return {}
    at = {"worst": ranked[0], "median": ranked[len(ranked) // 2], "best": ranked[-1]}
    chosen: dict[str, str] = {}
    for choice in choices:
        if at[choice] not in chosen.values():
            chosen[choice] = at[choice]
    return chosen


def _mean_dice(table: ScoreTable) -> float:
    values = [row.value for row in table if np.isfinite(row.value)]
    return float(np.mean(values)) if values else float("nan")
