"""The command ``miscnn``.

Everything heavy is imported inside the commands, so that ``miscnn --help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from miscnn._cli_bundle import info
from miscnn._cli_cleanup import cleanup
from miscnn._cli_common import (
    INTERRUPTED,
    Failure,
    discard_output,
    is_watched,
    load_keras_quietly,
)
from miscnn._cli_data import OpenedDataSet, data_set_options, is_labelled, show_heading
from miscnn._cli_evaluate import evaluate
from miscnn._cli_hints import with_hints
from miscnn._cli_predict import predict
from miscnn._cli_report import report
from miscnn._cli_train import train
from miscnn._cli_values import NewFile
from miscnn._version import __version__
from miscnn.exceptions import MiscnnError


class _Group(click.Group):
    """Shows the library's own errors as one line and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MiscnnError as error:
            raise Failure(with_hints(str(error), ctx.invoked_subcommand)) from error
        except OSError as error:
            if error.filename is None:
                raise  # see main
            raise Failure(f"{error.filename}: {error.strerror}") from error
        except (KeyboardInterrupt, click.Abort) as error:
            # 1, as click has it, is what the commands say of faulty subjects.
            click.echo("\nInterrupted", err=True)
            raise click.exceptions.Exit(INTERRUPTED) from error

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except OSError as error:  # closed pipes are dealt with by click
            if not options.get("standalone_mode", True):
                raise
            discard_output()
            Failure(f"cannot write the output: {error.strerror or error}").show()
            sys.exit(Failure.exit_code)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="miscnn")
def main() -> None:
    """Medical image segmentation: from a folder of volumes to evaluated predictions."""


@main.command()
@data_set_options
def verify(data_set: OpenedDataSet, jobs: int, as_json: bool) -> None:
    """Look for everything that is wrong with the data set in DIR.

    DIR is a folder in any known layout and format, or a table that lists the files. Reads every
    file once and prints all problems as a table. The exit status is 1 if there are errors, 0 if
    there are none, 2 if it cannot be done (a wrong argument, a data set that cannot be opened).
    """
    from miscnn.data_loading.verification import verify as look_for_problems

    data_io = data_set.data_io
    found = look_for_problems(
        data_io,
        infer_classes=not data_set.classes_known,
        n_jobs=jobs,
        verbose=not as_json and is_watched(),
    )
    if as_json:
        click.echo(found.to_json())
    else:
        show_heading(data_set, found.classes if is_labelled(data_io) else None)
        click.echo(str(found))
    if not found.ok:
        click.get_current_context().exit(1)


@main.command()
@data_set_options
@click.option("--tsv", metavar="FILE", type=NewFile(), help="Write a row for each.")
@click.option(
    "--montage",
    metavar="FILE.png",
    type=NewFile(picture=True),
    help="Draw a slice of each subject with the outlines of its classes.",
)
@click.option("--all", "show_all", is_flag=True, help="Show all subjects, however many.")
def inspect(
    data_set: OpenedDataSet,
    jobs: int,
    as_json: bool,
    tsv: str | None,
    montage: str | None,
    show_all: bool,
) -> None:
    """Describe the data set in DIR: grids, intensities, labels.

    Reads every file once and prints a row for each subject and a summary. The exit status is 1
    if a subject cannot be read, 0 if all can, 2 if it cannot be done (a wrong argument, a data
    set that cannot be opened, a file that cannot be written).
    """
    from miscnn.data_loading.inspection import inspect as look_at

    data_io = data_set.data_io
    found = look_at(
        data_io,
        n_jobs=jobs,
        verbose=not as_json and is_watched(),
        infer_classes=not data_set.classes_known,
    )
    if as_json:
        click.echo(found.to_json())
    else:
        show_heading(data_set, len(found.labels) or None)
        click.echo()
        click.echo(found.table(None) if show_all else str(found))
    if tsv:
        with _writing(tsv):
            found.to_tsv(tsv)
        click.echo(f"Wrote {tsv}", err=True)
    if montage:
        from miscnn.data_loading.montage import montage as draw

        with _writing(montage):
            draw(data_io, montage)
        click.echo(f"Wrote {montage}", err=True)
    if not found.ok:
        click.get_current_context().exit(1)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Name the file that the user has named, and not the temporary one."""
    try:
        yield
    except MiscnnError:
        raise
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}") from error


@main.command()
@click.argument("folder", metavar="[FOLDER]", default="miscnn-demo", type=click.Path())
@click.option("--subjects", default=15, show_default=True, help="Number of CT phantoms.")
@click.option("--folds", default=3, show_default=True, help="Number of folds.")
@click.option("--epochs", default=7, show_default=True, help="Number of epochs in each fold.")
@click.option("--seed", default=0, show_default=True, help="What everything is drawn from.")
def demo(folder: str, subjects: int, folds: int, epochs: int, seed: int) -> None:
    """Make CT phantoms, train on them, predict, and show the scores.

    Everything is written below FOLDER (default: miscnn-demo). Takes a few minutes.
    """
    load_keras_quietly(click.echo)
    from miscnn.datasets.demo import run_demo

    run_demo(folder, subjects, folds, epochs, seed, say=click.echo)


for _command in (train, predict, evaluate, report, info, cleanup):
    main.add_command(_command)


if __name__ == "__main__":
    main()
