"""What the sections of a document may hold: the arguments of what they stand for."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from miscnn.pipeline._signatures import (
    OPEN,
    Argument,
    Arguments,
    arguments_in_source,
    arguments_of,
)
from miscnn.pipeline._types import FreeText

SECTIONS = (
    "data",
    "preprocessor",
    "network",
    "training",
    "evaluation",
    "prediction",
    "postprocessing",
    "bundle",
)
"""In the order in which they are written."""

MODULES = "modules"

WRITTEN = {
    "data": ("output_path", "batch_path"),
    "training": ("checkpoint_path",),
    "evaluation": ("evaluation_path",),
    "bundle": ("folder",),
}
"""Paths of what is written."""

FREE_TEXTS = ("name", "licence", "description")
"""Of the section of the bundle: None is said by leaving them out."""

CROSS_VALIDATION, SPLIT, LEAVE_ONE_OUT = "cross-validation", "split", "leave-one-out"
METHODS = (CROSS_VALIDATION, SPLIT, LEAVE_ONE_OUT)

_MODEL = ("miscnn.neural_network.model", "NeuralNetwork")
_PROGRAM = ("sample_list", "model", "callbacks", "verbose", "description", "return_output")
"""Arguments that only a program can give."""

_Method = Literal["cross-validation", "split", "leave-one-out"]


def data_arguments() -> Arguments:
    """Those of ``open_dataset`` and of the data interfaces, and who is taken."""
    return dict(_data())


@functools.cache
def _data() -> Mapping[str, Argument]:
    from miscnn.data_loading.layouts import open_dataset
    from miscnn.data_loading.layouts._formats import DICOM, FORMATS, interface_class

    own = arguments_of(open_dataset)
    own["path"] = Argument("path", str)
    for name in ("output_path", "batch_path"):
        own[name] = Argument(name, str, own[name].default)
    own["subjects"] = Argument("subjects", Sequence[str] | None, None)
    own["interface"] = Argument("interface", Any, None)
    for form in (*FORMATS, DICOM):
        for name, argument in arguments_of(interface_class(form.name)).items():
            own.setdefault(name, argument.with_default(OPEN))
    return own


def preprocessor_arguments() -> Arguments:
    """Those of ``Preprocessor``; ``data_aug`` is called ``augmentation``."""
    from miscnn.processing.preprocessor import Preprocessor

    names_1x = ("prepare_subfunctions", "use_multiprocessing")
    found = _without(arguments_of(Preprocessor), ("data_io", *names_1x))
    return {
        "augmentation" if name == "data_aug" else name: argument for name, argument in found.items()
    }


def network_arguments() -> Arguments:
    """Those of ``NeuralNetwork``."""
    other_names = ("multi_gpu", "learninig_rate")
    other_sections = ("preprocessor", "prediction", "postprocessing", "window_weight")
    found = _without(arguments_in_source(*_MODEL), (*other_names, *other_sections))
    # What None stands for, by name, so that a complete document says it.
    for name, default in (
        ("architecture", "UNetStandard"),
        ("loss", "TverskyCrossEntropy"),
        ("schedule", "constant"),
        ("optimizer", "adam"),
    ):
        found[name] = found[name].with_default(default)
    return found


def training_arguments() -> Arguments:
    """Those of ``train`` and ``evaluate``, and who validates."""
    found = arguments_in_source(*_MODEL, "evaluate")
    found = _without(found, ("training_samples", "validation_samples", *_PROGRAM))
    validation = Argument("validation", float | Sequence[str], 0.0)
    path = Argument("checkpoint_path", str | None, "checkpoints")
    return {"validation": validation, **found, "checkpoint_path": path}


def evaluation_arguments(method: str) -> Arguments:
    """Those of a function of ``miscnn.evaluation``, and which one it is."""
    found = _without(arguments_of(evaluation_function(method)), (*_PROGRAM, "y", "groups"))
    path = Argument("evaluation_path", str, "evaluation")
    result = {"method": Argument("method", _Method, CROSS_VALIDATION), **found}
    if "k_fold" in result:
        result["folds"] = result.pop("k_fold")
    return {**result, "evaluation_path": path, "resume": result["resume"].with_default(True)}


def evaluation_function(method: str) -> Any:
    """Return the function of a method."""
    from miscnn import evaluation

    functions = {
        CROSS_VALIDATION: evaluation.cross_validation,
        SPLIT: evaluation.split_validation,
        LEAVE_ONE_OUT: evaluation.leave_one_out,
    }
    return functions[method]


def scoring(values: Mapping[str, Any]) -> Any:
    """Return the ``Scoring`` that a table describes."""
    from miscnn.evaluation.scoring import Scoring

    return Scoring.from_config(values)


def prediction_arguments() -> Arguments:
    """Those of ``PredictionSettings``."""
    from miscnn.neural_network.prediction_settings import PredictionSettings

    return arguments_of(PredictionSettings)


def bundle_arguments() -> Arguments:
    """Those of ``NeuralNetwork.save``."""
    found = _without(arguments_in_source(*_MODEL, "save"), ("scores",))
    for name in FREE_TEXTS:
        found[name] = Argument(name, FreeText | None, None)
    return {**found, "folder": Argument("folder", str, "bundle")}


def _without(arguments: Arguments, names: Sequence[str]) -> Arguments:
    return {name: argument for name, argument in arguments.items() if name not in names}
