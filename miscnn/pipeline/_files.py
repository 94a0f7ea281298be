"""Documents in files: which format, and options that stand beside a file."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from miscnn._files import write_text
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.pipeline import _toml, _toml_write, _yaml
from miscnn.pipeline._limits import BYTES, DEPTH, check_document
from miscnn.pipeline._problems import PipelineError, Place, Problem
from miscnn.pipeline._sections import FREE_TEXTS
from miscnn.pipeline._types import PART

ENDINGS = (".toml", ".yaml", ".yml")


def read_document(path: Path) -> tuple[dict[str, Any], dict[Place, int]]:
    """Read a file; return its values and the lines of its keys.

    Raises
    ------
    MissingFileError
        If there is none.
    PipelineError
        If it is no TOML or YAML file.
    """
    reader = _toml if _is_toml(path) else _yaml
    if not path.is_file():
        raise MissingFileError(f"there is no file {path}")
    with path.open("rb") as file:
        content = file.read(BYTES + 1)
    if len(content) > BYTES:
        raise ConfigurationError(f"{path} is larger than {BYTES >> 20} MiB; is it a pipeline?")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"this is no text in UTF-8: {error.reason}"
        raise PipelineError([Problem((), message, None, path.name)]) from error
    found: tuple[dict[str, Any], dict[Place, int]] = reader.read(text, path.name)
    check_document(found[0], path.name, found[1])
    return found


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write a file, in the format that its name tells."""
    bundle = {
        key: value
        for key, value in document.get("bundle", {}).items()
        if value is not None or key not in FREE_TEXTS  # which None cannot be said of in TOML
    }
    document = {**document, **({"bundle": bundle} if bundle else {})}
    writer = _toml_write if _is_toml(path) else _yaml
    write_text(path, writer.write(document))


def _is_toml(path: Path) -> bool:
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise ConfigurationError(
            f"{path.name!r} tells no format; expected a name that ends in {' or '.join(ENDINGS)}"
        )
    return ending == ".toml"


def overridden(
    document: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[Place, str]]:
    """Put values in place: ``{"training.epochs": 3, "preprocessor.subfunctions.0.clip": False}``.

    Returns
    -------
    dict
        A new document.
    dict
        For each place that was set, by what.

    Raises
    ------
    ConfigurationError
        If there is no such place.
    """
    result = copy.deepcopy(dict(document))
    places: dict[Place, str] = {}
    for name, value in overrides.items():
        if name.count(".") > DEPTH:
            raise ConfigurationError(f"--set {name[:60]}…: nested deeper than {DEPTH} levels")
        *way, last = name.split(".")
        here: Any = result
        place: list[str | int] = []
        for key in way:
            here = _step(here, key, name, place)
        if isinstance(here, list):
            number = _number(here, last, name)
            here[number] = value
            place.append(number)
        elif isinstance(here, dict):
            here[last] = value
            place.append(last)
        else:
            raise ConfigurationError(f"--set {name}: {'.'.join(way)} is no section and no list")
        places[tuple(place)] = f"--set {name}"
    return result, places


def _step(here: Any, key: str, name: str, place: list[str | int]) -> Any:
    if isinstance(here, list):
        number = _number(here, key, name)
        place.append(number)
        if isinstance(here[number], str):
            here[number] = {PART: here[number]}
        return here[number]
    if not isinstance(here, dict):
        raise ConfigurationError(f"--set {name}: {key!r} is not within a section or a list")
    place.append(key)
    if isinstance(here.get(key), str):  # the name of a part, which gets an argument
        here[key] = {PART: here[key]}
    return here.setdefault(key, {})


def _number(here: list[Any], key: str, name: str) -> int:
    if not key.isdecimal() or int(key) >= len(here):
        raise ConfigurationError(
            f"--set {name}: {key!r} is no position in a list of {len(here)}; the first is 0"
        )
    return int(key)
