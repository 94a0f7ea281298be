"""Whether a value is of the type that an argument is annotated with, and what else it could be."""

from __future__ import annotations

import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from miscnn._configurable import Configurable

NOTHING = "none"
"""How a document says None, since TOML has no word for it."""

PART = "type"
"""The key of a table that names the class of a part."""


class FreeText(str):
    """Stands for a type: a text in which "none" is no word for None."""


_LISTS = (Sequence, Iterable, list, tuple, set, frozenset)
_TABLES = (Mapping, dict)


class MismatchError(Exception):
    """A value is of none of the types; the message says what was expected."""


def fitted(value: Any, hint: Any) -> Any:
    """Return a value as the document holds it: JSON values, keys of tables as text.

    Raises
    ------
    MismatchError
        If it is not of this type.
    """
    if hint is Any or not _is_known(hint):
        return _anything(value)
    for option in options(hint):
        if option is types.NoneType and value == NOTHING and FreeText in options(hint):
            continue
        if _suits(value, option):
            return _taken(value, option)
    raise MismatchError(f"expected {described(hint)}")


def options(hint: Any) -> tuple[Any, ...]:
    """Return the members of a union, None first: a text "none" is None wherever that is one."""
    origin = typing.get_origin(hint)
    if origin not in (Union, types.UnionType):
        return (hint,)
    members = [m for argument in typing.get_args(hint) for m in options(argument)]
    return tuple(sorted(members, key=lambda member: member is not types.NoneType))


def literals(hint: Any) -> tuple[Any, ...]:
    """Return the values that a hint names one by one."""
    return tuple(
        value
        for option in options(hint)
        if typing.get_origin(option) is Literal
        for value in typing.get_args(option)
    )


def described(hint: Any) -> str:
    """Say in words what a hint allows."""
    members = options(hint)
    if any(member is Any for member in members):
        return "a value"
    words = [_word(m) for m in members if m is not types.NoneType]
    if types.NoneType in members and FreeText not in members:
        words.append(f'"{NOTHING}"')
    words = list(dict.fromkeys(word for word in words if word))
    if literals(hint) and len(words) == 1:
        return words[0]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def as_arguments(value: Any, hint: Any) -> Any:
    """Turn what :func:`fitted` returned into what a constructor takes: integer keys."""
    if isinstance(value, list):
        item = _item_hint(hint, list)
        return [as_arguments(v, item) for v in value]
    if isinstance(value, dict):
        keys = [typing.get_args(o) for o in options(hint) if typing.get_origin(o) in _TABLES]
        item = keys[0][1] if keys and len(keys[0]) == 2 else Any
        whole = any(int in options(pair[0]) for pair in keys if pair)
        return {
            int(k) if whole and k.lstrip("-").isdecimal() else k: as_arguments(v, item)
            for k, v in value.items()
        }
    return value


def _item_hint(hint: Any, _kind: type) -> Any:
    for option in options(hint):
        arguments = typing.get_args(option)
        if typing.get_origin(option) in _LISTS and arguments:
            return arguments[0]
    return Any


def _anything(value: Any) -> Any:
    if isinstance(value, str) and value == NOTHING:
        return None
    if isinstance(value, Mapping):
        return {str(key): _anything(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_anything(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _anything(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise MismatchError("expected a number, text, true or false, a list or a table")


def _is_known(hint: Any) -> bool:
    return all(
        option in (int, float, str, bool, types.NoneType, Any)
        or typing.get_origin(option) in (*_LISTS, *_TABLES, Literal, os.PathLike)
        or isinstance(option, type)
        for option in options(hint)
    )


def _suits(value: Any, option: Any) -> bool:
    try:
        _taken(value, option)
    except MismatchError:
        return False
    return True


def _taken(value: Any, option: Any) -> Any:
    """Return the value as one member of a union takes it."""
    origin, arguments = typing.get_origin(option), typing.get_args(option)
    if hasattr(value, "tolist"):
        value = value.tolist()
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if option is Any:
        return _anything(value)
    if option is types.NoneType:
        if value is None or value == NOTHING:
            return None
    elif option is bool:
        if isinstance(value, bool):
            return value
    elif option is int:
        if number and isinstance(value, int):
            return value
    elif option is float:
        if number and not (isinstance(value, float) and math.isnan(value)):
            return value
    elif origin is Literal:
        if any(value == known and type(value) is type(known) for known in arguments):
            return value
    elif option in (str, FreeText, Path, os.PathLike) or origin is os.PathLike:
        if isinstance(value, str | os.PathLike):
            return os.fspath(value)
    elif option in _LISTS or origin in _LISTS:
        return _list(value, origin or option, arguments)
    elif option in _TABLES or origin in _TABLES:
        return _table(value, arguments)
    elif isinstance(option, type) and isinstance(value, Mapping) and PART in value:
        return value  # a part, which has been looked through before
    raise MismatchError


def _list(value: Any, origin: Any, arguments: tuple[Any, ...]) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise MismatchError
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        if len(value) != len(arguments):
            raise MismatchError
        return [fitted(v, hint) for v, hint in zip(value, arguments, strict=True)]
    item = arguments[0] if arguments else Any
    return [fitted(v, item) for v in value]


def _table(value: Any, arguments: tuple[Any, ...]) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise MismatchError
    key_hint, item = arguments if len(arguments) == 2 else (str, Any)
    table = {}
    for key, entry in value.items():
        if key_hint is int:
            try:
                key = str(int(key))
            except (TypeError, ValueError) as error:
                raise MismatchError from error
        table[str(key)] = fitted(entry, item)
    return table


def _word(option: Any) -> str:
    origin, arguments = typing.get_origin(option), typing.get_args(option)
    if option is bool:
        return "true or false"
    if option is int:
        return "an integer"
    if option is float:
        return "a number"
    if origin is Literal:
        return f"one of {', '.join(map(repr, arguments))}"
    if option in (str, FreeText, Path, os.PathLike) or origin is os.PathLike:
        return "text"
    if option in _LISTS or origin in _LISTS:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return f"a list of {len(arguments)} values"
        inner = described(arguments[0]) if arguments else "a value"
        return f"a list of {_plural(inner)}"
    if option in _TABLES or origin in _TABLES:
        return "a table"
    if isinstance(option, type) and issubclass(option, Configurable):
        return f'a table {{type = "…", …}} of a {option.__name__}'
    return ""


def _plural(words: str) -> str:
    exact = {
        "a number": "numbers",
        "an integer": "integers",
        "text": "texts",
        "a value": "values",
        "true or false": "true or false",
        "a table": "tables",
    }
    return exact.get(words, f"({words})")
