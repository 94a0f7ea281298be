"""Where MIScnn 1.x had the base of the architectures."""

from __future__ import annotations

from miscnn.neural_network.architecture.base import Abstract_Architecture

__all__ = ["Abstract_Architecture"]
