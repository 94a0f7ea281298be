"""Keras is imported in one place, and not by ``import miscnn``."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]

# A stand-in for Keras that says what TensorFlow would have found in the environment.
_STUB = """
import os, sys, types
keras = types.ModuleType("keras")
keras.ops = types.ModuleType("keras.ops")
sys.modules.update({"keras": keras, "keras.ops": keras.ops})
import miscnn._keras
assert miscnn._keras.keras is keras and miscnn._keras.ops is keras.ops
print(os.environ["TF_ENABLE_ONEDNN_OPTS"], "tensorflow" in sys.modules)
"""


def run(code: str, **environment: str) -> str:
    settled = {k: v for k, v in os.environ.items() if k != "TF_ENABLE_ONEDNN_OPTS"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**settled, "PYTHONPATH": str(_ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", ["miscnn", "miscnn.neural_network"])
def test_importing_the_package_imports_nothing_heavy(module: str) -> None:
    heavy = "{'tensorflow', 'keras', 'torch', 'numpy', 'scipy', 'matplotlib', 'nibabel'}"
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    assert run(code) == "[]"


def test_onednn_is_switched_on_before_keras_is_imported() -> None:
    assert run(_STUB) == "1 False"


def test_the_users_choice_stays() -> None:
    assert run(_STUB, TF_ENABLE_ONEDNN_OPTS="0") == "0 False"


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch is not installed")
def test_with_another_backend_tensorflow_is_left_out() -> None:
    code = (
        "import sys\n"
        "from miscnn._keras import keras\n"
        "import miscnn.neural_network.losses, miscnn.neural_network.metrics\n"
        "import miscnn.neural_network.architecture\n"
        "print(keras.backend.backend(), 'tensorflow' in sys.modules)"
    )
    assert run(code, KERAS_BACKEND="torch") == "torch False"


def test_keras_is_named_in_one_module_and_tensorflow_in_none() -> None:
    package = _ROOT / "miscnn"
    naming = []
    for path in sorted(package.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        # What is indented is imported when it is needed, and that is allowed for TensorFlow.
        starts = ("import tensorflow", "from tensorflow")
        found = any(line.strip().startswith(("import keras", "from keras")) for line in lines)
        if found or any(line.startswith(starts) for line in lines):
            naming.append(path.relative_to(package).as_posix())
    assert naming == ["_keras.py"]
