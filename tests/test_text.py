"""Tables for the screen and for notebooks."""

from __future__ import annotations

import re

import pytest

from miscnn._text import aligned, html_table, number


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.12345, "0.123"),
        (12345.6, "12346"),
        (99_999.4, "99999"),
        (99_999.6, "100k"),
        (262_144.0, "262k"),
        (-999_400.0, "-999k"),
        (999_500.0, "1e6"),
        (float("nan"), "—"),
        (float("-inf"), "-inf"),
    ],
)
def test_short_numbers(value: float, text: str) -> None:
    assert number(value, short=True) == text
    assert len(text.lstrip("-")) <= 5


def test_columns_stand_closer_where_lines_are_too_long() -> None:
    rows = [("a", "1", "22"), ("bb", "333", "4")]
    assert aligned(rows, left=1) == ["a     1  22", "bb  333   4"]
    assert aligned(rows, left=1, most_columns=11) == aligned(rows, left=1)
    assert aligned(rows, left=1, most_columns=10) == ["a    1 22", "bb 333  4"]


def test_table_for_notebooks() -> None:
    text = html_table(("<name>", "n"), [("a&b", 1), ('"c"', 2.5)], "A > B", notes=["x < y"])
    assert re.findall("<t[dh][^>]*>([^<>]*)</t[dh]>", text) == [
        "&lt;name&gt;", "n", "a&amp;b", "1", "&quot;c&quot;", "2.5",
    ]  # fmt: skip
    assert re.findall("text-align:(left|right);padding[^>]*>([^<]*)</td>", text) == [
        ("left", "a&amp;b"), ("right", "1"), ("left", "&quot;c&quot;"), ("right", "2.5"),
    ]  # fmt: skip
    assert "A &gt; B</caption>" in text
    assert text.endswith("x &lt; y</p>")
    for tag in ("table", "thead", "tbody", "tr", "th", "td", "p", "caption"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>")


def test_table_without_heads_or_colours() -> None:
    text = html_table((), [("a", "b")])
    assert "<thead" not in text
    assert "<caption" not in text
    # Only greys that let the ground through: nothing that fits one theme alone.
    assert set(
        re.findall(r"#[0-9a-fA-F]{3,6}|rgba?\([^)]*\)|background[^;\"]*|[^-]color:", text)
    ) == {"rgba(128,128,128,0.35)"}
