"""The whole recipe as one document: TOML, YAML or a dictionary."""

from __future__ import annotations

from miscnn.pipeline._problems import PipelineError, Problem
from miscnn.pipeline._running import PipelineResult
from miscnn.pipeline.pipeline import Pipeline

__all__ = ["Pipeline", "PipelineError", "PipelineResult", "Problem"]
