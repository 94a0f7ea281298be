"""``miscnn report``: one page on an evaluation."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from pathlib import Path

import click

from miscnn._cli_common import QUIET_OPTION, speaker, told_size
from miscnn._cli_data import OpenedDataSet, further_data_set
from miscnn._cli_values import NewFile


@click.command(short_help="Write a page with tables, pictures and a slice viewer.")
@click.argument("folder", metavar="EVAL_DIR", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--output",
    metavar="FILE",
    type=NewFile(),
    help="The page to write. Default: report.html in EVAL_DIR.",
)
@further_data_set
@click.option(
    "--predictions",
    metavar="FOLDER",
    type=click.Path(exists=True, file_okay=False),
    help="With --data: where the predictions lie. Default: where the evaluation has put them.",
)
@click.option(
    "--max-megabytes",
    type=click.FloatRange(min=0, min_open=True),
    default=8.0,
    show_default=True,
    help="About how large the page may be; volumes are made smaller until it is not larger.",
)
@click.option("--open", "opened", is_flag=True, help="Show the page in the browser.")
@QUIET_OPTION
def report(
    folder: str,
    output: str | None,
    open_data_set: Callable[[], OpenedDataSet] | None,
    predictions: str | None,
    max_megabytes: float,
    opened: bool,
    quiet: bool,
) -> None:
    """Write a page on an evaluation: summary, pictures, all subjects, and their slices.

    EVAL_DIR is the folder that cross-validation, detailed validation or 'miscnn evaluate' has
    written its scores to. The page is one file that needs no network. Slices are those of the
    previews that the evaluation has kept; with --data they are made of images and predictions.
    """
    from miscnn.evaluation.report import write_report

    if predictions is not None and open_data_set is None:
        raise click.UsageError("--predictions needs --data, for the images that they belong to")
    data_io = None if open_data_set is None else open_data_set().data_io
    page = write_report(
        folder, output, data_io=data_io, predictions=predictions, max_megabytes=max_megabytes
    )
    speaker(quiet)(f"Wrote {page} ({told_size(page.stat().st_size)})")
    if opened:
        webbrowser.open(Path(page).resolve().as_uri())
