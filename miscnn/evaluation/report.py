"""One page that tells and shows what an evaluation has found."""

from __future__ import annotations

import logging
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from miscnn._files import write_text
from miscnn._text import number
from miscnn._version import __version__
from miscnn._viewer.encoding import script_json
from miscnn._viewer.page import POLICY, resource, viewer_script
from miscnn.evaluation._report_pictures import pictures_of
from miscnn.evaluation._report_source import Key, PreviewFile, ReportSource
from miscnn.evaluation._report_tables import (
    class_choice,
    details,
    grouped_tables,
    html_of,
    not_scored_note,
    run_table,
    subject_table,
    summary_table,
)
from miscnn.evaluation._report_viewers import Viewers, by_interest, viewers_of
from miscnn.evaluation.calibration_table import CalibrationTable
from miscnn.evaluation.detailed_validation import EvaluationData, load_predicted
from miscnn.evaluation.lesion_table import LesionTable
from miscnn.evaluation.preview import preview_heading, write_preview
from miscnn.evaluation.score_table import ScoreRow
from miscnn.exceptions import ConfigurationError, MiscnnError, reason_of

_log = logging.getLogger("miscnn.evaluation")

_IN_TITLE = ("dice", "nsd_2mm", "hd95_mm", "volume_error", "lesion_f1")
_MOST_CLASSES_TOLD = 6
_MEGABYTE = 1_000_000
_NO_PREVIEWS = (
    "The evaluation kept no previews, so that there are no slices to look at. Make the report "
    "again and name the data set: miscnn report EVAL_DIR --data DIR, or "
    "write_report(..., data_io=...)."
)


def write_report(
    evaluation_path: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    data_io: EvaluationData | None = None,
    predictions: str | os.PathLike[str] | None = None,
    max_megabytes: float = 8.0,
) -> Path:
    """Write a page with the summary, pictures, a table of subjects and a viewer of their slices.

    The page is one file and needs no network; it holds small copies of the images. The same
    evaluation gives the same page.

    Parameters
    ----------
    evaluation_path : path
        Folder of ``cross_validation``, ``detailed_validation``, or ``miscnn evaluate``.
    path : path, optional
        File to write. Default: ``report.html`` in the folder.
    data_io : DataIO, optional
        The data set, for slices of subjects that have no preview in the folder.
    predictions : path, optional
        Folder of the predictions that go with ``data_io``. Default: ``predictions`` in the
        folder, or in those of the folds.
    max_megabytes : float
        About how large the page may be (1 MB = 10⁶ bytes). Volumes are made smaller until all fit;
        if they would be too small to see anything, only the worst, the median, the best and then
        the next worst subjects have one. Scores and pictures are always there.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    MissingFileError, ConfigurationError, DamagedFileError
        If the folder is none of an evaluation, or a file in it cannot be read; it is named.
    """
    if not max_megabytes > 0:
        raise ConfigurationError(
            f"max_megabytes is {max_megabytes!r}; expected a positive number of megabytes"
        )
    source = ReportSource.read(evaluation_path)
    target = source.path / "report.html" if path is None else Path(path)
    order = by_interest(source.scores, source.subjects)
    with _with_previews(source, data_io, predictions) as (previews, reasons):
        page = _Page(source, {k: f"s{n}" for n, k in enumerate(source.subjects)})
        room = max_megabytes * _MEGABYTE - len(page.text(Viewers({}, {}, 1.0), reasons).encode())
        viewers = viewers_of(previews, order, max(0.0, room))
        write_text(target, page.text(viewers, {**reasons, **viewers.left_out}))
    return target


@contextmanager
def _with_previews(
    source: ReportSource,
    data_io: EvaluationData | None,
    predictions: str | os.PathLike[str] | None,
) -> Iterator[tuple[Mapping[Key, PreviewFile], dict[Key, str]]]:
    """Yield the previews, those that are missing made of the data, and why there is none."""
    missing = [key for key in source.subjects if key not in source.previews]
    if data_io is None or not missing:
        yield source.previews, dict.fromkeys(missing, "the evaluation kept no preview of it")
        return
    found, reasons = dict(source.previews), {}
    names = source.scores.classes
    classes = data_io.interface.classes
    with tempfile.TemporaryDirectory(prefix="miscnn-report-") as scratch:
        for fold, index in missing:
            folder = Path(predictions) if predictions else _predictions(source.path, fold)
            try:
                sample = load_predicted(data_io, index, folder)
            except (MiscnnError, OSError, KeyError) as error:
                reason = reason_of(error, index) if isinstance(error, MiscnnError) else "not found"
                reasons[fold, index] = f"its image or its prediction could not be read: {reason}"
                _log.warning("no slices of %r: %s", index, reason)
                continue
            shown = {label: name for label, name in names.items() if label < classes}
            file = write_preview(sample, Path(scratch) / str(fold), shown)
            found[fold, index] = PreviewFile(file, sample.image.size)
            found[fold, index] = PreviewFile(file, preview_heading(file)[1])
        yield found, reasons


def _predictions(path: Path, fold: int) -> Path:
    own = path / f"fold_{fold}" / "predictions"
    return own if own.is_dir() else path / "predictions"


