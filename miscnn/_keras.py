"""Keras, imported in one place.

oneDNN kernels are switched on before TensorFlow is loaded, unless the user has decided
otherwise: on a CPU with AVX2 they make a 3D U-Net step more than three times as fast.
TensorFlow itself is imported only by Keras, and only if it is Keras' backend.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras
from keras import ops

__all__ = ["compile_ahead", "keras", "ops", "tensorflow"]


def tensorflow() -> Any:
    """Return TensorFlow, which Keras has loaded where it is its backend."""
    import tensorflow as tf

    return tf


def compile_ahead() -> bool | str:
    """Return what to hand to ``compile(jit_compile=...)`` on this machine.

    On a CPU the compiler of TensorFlow is slower than oneDNN's ready kernels.
    """
    if keras.backend.backend() != "tensorflow":
        return "auto"
    return "auto" if tensorflow().config.list_physical_devices("GPU") else False
