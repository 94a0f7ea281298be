"""Medical image segmentation with Keras: from a folder of volumes to evaluated predictions.

The public names are imported on first use, so that ``import miscnn`` costs next to nothing
and never imports TensorFlow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from miscnn._version import __version__

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import Data_IO, DataIO
    from miscnn.data_loading.geometry import Geometry
    from miscnn.data_loading.layouts import open_dataset
    from miscnn.data_loading.sample import Sample
    from miscnn.neural_network.bundle import load
    from miscnn.neural_network.model import Neural_Network, NeuralNetwork
    from miscnn.pipeline.pipeline import Pipeline
    from miscnn.processing.augmentation.general import Data_Augmentation
    from miscnn.processing.preprocessor import Preprocessor

__all__ = [
    "DataIO",
    "Data_Augmentation",
    "Data_IO",
    "Geometry",
    "NeuralNetwork",
    "Neural_Network",
    "Pipeline",
    "Preprocessor",
    "Sample",
    "__version__",
    "load",
    "open_dataset",
]

_HOMES = {
    "DataIO": "miscnn.data_loading.data_io",
    "Data_Augmentation": "miscnn.processing.augmentation.general",
    "Data_IO": "miscnn.data_loading.data_io",
    "Geometry": "miscnn.data_loading.geometry",
    "NeuralNetwork": "miscnn.neural_network.model",
    "Neural_Network": "miscnn.neural_network.model",
    "Pipeline": "miscnn.pipeline.pipeline",
    "Preprocessor": "miscnn.processing.preprocessor",
    "Sample": "miscnn.data_loading.sample",
    "load": "miscnn.neural_network.bundle",
    "open_dataset": "miscnn.data_loading.layouts",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'miscnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
