"""The command ``miscnn``.

Everything heavy is imported inside the commands, so that ``miscnn --help`` is quick.
"""

from __future__ import annotations

from typing import Any

import click

from miscnn._version import __version__
from miscnn.exceptions import MiscnnError


class _Group(click.Group):
    """Shows the library's own errors as one line and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except MiscnnError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="miscnn")
def main() -> None:
    """Medical image segmentation: from a folder of volumes to evaluated predictions."""


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False))
@click.option(
    "--classes",
    type=click.IntRange(min=1),
    help="Number of classes, background included. Default: what the labels say.",
)
@click.option("--channels", type=click.IntRange(min=1), help="Number of image channels.")
@click.option(
    "--image",
    metavar="PATTERN",
    multiple=True,
    help="Where the images lie in DIR, * standing for the subject: 'images/*.nii.gz'. "
    "Several times for several channels. Default: found out.",
)
@click.option(
    "--segmentation", metavar="PATTERN", help="The same for the segmentations: 'labels/*.nii.gz'."
)
@click.option("--jobs", default=1, show_default=True, help="Number of threads.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def verify(
    folder: str,
    classes: int | None,
    channels: int | None,
    image: tuple[str, ...],
    segmentation: str | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Look for everything that is wrong with the NIfTI data set in DIR.

    Reads every file once and prints all problems as a table. The exit status is 1 if there are
    errors, 0 if there are none.
    """
    from miscnn.data_loading.data_io import DataIO
    from miscnn.data_loading.interfaces.nifti import NIfTIInterface
    from miscnn.data_loading.layouts import find_layout
    from miscnn.data_loading.verification import verify as look_for_problems

    if segmentation and not image:
        raise click.UsageError("--segmentation needs --image as well")
    if image:
        arguments: dict[str, Any] = {
            "channels": len(image),
            "image": image if len(image) > 1 else image[0],
            "segmentation": segmentation,
        }
        described = "images " + " and ".join(image)
        described += f", segmentations {segmentation}" if segmentation else ", no segmentations"
    else:
        try:
            layout = find_layout(folder)
        except MiscnnError as error:
            raise click.UsageError(str(error)) from error
        arguments, described = layout.arguments, layout.description
    if channels is not None:
        arguments["channels"] = channels
    data_io = DataIO(NIfTIInterface(classes=classes or 2, **arguments), folder)
    if not data_io.indices_list:
        raise click.UsageError(f"no file in {folder} fits the patterns")
    report = look_for_problems(
        data_io, infer_classes=classes is None, n_jobs=jobs, verbose=not as_json
    )
    if as_json:
        click.echo(report.to_json())
    else:
        click.echo(f"Layout: {described}")
        if classes is None and any(map(data_io.has_segmentation, data_io.indices_list)):
            click.echo(f"Classes: {report.classes}, from the labels found (or say --classes N)")
        click.echo(str(report))
    if not report.ok:
        click.get_current_context().exit(1)


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
    _load_keras_quietly()
    from miscnn.datasets.demo import run_demo

    run_demo(folder, subjects, folds, epochs, seed, say=click.echo)


def _load_keras_quietly() -> None:
    """Import Keras without TensorFlow's remarks on the machine.

    They are written by C++ code to the file of the standard error before any log level counts.
    Errors of Python's are raised as ever.
    """
    import os
    import sys

    click.echo("Loading Keras and TensorFlow ...")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        from miscnn._keras import compile_ahead

        compile_ahead()  # looks for graphics cards, which is remarked on as well
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


if __name__ == "__main__":
    main()
