"""``miscnn evaluate``: predictions against the segmentations of a data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

_TABLES = ("scores.tsv", "detailed_validation.tsv", "summary.tsv")
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
@MODULE_OPTION
@DIGEST_OPTION
@QUIET_OPTION
def evaluate(
    target: str,
    open_data_set: Callable[..., OpenedDataSet],
    settings: tuple[tuple[str, Any], ...],
    options_given: tuple[str, ...],
    predictions: str | None,
    bundle: str | None,
    output: str | None,
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
    detailed_validation.tsv and summary.tsv. The exit status is 0 if all subjects were scored, 1
    if some could not be, 2 if it cannot be done.
    """
    quiet = quiet or as_json
    verbose = int(not quiet and is_watched())
    failed: dict[str, str] = {}
    if Path(target).suffix.lower() in _PIPELINES:
        for name, value in (("--predictions", predictions), ("--bundle", bundle)):
            if value is not None:
                raise click.UsageError(f"{name} is for a data set, and {target} is a pipeline")
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
        folder = Path(output or "evaluation")
        if predictions is not None:
            data_set = _labelled(open_data_set())
            if not quiet:
                show_heading(data_set, data_set.data_io.interface.classes)
            table, failed = _scored(data_set.data_io, predictions, verbose)
        else:
            assert bundle is not None  # see above
            load_keras_quietly(speaker(quiet))
            table, failed = _predicted(bundle, open_data_set, folder, verbose, modules, digest)
        _write(table, folder)
    _show(table.summary(), folder, failed, as_json, quiet)
    if failed:
        click.get_current_context().exit(1)


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


def _scored(data_io: DataIO, predictions: str, verbose: int) -> tuple[ScoreTable, dict[str, str]]:
    from tqdm.auto import tqdm

    from miscnn.evaluation.detailed_validation import load_predicted, score_sample
    from miscnn.evaluation.summary import ScoreRow, ScoreTable
    from miscnn.exceptions import reason_of

    rows: list[ScoreRow] = []
    failed: dict[str, str] = {}
    names = data_io.interface.class_names
    for index in tqdm(data_io.indices_list, desc="scoring", unit="sample", disable=not verbose):
        try:
            rows.extend(score_sample(load_predicted(data_io, index, predictions), names))
        except (MiscnnError, OSError) as error:
            failed[index] = reason_of(error, index)
    return ScoreTable(rows), failed


def _predicted(
    bundle: str,
    open_data_set: Callable[..., OpenedDataSet],
    folder: Path,
    verbose: int,
    modules: tuple[str, ...],
    digest: str | None,
) -> tuple[ScoreTable, dict[str, str]]:
    """Predict all subjects of the data set, and score what was written."""
    from miscnn.exceptions import PredictionError, reason_of
    from miscnn.neural_network.bundle import load
    from miscnn.pipeline._modules import imported_names

    model = load(
        bundle,
        output_path=str(folder / "predictions"),
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
        model.predict(
            data_io.get_indiceslist(), output_path=folder / "predictions", verbose=verbose
        )
    except PredictionError as error:
        missing = {index: reason_of(e, index) for index, e in error.failures.items()}
    table, failed = _scored(data_io, str(folder / "predictions"), verbose)
    return table, {**failed, **missing}


def _write(table: ScoreTable, folder: Path) -> None:
    from miscnn.evaluation.detailed_validation import write_scores

    if table:
        write_scores(table, folder)
        return
    for name in _TABLES:  # those of an earlier run are not of these predictions
        (folder / name).unlink(missing_ok=True)


def _show(
    summary: Summary, folder: Path, failed: dict[str, str], as_json: bool, quiet: bool
) -> None:
    if as_json:
        echo_json({"path": str(folder), "scores": summary_rows(summary), "failed": failed})
        return
    if not quiet:
        click.echo(str(summary))
        if summary.rows:
            click.echo(f"\nWrote {folder / 'scores.tsv'} (all) and summary.tsv")
    show_failures(failed)
