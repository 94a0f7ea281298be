"""``miscnn evaluate``: predictions against the segmentations of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from miscnn._cli_common import (
    DIGEST_OPTION,
    MODULE_OPTION,
    QUIET_OPTION,
    echo_json,
    is_watched,
    load_keras_quietly,
    show_failures,
    speaker,
    summary_rows,
    told_in_lines,
)
from miscnn._cli_data import OpenedDataSet, data_set_opener, is_labelled, show_heading
from miscnn._cli_values import settings_of
from miscnn.exceptions import MiscnnError

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO
    from miscnn.evaluation import ScoreTable, Summary
    from miscnn.evaluation._sample_scores import SampleScores
    from miscnn.evaluation.scoring import Scoring
    from miscnn.processing.regions import Regions

_TABLES = (
    "scores.tsv", "detailed_validation.tsv", "summary.tsv", "lesions.tsv", "calibration.tsv",
)  # fmt: skip
_NO_PREDICTION = "no prediction"
_MOST_NAMED = 5
_PIPELINES = (".toml", ".yaml", ".yml")


@click.command(short_help="Score predictions, or evaluate a pipeline.")
@data_set_opener
@click.option(
    "--predictions",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="Label maps to score, as 'miscnn predict' has written them for this data set.",
)
@click.option(
    "--only-predicted",
    is_flag=True,
    help="Leave subjects out that have no file in the folder of --predictions, such as those of "
    "other folds.",
)
@click.option(
    "--bundle",
    metavar="BUNDLE",
    type=click.Path(exists=True, file_okay=False),
    help="Predict with this trained network first.",
)
@click.option(
    "--output",
    metavar="DIR",
    type=click.Path(file_okay=False),
    help="Folder for the tables (and for predictions). Default: evaluation; of a pipeline FILE "
    "what it says.",
)
@click.option(
    "--metrics",
    metavar="NAMES",
    help="Scores to compute, with commas between them, such as dice,nsd,cldice; 'all' for all. "
    "Default: all but boundary_iou and cldice, which take longer.",
)
@click.option(
    "--nsd-tolerance",
    "tolerances",
    metavar="MM",
    type=float,
    multiple=True,
    help="Tolerance of the surface Dice in mm; may be given several times. Default: 2.",
)
@click.option("--lesions", is_flag=True, help="Also match and count lesions (lesions.tsv).")
@click.option(
    "--lesion-iou",
    metavar="IOU",
    type=float,
    help="Overlap from which on a lesion counts as found. Default: 0.1.",
)
@click.option(
    "--calibration",
    is_flag=True,
    help="Also judge the probabilities of the network (calibration.tsv); with --bundle.",
)
@click.option(
    "--no-previews",
    is_flag=True,
    help="Write no small copies of the subjects, by which a report shows slices.",
)
@MODULE_OPTION
@DIGEST_OPTION
@QUIET_OPTION
def evaluate(
    target: str,
    open_data_set: Callable[..., OpenedDataSet],
    settings: tuple[tuple[str, Any], ...],
    options_given: tuple[str, ...],
    predictions: str | None,
    only_predicted: bool,
    bundle: str | None,
    output: str | None,
    metrics: str | None,
    tolerances: tuple[float, ...],
    lesions: bool,
    lesion_iou: float | None,
    calibration: bool,
    no_previews: bool,
    modules: tuple[str, ...],
    digest: str | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score predictions, volume by volume, in mm.

    TARGET is a data set with segmentations (a folder in any known layout, or a table that lists
    the files), together with --predictions or --bundle; or a pipeline FILE (TOML or YAML), whose
    evaluation is run: networks are trained and scored under cross-validation, no bundle is made.

    Prints mean, spread, worst case and 95 % interval of every score, and writes scores.tsv,
    detailed_validation.tsv and summary.tsv, and small copies of the subjects, which 'miscnn report'
    shows; in not_scored.tsv, who was not scored, and why. The exit status is 0 if all subjects
    were scored (all that were predicted: --only-predicted), 1 if some could not be, 2 if it
    cannot be done.
    """
    quiet = quiet or as_json
    verbose = int(not quiet and is_watched())
    failed: dict[str, str] = {}
    left_out: list[str] = []
    if Path(target).suffix.lower() in _PIPELINES:
        for name, value, instead in (
            ("--predictions", predictions, None),
            ("--only-predicted", only_predicted, None),
            ("--bundle", bundle, None),
            ("--metrics", metrics, 'scoring.metrics = ["dice", "nsd"]'),
            ("--nsd-tolerance", tolerances, "scoring.nsd_tolerances_mm = [1, 2]"),
            ("--lesions", lesions, "scoring.lesions = true"),
            ("--lesion-iou", lesion_iou, "scoring.lesion_iou = 0.3"),
            ("--calibration", calibration, "scoring.calibration = true"),
            ("--no-previews", no_previews, "previews = false"),
        ):
            if value not in (None, False, ()):
                where = "" if instead is None else f", whose [evaluation] says it: {instead}"
                raise click.UsageError(
                    f"{name} is for a data set, and {target} is a pipeline{where}"
                )
        if options_given:
            raise click.UsageError(
                f"{', '.join(options_given)}: of a pipeline the file says how its data set is read"
            )
        overrides = settings_of(settings)
        folder, table = _cross_validated(target, overrides, output, quiet, verbose)
    else:
        if (predictions is None) == (bundle is None):
            raise click.UsageError(
                "say what is to be scored: --predictions FOLDER, or --bundle BUNDLE"
            )
        if only_predicted and predictions is None:
            raise click.UsageError("--only-predicted is about files: it needs --predictions FOLDER")
        folder = Path(output or "evaluation")
        if calibration and bundle is None:
            raise click.UsageError(
                "--calibration judges probabilities, which label maps do not hold: it needs "
                "--bundle BUNDLE"
            )
        scoring = _scoring(metrics, tolerances, lesions, lesion_iou, calibration)
        asked = _Asked(folder, scoring, not no_previews, verbose)
        if predictions is not None:
            data_set = _labelled(open_data_set())
            if not quiet:
                show_heading(data_set, data_set.data_io.interface.classes)
            found, failed = _scored(data_set.data_io, predictions, asked)
            if only_predicted:
                left_out = [index for index, why in failed.items() if why == _NO_PREDICTION]
                if len(left_out) == len(data_set.data_io.indices_list):
                    raise click.UsageError(
                        f"no subject has a prediction in {predictions}; their files are called "
                        f"like the subjects, such as {left_out[0]}"
                    )
        else:
            assert bundle is not None  # see above
            load_keras_quietly(speaker(quiet))
            found, failed = _predicted(bundle, open_data_set, asked, modules, digest)
        table = _write(found, failed, asked)
        failed = {index: why for index, why in failed.items() if index not in left_out}
    _show(table.summary(), folder, failed, left_out, as_json, quiet)
    if failed:
        click.get_current_context().exit(1)