class _Page:
    """The page; all but the volumes is made once."""

    def __init__(self, source: ReportSource, identifiers: Mapping[Key, str]) -> None:
        self.source = source
        self.identifiers = identifiers
        self.summary = source.scores.summary()
        self.pictures = pictures_of(source)
        self.groups = grouped_tables(source.scores, self.summary)

    def text(self, viewers: Viewers, reasons: Mapping[Key, str]) -> str:
        source = self.source
        subjects, note = subject_table(source, self.identifiers, viewers.volumes)
        title = f"Evaluation of {_counted(len(set(source.scores.samples)), 'subject')}"
        volumes = "\n".join(
            f'<script type="application/json" id="volume-{self.identifiers[key]}">{text}</script>'
            for key, text in viewers.volumes.items()
        )
        return _template().substitute(
            policy=escape(POLICY),
            title=escape(title),
            name=escape(source.path.resolve().name),
            style=resource("viewer.css")
            + files(__package__).joinpath("report.css").read_text("utf-8"),
            facts=self._facts(),
            runs=run_table(source),
            summary=summary_table(self.summary, source.scores, self.identifiers),
            groups=self.groups,
            pictures=_grid(self.pictures["scores"]),
            sections=self._sections(),
            notes=not_scored_note(source)
            + "".join(f'<p class="warning">{escape(each)}</p>' for each in source.notes),
            viewer_note=f"<p>{escape(note + self._viewer_note(viewers, reasons))}</p>",
            choice=class_choice(source.scores.classes),
            subjects=subjects,
            about=script_json(self._about(viewers, reasons)),
            volumes=volumes,
            script=viewer_script() + files(__package__).joinpath("report.js").read_text("utf-8"),
            version=escape(__version__),
        )

    def _facts(self) -> str:
        scores = self.source.scores
        told = [
            (str(len(set(scores.samples))), "subjects"),
            (str(len(scores.folds)), "fold" if len(scores.folds) == 1 else "folds"),
            (str(len(scores.classes)), "class" if len(scores.classes) == 1 else "classes"),
        ]
        dice = [
            r for r in self.summary.rows if r.fold is None and not r.group and r.metric == "dice"
        ]
        which = "Dice"
        if len(dice) > _MOST_CLASSES_TOLD:
            dice = sorted(dice, key=lambda row: _low(row.mean))
            which = "lowest Dice"
        for row in dice[:_MOST_CLASSES_TOLD]:
            spread = f" ± {number(row.sd)}" if row.sd == row.sd else ""
            told.append((f"{number(row.mean)}{spread}", f"{which}, {row.class_name}"))
        items = "".join(f"<li><b>{escape(b)}</b><span>{escape(s)}</span></li>" for b, s in told)
        return f'<ul class="facts">{items}</ul>'

    def _sections(self) -> str:
        parts = []
        if self.pictures["training"]:
            parts.append(f"<h2>Training</h2>{_grid(self.pictures['training'])}")
        for name, title, table in (
            ("lesions", "Lesions", self.source.lesions),
            ("calibration", "Calibration", self.source.calibration),
        ):
            if table is not None:
                parts.append(f"<h2>{title}</h2>{_grid(self.pictures[name])}{_as_table(table)}")
        return "".join(parts)

    def _viewer_note(self, viewers: Viewers, reasons: Mapping[Key, str]) -> str:
        without = [key for key in self.source.subjects if key not in viewers.volumes]
        if not viewers.volumes and not self.source.previews and not viewers.left_out:
            kept_none = all("kept no preview" in reasons.get(key, "") for key in without)
            if kept_none:
                return _NO_PREVIEWS
        text = "A click on a subject shows its slices."
        if viewers.share < 0.999:
            text += (
                " Volumes are coarser than their previews, so that the page stays small "
                f"(the largest have {viewers.share:.0%} of the voxels); scores are of the "
                "originals."
            )
        if without:
            why: dict[str, list[str]] = {}
            for key in without:
                why.setdefault(reasons.get(key, "there is no preview"), []).append(key[1])
            told = "; ".join(
                f"{_counted(len(names), 'subject')} ({', '.join(names[:5])}"
                f"{', …' if len(names) > 5 else ''}): {reason}"
                for reason, names in why.items()
            )
            text += f" Without slices: {told}."
        return text

    def _about(self, viewers: Viewers, reasons: Mapping[Key, str]) -> dict[str, object]:
        scores: dict[Key, list[str]] = {key: [] for key in self.source.subjects}
        classes = len(self.source.scores.classes)
        told_of = _IN_TITLE if classes <= _MOST_CLASSES_TOLD else _IN_TITLE[:1]
        rows: dict[Key, list[ScoreRow]] = {key: [] for key in self.source.subjects}
        for row in self.source.scores:
            if row.metric in told_of:
                rows[row.fold, row.sample].append(row)
        for key, found in rows.items():
            if classes > _MOST_CLASSES_TOLD:  # the table has all of them
                found = sorted(found, key=lambda row: _low(row.value))
            most = _MOST_CLASSES_TOLD * len(told_of)
            for row in found[:most]:
                which = f"{row.class_name}: " if classes > 1 else ""
                scores[key].append(f"{which}{row.metric.replace('_', ' ')} {number(row.value)}")
            if len(found) > most:
                scores[key].append(f"{len(found) - most} more classes, with higher Dice")
        folds = len(self.source.scores.folds) > 1
        return {
            self.identifiers[key]: {
                "title": f"{key[1]} · fold {key[0]}" if folds else key[1],
                "scores": told,
                "reason": ""
                if key in viewers.volumes
                else f"No slices: {reasons.get(key, 'there is no preview')}.",
            }
            for key, told in scores.items()
        }


def _low(value: float) -> float:
    """Return what sorts undefined values after all others."""
    return value if math.isfinite(value) else math.inf


def _grid(pictures: list[str]) -> str:
    return f'<div class="pictures">{"".join(pictures)}</div>' if pictures else ""


def _as_table(value: LesionTable | CalibrationTable) -> str:
    try:
        return details("As a table", f'<div class="wide">{html_of(value)}</div>')
    except MiscnnError as error:
        _log.warning("a table of the report is missing: %s", error)
        return f'<p class="note">Not shown: {escape(str(error))}</p>'


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _template() -> Template:
    return Template(files(__package__).joinpath("report.html").read_text("utf-8"))
