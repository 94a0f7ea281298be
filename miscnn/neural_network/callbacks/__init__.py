"""Keras callbacks of our own."""

from __future__ import annotations

from miscnn.neural_network.callbacks.live import LiveFigure
from miscnn.neural_network.callbacks.logs import TSVLog, tensorboard_callback
from miscnn.neural_network.callbacks.progress import ProgressBar
from miscnn.neural_network.callbacks.weights import BestWeights, EarlyStopping

__all__ = [
    "BestWeights",
    "EarlyStopping",
    "LiveFigure",
    "ProgressBar",
    "TSVLog",
    "tensorboard_callback",
]
