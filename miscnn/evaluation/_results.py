"""What an evaluation leaves: in memory and on disk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from miscnn._files import write_json
from miscnn._text import read_tsv
from miscnn.evaluation.detailed_validation import write_scores
from miscnn.evaluation.splits import fold_path, read_fold
from miscnn.evaluation.summary import ScoreTable, Summary
from miscnn.exceptions import ConfigurationError, MissingFileError

_log = logging.getLogger("miscnn.evaluation")

HistoryValues = dict[str, list[float]]
"""One list per logged quantity, one value per epoch."""

_BOX_PLOTS = ("dice", "hd95_mm", "volume_error")


@dataclass(frozen=True)
class FoldResult:
    """What one fold gave.

    Attributes
    ----------
    number : int
    path : Path
        Folder of the fold.
    training, inner_validation, validation : tuple of str
        Who was trained on, who chose the best weights, and who was predicted and scored. No
        subject is in two of them.
    history : dict of str to list of float
        What the training logged, one value per epoch.
    scores : ScoreTable
    """

    number: int
    path: Path
    training: tuple[str, ...]
    inner_validation: tuple[str, ...]
    validation: tuple[str, ...]
    history: HistoryValues
    scores: ScoreTable

    def __repr__(self) -> str:
        return (
            f"FoldResult({self.number}: {len(self.training)} training, "
            f"{len(self.inner_validation)} inner validation, {len(self.validation)} validation "
            f"subjects; {len(self.scores)} scores; path={str(self.path)!r})"
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FoldResult:
        """Read a finished fold from its folder.

        Raises
        ------
        MissingFileError
            If the fold is not finished.
        ConfigurationError
            If its subjects are no longer those of its ``sample_list.json``.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise MissingFileError(f"{path / 'run.json'} does not exist; the fold is not finished")
        run = json.loads((path / "run.json").read_text(encoding="utf-8"))
        planned = read_fold(path / "sample_list.json")
        if run["validation"] != planned.validation:
            raise ConfigurationError(
                f"{path} holds the results of another split than its sample_list.json says; "
                "run this fold again"
            )
        table = path / "scores.tsv"
        return cls(
            number=int(run["fold"]),
            path=path,
            training=tuple(run["training"]),
            inner_validation=tuple(run["inner_validation"]),
            validation=tuple(run["validation"]),
            history=_read_history(path / "history.tsv"),
            scores=ScoreTable.from_tsv(table) if run["scored"] else ScoreTable(),
        )


@dataclass(frozen=True)
class CrossValidationResult(Sequence[HistoryValues]):
    """The result of all folds.

    As a sequence it is the list of the folds' histories, which is what MIScnn 1.x returned.

    Attributes
    ----------
    evaluation_path : Path
        Where everything lies.
    folds : tuple of FoldResult
    """

    evaluation_path: Path
    folds: tuple[FoldResult, ...]

    @classmethod
    def load(cls, evaluation_path: str | os.PathLike[str]) -> CrossValidationResult:
        """Gather the finished folds of a folder, wherever they were run.

        Folds that are missing are named in the log.

        Raises
        ------
        MissingFileError
            If the folder was not made by ``split_folds`` or ``cross_validation``.
        """
        path = Path(evaluation_path)
        if not (path / "folds.json").is_file():
            raise MissingFileError(f"{path / 'folds.json'} does not exist; split_folds writes it")
        n_folds = int(json.loads((path / "folds.json").read_text(encoding="utf-8"))["n_folds"])
        folds = []
        for number in range(n_folds):
            try:
                folds.append(FoldResult.load(fold_path(path, number)))
            except (MissingFileError, ConfigurationError) as error:
                _log.warning("fold %d of %d is left out: %s", number, n_folds, error)
        return cls(path, tuple(folds))

    @property
    def scores(self) -> ScoreTable:
        """The scores of all folds in one table."""
        return ScoreTable(row for fold in self.folds for row in fold.scores)

    @property
    def histories(self) -> list[HistoryValues]:
        """What the trainings logged, fold by fold."""
        return [fold.history for fold in self.folds]

    def summary(self, seed: int = 0) -> Summary:
        """Summarise the scores of all folds; ``seed`` is that of the bootstrap."""
        return self.scores.summary(seed)

    def write(self) -> None:
        """Write ``scores.tsv``, ``detailed_validation.tsv`` and ``summary.tsv``."""
        if self.scores:
            write_scores(self.scores, self.evaluation_path)

    def draw(self, metrics: Iterable[str] = _BOX_PLOTS) -> list[Path]:
        """Draw a box plot per score (``boxplot.<metric>.png``) and return the files."""
        from miscnn.evaluation.figures import box_plot  # matplotlib only when it is needed

        paths = []
        table = self.scores
        for metric in metrics:
            if metric in table.metrics:
                paths.append(self.evaluation_path / f"boxplot.{metric}.png")
                box_plot(table, paths[-1], metric)
        return paths

    def __repr__(self) -> str:
        subjects = len({index for fold in self.folds for index in fold.validation})
        return (
            f"CrossValidationResult({len(self.folds)} folds, {subjects} validation subjects; "
            f"evaluation_path={str(self.evaluation_path)!r})"
        )

    def __len__(self) -> int:
        return len(self.folds)

    @overload
    def __getitem__(self, index: int) -> HistoryValues: ...

    @overload
    def __getitem__(self, index: slice) -> list[HistoryValues]: ...

    def __getitem__(self, index: int | slice) -> HistoryValues | list[HistoryValues]:
        return self.histories[index]


def write_run(result: FoldResult, details: dict[str, object]) -> None:
    """Write ``run.json``, the mark of a finished fold: its subjects and how it was run."""
    write_json(
        result.path / "run.json",
        {
            "fold": result.number,
            "training": list(result.training),
            "inner_validation": list(result.inner_validation),
            "validation": list(result.validation),
            "scored": bool(result.scores),
            **details,
        },
    )


def _read_history(path: Path) -> HistoryValues:
    if not path.is_file():
        return {}
    header, *lines = read_tsv(path)
    columns = zip(*lines, strict=True) if lines else ([] for _ in header)
    values = {name: list(column) for name, column in zip(header, columns, strict=True)}
    return {
        name: [float(cell) for cell in column] for name, column in values.items() if name != "epoch"
    }
