"""Cross-validation: every subject is scored by a network that never saw it.

Below ``evaluation_path`` stand ``folds.json`` (the folds, and by which splitter), the tables
``scores.tsv``, ``detailed_validation.tsv`` and ``summary.tsv`` of all finished folds, the box
plots ``boxplot.<metric>.png``, and for each fold a folder ``fold_<k>`` with

- ``sample_list.json``: ``{"TRAINING": [...], "VALIDATION": [...]}``;
- ``history.tsv`` and ``training.png``: what the training logged, epoch by epoch;
- ``model.keras``: the weights that predicted; ``model.last.keras``: the last ones, where these
  are others;
- ``predictions/``: label maps on the grids of the inputs;
- ``scores.tsv`` (tidy), ``detailed_validation.tsv`` (one line per subject), ``summary.tsv``;
- ``overlay.<worst|median>.<index>.png`` and ``.gif``;
- ``run.json``: who was trained on, seed, epochs, the model's recipe, seconds, when it was finished
  and with which versions; written last;
- ``training/`` and ``running.json``, only until the fold is finished: checkpoints to go on from,
  and whose it is. If two processes run the same fold, the later one has it.

Folds can be run one by one, also on several machines that share the folder: ``split_folds``
once, then ``run_fold(k, model)`` each, then ``CrossValidationResult.load(evaluation_path)`` and
its ``write()`` and ``draw()``. A run that was interrupted goes on with ``resume=True``, from
within a training, too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn.data_loading._indices import subject_of
from miscnn.evaluation._parallel import in_parallel, packed, run_parallel
from miscnn.evaluation._results import CrossValidationResult, FoldResult
from miscnn.evaluation._resume import (
    check_number,
    check_same_split,
    discard_earlier,
    finished_tasks,
    single_task,
    tasks_of,
    tell_finished,
)
from miscnn.evaluation._run import run_or_load
from miscnn.evaluation._settings import Settings
from miscnn.evaluation.detailed_validation import ClassNames, EvaluatedModel
from miscnn.evaluation.scoring import Scoring
from miscnn.evaluation.splits import (
    Fold,
    GroupedKFold,
    Groups,
    KnowsGeometry,
    SavedFolds,
    Splits,
    fold_file,
    fold_path,
    load_disk2fold,
    make_folds,
    patients_of,
    read_fold,
    save_folds,
    warn_of_torn,
    write_fold,
    write_fold2disk,
)
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._callback_copies import Callbacks

_OF_PIPELINES = {
    "slice-sorted": "splitter=SliceSortedKFold(k_fold)",
    "stratified-volume": "splitter=StratifiedVolumeKFold(k_fold)",
    "stratified-label": "splitter=StratifiedLabelKFold(k_fold)",
    "random": "k_fold without a splitter",
}

__all__ = [
    "CrossValidationResult",
    "FoldResult",
    "cross_validation",
    "load_disk2fold",
    "run_fold",
    "split_folds",
    "write_fold2disk",
]


def cross_validation(
    sample_list: Sequence[str],
    model: EvaluatedModel,
    k_fold: int = 3,
    epochs: int | None = None,
    iterations: int | None = None,
    evaluation_path: str | os.PathLike[str] = "evaluation",
    draw_figures: bool = True,
    run_detailed_evaluation: bool = True,
    callbacks: Callbacks = (),
    save_models: bool = True,
    return_output: bool = False,
    *,
    splitter: Splits | None = None,
    y: Sequence[Any] | None = None,
    groups: Groups | None = None,
    inner_validation: float = 0.0,
    seed: int = 0,
    class_names: ClassNames = None,
    overlays: Sequence[str] = ("worst", "median"),
    verbose: int = 1,
    resume: bool = False,
    max_minutes: float | None = None,
    early_stopping: int | None = None,
    validate_volumes: int | None = None,
    scoring: Scoring | None = None,
    previews: bool = True,
    n_jobs: int | None = None,
) -> CrossValidationResult:
    """Train, predict and score fold by fold.

    Each fold begins with a fresh model (weights, optimizer, fitted statistics), and its
    validation subjects have no influence on it: they are only predicted and scored.

    Parameters
    ----------
    sample_list : sequence of str
        Indices of the subjects.
    model : NeuralNetwork
    k_fold : int
        Number of folds if no splitter is given.
    epochs, iterations
        As in ``NeuralNetwork.train``. Default: 20 epochs, or with ``max_minutes`` as many as fit
        into it.
    evaluation_path : path
        Folder for everything that is written (:mod:`miscnn.evaluation.cross_validation`).
        Finished folds are there while later ones still run.
    draw_figures : bool
        Draw training curves, box plots and overlays.
    run_detailed_evaluation : bool
        Predict and score the validation subjects; otherwise the folds are only trained.
    callbacks : sequence of Keras callbacks, or function that returns one
        Each fold gets deep copies of its own, or what the function returns.
    save_models : bool
        Keep the weights of each fold: those that predicted, and the last ones if these are
        others.
    return_output : bool
        Without effect: the result always holds the histories (and is a sequence of them). It
        is kept for scripts written for MIScnn 1.x.
    splitter : splitter, iterable of pairs, or path, optional
        One of :mod:`miscnn.evaluation.splits` or of scikit-learn; or pairs (training,
        validation) of positions or of indices, such as ``load_folds`` returns; or the path of a
        file of folds (or of an earlier evaluation), which are used again. Default:
        ``KFold(k_fold, shuffle=True, random_state=seed)``; with ``groups``
        ``GroupedKFold(k_fold, seed)``. What a splitter of this library needs to know of each
        subject (slices, volumes, labels) is looked up.
    y : sequence, optional
        Handed to the splitter: of each subject the class to stratify by.
    groups : sequence or mapping, optional
        Handed to the splitter: of each subject the group (patient) that must not be torn apart,
        in the order of ``sample_list`` or by index. The log warns of folds that tear one.
    inner_validation : float
        Share of each fold's *training* subjects that is held out, drawn with ``seed``, to
        choose the best epoch: that with the lowest validation loss, or with
        ``validate_volumes`` that with the highest Dice of whole volumes. With 0, the last
        weights are used. Where patients are known (by ``groups``, by a ``GroupedKFold`` or by a
        file of folds), it is a share of them, and no patient is on both sides.
    seed : int
        Of the default splitter and of the inner validation.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label. Default: those of the data
        interface.
    overlays : sequence of {"worst", "median", "best"}
        Whose overlays are drawn in each fold, by mean Dice over the classes.
    verbose : int
        0 shows no progress bars, and does not tell which folds were taken over.
    resume : bool
        Go on with an interrupted run: folds that are finished in ``evaluation_path`` are read,
        not run again (which ones is told among the progress bars and in the log); a fold that
        was interrupted goes on after the last epoch that was finished, and ends as one that
        never was (one of a model without checkpoints, such as a ``StackedEnsemble``, begins
        anew). Either must have been run as it would be now: same
        subjects in the same order, epochs or minutes, iterations, early stopping, validation
        of volumes, seed, class names, scoring and recipe (data
        interface, preprocessor without what it has learned, architecture, loss, learning rate,
        optimizer; as far as the model offers them).
        Without it what an earlier run has written into ``evaluation_path`` and the folders of
        its folds is removed before the first training (files of yours stay); a warning in the
        log tells how many finished folds these were. Of finished folds the
        callbacks are not compared (of interrupted ones their classes are), and of none the data
        themselves and the version of the library.
    max_minutes : float, optional
        Minutes that each fold trains for (not those of its prediction), instead of epochs, or
        until these are done.
    early_stopping, validate_volumes : int, optional
        As in ``NeuralNetwork.evaluate``, on the subjects of the inner validation.
    scoring : Scoring, optional
        Which scores are computed. Default: ``Scoring()``.
    previews : bool
        Keep a small picture of each scored subject for the report.
    n_jobs : int, optional
        Run so many folds at a time, each in a process of its own (-1: as many as there are
        cores); 1 runs them here, one by one. Default: what ``joblib.parallel_config`` says, such
        as ``joblib.parallel_config("dask")`` for the workers of a cluster, which must see
        ``evaluation_path`` and the data under the same absolute paths; without it 1. The result
        is the same bit by bit on machines that compute alike: workers take the number of threads
        that TensorFlow has here, since it decides about last bits. ``model`` and the callbacks
        of this process stay as they are. All processes see all GPUs; give each worker one
        by ``CUDA_VISIBLE_DEVICES``.

    Returns
    -------
    CrossValidationResult

    Raises
    ------
    FoldError
        With several processes, in the end: if folds failed. The others are finished, and
        ``resume=True`` goes on.
    ConfigurationError
        Before anything is trained: if the folds, names or shares do not fit the data, a subject
        that is to be scored has no segmentation, the model or the lack of an inner validation
        does not allow a setting, or, with ``resume``, an earlier fold was run in another way
        (every difference is named).
    """
    settings = Settings.of(locals())
    path = Path(evaluation_path)
    data_io = model.preprocessor.data_io
    elsewhere = in_parallel(n_jobs)
    folds, name, patients = _make_folds(sample_list, k_fold, splitter, data_io, y, groups, seed)
    settings.check(model, folds, patients)
    tasks = tasks_of(folds, path, patients)
    finished = finished_tasks(tasks, path, model, settings)
    payload = packed(model, settings) if elsewhere else b""
    discard_earlier(tasks, path, finished, resume)
    _write_folds(folds, name, path, patients)
    tell_finished(finished, len(tasks), path, verbose)
    result = CrossValidationResult(path, ())
    if elsewhere:
        done = [task for task in tasks if task.number in finished]
        gathered = {task.number: run_or_load(task, model, settings, finished) for task in done}
        left = [task for task in tasks if task.number not in finished]
        for number in run_parallel(left, payload, settings, n_jobs, len(tasks)):
            gathered[number] = FoldResult.load(fold_path(path, number))
            result = CrossValidationResult(path, tuple(gathered[k] for k in sorted(gathered)))
            result.write()
        result = CrossValidationResult(path, tuple(gathered[k] for k in sorted(gathered)))
    else:
        for task in tasks:
            fold = run_or_load(task, model, settings, finished)
            result = CrossValidationResult(path, (*result.folds, fold))
            result.write()
    if draw_figures:
        result.draw(verbose=verbose)
    return result


def split_folds(
    sample_list: Sequence[str],
    k_fold: int = 3,
    evaluation_path: str | os.PathLike[str] = "evaluation",
    *,
    splitter: Splits | None = None,
    data_io: KnowsGeometry | None = None,
    y: Sequence[Any] | None = None,
    groups: Groups | None = None,
    seed: int = 0,
) -> list[Fold]:
    """Split subjects into folds; write ``folds.json``, and each fold's ``sample_list.json``.

    Parameters
    ----------
    data_io : DataIO, optional
        Where a splitter looks up slices, volumes or labels.
    sample_list, k_fold, evaluation_path, splitter, y, groups, seed
        As in :func:`cross_validation`.

    Returns
    -------
    list of Fold
        ``(training, validation)`` indices, which :func:`run_fold` reads from the files.

    Raises
    ------
    ConfigurationError
        If they cannot be split so; or if folds of another split are finished in the folder.
    """
    path = Path(evaluation_path)
    folds, name, patients = _make_folds(sample_list, k_fold, splitter, data_io, y, groups, seed)
    check_same_split(folds, path)
    _write_folds(folds, name, path, patients)
    return folds


def run_fold(
    fold: int,
    model: EvaluatedModel,
    epochs: int | None = None,
    iterations: int | None = None,
    evaluation_path: str | os.PathLike[str] = "evaluation",
    draw_figures: bool = True,
    callbacks: Callbacks = (),
    save_models: bool = True,
    *,
    run_detailed_evaluation: bool = True,
    inner_validation: float = 0.0,
    seed: int = 0,
    class_names: ClassNames = None,
    overlays: Sequence[str] = ("worst", "median"),
    verbose: int = 1,
    resume: bool = False,
    max_minutes: float | None = None,
    early_stopping: int | None = None,
    validate_volumes: int | None = None,
    scoring: Scoring | None = None,
    previews: bool = True,
) -> FoldResult:
    """Run one fold that :func:`split_folds` has prepared, by itself.

    Parameters
    ----------
    fold : int
        Number of the fold, from 0.
    model, epochs, iterations, evaluation_path, draw_figures, callbacks, save_models
        As in :func:`cross_validation`, whose result for this fold is the same.
    run_detailed_evaluation, inner_validation, seed, class_names, overlays, verbose, resume
        Likewise.
    max_minutes, early_stopping, validate_volumes, scoring, previews
        Likewise.

    Raises
    ------
    MissingFileError
        If the fold was not prepared, or there is none of this number.
    """
    settings = Settings.of(locals())
    path = Path(evaluation_path)
    check_number(fold, path)
    subjects = read_fold(fold_file(path, fold))
    task = single_task(fold, subjects, path)
    settings.check(model, [subjects], task.patients)
    finished = finished_tasks([task], path, model, settings)
    tell_finished(finished, 1, task.folder, verbose)
    return run_or_load(task, model, settings, finished)


def _make_folds(
    sample_list: Sequence[str],
    k_fold: int,
    splitter: Splits | None,
    data_io: KnowsGeometry | None,
    y: Sequence[Any] | None,
    groups: Groups | None,
    seed: int,
) -> tuple[list[Fold], str, dict[str, int] | None]:
    """Return the folds, by what they were made, and the patient of each index."""
    if isinstance(splitter, str | os.PathLike):
        if splitter in _OF_PIPELINES and not os.path.exists(splitter):
            raise ConfigurationError(
                f"splitter={splitter!r} is a name of pipeline files, and here the path of a file "
                f"of folds; write {_OF_PIPELINES[str(splitter)]}"
            )
        splitter = SavedFolds(os.fspath(splitter))
    if splitter is None and groups is not None:
        splitter = GroupedKFold(k_fold, seed)
    if splitter is None:
        n = len({subject_of(str(index)) for index in sample_list})
        if not 2 <= k_fold <= n:
            raise ConfigurationError(
                f"k_fold is {k_fold}, and there are {n} subject(s); expected 2 … {n} folds, as "
                "every fold validates one at least"
            )
        from sklearn.model_selection import KFold  # slow to import, and not always needed

        splitter = KFold(k_fold, shuffle=True, random_state=seed)
    name = repr(splitter) if hasattr(splitter, "split") else "given folds"
    given: Splits = splitter
    if isinstance(splitter, SavedFolds):  # told where it was made; its path is of this machine
        name, given = "saved folds", splitter.path
    folds = make_folds(sample_list, given, data_io, y, groups)
    patients = patients_of(sample_list, splitter, groups)
    warn_of_torn(folds, patients)
    return folds, name, patients


def _write_folds(
    folds: Sequence[Fold], splitter: str, path: Path, patients: Mapping[str, int] | None
) -> None:
    for number, fold in enumerate(folds):
        write_fold(fold_file(path, number), fold.training, fold.validation)
    save_folds(folds, path / "folds.json", splitter=splitter, groups=patients)
