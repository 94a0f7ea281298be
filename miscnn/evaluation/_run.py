"""One fold: fresh model, training, prediction, scores, pictures."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from miscnn.evaluation._results import FoldResult, write_run
from miscnn.evaluation.detailed_validation import (
    ClassNames,
    EvaluatedModel,
    class_names_by_label,
    detailed_validation,
    load_predicted,
)
from miscnn.evaluation.splits import Fold, fold_path, hold_out
from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._callback_copies import Callbacks, fresh_callbacks
from miscnn.neural_network._recipe import differences_of, different_subjects, recipe_of

_log = logging.getLogger("miscnn.evaluation")

_CHOICES = ("worst", "median", "best")
_MOST_CLASSES_IN_A_TITLE = 3


@dataclass(frozen=True)
class Settings:
    """How a fold is run; see ``cross_validation`` for the meaning."""

    epochs: int
    iterations: int | None
    draw_figures: bool
    run_detailed_evaluation: bool
    callbacks: Callbacks
    save_models: bool
    inner_validation: float
    seed: int
    class_names: ClassNames
    overlays: Sequence[str]
    verbose: int

    def check(self, model: EvaluatedModel, folds: Sequence[Fold]) -> None:
        """Find now what would otherwise be found after hours of training.

        Raises
        ------
        ConfigurationError
            With all that is wrong with the first setting that is.
        """
        interface = model.preprocessor.data_io.interface
        class_names_by_label(self.class_names, interface.classes)
        unknown = sorted(set(self.overlays) - set(_CHOICES))
        if unknown:
            raise ConfigurationError(
                f"overlays takes {', '.join(_CHOICES)}, got {', '.join(unknown)}"
            )
        if not 0.0 <= self.inner_validation < 1.0:
            raise ConfigurationError(
                "inner_validation is the share of the training subjects that chooses the best "
                f"weights, from 0 to below 1, got {self.inner_validation}"
            )
        if self.inner_validation:
            for fold in folds:
                hold_out(fold.training, self.inner_validation, np.random.default_rng(0))
        elif not callable(self.callbacks):
            for callback in self.callbacks:
                if str(getattr(callback, "monitor", "")).startswith("val_"):
                    _log.warning(
                        "%s watches %r, which there is not: the subjects that are scored must "
                        "not steer the training. Set inner_validation=0.2 to watch a part of "
                        "the training subjects",
                        type(callback).__name__,
                        callback.monitor,
                    )
        if self.run_detailed_evaluation:
            scored = {index for fold in folds for index in fold.validation}
            missing = [index for index in sorted(scored) if not interface.has_segmentation(index)]
            if missing:
                raise ConfigurationError(
                    f"{len(missing)} subject(s) have no segmentation and cannot be scored: "
                    f"{', '.join(missing[:10])}; leave them out of sample_list"
                )


def run(
    number: int, fold: Fold, path: Path, model: EvaluatedModel, settings: Settings
) -> FoldResult:
    """Train on a fold's training subjects, predict and score the others, write everything.

    ``run.json`` is written last: it marks the fold as finished.
    """
    (path / "run.json").unlink(missing_ok=True)
    inner = _inner_split(number, fold, settings)
    details = _details(model, settings)
    _log.info(
        "fold %d: %d training, %d inner validation, %d validation subjects",
        number, len(inner.training), len(inner.validation), len(fold.validation),
    )  # fmt: skip
    started = time.perf_counter()
    model.reset()
    history = _train(inner, model, settings)
    trained = time.perf_counter()
    path.mkdir(parents=True, exist_ok=True)
    history.to_tsv(path / "history.tsv")
    if settings.save_models:
        model.dump(path / "model.keras")
    scores = ScoreTable()
    if settings.run_detailed_evaluation:
        scores = detailed_validation(
            fold.validation,
            model,
            path,
            class_names=settings.class_names,
            fold=number,
            verbose=settings.verbose,
        )
    result = FoldResult(
        number=number,
        path=path,
        training=tuple(inner.training),
        inner_validation=tuple(inner.validation),
        validation=tuple(fold.validation),
        history={name: [float(v) for v in values] for name, values in history.history.items()},
        scores=scores,
    )
    if settings.draw_figures:
        _draw(result, history, model, settings)
    write_run(
        result,
        {
            **details,
            "weights": "best epoch" if inner.validation else "last epoch",
            "training_seconds": round(trained - started, 3),
            "evaluation_seconds": round(time.perf_counter() - trained, 3),
        },
    )
    return result


def finished_folds(
    folds: Sequence[Fold], path: Path, model: EvaluatedModel, settings: Settings
) -> set[int]:
    """Return which folds are finished, and were run as they would be run now.

    Raises
    ------
    ConfigurationError
        If a finished fold was run in another way; it names every difference.
    """
    finished, complaints = set(), []
    for number, fold in enumerate(folds):
        folder = fold_path(path, number)
        if not (folder / "run.json").is_file():
            continue
        before = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        inner = _inner_split(number, fold, settings)
        differences = [
            *different_subjects("training", before["training"], inner.training),
            *different_subjects("inner validation", before["inner_validation"], inner.validation),
            *different_subjects("validation", before["validation"], fold.validation),
        ]
        for name, value in _details(model, settings).items():
            if name in before:  # older versions wrote less
                differences += differences_of(name, before[name], value)
        if settings.run_detailed_evaluation and not before["scored"]:
            differences.append("its subjects were not scored")
        if settings.save_models and not (folder / "model.keras").exists():
            differences.append("its weights were not kept")
        if differences:
            complaints.append(f"fold {number}: {'; '.join(differences)}")
        finished.add(number)
    if complaints:
        raise ConfigurationError(
            f"{len(complaints)} finished fold(s) in {path} were not run as they would be now. "
            f"{'. '.join(complaints)}. Go on with the settings of then, choose another "
            "evaluation_path, or run all folds anew with resume=False"
        )
    return finished


def discard_unfinished(folds: Sequence[Fold], path: Path, finished: Collection[int]) -> None:
    """Take away the marks of earlier runs from all folds but the finished ones.

    Otherwise a run that is broken off and resumed would take folds of the run before it.
    """
    kept = {fold_path(path, number) for number in finished if number < len(folds)}
    for mark in path.glob("fold_*/run.json"):
        if mark.parent not in kept:
            mark.unlink()


def _inner_split(number: int, fold: Fold, settings: Settings) -> Fold:
    if not settings.inner_validation:
        return Fold(list(fold.training), [])
    rng = np.random.default_rng([settings.seed, number])
    return hold_out(fold.training, settings.inner_validation, rng)


def _details(model: EvaluatedModel, settings: Settings) -> dict[str, Any]:
    """Return what besides the subjects decides the result of a fold, as JSON values."""
    names = class_names_by_label(settings.class_names, model.preprocessor.data_io.interface.classes)
    return {
        "seed": settings.seed,
        "epochs": settings.epochs,
        "iterations": settings.iterations,
        "class_names": list(names.values()),
        "recipe": recipe_of(model),
    }


def _train(inner: Fold, model: EvaluatedModel, settings: Settings) -> Any:
    callbacks = fresh_callbacks(settings.callbacks)
    if not inner.validation:
        return model.train(
            inner.training,
            epochs=settings.epochs,
            iterations=settings.iterations,
            callbacks=callbacks,
            verbose=settings.verbose,
        )
    return model.evaluate(
        inner.training,
        inner.validation,
        epochs=settings.epochs,
        iterations=settings.iterations,
        callbacks=callbacks,
        verbose=settings.verbose,
        restore_best=True,
    )


def _draw(result: FoldResult, history: Any, model: EvaluatedModel, settings: Settings) -> None:
    """Draw the training curves and the overlays.

    The scores are on disk by now: a picture that fails must not end a run of many folds.
    """
    try:
        for stale in result.path.glob("overlay.*"):  # of an earlier run, of other subjects
            stale.unlink()
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

    sample = load_predicted(model.preprocessor.data_io, index, result.path / "predictions")
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
