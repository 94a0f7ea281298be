"""What has scores: a table itself, or a result that holds one."""

from __future__ import annotations

from typing import Protocol

from miscnn.evaluation.summary import ScoreTable
from miscnn.exceptions import ConfigurationError


class Scored(Protocol):
    """Anything with a table of scores, such as the result of a cross-validation."""

    @property
    def scores(self) -> ScoreTable:
        """The table."""


def table_of(given: ScoreTable | Scored, name: str) -> ScoreTable:
    """Return the table of what was given as ``name``.

    Raises
    ------
    ConfigurationError
        If it is no table and holds none.
    """
    table = given if isinstance(given, ScoreTable) else getattr(given, "scores", None)
    if not isinstance(table, ScoreTable):
        raise ConfigurationError(
            f"table {name!r} must be a ScoreTable or a result that has one as .scores "
            f"(cross_validation(...).scores), got {type(given).__name__}; read a file with "
            "ScoreTable.from_tsv(path)"
        )
    return table
