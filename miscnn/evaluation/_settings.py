"""How folds are run: the arguments that the functions of this package have in common."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import numpy as np

from miscnn.evaluation.detailed_validation import (
    ClassNames,
    EvaluatedModel,
    class_names_by_label,
    names_or_those_of_the_data,
)
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.splits import Fold, hold_out
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._callback_copies import Callbacks
from miscnn.neural_network._recipe import DEFAULT_EPOCHS

_log = logging.getLogger("miscnn.evaluation")

_CHOICES = ("worst", "median", "best")


@dataclass(frozen=True)
class Settings:
    """How a fold is run; see ``cross_validation`` for the meaning."""

    epochs: int | None
    iterations: int | None
    max_minutes: float | None
    early_stopping: int | None
    validate_volumes: int | None
    draw_figures: bool
    run_detailed_evaluation: bool
    callbacks: Callbacks
    save_models: bool
    inner_validation: float
    seed: int
    class_names: ClassNames
    overlays: Sequence[str]
    verbose: int
    resume: bool
    scoring: Scoring | None
    previews: bool

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Self:
        """Take what the settings are from the arguments (``locals()``) of a function."""
        taken = {field.name: arguments[field.name] for field in fields(cls)}
        names = names_or_those_of_the_data(taken["class_names"], arguments["model"])
        return cls(**{**taken, "class_names": names})

    @property
    def n_epochs(self) -> int | None:
        """Number of epochs; None if only the time counts."""
        if self.epochs is None and self.max_minutes is None:
            return DEFAULT_EPOCHS
        return self.epochs

    def check(
        self,
        model: EvaluatedModel,
        folds: Sequence[Fold],
        patients: Mapping[str, int] | None = None,
    ) -> None:
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
        if not isinstance(self.scoring, Scoring | None):
            raise ConfigurationError(
                f"scoring is {self.scoring!r}; expected a miscnn.evaluation.Scoring, or None"
            )
        if not 0.0 <= self.inner_validation < 1.0:
            raise ConfigurationError(
                "inner_validation is the share of the training subjects that chooses the best "
                f"weights, from 0 to below 1, got {self.inner_validation}"
            )
        self._check_training(model)
        if self.inner_validation:
            for fold in folds:
                rng = np.random.default_rng(0)
                hold_out(fold.training, self.inner_validation, rng, patients)
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

    def _check_training(self, model: EvaluatedModel) -> None:
        wanted = {
            name: getattr(self, name)
            for name in ("max_minutes", "early_stopping", "validate_volumes")
            if getattr(self, name) is not None
        }
        for name, value in wanted.items():
            if name == "max_minutes" and not value > 0:
                raise ConfigurationError(
                    f"max_minutes is {value!r}; expected a positive number of minutes for each fold"
                )
            if name != "max_minutes" and value < 1:
                raise ConfigurationError(f"{name} is {value!r}; expected 1 or more")
            if name != "max_minutes" and not self.inner_validation:
                raise ConfigurationError(
                    f"{name}={value!r} needs subjects to validate on during the training, which "
                    "those that are scored must not be; set inner_validation=0.2 as well"
                )
        if wanted and not keeps_checkpoints(model):
            raise ConfigurationError(
                f"{', '.join(wanted)} cannot be used with a {type(model).__name__}: its train "
                "does not know it. Give epochs"
            )


def keeps_checkpoints(model: EvaluatedModel) -> bool:
    """Tell whether a model can be trained with the options of a ``NeuralNetwork``.

    Those that only have the methods that are required cannot: a training of theirs that is
    interrupted begins anew, and only epochs end it.
    """
    return hasattr(model, "load_checkpoint") and all(
        any(
            parameter.name == "checkpoint_path" or parameter.kind is parameter.VAR_KEYWORD
            for parameter in inspect.signature(method).parameters.values()
        )
        for method in (model.train, model.evaluate)
    )