class _Asked(NamedTuple):
    """What is to be done with the predictions."""

    folder: Path
    scoring: Scoring
    previews: bool
    verbose: int


def _scoring(
    metrics: str | None,
    tolerances: tuple[float, ...],
    lesions: bool,
    lesion_iou: float | None,
    calibration: bool,
) -> Scoring:
    from miscnn.evaluation.scoring import Scoring

    given: dict[str, Any] = {"lesions": lesions, "calibration": calibration}
    if metrics is not None:
        given["metrics"] = tuple(name.strip() for name in metrics.split(",") if name.strip())
    if tolerances:
        given["nsd_tolerances_mm"] = tolerances
    if lesion_iou is not None:
        if not lesions:
            raise click.UsageError("--lesion-iou says when a lesion is found; give --lesions, too")
        given["lesion_iou"] = lesion_iou
    return Scoring(**given)


def _cross_validated(
    file: str, overrides: dict[str, Any], output: str | None, quiet: bool, verbose: int
) -> tuple[Path, ScoreTable]:
    from miscnn.pipeline import Pipeline

    pipeline = Pipeline.from_file(file, overrides)
    pipeline.check(output)
    load_keras_quietly(speaker(quiet))
    with told_in_lines(not quiet and not verbose):
        result = pipeline.evaluate(output, verbose)
    return result.evaluation_path, result.scores


def _labelled(data_set: OpenedDataSet) -> OpenedDataSet:
    """Return the data set if it has segmentations, and their labels are understood."""
    if not is_labelled(data_set.data_io):
        layout = data_set.data_io.layout
        seen = f" ({layout.description})" if layout is not None else ""
        raise click.UsageError(
            f"no subject has a segmentation, so that nothing can be scored{seen}; name the folder "
            "that holds images and segmentations, or say --image and --segmentation"
        )
    if data_set.unclear:
        from miscnn._cli_data import ways

        raise click.UsageError(
            f"say what the labels of the segmentations mean: {ways(data_set.unclear)}"
        )
    return data_set


