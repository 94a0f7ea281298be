"""Checks that a subclass of the user's keeps what its base class promises.

Each is imported on first use: the check of a subfunction does not import Keras.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from miscnn.testing.architecture import check_architecture
    from miscnn.testing.augmentation import check_augmentation
    from miscnn.testing.interface import check_interface
    from miscnn.testing.loss import check_loss
    from miscnn.testing.postprocessing import check_postprocessing
    from miscnn.testing.subfunction import check_subfunction

__all__ = [
    "check_architecture",
    "check_augmentation",
    "check_interface",
    "check_loss",
    "check_postprocessing",
    "check_subfunction",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        module = name.removeprefix("check_")
        return getattr(import_module(f"miscnn.testing.{module}"), name)
    raise AttributeError(f"module 'miscnn.testing' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
