"""YAML files, read as YAML 1.2 says: ``no`` is a text, ``1e-4`` a number, a key stands once.

The values are made from the composed nodes here, which know their lines; tags are refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

from miscnn.pipeline._limits import DEPTH, VALUES
from miscnn.pipeline._problems import PipelineError, Place, Problem

# The core schema of YAML 1.2.2, section 10.3.2.
_NULL = re.compile(r"(?:null|Null|NULL|~|)\Z")
_BOOL = re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z")
_INT = re.compile(r"[-+]?[0-9]+\Z")
_OTHER_INT = re.compile(r"0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_INFINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z")

_BREAKS = "\r\n\x85\u2028\u2029"
_MOST_DIGITS = 30  # of an integer; Python's limit is far above 64 bits


class _Loader(yaml.SafeLoader):  # type: ignore[misc]  # PyYAML has no types
    """Composes nodes that know the tags they were written with, up to what a pipeline may hold."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self._source = source
        self._count = 0
        self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        event = self.peek_event()
        line = event.start_mark.line + 1
        self._count += 1
        self._depth += 1
        if self._count > VALUES:
            raise PipelineError([_too_many(line, self._source)])
        if self._depth > DEPTH:
            message = f"this is nested deeper than {DEPTH} levels"
            raise PipelineError([Problem((), message, line, self._source)])
        node = super().compose_node(parent, index)
        self._depth -= 1
        tag = getattr(event, "tag", None)
        if tag is not None:  # else the node's is what PyYAML has made up
            node.written_tag = tag
        return node


def _too_many(line: int, source: str) -> Problem:
    message = f"this has more than {VALUES} values; is it a pipeline, are there aliases of aliases?"
    return Problem((), message, line, source)


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
    """Quotes every text that YAML 1.1 or 1.2 would take for something else."""


# Where a plain text may be a number of YAML 1.2 that is none in 1.1, such as 1e-4 and 0o17.
for _first in "-+.0123456789":
    _Dumper.add_implicit_resolver("tag:miscnn,number", _FLOAT, [_first])
    _Dumper.add_implicit_resolver("tag:miscnn,number", _OTHER_INT, [_first])


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.Node:
    # PyYAML folds rare breaks of lines as if they were ordinary ones; escaped they stay.
    style = '"' if any(sign in value for sign in _BREAKS) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def write(document: Mapping[str, Any]) -> str:
    """Return a document as YAML."""
    text: str = yaml.dump(
        _plain(document),
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=100,
    )
    return text


def _plain(value: Any) -> Any:
    """Copy, so that nothing is written as an alias; tuples become lists."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def read(text: str, source: str) -> tuple[dict[str, Any], dict[Place, int]]:
    """Return the values of a YAML text and the lines of its keys.

    Raises
    ------
    PipelineError
        If it is no YAML, or no table; a key stands twice; with the lines.
    """
    try:
        loader = _Loader(text, source)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = f"this is no YAML: {error.problem or error.context}"
        line = mark.line + 1 if mark else None
        raise PipelineError([Problem((), message, line, source)]) from error
    except (yaml.YAMLError, RecursionError) as error:
        deep = isinstance(error, RecursionError)
        told = "nested too deeply" if deep else " ".join(str(error).split())
        message = f"this is no YAML: {told}"
        raise PipelineError([Problem((), message, None, source)]) from error
    if node is None:
        return {}, {}
    reader = _Reader(source)
    values = reader.value(node, ())
    reader.raise_if_any()
    if not isinstance(values, dict):
        message = "expected sections such as data: and preprocessor:, got no table"
        raise PipelineError([Problem((), message, 1, source)])
    return values, reader.lines


class _Reader:
    """Makes values of nodes, and notes lines and problems."""

    def __init__(self, source: str) -> None:
        self.lines: dict[Place, int] = {}
        self._source = source
        self._problems: list[Problem] = []
        self._count = 0

    def raise_if_any(self) -> None:
        if self._problems:
            raise PipelineError(self._problems)

    def value(self, node: yaml.Node, place: Place) -> Any:
        line = node.start_mark.line + 1
        self.lines.setdefault(place, line)
        self._count += 1
        if self._count > VALUES:
            raise PipelineError([_too_many(line, self._source)])
        if len(place) > DEPTH:  # as an alias of what it stands in
            message = f"this is nested deeper than {DEPTH} levels"
            raise PipelineError([Problem((), message, line, self._source)])
        self._refuse_tag(node, place, line)
        if isinstance(node, yaml.MappingNode):
            return self._table(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*place, k)) for k, item in enumerate(node.value)]
        return self._scalar(node, place, line)

    def _table(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for key_node, item in node.value:
            line = key_node.start_mark.line + 1
            self._refuse_tag(key_node, place, line)
            if not isinstance(key_node, yaml.ScalarNode):
                self._add(place, "has a key that is no text", line)
                continue
            key = str(key_node.value)
            there = (*place, key)
            if key == "<<":
                self._add(place, "merges tables by <<, which is not supported; repeat them", line)
            elif key in table:
                first = self.lines.get(there)
                self._add(there, f"stands here again; it was given on line {first}", line)
            else:
                self.lines[there] = line
                table[key] = self.value(item, there)
        return table

    def _scalar(self, node: yaml.Node, place: Place, line: int) -> Any:
        text = str(node.value)
        if node.style in ("'", '"', "|", ">"):
            return text
        if _NULL.match(text):
            return None
        if _BOOL.match(text):
            return text.lower() == "true"
        if _INT.match(text) or _OTHER_INT.match(text):
            if len(text) > _MOST_DIGITS:
                self._add(place, f"has an integer of {len(text)} digits", line)
                return None
            return int(text, 0 if _OTHER_INT.match(text) else 10)
        if _INFINITE.match(text):
            return float(text.replace(".", ""))
        if _FLOAT.match(text):
            return float(text)
        return text

    def _refuse_tag(self, node: yaml.Node, place: Place, line: int) -> None:
        tag = getattr(node, "written_tag", None)
        if tag is None:
            return
        shown = re.sub(r"\Atag:yaml\.org,2002:", "!!", str(tag))
        self._add(
            place,
            f"has the tag {shown}, and tags are not supported; a text is written in quotes",
            line,
        )

    def _add(self, place: Place, message: str, line: int) -> None:
        self._problems.append(Problem(place, message, line, self._source))
