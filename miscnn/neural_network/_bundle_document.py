"""What a bundle says of a network, as JSON values."""

from __future__ import annotations

import hashlib
import importlib.metadata
import platform
import secrets
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

from miscnn._configurable import Configurable, serialize
from miscnn._keras import keras
from miscnn._version import __version__
from miscnn.neural_network._bundle_files import FORMAT
from miscnn.neural_network.fingerprint import fingerprint_of
from miscnn.neural_network.model_card import ModelCard, label_table

if TYPE_CHECKING:
    from miscnn.neural_network.ensemble import StackedEnsemble
    from miscnn.neural_network.model import NeuralNetwork
    from miscnn.processing.preprocessor import Preprocessor

__all__ = [
    "HashedNames",
    "common_document",
    "known_training",
    "network_document",
    "optional_document",
    "stacked_document",
    "training_data",
]

_PATIENTS = ("indices",)
"""What states call the names of subjects."""


def common_document(
    kind: str, recipe: Preprocessor, card: ModelCard, fingerprint: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return what all bundles say, of one network or of several."""
    interface = recipe.data.interface
    regions = recipe.regions
    return {
        "format": FORMAT,
        "kind": kind,
        "versions": _versions(),
        "card": card.document(),
        "labels": label_table(interface, card),
        "regions": None
        if regions is None
        else [{"name": name, "labels": list(labels)} for name, labels in regions.regions],
        "inputs": {
            "channels": interface.channels,
            "three_dim": interface.three_dim,
            "format": type(interface).__name__.removesuffix("Interface"),
            "steps": [type(step).__name__ for step in recipe.subfunctions],
            "patch_shape": None if recipe.patch_shape is None else list(recipe.patch_shape),
        },
        "fingerprint": fingerprint,
        "scores_from": None,
    }


def network_document(model: NeuralNetwork, card: ModelCard) -> dict[str, Any]:
    """Return what ``pipeline.json`` holds: all that makes the network again but its weights."""
    config = _recipe_config(model)
    return {
        **common_document("network", model.preprocessor, card, training_data([model])),
        "interface": _interface_document(model),
        "preprocessor": config,
        "architecture": serialize(model.architecture),
        "loss": keras.losses.serialize(model.loss),
        "metrics": [keras.saving.serialize_keras_object(m) for m in model.metrics],
        "learning_rate": keras.saving.serialize_keras_object(model.learning_rate),
        "epochs_trained": model._epochs_trained,
        "untrained": model._untrained,
        # Whether the statistics are of the network's own training, which then goes on with
        # them. Others only serve prediction.
        "own_statistics": model._statistics is not None,
        "optimizer": serialize(model.optimizer_recipe),
        "schedule": serialize(model.schedule),
        "precision": model.precision,
        "seed": model.seed,
        "prediction": serialize(model.prediction),
        "postprocessing": optional_document(model.postprocessing),
    }


def training_data(networks: Sequence[Any]) -> dict[str, Any] | None:
    """Return the fingerprint of all that networks were trained on; None if that is not known."""
    known = [network for network in networks if hasattr(network, "_trained_on")]
    before = next((network._fingerprint for network in known if network._fingerprint), None)
    indices = [index for network in known for index in network._trained_on]
    if not indices or known[0].preprocessor.data_io is None:
        return before
    found = fingerprint_of(known[0].preprocessor.data_io, indices)
    return found | ({"before": before} if before else {})


def known_training(model: Any) -> frozenset[str] | None:
    """Return all subjects that a network was trained on; None if they are not known."""
    if not isinstance(getattr(model, "_trained_on", None), tuple):
        return None
    if model._fingerprint is not None or (not model._trained_on and not model._untrained):
        return None  # others may have trained it before
    return frozenset(model._trained_on)


class HashedNames:
    """Names of subjects that are kept as salted hashes: ``names & hashed`` tells who is there.

    It keeps honest readers from reading names. Whoever has a list of candidates can try them.

    Parameters
    ----------
    hashes : iterable of str
    salt : str
    """

    def __init__(self, hashes: Iterable[str], salt: str) -> None:
        self.hashes = frozenset(hashes)
        self.salt = salt

    @classmethod
    def of(cls, names: AbstractSet[str] | HashedNames) -> HashedNames:
        """Hash names, with a salt that is drawn; those that are hashed stay."""
        if isinstance(names, HashedNames):
            return names
        salt = secrets.token_hex(16)
        return cls((_hashed(name, salt) for name in names), salt)

    def __rand__(self, names: AbstractSet[str]) -> frozenset[str]:
        """Return those of some names that are in the set."""
        return frozenset(name for name in names if _hashed(name, self.salt) in self.hashes)


def stacked_document(ensemble: StackedEnsemble) -> dict[str, Any]:
    """Return what a stacked ensemble says beyond its networks."""
    folds = ensemble.folds
    if isinstance(folds, Configurable):
        folds = serialize(folds)
    seen = HashedNames.of(ensemble._seen)
    return {
        "combiner": ensemble.combiner,
        "softmax": optional_document(ensemble._softmax),
        "top": ensemble.top,
        "names": ensemble.names,
        # A splitter of another library is not written down; fit() then asks for one.
        "folds": folds if isinstance(folds, int | dict) else None,
        "voxels": ensemble.voxels,
        "seed": ensemble.seed,
        "member_scores": ensemble.scores,
        "seen": {"salt": seen.salt, "hashes": sorted(seen.hashes)},
    }


def optional_document(part: Configurable | None) -> dict[str, Any] | None:
    """Write a plug-in down, if there is one."""
    return None if part is None else serialize(part)


def _hashed(name: str, salt: str) -> str:
    return hashlib.sha256(f"{salt}:{name}".encode()).hexdigest()


def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    versions = {
        "miscnn": __version__,
        "keras": keras.__version__,
        "python": platform.python_version(),
    }
    try:
        versions[backend] = importlib.metadata.version(backend)
    except importlib.metadata.PackageNotFoundError:  # such as TensorFlow's builds for a device
        versions[backend] = "unknown"
    return versions


def _interface_document(model: NeuralNetwork) -> dict[str, Any]:
    """Describe the data interface without the subjects that it was trained on."""
    document = serialize(model.preprocessor.data.interface)
    pending: list[Any] = [document]  # one interface may stand around another
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if isinstance(value.get("listing"), dict):
                value["listing"] = {}
            pending.extend(value.values())
    return document


def _recipe_config(model: NeuralNetwork) -> dict[str, Any]:
    """Describe a network's recipe with the network's own statistics, or with none."""
    recipe = model.preprocessor
    has_all = model._use_statistics()
    config = recipe.get_config()
    if model._statistics is None and model._given_statistics is None:
        # What the recipe has learned by now, it has learned for another network.
        config |= {"fitted": False, "slice_gap_learned": None}
    for subfunction, document in zip(recipe.subfunctions, config["subfunctions"], strict=True):
        if subfunction.needs_fit and not has_all:
            document.pop("state", None)
        state = document.get("state")
        for key in _PATIENTS:
            if isinstance(state, dict) and isinstance(state.get(key), list):
                # An index may be the name of a patient: only how many there were is told.
                state[key] = [str(number) for number in range(1, len(state[key]) + 1)]
    return config