def _scored(
    data_io: DataIO, predictions: str | Path, asked: _Asked, regions: Regions | None = None
) -> tuple[list[SampleScores], dict[str, str]]:
    from tqdm.auto import tqdm

    from miscnn.evaluation._probabilities import read_probabilities
    from miscnn.evaluation._sample_scores import sample_scores
    from miscnn.evaluation.detailed_validation import load_predicted
    from miscnn.evaluation.preview import FOLDER, write_preview
    from miscnn.exceptions import MissingFileError, reason_of

    found: list[SampleScores] = []
    failed: dict[str, str] = {}
    names = data_io.interface.class_names
    indices, scoring = data_io.indices_list, asked.scoring
    for index in tqdm(indices, desc="scoring", unit="sample", disable=not asked.verbose):
        try:
            sample = load_predicted(data_io, index, predictions)
            given = (
                read_probabilities(data_io, index, Path(predictions))
                if scoring.calibration
                else None
            )
            scores = sample_scores(sample, names, 0, regions, scoring, given)
            if asked.previews:
                write_preview(sample, asked.folder / FOLDER, names)
            found.append(scores)
        except (MiscnnError, OSError) as error:
            missing = _missing(data_io, index) if isinstance(error, MissingFileError) else ""
            failed[index] = missing or reason_of(error, index)
    return found, failed


def _missing(data_io: DataIO, index: str) -> str:
    """Tell what a subject lacks whose files are not all there, in the same words for all."""
    if not data_io.interface.has_image(index):
        return ""
    return _NO_PREDICTION if data_io.has_segmentation(index) else "no segmentation"


def _predicted(
    bundle: str,
    open_data_set: Callable[..., OpenedDataSet],
    asked: _Asked,
    modules: tuple[str, ...],
    digest: str | None,
) -> tuple[list[SampleScores], dict[str, str]]:
    """Predict all subjects of the data set, and score what was written."""
    from miscnn.evaluation._probabilities import predict_with_probabilities
    from miscnn.exceptions import PredictionError, reason_of
    from miscnn.neural_network.bundle import load
    from miscnn.pipeline._modules import imported_names

    target = asked.folder / "predictions"
    model = load(
        bundle,
        output_path=str(target),
        modules=imported_names(modules),
        digest=digest,
    )
    # The labels are those that the network was trained with, unless the user says otherwise.
    trained = model.preprocessor.data.interface
    told = {
        name: value
        for name in ("classes", "label_values", "class_names", "ignore_label")
        if (value := getattr(trained, name, None)) is not None
    }
    data_io = _labelled(open_data_set(told)).data_io
    model.preprocessor.data_io = data_io
    missing: dict[str, str] = {}
    try:
        if asked.scoring.calibration:
            predict_with_probabilities(model, data_io.get_indiceslist(), target, asked.verbose)
        else:
            model.predict(data_io.get_indiceslist(), output_path=target, verbose=asked.verbose)
    except PredictionError as error:
        missing = {index: reason_of(e, index) for index, e in error.failures.items()}
    found, failed = _scored(data_io, target, asked, model.preprocessor.regions)
    return found, {**failed, **missing}


def _write(found: list[SampleScores], failed: dict[str, str], asked: _Asked) -> ScoreTable:
    from miscnn.evaluation.detailed_validation import (
        discard_previews,
        write_not_scored,
        write_tables,
    )
    from miscnn.evaluation.summary import ScoreTable

    scored = list(dict.fromkeys(row.sample for each in found for row in each.rows))
    discard_previews(asked.folder, scored if asked.previews else ())
    table = ScoreTable([])
    if found:
        table = write_tables(found, asked.folder, asked.scoring)
    else:
        for name in _TABLES:  # those of an earlier run are not of these predictions
            (asked.folder / name).unlink(missing_ok=True)
    write_not_scored(failed, asked.folder)
    return table


def _show(
    summary: Summary,
    folder: Path,
    failed: dict[str, str],
    left_out: list[str],
    as_json: bool,
    quiet: bool,
) -> None:
    if as_json:
        found = {"path": str(folder), "scores": summary_rows(summary)}
        echo_json({**found, "failed": failed, "left_out": left_out})
        return
    if not quiet:
        click.echo(str(summary))
        if summary.rows:
            click.echo(f"\nWrote {folder / 'scores.tsv'} (all) and summary.tsv")
        if left_out:
            click.echo(f"Left out: {_line(_NO_PREDICTION, left_out)}")
    reasons: dict[str, list[str]] = {}
    for index, reason in failed.items():
        reasons.setdefault(reason, []).append(index)
    show_failures({i: why for i, why in failed.items() if len(reasons[why]) <= _MOST_NAMED})
    for reason, names in reasons.items():
        if len(names) > _MOST_NAMED:
            click.echo(_line(reason, names), err=True)
    if failed:
        click.echo(f"All are in {folder / 'not_scored.tsv'}", err=True)


def _line(reason: str, names: list[str]) -> str:
    from miscnn._text import shortened_inside

    told = ", ".join(shortened_inside(name, 30) for name in names[:_MOST_NAMED])
    more = ", …" if len(names) > _MOST_NAMED else ""
    have = "has" if len(names) == 1 else "have"
    if reason.startswith("no "):
        return f"{len(names)} {have} {reason}: {told}{more}"
    return f"{len(names)} ({told}{more}): {reason}"
