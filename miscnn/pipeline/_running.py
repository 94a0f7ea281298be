"""Running a pipeline: evaluation, training, bundle."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from miscnn.exceptions import ConfigurationError
from miscnn.pipeline import _sections as sections

if TYPE_CHECKING:
    from miscnn.evaluation import CrossValidationResult
    from miscnn.neural_network.history import History
    from miscnn.neural_network.model import NeuralNetwork

_log = logging.getLogger("miscnn.pipeline")

# Tells the draw of those who validate from other draws with the same seed.
_VALIDATION_STREAM = 0x7A11

_OF_EVALUATE = ("restore_best", "early_stopping", "validate_volumes")


@dataclass(frozen=True)
class PipelineResult:
    """What came of a run.

    Attributes
    ----------
    model : NeuralNetwork
        Trained on the subjects; ready to predict.
    bundle : Path
        Where it was saved.
    history : History
        Of the last training.
    training, validation : tuple of str
        Who was trained on, and who only validated.
    evaluation : CrossValidationResult or None
        Of the section ``[evaluation]``.
    trained : bool
        Whether this run has trained; False if the checkpoints held all epochs already.
    """

    model: NeuralNetwork
    bundle: Path
    history: History
    training: tuple[str, ...]
    validation: tuple[str, ...]
    evaluation: CrossValidationResult | None = None
    trained: bool = True

    def __repr__(self) -> str:
        told = "not evaluated" if self.evaluation is None else repr(self.evaluation)
        return (
            f"PipelineResult(bundle={str(self.bundle)!r}, {len(self.training)} training, "
            f"{len(self.validation)} validation subjects; {told})"
        )


def subjects_of(data_io: Any, chosen: Sequence[str] | None) -> list[str]:
    """Return the subjects to work on.

    Raises
    ------
    ConfigurationError
        If one that was chosen is not there, or has no segmentation.
    """
    there = data_io.get_indiceslist()
    subjects = there if chosen is None else list(chosen)
    unknown = [index for index in subjects if index not in set(there)]
    if unknown:
        raise ConfigurationError(
            f"[data] subjects names {', '.join(unknown[:10])}, which the data set does not have; "
            f"it has {', '.join(there[:10])}{', …' if len(there) > 10 else ''}"
        )
    bare = [index for index in subjects if not data_io.has_segmentation(index)]
    if bare:
        raise ConfigurationError(
            f"{len(bare)} of {len(subjects)} subject(s) have no segmentation: "
            f"{', '.join(bare[:10])}{', …' if len(bare) > 10 else ''}; name those to train on: "
            "[data] subjects = […]"
        )
    if not subjects:
        raise ConfigurationError("[data] subjects is empty; there is nobody to train on")
    return subjects


def split_off(
    subjects: Sequence[str],
    validation: float | Sequence[str],
    seed: int,
    patients: Mapping[str, int] | None = None,
) -> tuple[list[str], list[str]]:
    """Return who is trained on and who validates; of a share no patient is on both sides."""
    from miscnn.evaluation.splits import hold_out

    if isinstance(validation, int | float):
        if not validation:
            return list(subjects), []
        rng = np.random.default_rng([seed, _VALIDATION_STREAM])
        training, held_out = hold_out(subjects, float(validation), rng, patients)
        return training, held_out
    unknown = [index for index in validation if index not in set(subjects)]
    if unknown:
        raise ConfigurationError(
            f"[training] validation names {', '.join(unknown[:10])}, which is not among the "
            f"{len(subjects)} subjects"
        )
    chosen = set(validation)
    training = [index for index in subjects if index not in chosen]
    if not training:
        raise ConfigurationError("[training] validation names all subjects; nobody is left")
    return training, list(validation)


def evaluate(
    model: NeuralNetwork,
    subjects: Sequence[str],
    document: Mapping[str, Any],
    path: Path,
    splitter: Any,
    verbose: int,
) -> CrossValidationResult:
    """Run what the section ``[evaluation]`` says."""
    section = {k: v for k, v in document["evaluation"].items() if k != "splitter"}
    method = section.pop("method")
    training = document["training"]
    if section["epochs"] is None and section["max_minutes"] is None:
        section.update({name: training[name] for name in ("epochs", "max_minutes")})
    if section["iterations"] is None:
        section["iterations"] = training["iterations"]
    if "folds" in section:
        section["k_fold"] = section.pop("folds")
        section["splitter"] = splitter
    if section["scoring"] is not None:
        section["scoring"] = sections.scoring(section["scoring"])
    section["evaluation_path"] = path
    function = sections.evaluation_function(method)
    _log.info("evaluation: %s, %d subjects", method, len(subjects))
    result: CrossValidationResult = function(subjects, model, verbose=verbose, **section)
    _log.info("evaluation: %d fold(s) done, in %s", len(result.folds), path)
    return result


def train(
    model: NeuralNetwork,
    training: Sequence[str],
    validation: Sequence[str],
    section: Mapping[str, Any],
    path: Path | None,
    verbose: int,
) -> tuple[History, bool]:
    """Run what the section ``[training]`` says; tell whether anything was trained."""
    arguments = {k: v for k, v in section.items() if k not in ("validation", *_OF_EVALUATE)}
    arguments["checkpoint_path"] = path
    before = _last_written(path)
    epochs, minutes = arguments["epochs"], arguments["max_minutes"]
    limits = [f"{epochs} epoch(s)"] if epochs else []
    limits += [f"{minutes:g} minutes"] if minutes else []
    _log.info(
        "training: %d training, %d validation subjects%s",
        *(len(training), len(validation), f"; {' or '.join(limits)}" if limits else ""),
    )
    if validation:
        arguments.update({name: section[name] for name in _OF_EVALUATE})
        history = model.evaluate(training, validation, verbose=verbose, **arguments)
    else:
        history = model.train(training, verbose=verbose, **arguments)
    losses = history.history.get("loss") or []
    _log.info(
        "training: %d epochs done%s",
        *(history.epochs, f", the loss is {losses[-1]:.4g}" if losses else ""),
    )
    return history, before is None or _last_written(path) != before


def _last_written(folder: Path | None) -> int | None:
    """Return when the last checkpoint was written; None if there is none."""
    from miscnn.neural_network.checkpoint import LAST

    file = None if folder is None else folder / LAST
    return file.stat().st_mtime_ns if file is not None and file.is_file() else None
