"""``miscnn info``: what a bundle says about itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from miscnn._cli_common import JSON_OPTION, echo_json, told_size
from miscnn._text import aligned

_WIDTH = 100


@click.command(short_help="Describe a trained network.")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(exists=True, file_okay=False))
@JSON_OPTION
def info(bundle: str, as_json: bool) -> None:
    """Describe a trained network: labels, training data, scores, licence.

    BUNDLE is what 'miscnn train' or model.save() wrote. All files are compared with their check
    sums first; the network is not loaded, and no code is run. The exit status is 0 if the bundle
    is whole, 2 if not.
    """
    from miscnn.neural_network._bundle_files import describe

    document = describe(bundle)
    if as_json:
        echo_json(document)
    else:
        click.echo(_told(document))


def _told(document: Mapping[str, Any]) -> str:
    import textwrap

    lines = []
    for name, value in document.items():
        rows = _rows(value)
        if not rows:
            continue
        label = name.replace("_", " ")
        if name == "size":
            rows = [told_size(int(value))]
        for number, row in enumerate(rows):
            head = label if number == 0 else ""
            wrapped = [row]
            if not _is_table(value):
                wrapped = textwrap.wrap(row, _WIDTH - 16, subsequent_indent="  ") or [""]
            lines.append(f"{head:<15} {wrapped[0]}".rstrip())
            lines += [f"{'':<15} {line}".rstrip() for line in wrapped[1:]]
    return "\n".join(lines)


def _rows(value: Any) -> list[str]:
    """Write a value as lines: one for each entry of a table or of a list of tables."""
    if value is None or value in ("", [], {}):
        return []
    if isinstance(value, Mapping) and set(value) >= {"class", "config"}:
        return [_short(value)]
    if isinstance(value, Mapping):
        return [f"{key}: {_short(item)}" for key, item in value.items() if item is not None]
    if _is_table(value):
        return _table(value)
    return str(value).splitlines() if isinstance(value, str) else [_short(value)]


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(item, Mapping) for item in value)


def _table(items: Sequence[Mapping[str, Any]]) -> list[str]:
    columns = list(dict.fromkeys(key for item in items for key in item))
    texts = [c for c in columns if all(isinstance(item.get(c, ""), str) for item in items)]
    columns = [*texts, *(column for column in columns if column not in texts)]
    body = [["" if item.get(c) is None else _short(item[c]) for c in columns] for item in items]
    # What is empty everywhere, or 0 everywhere, is no news.
    kept = [k for k in range(len(columns)) if {row[k] for row in body} - {"", "0"}]
    rows = [[row[k] for k in kept] for row in [columns, *body]]
    return aligned(rows, left=sum(columns[k] in texts for k in kept))


def _short(value: Any) -> str:
    if isinstance(value, Mapping):
        if set(value) >= {"class", "config"}:
            return f"{str(value['class']).rpartition(':')[2]}({_short(value['config'])})"
        return ", ".join(f"{key} {_short(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list):
        return "[" + ", ".join(_short(item) for item in value) + "]"
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
