"""All figures of an evaluation."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from miscnn.evaluation._metrics import tolerance_of
from miscnn.evaluation.figures._against import By, score_against
from miscnn.evaluation.figures._boxes import box_plot
from miscnn.evaluation.figures._calibration import reliability_diagram
from miscnn.evaluation.figures._lesions import detection_by_size
from miscnn.evaluation.figures._training import training_curves
from miscnn.evaluation.figures._volumes import bland_altman
from miscnn.evaluation.summary import ScoreTable

if TYPE_CHECKING:
    from miscnn.evaluation._results import CrossValidationResult

_LOG = logging.getLogger("miscnn.evaluation.figures")

_Drawing = tuple[str, Callable[[Path], Any]]

_AGAINST: tuple[By, ...] = ("n_slices", "slice_thickness_mm", "size")
# And the surface Dice, at whichever tolerance.
_BOXES = ("dice", "hd95_mm", "assd_mm", "volume_error", "lesion_f1", "ece")
_VOLUMES = {"volume_truth_ml", "volume_prediction_ml"}
_AREAS = {"area_truth_mm2", "area_prediction_mm2"}


def draw_evaluation(
    result: CrossValidationResult,
    folder: str | os.PathLike[str] | None = None,
    *,
    leave_out: Collection[str] = (),
    verbose: int = 0,
) -> list[Path]:
    """Draw all that an evaluation has the numbers for, one PNG each.

    ``training.png``, ``boxplot.<score>.png`` for the scores that are reported most (Dice, 95 %
    Hausdorff and average surface distance, surface Dice, volume error, F1 of lesions, ECE),
    ``volumes.png`` (Bland-Altman), ``dice.by_n_slices.png``, ``dice.by_slice_thickness_mm.png``,
    ``dice.by_size.png``; ``lesions.png`` and ``calibration.png`` where these were measured. A
    figure that cannot be drawn is told in the log, and the others are drawn all the same.

    Parameters
    ----------
    result : CrossValidationResult
    folder : path, optional
        Default: ``figures`` in the folder of the evaluation.
    leave_out : collection of str
        Scores that get no box plot.
    verbose : int
        0 shows no progress bar.

    Returns
    -------
    list of Path
        The files that were written.
    """
    folder = result.evaluation_path / "figures" if folder is None else Path(folder)
    paths = []
    drawings = list(_drawings(result, leave_out))
    for name, draw in tqdm(drawings, desc="drawing", unit="figure", disable=not verbose):
        path = folder / name
        try:
            draw(path)
        except Exception:  # whatever it is: scores are complete, and worth more than a picture
            _LOG.exception("figure %s could not be drawn", path)
        else:
            paths.append(path)
    return paths


def _drawings(result: CrossValidationResult, leave_out: Collection[str]) -> Iterator[_Drawing]:
    histories = {f"fold {fold.number}": fold.history for fold in result.folds if fold.history}
    if histories:
        yield "training.png", lambda path: training_curves(histories, path)
    scores = result.scores
    metrics = set(scores.metrics)
    for metric in scores.metrics:
        if metric not in leave_out and (metric in _BOXES or tolerance_of(metric) is not None):
            yield f"boxplot.{metric}.png", partial(_box_plot, scores, metric)
    if metrics >= _VOLUMES or metrics >= _AREAS:
        yield "volumes.png", lambda path: bland_altman(scores, path)
    for by in _AGAINST:
        known = by != "size" or metrics & {"volume_truth_ml", "area_truth_mm2"}
        if "dice" in metrics and known and _varies(result, by):
            yield f"dice.by_{by}.png", partial(_against, scores, by)
    for name, drawn in (("lesions", detection_by_size), ("calibration", reliability_diagram)):
        yield from _further(result, name, drawn)


def _further(
    result: CrossValidationResult, name: str, draw: Callable[[Any, Path], Any]
) -> Iterator[_Drawing]:
    try:
        table = getattr(result, name)
    except Exception:
        _LOG.exception("the table of %s of %s cannot be read", name, result.evaluation_path)
        return
    if table.rows:
        yield f"{name}.png", lambda path: draw(table, path)


def _box_plot(scores: ScoreTable, metric: str, path: Path) -> None:
    box_plot(scores, path, metric)


def _against(scores: ScoreTable, by: By, path: Path) -> None:
    score_against(scores, path, by)


def _varies(result: CrossValidationResult, by: By) -> bool:
    """Tell whether there is anything to see: all slices may be of one thickness."""
    if by == "size":
        return True
    name = "n_slices" if by == "n_slices" else "slice_thickness"
    values = (float(getattr(row, name)) for row in result.scores)
    return len({round(value, 3) for value in values if math.isfinite(value)}) > 1
