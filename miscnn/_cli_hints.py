"""What the library's errors mean for someone at the command line."""

from __future__ import annotations

import re
from typing import NamedTuple


class _Hint(NamedTuple):
    """What is added to a message that says something."""

    said: re.Pattern[str]
    commands: tuple[str, ...]
    text: str


_HINTS = (
    _Hint(
        re.compile(r"custom_objects="),
        ("predict", "evaluate"),
        "On the command line: --module NAME, the module that holds the class",
    ),
    _Hint(
        re.compile(r"\bevaluation_path\b.*\bresume=False", re.DOTALL),
        ("train", "evaluate"),
        "On the command line: another --output, or --set evaluation.resume=false to begin anew",
    ),
    _Hint(
        re.compile(
            r"(\bcheckpoint_path\b.*\bresume=False|\bresume=False.*\bcheckpoint_path\b)", re.S
        ),
        ("train",),
        "On the command line: another --output, or --set training.resume=false to begin anew",
    ),
)


def with_hints(message: str, command: str | None) -> str:
    """Return an error's message, and how what it advises is said to a command.

    Parameters
    ----------
    message : str
        Of an error of the library; it may speak of arguments of Python functions.
    command : str or None
        The name of the command that failed.
    """
    told = [hint.text for hint in _HINTS if command in hint.commands and hint.said.search(message)]
    return "\n".join([message, *(f"({text}.)" for text in told)])
