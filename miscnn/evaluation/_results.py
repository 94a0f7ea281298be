"""What an evaluation leaves: in memory and on disk."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

from miscnn._files import write_json
from miscnn._text import html_table, number, read_tsv
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._resume import read_run
from miscnn.evaluation.calibration_table import CalibrationTable
from miscnn.evaluation.detailed_validation import EvaluationData, load_predicted, write_scores
from miscnn.evaluation.lesion_table import LesionTable
from miscnn.evaluation.splits import count_folds, fold_path, read_fold
from miscnn.evaluation.summary import ScoreTable, Summary
from miscnn.exceptions import ConfigurationError, MissingFileError

_log = logging.getLogger("miscnn.evaluation")

HistoryValues = dict[str, list[float]]
"""One list per logged quantity, one value per epoch."""

_LESIONS, _CALIBRATION = "lesions.tsv", "calibration.tsv"
_OF_SCORES = ("scores.tsv", "detailed_validation.tsv", "summary.tsv")
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

    def _repr_html_(self) -> str:
        """Return who was trained and scored on, how the training ended, and the summary."""
        best = {name: values[-1] for name, values in self.history.items() if values}
        facts = [
            ("training", f"{len(self.training)} subjects"),
            ("inner validation", f"{len(self.inner_validation)} subjects"),
            ("validation", f"{len(self.validation)} subjects"),
            ("epochs", max(map(len, self.history.values()), default=0)),
            *((f"{name}, last epoch", number(value)) for name, value in best.items()),
        ]
        return html_table((), facts, f"Fold {self.number}") + self.scores._repr_html_()

    @property
    def lesions(self) -> LesionTable:
        """The lesions of the fold, from its folder; empty if they were not scored."""
        path = self.path / _LESIONS
        return LesionTable.from_tsv(path) if path.is_file() else LesionTable()

    @property
    def calibration(self) -> CalibrationTable:
        """The calibration of the fold, from its folder; empty if it was not measured."""
        path = self.path / _CALIBRATION
        return CalibrationTable.from_tsv(path) if path.is_file() else CalibrationTable()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FoldResult:
        """Read a finished fold from its folder.

        Raises
        ------
        MissingFileError
            If the fold is not finished.
        ConfigurationError
            If its subjects are no longer those of its ``sample_list.json``, or ``run.json`` is
            damaged.
        """
        path = Path(path)
        if not (path / "run.json").is_file():
            raise MissingFileError(f"{path / 'run.json'} does not exist; the fold is not finished")
        run = read_run(path / "run.json")
        if not isinstance(run.get("fold"), int) or not isinstance(run.get("scored"), bool):
            raise ConfigurationError(
                f"{path / 'run.json'} does not tell fold and scored; run this fold again"
            )
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
    missing : tuple of str
        Names of the folds that were planned but are not in here, such as ``"fold_2"``: those
        that :meth:`load` did not find finished.
    """

    evaluation_path: Path
    folds: tuple[FoldResult, ...]
    missing: tuple[str, ...] = ()

    @classmethod
    def load(cls, evaluation_path: str | os.PathLike[str]) -> CrossValidationResult:
        """Gather the finished folds of a folder, wherever they were run.

        Folds that are missing are named in the log, and in ``missing``. :meth:`write` then
        writes the tables of all that are there.

        Raises
        ------
        MissingFileError
            If the folder was not made by ``split_folds`` or ``cross_validation``.
        ConfigurationError
            If its ``folds.json`` is damaged.
        """
        path = Path(evaluation_path)
        if not (path / "folds.json").is_file():
            raise MissingFileError(f"{path / 'folds.json'} does not exist; split_folds writes it")
        n_folds = count_folds(path / "folds.json")
        folds, missing = [], []
        for k in range(n_folds):
            folder = fold_path(path, k)
            try:
                folds.append(FoldResult.load(folder))
            except (MissingFileError, ConfigurationError) as error:
                _log.warning("fold %d of %d is left out: %s", k, n_folds, error)
                missing.append(folder.name)
        return cls(path, tuple(folds), tuple(missing))

    @property
    def scores(self) -> ScoreTable:
        """The scores of all folds in one table."""
        return ScoreTable(row for fold in self.folds for row in fold.scores)

    @property
    def lesions(self) -> LesionTable:
        """The lesions of all folds in one table; empty if they were not scored."""
        return LesionTable(row for fold in self.folds for row in fold.lesions)

    @property
    def calibration(self) -> CalibrationTable:
        """The calibration of all folds in one table; empty if it was not measured."""
        return CalibrationTable(row for fold in self.folds for row in fold.calibration)

    @property
    def histories(self) -> list[HistoryValues]:
        """What the trainings logged, fold by fold."""
        return [fold.history for fold in self.folds]

    def summary(self, seed: int = 0) -> Summary:
        """Summarise the scores of all folds; ``seed`` is that of the bootstrap."""
        return self.scores.summary(seed)

    def summary_by(
        self,
        by: str | Sequence[str],
        seed: int = 0,
        edges: Sequence[float] | None = None,
        metrics: Sequence[str] | None = None,
    ) -> Summary:
        """Summarise the scores of all folds by groups of subjects.

        Parameters
        ----------
        by, seed, edges, metrics
            As of :meth:`ScoreTable.summary_by`.
        """
        return self.scores.summary_by(by, seed, edges, metrics=metrics)

    def sample(self, index: str, data_io: EvaluationData) -> Sample:
        """Read a subject with its segmentation and its prediction, for pictures of it.

        Parameters
        ----------
        index : str
        data_io : DataIO
            Where image and segmentation are; the prediction is that of the fold that scored it.

        Returns
        -------
        Sample

        Raises
        ------
        ConfigurationError
            If no fold that is in here has scored the subject.
        MissingFileError
            If the fold has no prediction of it.
        """
        for fold in self.folds:
            if index in fold.validation:
                return load_predicted(data_io, index, fold.path / "predictions")
        known = sorted({index for fold in self.folds for index in fold.validation})
        missing = f"; missing: {', '.join(self.missing)}" if self.missing else ""
        raise ConfigurationError(
            f"no fold has scored {index!r}; expected one of the {len(known)} that were: "
            f"{', '.join(known[:10])}{' …' if len(known) > 10 else ''}{missing}"
        )

    def write(self) -> None:
        """Gather the tables of the folds in ``evaluation_path``.

        Writes ``scores.tsv``, ``detailed_validation.tsv`` and ``summary.tsv`` (with all
        groupings) if the folds were scored; and ``lesions.tsv`` and ``calibration.tsv`` if the
        folds have them. Those of an earlier run that these folds do not have are removed.
        """
        if self.missing:
            _log.warning(
                "the tables in %s are those of %d folds; missing: %s",
                self.evaluation_path,
                len(self.folds),
                ", ".join(self.missing),
            )
        scores = self.scores
        if scores:
            write_scores(scores, self.evaluation_path)
        else:
            for name in _OF_SCORES:
                (self.evaluation_path / name).unlink(missing_ok=True)
        for name in (_LESIONS, _CALIBRATION):
            if any((fold.path / name).is_file() for fold in self.folds):
                table = self.lesions if name == _LESIONS else self.calibration
                table.to_tsv(self.evaluation_path / name)
            else:
                (self.evaluation_path / name).unlink(missing_ok=True)

    def draw(self, metrics: Iterable[str] = _BOX_PLOTS, *, verbose: int = 0) -> list[Path]:
        """Draw a box plot per score (``boxplot.<metric>.png``), and all that ``figures/`` holds.

        Parameters
        ----------
        metrics : iterable of str
            Of which scores; ``figures/`` gets no second box plot of them.
        verbose : int
            0 shows no progress bar.

        Returns
        -------
        list of Path
            The files; ``figures/`` has those of
            :func:`~miscnn.evaluation.figures.draw_evaluation`.
        """
        from miscnn.evaluation.figures import box_plot, draw_evaluation  # need matplotlib

        paths: list[Path] = []
        boxes: list[str] = []
        table = self.scores
        for metric in metrics:
            if metric in table.metrics:
                paths.append(self.evaluation_path / f"boxplot.{metric}.png")
                box_plot(table, paths[-1], metric)
                boxes.append(metric)
        return [*paths, *draw_evaluation(self, leave_out=boxes, verbose=verbose)]

    def __repr__(self) -> str:
        subjects = len({index for fold in self.folds for index in fold.validation})
        missing = f"missing: {', '.join(self.missing)}; " if self.missing else ""
        return (
            f"CrossValidationResult({len(self.folds)} folds, {subjects} validation subjects; "
            f"{missing}evaluation_path={str(self.evaluation_path)!r})"
        )

    def _repr_html_(self) -> str:
        """Return the folds with their means, and the summary over all of them."""
        summary = self.summary()
        lines = []
        for fold in self.folds:
            of_fold = [
                row.mean
                for row in summary.rows
                if (row.fold, row.metric) == (fold.number, "dice") and not math.isnan(row.mean)
            ]
            mean = number(sum(of_fold) / len(of_fold)) if of_fold else "—"
            epochs = max(map(len, fold.history.values()), default=0)
            counts = (len(fold.training), len(fold.validation), epochs)
            lines.append((f"fold {fold.number}", *counts, mean))
        header = ("", "training", "validation", "epochs", "mean Dice")
        notes = [f"missing: {', '.join(self.missing)}"] if self.missing else []
        caption = f"Cross-validation: {len(self.folds)} folds"
        return html_table(header, lines, caption, notes=notes) + summary.to_html("All folds")

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
    try:
        header, *lines = read_tsv(path)
        columns = zip(*lines, strict=True) if lines else ([] for _ in header)
        values = {name: list(column) for name, column in zip(header, columns, strict=True)}
        del values["epoch"]
        return {name: [float(cell) for cell in column] for name, column in values.items()}
    except (KeyError, ValueError) as error:
        raise ConfigurationError(
            f"{path} is no table of a training ({error}); run this fold again"
        ) from error
