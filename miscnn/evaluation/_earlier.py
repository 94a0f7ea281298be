"""What earlier runs have written: which files are ours, and their removal.

Every file goes by a name that this package gives; whatever else lies beside them stays.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from miscnn.data_loading._indices import subject_of
from miscnn.data_loading._new_results import MANIFEST, results_in
from miscnn.evaluation._metrics import METRICS, tolerance_of
from miscnn.evaluation.detailed_validation import discard_previews
from miscnn.evaluation.splits import read_fold
from miscnn.exceptions import ConfigurationError, MissingFileError

RUN = "run.json"
SUBJECTS = "sample_list.json"
WEIGHTS, LAST_WEIGHTS = "model.keras", "model.last.keras"
PREDICTIONS = "predictions"

_TABLES = (
    "scores.tsv",
    "detailed_validation.tsv",
    "summary.tsv",
    "lesions.tsv",
    "calibration.tsv",
)
_OVERLAY = re.compile(r"overlay\.(worst|median|best)\..+\.(png|gif)")
_BOX_PLOT = re.compile(r"boxplot\.(.+)\.png")
_FIGURE = re.compile(r"(training|volumes|lesions|calibration|dice\.by_[a-z_]+)\.png")
_FOLD = re.compile(r"fold_[0-9]+")
# Of predictions that no manifest lists: those of models that are no networks.
_PREDICTION = re.compile(
    r"(_probabilities)?\.(nii|nii\.gz|dcm|np[yz]|nrrd|mh[ad]|png|tiff?)", re.IGNORECASE
)


def fold_folders(path: Path) -> list[Path]:
    """Return the folders of all folds, of earlier runs as well."""
    found = [f for f in path.glob("fold_*") if _FOLD.fullmatch(f.name) and f.is_dir()]
    return sorted(found, key=lambda folder: int(folder.name.removeprefix("fold_")))


def discard_evaluation(path: Path) -> None:
    """Remove what a cross-validation has written, in the folders of its folds as well.

    Trainings and claims of folds are not looked at.
    """
    folders = fold_folders(path)
    if not (path / "folds.json").is_file() and not any((f / SUBJECTS).is_file() for f in folders):
        return  # no cross-validation's
    for folder in folders:
        discard_fold(folder)
        (folder / SUBJECTS).unlink(missing_ok=True)
        _remove_if_empty(folder)
    _discard_tables(path)
    (path / "report.html").unlink(missing_ok=True)
    (path / "folds.json").unlink(missing_ok=True)
    for folder in (path, path / "figures"):
        for file in folder.glob("*.png"):
            box = _BOX_PLOT.fullmatch(file.name)
            figure = folder != path and _FIGURE.fullmatch(file.name)
            if figure or (box and _is_score(box.group(1))):
                file.unlink()
    _remove_if_empty(path / "figures")


def discard_fold(folder: Path, subjects: Collection[str] | None = None) -> None:
    """Remove what a fold has left, but for its subjects and its training.

    Parameters
    ----------
    folder : Path
        Of the fold.
    subjects : collection of str, optional
        Whose predictions may be there if no manifest lists them. Default: those of its
        ``sample_list.json``.
    """
    (folder / RUN).unlink(missing_ok=True)  # first: without it nothing else counts
    _discard_tables(folder)
    for name in ("history.tsv", "training.png"):
        (folder / name).unlink(missing_ok=True)
    for name in (WEIGHTS, LAST_WEIGHTS):
        _remove_weights(folder / name)
    for file in folder.glob("overlay.*"):
        if _OVERLAY.fullmatch(file.name):
            file.unlink()
    discard_previews(folder)
    _discard_predictions(folder, _planned(folder) if subjects is None else subjects)


def _discard_tables(folder: Path) -> None:
    for name in _TABLES:
        (folder / name).unlink(missing_ok=True)


def _discard_predictions(folder: Path, subjects: Collection[str]) -> None:
    place = folder / PREDICTIONS
    if not place.is_dir():
        return
    inside = place.resolve()
    found = {file for file in results_in(place) if file.is_relative_to(inside)}
    names = {*subjects, *map(subject_of, subjects)}
    for file in place.iterdir():
        # An index may hold dots, and one index may be how another one begins.
        ends = (file.name[k:] for k in range(1, len(file.name)) if file.name[:k] in names)
        if any(_PREDICTION.fullmatch(end) for end in ends):
            found.add(file)
    for file in found:
        if file.is_file():
            file.unlink()
        if file.parent not in (place, inside):  # of the slices of a volume
            _remove_if_empty(file.parent)
    (place / MANIFEST).unlink(missing_ok=True)
    _remove_if_empty(place)


def _planned(folder: Path) -> list[str]:
    try:
        return [index for side in read_fold(folder / SUBJECTS) for index in side]
    except (ConfigurationError, MissingFileError):
        return []


def _remove_weights(weights: Path) -> None:
    if weights.is_dir():  # an ensemble's
        from miscnn.neural_network.bundle import remove_folder  # slow to import

        remove_folder(weights)
    else:
        weights.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def _is_score(name: str) -> bool:
    return name in METRICS or tolerance_of(name) is not None
