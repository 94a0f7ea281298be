"""Values of the command line: what a user means by a text."""

from __future__ import annotations

import ast
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from miscnn.exceptions import ConfigurationError

_WORD = r"""[^\[\]{}(),'"]*[^\[\]{}(),'"\s][^\[\]{}(),'"]*"""
_BARE_LIST = re.compile(rf"\[({_WORD}(?:,{_WORD})+)\]")  # "[ab]" is rather a pattern


def typed_value(text: str) -> Any:
    """Return what a user means who writes ``{'files': 3}`` or ``[CT, MR]``, besides JSON."""
    with suppress(ValueError, RecursionError):  # also of an integer of very many digits
        return json.loads(text)
    with suppress(ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        literal = ast.literal_eval(text.strip())
        json.dumps(literal)  # only JSON values are handed on
        # "(12)" and "1_2" are rather names and patterns than numbers
        if isinstance(literal, dict | list | tuple | str | bool | None):
            return list(literal) if isinstance(literal, tuple) else literal
    words = _BARE_LIST.fullmatch(text.strip())
    return [word.strip() for word in words[1].split(",")] if words else text


def settings_of(
    pairs: Iterable[tuple[str, Any]], options: Mapping[str, tuple[str, Any]] | None = None
) -> dict[str, Any]:
    """Return what several ``--set`` say.

    Parameters
    ----------
    pairs : iterable of (name, value)
    options : mapping of str to (str, value), optional
        By name: other options that say the same, and what they say. They are part of the result.

    Raises
    ------
    UsageError
        If two contradict each other: a value is said twice and is not the same, or a whole is
        said after a part of it.
    """
    said = {name: (option, value) for name, (option, value) in (options or {}).items()}
    for name, value in pairs:
        for other, (option, before) in said.items():
            if other == name and (type(before) is not type(value) or before != value):
                raise click.UsageError(
                    f"--set {name}={value} contradicts {option}={before}; say it once"
                )
            if other.startswith(f"{name}."):
                raise click.UsageError(
                    f"--set {name}={value} would replace {option}; say it before"
                )
        said[name] = ("--set " + name, value)
    return {name: value for name, (_, value) in said.items()}


class Converted(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A parameter that a function makes of the text.

    Parameters
    ----------
    name : str
        Stands for the value in the help.
    convert : callable
        Returns the value of a text; ValueError says what was expected.
    """

    def __init__(self, name: str, convert: Callable[[str], Any]) -> None:
        self.name = name
        self._convert = convert

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._convert(value)
        except ValueError as error:
            self.fail(f"{value!r}: {error}", param, ctx)


class LabelValues(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """``0,255``: the value of each class; ``0:0,1:1,2:1``: the class of each value."""

    name = "VALUES"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        parts = value.split(",")
        try:
            if ":" in value:
                pairs = (part.split(":") for part in parts)
                return {int(stored): int(label) for stored, label in pairs}
            return [int(part) for part in parts]
        except ValueError:
            self.fail(
                f"{value!r}: expected the value of each class, such as 0,255, or the class of each "
                "value, such as 0:0,1:1,2:1",
                param,
                ctx,
            )


class Setting(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """``name=value``; the value is JSON, a Python literal, a list of bare words, or else text.

    Parameters
    ----------
    dotted : bool
        Whether the name may have dots, as those of a pipeline's values do.
    """

    name = "NAME=VALUE"

    def __init__(self, dotted: bool = False) -> None:
        self._dotted = dotted

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        name, sign, text = value.partition("=")
        plain = name.replace(".", "_") if self._dotted else name
        if not sign or not plain.isidentifier():
            self.fail(f"{value!r}: expected NAME=VALUE, such as series=CT", param, ctx)
        if name == "path":
            self.fail(f"{value!r}: the path is DIR; say it there", param, ctx)
        return name, typed_value(text)


class Threads(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A number of threads, as joblib counts them."""

    name = "INTEGER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        number = int(click.INT.convert(value, param, ctx))
        if number == 0:
            self.fail("0: expected 1 or more, or -1 for as many as there are cores", param, ctx)
        return number


class NewFile(click.ParamType):  # type: ignore[type-arg]  # generic in some versions only
    """A file that will be written, once much has been read: whether it can be is tried at once.

    Parameters
    ----------
    picture : bool
        Whether the ending must be that of a picture.
    """

    name = "FILE"

    def __init__(self, picture: bool = False) -> None:
        self._picture = picture

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        path = Path(value)
        if path.is_dir():
            self.fail(f"{str(path)!r} is a folder; name a file", param, ctx)
        if self._picture:
            from miscnn.data_loading.montage import check_ending

            try:
                check_ending(path)
            except ConfigurationError as error:
                self.fail(str(error), param, ctx)
        folder = next((p for p in path.absolute().parents if p.exists()), path.absolute())
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            self.fail(f"{str(path)!r} cannot be written: {error.strerror}", param, ctx)
        return str(value)
