"""Libraries that only some users need."""

from __future__ import annotations

import importlib
from typing import Any

from miscnn.exceptions import ConfigurationError


def optional(module: str, extra: str, purpose: str) -> Any:
    """Import a library that comes with an extra of miscnn's.

    Parameters
    ----------
    module : str
        As it is imported, such as ``"SimpleITK"``.
    extra : str
        What to install it by: ``pip install 'miscnn[extra]'``.
    purpose : str
        What it is needed for, beginning a sentence.

    Raises
    ------
    ConfigurationError
        If it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(
            f"{purpose} needs {module}, which is not installed ({error}); "
            f"pip install 'miscnn[{extra}]'"
        ) from error
