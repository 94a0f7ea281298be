"""What the commands of ``miscnn`` share: failures, progress, JSON."""

from __future__ import annotations

import json
import logging
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON, and nothing else.")
QUIET_OPTION = click.option(
    "-q", "--quiet", is_flag=True, help="Show no progress, and print nothing but what failed."
)

MODULE_OPTION = click.option(
    "--module",
    "modules",
    metavar="NAME",
    multiple=True,
    help="Python module, or file ….py, with classes of your own that the bundle names; it is "
    "imported. Without it no code but miscnn's is run.",
)
DIGEST_OPTION = click.option(
    "--digest", metavar="SHA256", help="Refuse the bundle unless it has this digest."
)


INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it: 128 and the number of the signal."""


class Failure(click.ClickException):
    """What keeps a command from doing its work; 1 is what it says of faulty subjects."""

    exit_code = 2


def discard_output() -> None:
    """Let what could not be written go nowhere, or Python would try again when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):  # no file, as in tests
        os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def is_watched() -> bool:
    """Tell whether somebody may see a progress bar."""
    return sys.stderr.isatty()


def echo_json(value: Any) -> None:
    """Print a value as JSON; numbers that JSON has no word for become null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def load_keras_quietly(say: Callable[[str], None]) -> None:
    """Import Keras without TensorFlow's remarks on the machine.

    They are written by C++ code to the file of the standard error before any log level counts.
    Errors of Python's are raised as ever.
    """
    say("Loading Keras and TensorFlow ...")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        from miscnn._keras import compile_ahead

        compile_ahead()  # looks for graphics cards, which is remarked on as well
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def speaker(quiet: bool) -> Callable[[str], None]:
    """Return what tells the person who watches how things go: on the standard error."""
    return (lambda text: None) if quiet else (lambda text: click.echo(text, err=True))


@contextmanager
def told_in_lines(wanted: bool) -> Iterator[None]:
    """Print what the library logs on the standard error: where no bar shows how things go."""
    if not wanted:
        yield
        return
    logger, handler = logging.getLogger("miscnn"), _Echo(logging.INFO)
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(min(level or logging.INFO, logging.INFO))
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Echo(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):  # whoever read it may be gone
            click.echo(self.format(record), err=True)


def show_failures(failed: dict[str, str]) -> None:
    """Print a table of the subjects that failed on the standard error."""
    if not failed:
        return
    import textwrap

    from miscnn._text import shortened_inside

    width = min(max(len(shortened_inside(index, 30)) for index in failed), 30)
    click.echo(f"{len(failed)} subject(s) failed:", err=True)
    for index, reason in failed.items():
        name = shortened_inside(index, width).ljust(width)
        lines = textwrap.wrap(reason, max(40, 96 - width)) or [""]
        click.echo(f"  {name}  {lines[0]}", err=True)
        for line in lines[1:]:
            click.echo(f"  {' ' * width}  {line}", err=True)


def summary_rows(summary: Any) -> list[dict[str, Any]]:
    """Return the rows of a summary over all folds, as JSON values."""
    from dataclasses import asdict

    return [asdict(row) for row in summary.rows if row.fold is None]


def told_size(count: int) -> str:
    """Write a number of bytes."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
