"""What earlier runs have left: finished folds, and trainings that were interrupted."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from tqdm.auto import tqdm

from miscnn._files import write_json
from miscnn.evaluation._claim import forget_claim
from miscnn.evaluation._earlier import RUN, discard_evaluation, fold_folders
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.detailed_validation import EvaluatedModel, class_names_by_label
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.splits import Fold, count_folds, fold_path, hold_out, load_groups
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network._recipe import differences_of, different_subjects, recipe_of
from miscnn.neural_network._sources import Sources

_log = logging.getLogger("miscnn.evaluation")

_PLAN = "plan.json"
_MEND = "delete the file to run this fold again, or begin anew with resume=False"
# Versions that did not write these had no such settings.
_ONCE_UNKNOWN = ("max_minutes", "early_stopping", "validate_volumes")


class Task(NamedTuple):
    """A fold that is to be run.

    Attributes
    ----------
    number : int
    subjects : Fold
    folder : Path
        Gets all that is written.
    name : str
        Stands before the progress bar of the training.
    patients : mapping of str to int, optional
        The number of the patient of each index.
    training : str
        Name of the folder for checkpoints.
    """

    number: int
    subjects: Fold
    folder: Path
    name: str
    patients: Mapping[str, int] | None = None
    training: str = "training"

    @property
    def training_folder(self) -> Path:
        """Where the training keeps its checkpoints until the fold is finished."""
        return self.folder / self.training

    def inner_split(self, settings: Settings) -> Fold:
        """Return who is trained on, and who chooses the weights."""
        training = self.subjects.training
        if not settings.inner_validation:
            return Fold(list(training), [])
        rng = np.random.default_rng([settings.seed, self.number])
        return hold_out(training, settings.inner_validation, rng, self.patients)

    def plan(self, model: EvaluatedModel, settings: Settings) -> dict[str, Any]:
        """Return all that decides the result of the fold, as JSON values."""
        inner = self.inner_split(settings)
        who = [*inner.training, *inner.validation, *self.subjects.validation]
        sources = Sources(model.preprocessor.data_io.interface).fingerprints(who)
        return {**self.call(model, settings), "sources": sources}

    def call(self, model: EvaluatedModel, settings: Settings) -> dict[str, Any]:
        """Return the same without the contents of the subjects' files."""
        inner = self.inner_split(settings)
        interface = model.preprocessor.data_io.interface
        names = class_names_by_label(settings.class_names, interface.classes)
        return {
            "fold": self.number,
            "training": list(inner.training),
            "inner_validation": list(inner.validation),
            "validation": list(self.subjects.validation),
            "seed": settings.seed,
            "epochs": settings.n_epochs,
            "iterations": settings.iterations,
            "max_minutes": settings.max_minutes,
            "early_stopping": settings.early_stopping,
            "validate_volumes": settings.validate_volumes,
            "class_names": list(names.values()),
            "scoring": (settings.scoring or Scoring()).get_config(),
            "recipe": recipe_of(model),
        }


def tasks_of(
    folds: Sequence[Fold], path: Path, patients: Mapping[str, int] | None = None
) -> list[Task]:
    """Return the tasks of a cross-validation; people count from 1, folders from 0."""
    return [
        Task(number, fold, fold_path(path, number), f"fold {number + 1}/{len(folds)}", patients)
        for number, fold in enumerate(folds)
    ]


def single_task(number: int, fold: Fold, path: Path) -> Task:
    """Return the task of one fold of a cross-validation that was split beforehand."""
    folder = fold_path(path, number)
    document = path / "folds.json"
    if not document.is_file():  # a fold's file may stand alone, as MIScnn 1.x wrote it
        return Task(number, fold, folder, folder.name)
    name = f"fold {number + 1}/{count_folds(document)}"
    groups = load_groups(document)
    missing = sorted({i for side in fold for i in side} - set(groups)) if groups is not None else []
    if missing:
        raise ConfigurationError(
            f"{document}: groups does not tell the patient of {len(missing)} subject(s) of fold "
            f"{number}: {', '.join(missing[:10])}; split_folds writes both anew"
        )
    return Task(number, fold, folder, name, groups)


def check_number(number: int, path: Path) -> None:
    """Raise MissingFileError if ``folds.json`` says that there is no such fold."""
    document = path / "folds.json"
    if not document.is_file():
        return  # a fold's file may stand alone, as MIScnn 1.x wrote it
    n_folds = count_folds(document)
    if not 0 <= number < n_folds:
        raise MissingFileError(
            f"there is no fold {number} in {path}: folds are 0 … {n_folds - 1}, as split_folds has "
            "prepared them"
        )


def check_same_split(folds: Sequence[Fold], path: Path) -> None:
    """Raise ConfigurationError if folds of another split are finished."""
    others = []
    for folder in fold_folders(path):
        if not (folder / RUN).is_file():
            continue
        before = read_run(folder / RUN)
        trained = sorted([*before["training"], *before["inner_validation"]])
        number = int(folder.name.removeprefix("fold_"))
        now = folds[number] if number < len(folds) else Fold([], [])
        if (trained, before["validation"]) != (sorted(now.training), list(now.validation)):
            others.append(folder.name)
    if others:
        raise ConfigurationError(
            f"{', '.join(others)} in {path} are finished, and of another split than this one. Keep "
            f"theirs with splitter={str(path / 'folds.json')!r}, choose another evaluation_path, "
            "or remove these folders"
        )


