"""Networks in formats that other programs run: ONNX and TensorFlow's SavedModel."""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from miscnn._files import atomic_folder, atomic_path, write_json
from miscnn._keras import keras
from miscnn._optional import optional
from miscnn._version import __version__
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._checksums import sha256_of
from miscnn.processing.regions import THRESHOLD, Regions

__all__ = ["DESCRIPTION", "ExportFormat", "export_network"]

ExportFormat = Literal["onnx", "saved_model"]
"""Formats that a network can be exported in."""

DESCRIPTION = "miscnn"
"""Key of the description in the metadata of an ONNX file; ``miscnn.json`` in a SavedModel."""

_FORMATS = ("onnx", "saved_model")
_AXES = "xyz"
_INPUT, _OUTPUT = "image", "probabilities"
_LOGGERS = ("tensorflow", "absl", "tf2onnx")
_SAVED_MODEL = "saved_model.pb"  # what marks a folder as one
_PIPELINE = "pipeline.json"


def export_network(
    keras_model: Any,
    path: str | os.PathLike[str],
    format: ExportFormat = "onnx",  # the word that Keras has for it
    *,
    required_multiple: int | Sequence[int] = 1,
    opset: int = 17,
    regions: Regions | None = None,
    pipeline: Mapping[str, Any] | None = None,
) -> Path:
    """Write a network for inference outside of this library; no code of ours is needed there.

    The exported network takes float32 images ``(batch, x, y[, z], channels)``, channels last,
    and returns float32 probabilities ``(batch, x, y[, z], classes)``, or of regions in their place.
    The sizes of batch and spatial axes stay free where the network leaves them free (spatial ones
    in multiples of ``required_multiple``). Of a network with deep supervision only the output at
    full resolution is exported; one trained in mixed precision is exported in float32. What the
    recipe does before and after the network (resampling, windowing, normalising, windows) is not
    part of the file.

    A description goes along, as JSON: in an ONNX file under the key ``miscnn`` of its metadata,
    in a SavedModel as ``miscnn.json`` in its folder.

    Parameters
    ----------
    keras_model : keras.Model
        A model with one input, such as an architecture or ``NeuralNetwork.model`` is.
    path : path
        File to write (``onnx``), or folder (``saved_model``). What has the name is replaced, but
        no folder that is anything else than a SavedModel.
    format : {"onnx", "saved_model"}
    required_multiple : int or sequence of int
        What the spatial axes must be a multiple of; it goes into the description.
    opset : int
        Version of ONNX' operators. The default is read by onnxruntime 1.12 and later.
    regions : Regions, optional
        What the outputs stand for, if not for classes; it goes into the description.
    pipeline : mapping, optional
        The recipe, to be written beside the network: as ``x.pipeline.json`` for ``x.onnx``, as
        ``pipeline.json`` in the folder of a SavedModel. ``network`` is added to it: the format and
        the SHA-256 of each exported file.

    Returns
    -------
    Path
        What was written.

    Raises
    ------
    ConfigurationError
        If the format is unknown, Keras runs on another backend than TensorFlow, a package is
        missing, the network has several inputs or another number of outputs than there are
        regions, or the path cannot be written to.

    Notes
    -----
    ONNX files are made by Keras through tf2onnx. Tests hold onnxruntime to Keras within 1e-4. A
    network with instance normalisation whose coarsest level is one or two voxels large
    amplifies rounding errors, whoever calculates: do not use it on images that small.
    """
    path = Path(path)
    if format not in _FORMATS:
        raise ConfigurationError(f"format is {format!r}; expected one of {_FORMATS}")
    if keras.backend.backend() != "tensorflow":
        raise ConfigurationError(
            f"networks are exported from Keras' TensorFlow backend, the backend at hand is "
            f"{keras.backend.backend()!r}. Save the network, and load and export it where the "
            "environment variable KERAS_BACKEND is 'tensorflow'"
        )
    if len(keras_model.inputs) != 1:
        raise ConfigurationError(
            f"the network has {len(keras_model.inputs)} inputs; expected one, the image"
        )
    if format == "onnx":
        _require("onnx", "tf2onnx")
    _make_room(path, format)

    (image,) = keras_model.inputs
    if isinstance(required_multiple, int):
        required_multiple = (required_multiple,) * (len(image.shape) - 2)
    description = _description(keras_model, required_multiple, regions)
    network = _in_float32(keras_model)
    # Spelled out, since Keras knows the inputs of models that have been called only.
    signature = [keras.InputSpec(shape=tuple(image.shape), dtype="float32", name=_INPUT)]
    if format == "onnx":
        with atomic_path(path) as temporary:
            with _quiet():
                network.export(
                    str(temporary),
                    format="onnx",
                    verbose=False,
                    input_signature=signature,
                    opset_version=opset,
                )
            _describe(temporary, image.shape, description)
            exported = {path.name: sha256_of(temporary)}
        beside = path.with_name(f"{path.stem}.{_PIPELINE}")
        if pipeline is None:
            beside.unlink(missing_ok=True)  # it would be that of another network
        else:
            write_json(beside, _with_files(pipeline, format, exported))
    else:
        with atomic_folder(path) as temporary:
            with _quiet():
                network.export(
                    str(temporary),
                    format="tf_saved_model",
                    verbose=False,
                    input_signature=signature,
                )
            write_json(temporary / f"{DESCRIPTION}.json", description)
            if pipeline is not None:
                exported = {
                    file.relative_to(temporary).as_posix(): sha256_of(file)
                    for file in sorted(temporary.rglob("*"))
                    if file.is_file()
                }
                write_json(temporary / _PIPELINE, _with_files(pipeline, format, exported))
    return path


