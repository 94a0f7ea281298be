"""What decides the result of a training, as JSON values that can be compared later.

Imported without Keras.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from miscnn._configurable import Configurable, json_values, serialize

DEFAULT_EPOCHS = 20
"""Epochs of a training for which neither their number nor a time is given."""

# Of a network, and of a stack of networks.
_RECIPE_PARTS = (
    *("architecture", "loss", "learning_rate", "optimizer_recipe", "schedule", "precision"),
    *("seed", "prediction", "postprocessing"),
    *("combiner", "label_sets", "top", "folds", "voxels"),
)
# What a preprocessor's configuration says beyond what decides the result of a fold.
_NO_INFLUENCE = ("fitted", "workers", "cache", "slice_gap_learned")
_ADDRESS = re.compile(r" at 0x[0-9A-Fa-f]+")


def recipe_of(model: Any) -> dict[str, Any]:
    """Describe a model before any training, as far as it offers its parts; else empty."""
    parts = {name: getattr(model, name) for name in _RECIPE_PARTS if hasattr(model, name)}
    if hasattr(model, "_given_architecture"):  # not what a fold's training subjects made of it
        parts["architecture"] = model._given_architecture
    if getattr(model, "_loaded_weights", None) is not None:
        parts["loaded_weights"] = _digest(model._loaded_weights)
    if hasattr(model, "members"):
        parts["members"] = [recipe_of(member) for member in model.members]
    if hasattr(parts.get("folds"), "split") and not isinstance(parts["folds"], Configurable):
        # A splitter of another library says by its repr what it was made with.
        parts["folds"] = _ADDRESS.sub("", repr(parts["folds"]))
    preprocessor: Any = getattr(model, "preprocessor", None)
    if hasattr(preprocessor, "get_config"):
        config = preprocessor.get_config()
        parts["preprocessor"] = {k: v for k, v in config.items() if k not in _NO_INFLUENCE}
    interface: Any = getattr(getattr(preprocessor, "data_io", None), "interface", None)
    if isinstance(interface, Configurable):  # which classes there are, and what they are
        parts["interface"] = interface
    recipe: dict[str, Any] = _description(parts)
    return recipe


def _digest(arrays: Sequence[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _description(part: Any) -> Any:
    """Describe by JSON values, without what was learned from data."""
    if isinstance(part, Configurable):
        part = serialize(part)
    if isinstance(part, Mapping):
        learned = {"state"} if {"class", "config"} <= set(part) else set()
        return {str(k): _description(v) for k, v in part.items() if k not in learned}
    if isinstance(part, (list, tuple)):
        return [_description(item) for item in part]
    if hasattr(part, "get_config"):  # a part of Keras
        return {
            "class": type(part).__name__,
            "config": _description(json_values(part.get_config())),
        }
    if hasattr(part, "tolist"):  # NumPy
        return _description(part.tolist())
    if isinstance(part, float) and not math.isfinite(part):
        return str(part)
    if part is None or isinstance(part, (bool, int, float, str)):
        return part
    return str(getattr(part, "__qualname__", type(part).__qualname__))


def different_subjects(what: str, before: Sequence[str], now: Sequence[str]) -> list[str]:
    if list(before) == list(now):
        return []
    gone, new = sorted(set(before) - set(now)), sorted(set(now) - set(before))
    if not gone and not new:
        return [f"the subjects for {what} were in another order"]
    only = [("then", gone), ("now", new)]
    told = ", ".join(f"only {when}: {' '.join(who[:5])}" for when, who in only if who)
    return [f"other subjects for {what} ({told})"]


def differences_of(name: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = dict.fromkeys([*before, *now])
        pairs = [(f"{name}.{key}", before.get(key), now.get(key)) for key in keys]
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = [(f"{name}[{k}]", a, b) for k, (a, b) in enumerate(zip(before, now, strict=True))]
    else:
        return [] if before == now else [f"{name} was {before!r}, is {now!r}"]
    return [difference for pair in pairs for difference in differences_of(*pair)]
