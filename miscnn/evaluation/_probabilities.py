"""Probabilities of a model's predictions: asked for, and read back subject by subject."""

from __future__ import annotations

import glob
import inspect
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError

_OUTPUT = "probabilities"


def predict_with_probabilities(
    model: Any, samples: Sequence[str], output_path: Path, verbose: int
) -> None:
    """Have a model write label maps and probabilities.

    Raises
    ------
    ConfigurationError
        If it writes label maps only.
    """
    parameters = inspect.signature(model.predict).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    if "outputs" not in parameters and not takes_any:
        raise ConfigurationError(
            f"Scoring(calibration=True) needs probabilities, and predict() of "
            f"{type(model).__name__} has no argument 'outputs' to ask for them, as that of a "
            "NeuralNetwork has; score it without calibration"
        )
    model.predict(samples, output_path=output_path, verbose=verbose, outputs=("labels", _OUTPUT))


def read_probabilities(data_io: Any, index: str, output_path: Path) -> NDArray[Any]:
    """Read back the probabilities of a subject, shape (x, y[, z], classes or regions).

    Raises
    ------
    MissingFileError
        If there are none.
    """
    name = data_io.interface.named(index, _OUTPUT)
    files = sorted(output_path.glob(glob.escape(name) + ".*"))
    if not files:
        return np.asarray(data_io.load_prediction(name, output_path))
    # Interfaces know subjects by their own names only: for them it is the subject's prediction in
    # another folder.
    with tempfile.TemporaryDirectory(prefix=".probabilities-", dir=output_path) as folder:
        for file in files:
            _lend(file, Path(folder) / (index + file.name[len(name) :]))
        return np.asarray(data_io.load_prediction(index, folder))


def _lend(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or a folder
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)
