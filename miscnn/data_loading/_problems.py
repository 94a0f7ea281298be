"""What is wrong with a data set, and how it is shown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

Remark = tuple[str, str, str]
"""Severity (``"error"``, ``"warning"`` or ``"note"``), name of the check, message."""

SEVERITIES = ("error", "warning", "note")

_WIDTH = 100
_SUBJECTS = 26
_GAP = 2
_NAMED = 3


@dataclass(frozen=True)
class Problem:
    """One finding about one subject.

    Attributes
    ----------
    index : str
        The subject; empty if it concerns the whole data set.
    severity : str
        ``"error"``: it cannot be used as it is. ``"warning"``: it can, but look at it.
        ``"note"``: good to know.
    check : str
        Which check found it, one word.
    message : str
        What was found, what was expected, how to mend it.
    """

    index: str
    severity: str
    check: str
    message: str


@dataclass(frozen=True)
class VerificationReport:
    """All that was found out about a data set.

    Attributes
    ----------
    indices : tuple of str
        The subjects that were looked at.
    problems : tuple of Problem
        Errors first, then warnings, then notes; subjects in their order.
    classes : int
        Number of classes the labels were held against.
    """

    indices: tuple[str, ...]
    problems: tuple[Problem, ...]
    classes: int

    @property
    def ok(self) -> bool:
        """Whether there is no error (there may be warnings)."""
        return not any(problem.severity == "error" for problem in self.problems)

    @property
    def bad(self) -> tuple[str, ...]:
        """The subjects with errors."""
        named = {problem.index for problem in self.problems if problem.severity == "error"}
        return tuple(index for index in self.indices if index in named)

    @property
    def good(self) -> tuple[str, ...]:
        """The subjects without errors."""
        bad = set(self.bad)
        return tuple(index for index in self.indices if index not in bad)

    def summary(self) -> str:
        """Count subjects and findings in one line."""
        text = f"{_count(len(self.indices), 'subject')}: {len(self.good)} good"
        if self.bad:
            text += f", {len(self.bad)} with errors"
        for severity in ("warning", "note"):
            n = sum(problem.severity == severity for problem in self.problems)
            if n:
                text += f", {_count(n, severity)}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "ok": self.ok,
            "subjects": len(self.indices),
            "classes": self.classes,
            "good": list(self.good),
            "bad": list(self.bad),
            "problems": [asdict(problem) for problem in self.problems],
        }

    def to_json(self) -> str:
        """Return the report as an indented JSON document."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def table(self, width: int = _WIDTH) -> str:
        """Return the findings as an aligned table; equal ones of several subjects in one row."""
        rows: dict[tuple[str, str, str], list[str]] = {}
        for problem in self.problems:
            key = (problem.severity, problem.check, problem.message)
            rows.setdefault(key, []).append(problem.index)
        cells = [
            (severity, check, _subjects(indices), message)
            for (severity, check, message), indices in rows.items()
        ]
        return _align([("severity", "check", "subject", "finding"), *cells], width)

    def __str__(self) -> str:
        return self.summary() + ("\n\n" + self.table() if self.problems else "")


def _count(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def _subjects(indices: Sequence[str]) -> str:
    if indices == [""]:
        return "(all)"
    named = ", ".join(indices[:_NAMED])
    rest = len(indices) - _NAMED
    return named + (f" and {rest} more" if rest > 0 else "")


def _align(rows: Sequence[Sequence[str]], width: int) -> str:
    """Set rows in columns; the last two wrap."""
    limits = [max(len(row[i]) for row in rows) for i in range(3)]
    limits[2] = min(limits[2], _SUBJECTS, width // 3)
    limits.append(max(width - sum(limits) - 3 * _GAP, 20))
    lines = []
    for row in rows:
        cells = [textwrap.wrap(row[i], limit) or [""] for i, limit in enumerate(limits)]
        for k in range(max(map(len, cells))):
            parts = [cell[k] if k < len(cell) else "" for cell in cells]
            pairs = zip(parts, limits, strict=True)
            lines.append((" " * _GAP).join(f"{part:<{limit}}" for part, limit in pairs).rstrip())
    return "\n".join(lines)
