"""The user's own modules, imported because the user has named them."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from miscnn.exceptions import ConfigurationError


def imported_names(modules: Iterable[str], folder: Path | None = None) -> list[str]:
    """Import modules, also from files, and return their names; errors as :func:`own_classes`."""
    return [_imported(name, folder or Path()).__name__ for name in modules]


def own_classes(modules: Iterable[str], folder: Path | None = None) -> dict[str, type]:
    """Import modules and return the classes that are defined in them, by name.

    Parameters
    ----------
    modules : iterable of str
        Names as in ``import``, or paths of files ``….py``. A file ``<name>.py`` in ``folder``
        comes before an installed module of that name.
    folder : path, optional
        What paths are relative to.

    Raises
    ------
    ConfigurationError
        If there is no such module, or it raises an error.
    """
    found: dict[str, type] = {}
    for name in modules:
        module = _imported(name, folder or Path())
        for key, value in vars(module).items():
            if inspect.isclass(value) and value.__module__ == module.__name__:
                found[key] = value
    return found


def _imported(name: str, folder: Path) -> ModuleType:
    path = folder / (name if name.endswith(".py") else f"{name}.py")
    try:
        if path.is_file():
            return _from_file(path.resolve())
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name.partition(".")[0] or error.name == name:
            raise ConfigurationError(
                f"there is no module {name!r}: neither installed, nor as {path}"
            ) from error
        raise ConfigurationError(f"the module {name!r} cannot be imported: {error}") from error
    except Exception as error:  # whatever the user's code raises
        raise ConfigurationError(
            f"the module {name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _from_file(path: Path) -> ModuleType:
    name = path.stem
    there = sys.modules.get(name)
    if there is not None and getattr(there, "__file__", None) == str(path):
        return there
    if there is not None:
        raise ConfigurationError(
            f"{path} has the name of a module that is imported already; rename the file"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a path that ends in .py"
    assert spec.loader is not None, "a path that ends in .py"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
