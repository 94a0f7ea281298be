"""A trained network with its recipe, as a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miscnn._configurable import deserialize, serialize
from miscnn._files import write_json
from miscnn._keras import keras
from miscnn._version import __version__
from miscnn.data_loading.data_io import DataIO
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network.model import NeuralNetwork
from miscnn.processing.preprocessor import Preprocessor

_FORMAT = 1
_NETWORK = "model.keras"
_PIPELINE = "pipeline.json"


def save(model: NeuralNetwork, folder: str | Path) -> None:
    """Write ``model.keras`` and ``pipeline.json`` into a folder.

    The pipeline is written last: a folder that has one is complete.
    """
    folder = Path(folder)
    (folder / _PIPELINE).unlink(missing_ok=True)
    model.dump(folder / _NETWORK)
    write_json(
        folder / _PIPELINE,
        {
            "format": _FORMAT,
            "versions": {"miscnn": __version__, "keras": keras.__version__},
            "interface": serialize(model.preprocessor.data.interface),
            "preprocessor": model.preprocessor.get_config(),
            "architecture": serialize(model.architecture),
            "loss": keras.losses.serialize(model.loss),
            "metrics": [keras.saving.serialize_keras_object(m) for m in model.metrics],
            "learning_rate": keras.saving.serialize_keras_object(model.learning_rate),
            "epochs_trained": model._epochs_trained,
            "optimizer": model._optimizer_config,
            "seed": model.seed,
            "window_weight": model.window_weight,
        },
    )


def load(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
) -> NeuralNetwork:
    """Read a network that :meth:`NeuralNetwork.save` wrote, ready to predict.

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
    if not (folder / _PIPELINE).is_file():
        raise MissingFileError(
            f"{folder} holds no {_PIPELINE}: expected a folder that NeuralNetwork.save() wrote"
        )
    document = json.loads((folder / _PIPELINE).read_text(encoding="utf-8"))
    if document.get("format") != _FORMAT:
        raise ConfigurationError(
            f"{folder / _PIPELINE} has format {document.get('format')!r}; this version of miscnn "
            f"({__version__}) reads format {_FORMAT}. It was written by miscnn "
            f"{document.get('versions', {}).get('miscnn')!r}"
        )
    interface = deserialize(document["interface"], custom_objects)
    data_io = DataIO(interface, input_path, output_path=str(output_path))
    preprocessor = Preprocessor.from_config(document["preprocessor"], data_io, custom_objects)
    optimizer = document["optimizer"]
    with keras.saving.custom_object_scope(dict(custom_objects or {})):
        model = NeuralNetwork(
            preprocessor,
            deserialize(document["architecture"], custom_objects),
            loss=keras.losses.deserialize(document["loss"]),
            metrics=[keras.saving.deserialize_keras_object(m) for m in document["metrics"]],
            learning_rate=keras.saving.deserialize_keras_object(document["learning_rate"]),
            optimizer=None if optimizer is None else keras.optimizers.deserialize(optimizer),
            seed=document["seed"],
            window_weight=document["window_weight"],
        )
    model.load(folder / _NETWORK, custom_objects)
    model._epochs_trained = int(document["epochs_trained"])
    return model
