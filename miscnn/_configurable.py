"""Configuration of plug-ins as JSON values, and back."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from miscnn.exceptions import ConfigurationError

_PACKAGE = "miscnn"


class Configurable:
    """A part that can tell how it was made, and be made again from that.

    The constructor of a subclass stores each argument unchanged under the argument's own
    name; :meth:`get_config` then needs no code of its own. Two parts of one class with equal
    configurations and states are equal.
    """

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments as JSON values.

        Raises
        ------
        ConfigurationError
            If an argument was not stored under its own name, or cannot be written as JSON.
        """
        return {name: to_json(self._argument(name)) for name in _argument_names(type(self))}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Make the part again from what :meth:`get_config` returned."""
        unknown = sorted(set(config) - set(_argument_names(cls)))
        if unknown:
            raise ConfigurationError(
                f"{cls.__name__} does not know the argument(s) {', '.join(unknown)}; "
                f"it takes {', '.join(_argument_names(cls)) or 'none'}"
            )
        return cls(**{name: from_json(value) for name, value in config.items()})

    def get_state(self) -> dict[str, Any]:
        """Return what was learned from data, as JSON values; empty if nothing is learned."""
        return {}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        if state:
            raise ConfigurationError(
                f"{type(self).__name__} has no learned state, but was handed {sorted(state)}"
            )

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        assert isinstance(other, Configurable)
        if self is other:
            return True
        try:
            configs = self.get_config(), other.get_config()
        except ConfigurationError:  # what they were made of is not known
            return False
        return configs[0] == configs[1] and self.get_state() == other.get_state()

    __hash__ = None  # type: ignore[assignment]  # equality is by value and values may change

    def __repr__(self) -> str:
        names = _argument_names(type(self))
        arguments = (f"{k}={getattr(self, k)!r}" if hasattr(self, k) else f"{k}=?" for k in names)
        return f"{type(self).__name__}({', '.join(arguments)})"

    def _argument(self, name: str) -> Any:
        if not hasattr(self, name):
            raise ConfigurationError(
                f"{type(self).__name__} has no attribute {name!r}, though its constructor takes "
                f"the argument {name!r}; store each argument of the constructor under its own "
                "name, or write get_config()/from_config()"
            )
        return getattr(self, name)


def _argument_names(cls: type) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(cls).parameters.values()
    return [p.name for p in parameters if p.kind in kinds]


def to_json(value: Any) -> Any:
    """Turn a value into what JSON can hold: NumPy scalars, arrays and tuples become plain."""
    if isinstance(value, Configurable):
        return serialize(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy arrays and scalars
        return to_json(value.tolist())
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise ConfigurationError(
        f"{value!r} of type {type(value).__name__} cannot be written as JSON; "
        "use numbers, strings, lists, dictionaries or plug-ins with get_config()"
    )


def json_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those values that JSON can hold."""
    kept = {}
    for name, value in values.items():
        with suppress(ConfigurationError):
            kept[str(name)] = to_json(value)
    return kept


def from_json(value: Any, custom_objects: Mapping[str, type] | None = None) -> Any:
    """Undo :func:`to_json` as far as JSON keeps it: lists become tuples, parts are made."""
    if isinstance(value, Mapping):
        if set(value) >= {"class", "config"}:
            return deserialize(value, custom_objects)
        return {key: from_json(item, custom_objects) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(from_json(item, custom_objects) for item in value)
    return value


def serialize(part: Configurable) -> dict[str, Any]:
    """Describe a part completely: its class, its arguments, what it has learned."""
    cls = type(part)
    document: dict[str, Any] = {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "config": part.get_config(),
    }
    state = part.get_state()
    if state:
        document["state"] = to_json(state)
    return document


def deserialize(
    document: Mapping[str, Any], custom_objects: Mapping[str, type] | None = None
) -> Any:
    """Make a part from what :func:`serialize` returned.

    Only classes of miscnn itself are imported by name. A class of the user's is taken from
    ``custom_objects`` (class name to class), so that a document from a stranger cannot make
    code run.

    Raises
    ------
    ConfigurationError
        If the class is unknown, or this is no such document.
    """
    config = document.get("config") if isinstance(document, Mapping) else None
    if not isinstance(config, Mapping) or not isinstance(document.get("class"), str):
        raise ConfigurationError(
            'a part is described by {"class": "module:Name", "config": {…}}, '
            f"got {str(document)[:200]}"
        )
    name = document["class"]
    module_name, _, class_name = name.partition(":")
    custom = dict(custom_objects or {})
    cls: Any = custom.get(name, custom.get(class_name))
    if cls is None:
        cls = _library_class(name, module_name, class_name)
    # Parts inside of this one are made here, where the user's own classes are known.
    part = cls.from_config({key: from_json(value, custom) for key, value in config.items()})
    if document.get("state"):
        part.set_state(document["state"])
    return part


def _library_class(name: str, module_name: str, class_name: str) -> type[Configurable]:
    found: Any = None
    # Not miscnn.__main__: it is run by being imported.
    named = all(part.isidentifier() and part[:2] != "__" for part in module_name.split("."))
    if named and inside(module_name, (_PACKAGE,)) and class_name.isidentifier():
        try:
            found = getattr(importlib.import_module(module_name), class_name, None)
        except ModuleNotFoundError:
            found = None
    if not (inspect.isclass(found) and issubclass(found, Configurable)):
        raise ConfigurationError(
            f"the class {name!r} is not part of miscnn; hand it in: "
            f"custom_objects={{{class_name!r}: {class_name}}}"
        )
    return found


def inside(module_name: str, modules: Sequence[str]) -> bool:
    """Tell whether a module is one of these, or lies below one."""
    return any(module_name == name or module_name.startswith(f"{name}.") for name in modules)


def import_classes(document: Any, modules: Sequence[str]) -> dict[str, type]:
    """Import the classes of parts that a document names, as far as they are in given modules.

    Parameters
    ----------
    document : JSON value
    modules : sequence of str
        Modules (with those below them) that the user allows to import from.

    Returns
    -------
    dict of str to class
        By ``"module:Name"``, for the ``custom_objects`` of :func:`deserialize`.

    Raises
    ------
    ConfigurationError
        If a module cannot be imported, or defines no :class:`Configurable` of the name.
    """
    found: dict[str, type] = {}
    pending = [document]
    while pending and modules:
        value = pending.pop()
        if isinstance(value, Mapping):
            pending.extend(value.values())
            name = value.get("class")
            if isinstance(name, str) and "config" in value:
                module_name, _, class_name = name.partition(":")
                if inside(module_name, modules):
                    found[name] = _class_of(name, module_name, class_name, modules)
        elif isinstance(value, list | tuple):
            pending.extend(value)
    return found


def _class_of(name: str, module_name: str, class_name: str, modules: Sequence[str]) -> type:
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigurationError(f"the class {name!r} cannot be imported: {error}") from error
    found = getattr(module, class_name, None)
    if not (
        inspect.isclass(found)
        and issubclass(found, Configurable)
        and inside(found.__module__, modules)
    ):
        raise ConfigurationError(
            f"the class {name!r} is not there: {module_name} defines no part of this name"
        )
    return found
