"""Keras, imported in one place.

oneDNN kernels are switched on before TensorFlow is loaded, unless the user has decided
otherwise: on a CPU with AVX2 they make a 3D U-Net step more than three times as fast.
TensorFlow itself is imported only by Keras, and only if it is Keras' backend.
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import keras  # noqa: E402 - the variable above must be set before TensorFlow is loaded
from keras import ops  # noqa: E402

__all__ = ["keras", "ops"]
