"""Who has predicted, and how: so that a folder holds the predictions of one model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from miscnn._configurable import serialize, to_json
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import PostProcessing

# What does not change a prediction, beyond how fast it is.
_NO_INFLUENCE = ("fitted", "workers", "cache", "batch_size", "seed", "data_aug", "prepare_batches")
_LETTERS = 16


def network_identity(
    model: Any, recipe: Any, statistics: Sequence[Mapping[str, Any]] | None
) -> dict[str, str]:
    """Describe a network by digests of its weights and of its recipe with what it has learned."""
    weights = hashlib.sha256()
    for array in model.get_weights():
        weights.update(np.ascontiguousarray(array).data)
    config = {k: v for k, v in recipe.get_config().items() if k not in _NO_INFLUENCE}
    return {"weights": _short(weights), "recipe": digest([config, statistics])}


def identity_of(network: Any, settings: PredictionSettings | None = None) -> Any:
    """Describe a member of an ensemble, as far as it tells of itself.

    Without ``settings`` it predicts by its own.
    """
    own = getattr(network, "_identity", None)
    described = type(network).__qualname__ if own is None else own()
    kept = getattr(network, "prediction", None)
    if settings is not None or not isinstance(kept, PredictionSettings):
        return described
    return [described, _described(kept)]


def digest(values: Any) -> str:
    """Return a short digest of JSON values."""
    text = json.dumps(to_json(values), sort_keys=True)
    return _short(hashlib.sha256(text.encode()))


def call_identity(
    settings: PredictionSettings | None,
    roi: Any,
    activation_output: bool,
    postprocessing: PostProcessing | None,
    interface: DataInterface,
) -> dict[str, Any]:
    """Describe how a model is asked to predict, and what is written for its classes."""
    classes = np.arange(interface.classes, dtype=np.min_scalar_type(interface.classes))
    return {
        "data": {
            "channels": interface.channels,
            "classes": interface.classes,
            "ignore_label": to_json(interface.ignore_label),
            "label_values": to_json(interface.to_values(classes, "")),
        },
        "settings": None if settings is None else _described(settings),
        "roi": to_json(roi),
        "activation_output": activation_output,
        "postprocessing": None if postprocessing is None else serialize(postprocessing),
    }


def _described(settings: PredictionSettings) -> dict[str, Any]:
    return {k: to_json(v) for k, v in settings.get_config().items() if k not in _NO_INFLUENCE}


def _short(value: Any) -> str:
    return str(value.hexdigest()[:_LETTERS])