def finished_tasks(
    tasks: Sequence[Task], path: Path, model: EvaluatedModel, settings: Settings
) -> set[int]:
    """Return the numbers of the finished folds; without ``resume`` there are none.

    Raises
    ------
    ConfigurationError
        If a fold that is finished, or was interrupted in its training, was run in another way
        than it would be now; it names every difference.
    """
    finished: set[int] = set()
    complaints = []
    sources = Sources(model.preprocessor.data_io.interface)
    for task in tasks if settings.resume else ():
        done = (task.folder / RUN).is_file()
        file = task.folder / RUN if done else task.training_folder / _PLAN
        if not file.is_file():
            continue
        before = read_run(file)
        differences = _differences(before, task.call(model, settings))
        differences += sources.differences(before.get("sources"))
        if done:
            finished.add(task.number)
            if settings.run_detailed_evaluation and not before.get("scored"):
                differences.append("its subjects were not scored")
            if settings.save_models and not (task.folder / "model.keras").exists():
                differences.append("its weights were not kept")
        if differences:
            which = f"fold {task.number}" + ("" if done else " (interrupted)")
            complaints.append(f"{which}: {'; '.join(differences)}")
    if complaints:
        raise ConfigurationError(
            f"{len(complaints)} fold(s) in {path} were not run as they would be now. "
            f"{'. '.join(complaints)}. Go on with the settings of then, choose another "
            "evaluation_path, or begin anew with resume=False"
        )
    return finished


def read_run(file: Path) -> dict[str, Any]:
    """Read ``run.json`` or ``plan.json``, as far as it tells who was in the fold.

    Raises
    ------
    ConfigurationError
        If it is damaged.
    """
    try:
        before = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{file} is damaged: {error}; {_MEND}") from error
    if not isinstance(before, dict):
        raise ConfigurationError(f"{file} holds a {type(before).__name__}; {_MEND}")
    lists = {name: before.get(name) for name in ("training", "inner_validation", "validation")}
    wrong = [
        name
        for name, value in lists.items()
        if not isinstance(value, list) or not all(isinstance(index, str) for index in value)
    ]
    if wrong or not isinstance(before.get("sources"), dict | None):
        raise ConfigurationError(
            f"{file} does not tell {wrong[0] if wrong else 'sources'}; {_MEND}"
        )
    return before


def _differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    differences = []
    for name, value in now.items():
        if name in ("training", "inner_validation", "validation"):
            differences += different_subjects(name.replace("_", " "), before[name], value)
        elif name == "scoring":
            differences += differences_of(name, before.get(name, Scoring().get_config()), value)
        elif name in before or name in _ONCE_UNKNOWN:  # older versions wrote less
            differences += differences_of(name, before.get(name), value)
    return differences


def tell_finished(finished: Collection[int], n_folds: int, path: Path, verbose: int) -> None:
    """Tell which folds are not run again."""
    if not finished:
        return
    folds = f"{n_folds} folds are" if n_folds > 1 else "1 fold is"
    text = (
        f"taken over, not run again: fold {', '.join(map(str, sorted(finished)))} "
        f"({len(finished)} of {folds} finished in {path})"
    )
    _log.info(text)
    if verbose:
        tqdm.write(text, file=sys.stderr)  # where the bars are


def discard_earlier(
    tasks: Sequence[Task], path: Path, finished: Collection[int], resume: bool
) -> None:
    """Take away what earlier runs have left that this run does not go on with.

    Otherwise a run that is broken off and resumed would take folds of the run before it. Of a
    run that begins anew nothing else stays either: it would be a mixture.
    """
    if not resume:
        lost = sum((folder / RUN).is_file() for folder in fold_folders(path))
        if lost:
            _log.warning(
                "%s holds %d finished fold(s), which are discarded: this run begins anew; "
                "resume=True would go on with them",
                path, lost,
            )  # fmt: skip
    kept = {task.folder for task in tasks if task.number in finished}
    going_on = {task.folder for task in tasks} - kept if resume else set()
    for folder in path.glob("fold_*"):
        forget_claim(folder)
        if folder not in kept:
            (folder / RUN).unlink(missing_ok=True)
        if folder not in going_on:
            discard_trainings(folder)
    if not resume:
        discard_evaluation(path)


def begin_training(task: Task, model: EvaluatedModel, settings: Settings) -> bool:
    """Prepare the folder of a training; return whether there is one to go on with.

    Raises
    ------
    ConfigurationError
        If the folder holds a training of somebody else's.
    """
    from miscnn.neural_network.checkpoint import LAST  # slow to import

    folder = task.training_folder
    if not settings.resume:
        discard_training(folder)
    goes_on = (folder / _PLAN).is_file()
    if not goes_on and (folder / LAST).exists():
        raise ConfigurationError(
            f"{folder} holds checkpoints of a training that no fold has made; choose another "
            "evaluation_path, or move the folder away"
        )
    write_json(folder / _PLAN, task.plan(model, settings))
    return goes_on


def discard_trainings(folder: Path) -> None:
    """Remove the trainings of a fold, those of workers that it was taken from as well."""
    for training in folder.glob("training*"):
        discard_training(training)


def discard_training(folder: Path, ours: bool = False) -> None:
    """Remove the training of a fold; what else somebody has put into its folder stays.

    ``ours`` says that it is one, even if its plan was removed already.
    """
    if not ours and not (folder / _PLAN).is_file():
        return
    from miscnn.neural_network.checkpoint import BEST, LAST

    # The plan says whose training it is, so it goes last.
    for name in (LAST, BEST, "history.tsv", *(f.name for f in folder.glob(".writing-*")), _PLAN):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()
