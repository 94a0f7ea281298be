"""A trained network with its recipe, as a folder."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miscnn._configurable import Configurable, deserialize, serialize
from miscnn._files import write_json
from miscnn._keras import keras
from miscnn._version import __version__
from miscnn.data_loading.data_io import DataIO
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network.checkpoint import LAST
from miscnn.neural_network.model import NeuralNetwork
from miscnn.neural_network.optimizers import OptimizerRecipe
from miscnn.processing.preprocessor import Preprocessor

if TYPE_CHECKING:
    from miscnn.neural_network.ensemble import StackedEnsemble

_FORMAT = 2
_NETWORK = "model.keras"
_PIPELINE = "pipeline.json"
ENSEMBLE = "ensemble.json"
"""What marks a folder as the bundle of an ensemble."""

_MEMBER = re.compile(r"member_\d+_\d+")


def save(model: NeuralNetwork, folder: str | Path) -> None:
    """Write ``model.keras`` and ``pipeline.json`` into a folder.

    The pipeline is written last: a folder that has one is complete.
    """
    folder = Path(folder)
    _clear(folder)
    config = _recipe_config(model)
    model.dump(folder / _NETWORK)
    write_json(
        folder / _PIPELINE,
        {
            "format": _FORMAT,
            "versions": {"miscnn": __version__, "keras": keras.__version__},
            "interface": _interface_document(model),
            "preprocessor": config,
            "architecture": serialize(model.architecture),
            "loss": keras.losses.serialize(model.loss),
            "metrics": [keras.saving.serialize_keras_object(m) for m in model.metrics],
            "learning_rate": keras.saving.serialize_keras_object(model.learning_rate),
            "epochs_trained": model._epochs_trained,
            # Whether the statistics are of the network's own training, which then goes on with
            # them. Others only serve prediction.
            "own_statistics": model._statistics is not None,
            "optimizer": serialize(model.optimizer_recipe),
            "schedule": serialize(model.schedule),
            "precision": model.precision,
            "seed": model.seed,
            "window_weight": model.window_weight,
        },
    )


def load(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
) -> NeuralNetwork | StackedEnsemble:
    """Read what :meth:`NeuralNetwork.save` or :meth:`StackedEnsemble.save` wrote.

    It is ready to predict.

    Parameters
    ----------
    folder : path
    custom_objects : mapping of str to class, optional
        Classes of the user's own that the pipeline names. No code is run from the folder.
    input_path : path, optional
        Data set to work on; not needed to predict folders and arrays.
    output_path : path
        Where predictions go.

    Raises
    ------
    MissingFileError
        If the folder holds no complete bundle.
    ConfigurationError
        If it was written by another format, or names a class that is not handed in.
    """
    folder = Path(folder)
    if (folder / ENSEMBLE).is_file():
        return load_ensemble(folder, custom_objects, input_path, output_path)
    return load_network(folder, custom_objects, input_path, output_path)


def load_network(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
) -> NeuralNetwork:
    """Read one network; arguments and errors as in :func:`load`."""
    folder = Path(folder)
    if not (folder / _PIPELINE).is_file():
        raise MissingFileError(
            f"{folder} holds no {_PIPELINE} (nor {ENSEMBLE}): expected a folder that "
            "NeuralNetwork.save() or StackedEnsemble.save() wrote"
            + (
                ". It holds checkpoints, which NeuralNetwork.load_checkpoint() reads"
                if (folder / LAST).is_file()
                else ""
            )
        )
    document = _read(folder / _PIPELINE)
    interface = deserialize(document["interface"], custom_objects)
    data_io = DataIO(interface, input_path, output_path=str(output_path))
    preprocessor = Preprocessor.from_config(document["preprocessor"], data_io, custom_objects)
    recipe: OptimizerRecipe = deserialize(document["optimizer"])
    with keras.saving.custom_object_scope(dict(custom_objects or {})):
        model = NeuralNetwork(
            preprocessor,
            deserialize(document["architecture"], custom_objects),
            loss=keras.losses.deserialize(document["loss"]),
            metrics=[keras.saving.deserialize_keras_object(m) for m in document["metrics"]],
            learning_rate=keras.saving.deserialize_keras_object(document["learning_rate"]),
            optimizer=recipe.optimizer,
            schedule=deserialize(document["schedule"], custom_objects),
            weight_decay=recipe.weight_decay,
            gradient_clipping=recipe.clip_norm,
            ema=recipe.ema,
            gradient_accumulation=recipe.accumulation,
            precision=document["precision"],
            seed=document["seed"],
            window_weight=document["window_weight"],
        )
    model.load(folder / _NETWORK, custom_objects)
    model._epochs_trained = int(document["epochs_trained"])
    if not document.get("own_statistics", True):
        model._statistics = None
    return model


def save_ensemble(ensemble: StackedEnsemble, folder: str | Path) -> None:
    """Write each network of an ensemble as a bundle of its own, then ``ensemble.json``.

    The latter is written last: a folder that has one is complete.
    """
    folder = Path(folder)
    _clear(folder)
    names = [
        [f"member_{number}_{k}" for k in range(len(networks))]
        for number, networks in enumerate(ensemble.networks)
    ]
    for folders, networks in zip(names, ensemble.networks, strict=True):
        for name, network in zip(folders, networks, strict=True):
            network.save(folder / name)
    folds = ensemble.folds
    if isinstance(folds, Configurable):
        folds = serialize(folds)
    write_json(
        folder / ENSEMBLE,
        {
            "format": _FORMAT,
            "versions": {"miscnn": __version__},
            "combiner": ensemble.combiner,
            "softmax": None if ensemble._softmax is None else serialize(ensemble._softmax),
            "top": ensemble.top,
            "names": ensemble.names,
            # A splitter of another library is not written down; fit() then asks for one.
            "folds": folds if isinstance(folds, int | dict) else None,
            "voxels": ensemble.voxels,
            "seed": ensemble.seed,
            "networks": names,
            "scores": ensemble.scores,
            "seen": sorted(ensemble._seen),
        },
    )


def load_ensemble(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
) -> StackedEnsemble:
    """Read an ensemble that :meth:`StackedEnsemble.save` wrote; see :func:`miscnn.load`."""
    from miscnn.neural_network._stacking import Score
    from miscnn.neural_network.ensemble import StackedEnsemble  # which imports this module

    folder = Path(folder)
    document = _read(folder / ENSEMBLE)
    networks = [
        [load_network(folder / name, custom_objects, input_path, output_path) for name in names]
        for names in document["networks"]
    ]
    folds = document["folds"]
    ensemble = StackedEnsemble(
        [member[0] for member in networks],
        document["combiner"],
        document["top"],
        document["names"],
        folds=deserialize(folds, custom_objects) if isinstance(folds, dict) else folds,
        voxels=document["voxels"],
        seed=document["seed"],
    )
    if document["softmax"] is not None:
        ensemble._softmax = deserialize(document["softmax"])
    ensemble.networks = networks
    ensemble.scores = [[Score(*score) for score in scores] for scores in document["scores"]]
    ensemble._seen = frozenset(document["seen"])
    return ensemble


def remove_folder(path: str | Path) -> None:
    """Remove the bundle of this name, so that a file can take its place.

    Raises
    ------
    ConfigurationError
        If there is a folder that holds anything else.
    """
    path = Path(path)
    if not path.is_dir() or path.is_symlink():
        return
    others = [
        entry.name
        for entry in path.iterdir()
        if entry.name not in (_NETWORK, _PIPELINE, ENSEMBLE) and not _MEMBER.fullmatch(entry.name)
    ]
    if others:
        raise ConfigurationError(
            f"{path} is a folder that holds more than a saved model ({', '.join(others[:5])}); "
            "a file of this name is to be written: choose another name or move the folder away"
        )
    shutil.rmtree(path)


def _clear(folder: Path) -> None:
    """Make room for a bundle: no file of this name, and nothing of an earlier bundle in it.

    The marks go first: whatever is there is no longer complete.
    """
    if folder.is_file():
        folder.unlink()
    if not folder.is_dir():
        return
    for mark in (ENSEMBLE, _PIPELINE, _NETWORK):
        (folder / mark).unlink(missing_ok=True)
    for entry in folder.iterdir():
        if _MEMBER.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)


def _interface_document(model: NeuralNetwork) -> dict[str, Any]:
    """Describe the data interface without the subjects that it was trained on."""
    document = serialize(model.preprocessor.data.interface)
    if isinstance(document["config"].get("listing"), dict):
        document["config"]["listing"] = {}
    return document


def _recipe_config(model: NeuralNetwork) -> dict[str, Any]:
    """Describe a network's recipe with the network's own statistics, or with none."""
    recipe = model.preprocessor
    has_all = model._use_statistics()
    config = recipe.get_config()
    if model._statistics is None and model._given_statistics is None:
        # What the recipe has learned by now, it has learned for another network.
        config |= {"fitted": False, "slice_gap_learned": None}
    if not has_all:
        for subfunction, document in zip(recipe.subfunctions, config["subfunctions"], strict=True):
            if subfunction.needs_fit:
                document.pop("state", None)
    return config


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if document.get("format") != _FORMAT:
        raise ConfigurationError(
            f"{path} has format {document.get('format')!r}; this version of miscnn "
            f"({__version__}) reads format {_FORMAT}. It was written by miscnn "
            f"{document.get('versions', {}).get('miscnn')!r}"
        )
    return document