def _with_files(
    pipeline: Mapping[str, Any], format: str, exported: Mapping[str, str]
) -> dict[str, Any]:
    return {**pipeline, "network": {"format": format, "sha256": dict(exported)}}


def _require(*packages: str) -> None:
    for package in packages:
        optional(package, "export", "Exporting to ONNX")


def _make_room(path: Path, format: str) -> None:
    """Raise ConfigurationError if the path cannot be written, before any work is done."""
    if format == "onnx" and path.is_dir():
        raise ConfigurationError(f"{path} is a folder; expected the name of a file, such as a.onnx")
    if format == "saved_model" and path.exists() and not (path / _SAVED_MODEL).is_file():
        empty = path.is_dir() and not any(path.iterdir())
        if not empty:
            raise ConfigurationError(
                f"{path} exists and is no SavedModel; choose another name or remove it"
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, "no permission to write there")


def _unwritable(path: Path, reason: Any) -> ConfigurationError:
    return ConfigurationError(
        f"the network cannot be exported to {path}: {reason}; choose a path in a folder that you "
        "may write to"
    )


def _description(
    keras_model: Any, required_multiple: Sequence[int], regions: Regions | None
) -> dict[str, Any]:
    (image,) = keras_model.inputs
    axes = ["batch", *_AXES[: len(image.shape) - 2]]
    versions = {"miscnn": __version__, "keras": keras.__version__}
    for package in ("tensorflow", "tf2onnx", "onnx"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:  # such as TensorFlow's builds for a device; or not needed
            continue
    return {
        "format": 1,
        "name": keras_model.name,
        "input": {"layout": [*axes, "channels"], "dtype": "float32", "channels": image.shape[-1]},
        "output": _output(keras_model, axes, regions),
        "required_multiple": [int(multiple) for multiple in required_multiple],
        "versions": versions,
    }


def _output(keras_model: Any, axes: Sequence[str], regions: Regions | None) -> dict[str, Any]:
    (output, *_) = keras_model.outputs  # the first has the full resolution
    layer = output._keras_history.operation
    meaning: dict[str, Any] = {"classes": output.shape[-1]}
    if regions is not None:
        if len(regions) != output.shape[-1]:
            raise ConfigurationError(
                f"the network has {output.shape[-1]} outputs, but there are {len(regions)} "
                f"regions: {', '.join(regions.names)}"
            )
        meaning = {
            "regions": {
                "names": list(regions.names),
                "labels": [list(labels) for labels in regions.labels],
                "class_order": list(regions.class_order),
                "threshold": THRESHOLD,
            }
        }
    (last_axis,) = meaning
    return {
        "layout": [*axes, last_axis],
        "dtype": "float32",
        "activation": getattr(getattr(layer, "activation", None), "__name__", None),
        **meaning,
    }


def _in_float32(keras_model: Any) -> Any:
    """Return the model, or a copy that calculates in float32 if it was made for less.

    Half precision on a CPU is slow, and the values of another program's are not ours.
    """
    if all(layer.compute_dtype in ("float32", "float64") for layer in keras_model.layers):
        return keras_model

    def full(value: Any) -> Any:
        if isinstance(value, dict):
            if value.get("class_name") == "DTypePolicy":
                return "float32"
            return {key: full(entry) for key, entry in value.items()}
        return [full(entry) for entry in value] if isinstance(value, list) else value

    copy = type(keras_model).from_config(full(keras_model.get_config()))
    copy.set_weights(keras_model.get_weights())
    return copy


def _describe(file: Path, shape: Sequence[int | None], description: dict[str, Any]) -> None:
    """Give input, output and free axes of an ONNX file their names, and add the description."""
    onnx = optional("onnx", "export", "Exporting to ONNX")
    document = onnx.load(str(file))
    graph = document.graph
    (image,), (output,) = graph.input, graph.output
    for old, new in ((image.name, _INPUT), (output.name, _OUTPUT)):
        for node in graph.node:
            node.input[:] = [new if name == old else name for name in node.input]
            node.output[:] = [new if name == old else name for name in node.output]
    image.name, output.name = _INPUT, _OUTPUT
    for tensor in (image, output):
        axes = tensor.type.tensor_type.shape.dim
        for axis, name, size in zip(axes, ("batch", *_AXES), shape[:-1], strict=False):
            if size is None:
                axis.dim_param = name
    onnx.helper.set_model_props(document, {DESCRIPTION: json.dumps(description)})
    onnx.checker.check_model(document)
    onnx.save(document, str(file))


@contextmanager
def _quiet() -> Iterator[None]:
    """Let only errors of the converters through."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Keras asks NumPy for a name that tf2onnx takes from it and NumPy no longer has.
        warnings.filterwarnings("ignore", r"In the future `np\.object`", FutureWarning)
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
