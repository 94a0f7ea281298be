"""Keras callbacks of our own."""

from __future__ import annotations

from miscnn.neural_network.callbacks.budget import TimeBudget
from miscnn.neural_network.callbacks.progress import ProgressBar
from miscnn.neural_network.callbacks.weights import BestWeights

__all__ = ["BestWeights", "ProgressBar", "TimeBudget"]
