"""What may be assigned to a model's ``prediction`` and ``postprocessing``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import PostProcessing, PostProcessingStep

__all__ = ["as_postprocessing", "as_settings"]


def as_settings(given: Any, name: str = "prediction") -> PredictionSettings:
    """Return settings of a prediction; None stands for the defaults.

    Raises
    ------
    ConfigurationError
        If it is something else; for a mapping it spells out the call.
    """
    if given is None:
        return PredictionSettings()
    if isinstance(given, PredictionSettings):
        return given
    call = f"{name}=PredictionSettings(overlap=0.5)"
    if isinstance(given, Mapping):
        arguments = ", ".join(f"{key}={value!r}" for key, value in given.items())
        call = f"{name}=PredictionSettings({arguments})"
    raise ConfigurationError(
        f"{name} must be PredictionSettings(…) or None, got {given!r}. Write {call}, after "
        "from miscnn.neural_network.prediction_settings import PredictionSettings"
    )


def as_postprocessing(given: Any) -> PostProcessing | None:
    """Return post-processing; a step, or a list of steps, is put into one.

    Raises
    ------
    ConfigurationError
        If it is something else.
    """
    if given is None or isinstance(given, PostProcessing):
        return given
    steps = [given] if isinstance(given, PostProcessingStep) else given
    if not isinstance(steps, list | tuple) or not all(
        isinstance(step, PostProcessingStep) for step in steps
    ):
        raise ConfigurationError(
            "postprocessing must be PostProcessing([…]), a step such as KeepLargest(), a list of "
            f"steps, or None; got {given!r}"
        )
    return PostProcessing(steps)
