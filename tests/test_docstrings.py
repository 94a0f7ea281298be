"""The examples in docstrings, of every module of the library."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import pytest

import miscnn

# Importing this one runs the command line.
_MAIN = "miscnn.__main__"
MODULES = [
    "miscnn",
    *(
        found.name
        for found in pkgutil.walk_packages(miscnn.__path__, "miscnn.")
        if found.name != _MAIN
    ),
]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(name)
    if name == "miscnn._keras":
        return  # everything in it is Keras'
    monkeypatch.chdir(tmp_path)  # no example may leave files behind
    assert doctest.testmod(module).failed == 0


def test_there_are_examples() -> None:
    parts = doctest.DocTestFinder()
    attempted = {
        name: sum(bool(test.examples) for test in parts.find(importlib.import_module(name)))
        for name in MODULES
        if not name.endswith("_keras")
    }
    assert sum(attempted.values()) > 80
    assert attempted["miscnn.data_loading.layouts._opening"] == 1
