"""``miscnn predict``: a bundle on new images."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import click

from miscnn._cli_common import (
    DIGEST_OPTION,
    JSON_OPTION,
    MODULE_OPTION,
    QUIET_OPTION,
    Failure,
    echo_json,
    is_watched,
    load_keras_quietly,
    show_failures,
    speaker,
)
from miscnn._cli_values import Converted

_END = 2**31 - 1  # the end of any axis
_OUTPUTS = ("labels", "probabilities", "entropy", "volumes")


def _roi(text: str) -> tuple[tuple[int, int], ...]:
    """Read ``10:50,0:64,:``."""
    ranges = []
    for part in text.split(","):
        start, sign, stop = part.partition(":")
        try:
            pair = (int(start) if start.strip() else 0, int(stop) if stop.strip() else _END)
        except ValueError:
            sign = ""
        if not sign:
            raise ValueError(
                "expected start:stop in voxels for each axis of the image, such as 10:50,:,20:64"
            )
        ranges.append(pair)
    return tuple(ranges)


def _axes(text: str) -> tuple[int, ...]:
    """Read ``0,1``."""
    try:
        axes = tuple(int(part) for part in text.split(","))
    except ValueError:
        axes = (-1,)
    if any(axis not in (0, 1, 2) for axis in axes) or len(set(axes)) != len(axes):
        raise ValueError("expected different axes of the network's input, such as 0,1")
    return axes


def _overlap(text: str) -> float | tuple[int, ...]:
    """Read ``0.5`` or ``48,48,24``."""
    try:
        if "," in text:
            return tuple(int(part) for part in text.split(","))
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ValueError("expected a share of the window such as 0.5, or voxels such as 48,48,24")
    return share


def _foreground(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError('expected a number, or "auto"') from None


def _outputs(text: str) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in text.split(","))
    unknown = [name for name in names if name not in _OUTPUTS]
    if unknown:
        raise ValueError(f"expected some of {','.join(_OUTPUTS)}")
    return names


@click.command(short_help="Predict images with a trained network.")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(exists=True, file_okay=False))
@click.argument("inputs", metavar="INPUT...", nargs=-1, required=True, type=click.Path(exists=True))
@click.argument("output", metavar="OUTPUT", type=click.Path(file_okay=False))
@click.option(
    "--outputs",
    type=Converted("NAMES", _outputs),
    default="labels",
    show_default=True,
    help=f"What is written: some of {','.join(_OUTPUTS)}. Entropy is in nats; volumes are a table, "
    "volumes.tsv, in ml.",
)
@click.option(
    "--overlap",
    type=Converted("SHARE|VOXELS", _overlap),
    help="Least overlap of neighbouring windows: 0.5, or 48,48,24. Default: the bundle's.",
)
@click.option(
    "--mirror",
    "mirror_axes",
    type=Converted("AXES", _axes),
    help="Average over the image mirrored along these axes: 0,1. Takes 2, 4, 8 times as long.",
)
@click.option(
    "--window-weight",
    type=click.Choice(("gaussian", "constant")),
    help="How overlapping windows are weighted. Default: the bundle's.",
)
@click.option(
    "--combine",
    type=click.Choice(("probabilities", "logits")),
    help="What mirrored images, and several networks, are averaged by. Default: the bundle's.",
)
@click.option(
    "--foreground",
    type=Converted("VALUE", _foreground),
    help="Look only at the box of the voxels above this value; auto: above the smallest.",
)
@click.option("--batch-size", type=click.IntRange(min=1), help="Windows predicted at once.")
@click.option(
    "--roi",
    type=Converted("RANGES", _roi),
    help="Look only at these voxels of the image, axis by axis: 10:50,:,20:64.",
)
@click.option(
    "--overwrite",
    is_flag=True,
    help="Predict again what is there, and replace other files of these names.",
)
@MODULE_OPTION
@DIGEST_OPTION
@click.option(
    "--scratch",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, writable=True),
    help="Folder for what does not fit into memory. Default: where OUTPUT lies, if that can be "
    "written to.",
)
@JSON_OPTION
@QUIET_OPTION
def predict(
    bundle: str,
    inputs: tuple[str, ...],
    output: str,
    outputs: tuple[str, ...],
    roi: tuple[tuple[int, int], ...] | None,
    overwrite: bool,
    modules: tuple[str, ...],
    digest: str | None,
    scratch: str | None,
    as_json: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Predict images with a trained network, on their own voxel grids.

    BUNDLE is what 'miscnn train' or model.save() wrote. Each INPUT is an image, a folder of
    images, a data set in a known layout, or a folder of DICOM series; segmentations are not
    needed. The predictions are written to the folder OUTPUT, in the format of the images.

    Run again, it does only what is missing. A file that a subject is read from is never written to,
    and without --overwrite no file that predictions.json in OUTPUT does not list. A subject that
    cannot be predicted does not stop the others. The exit status is 0 if all were predicted (or
    were there), 1 if some failed, 2 if it cannot be done.
    """
    from miscnn.exceptions import ConfigurationError, PredictionError, reason_of

    quiet = quiet or as_json
    _check_folder(output)
    load_keras_quietly(speaker(quiet))
    from miscnn.data_loading._new_results import MANIFEST
    from miscnn.neural_network.bundle import load
    from miscnn.pipeline._modules import imported_names

    names = imported_names(modules)
    model: Any = load(bundle, output_path=output, modules=names, digest=digest)
    changes = {name: value for name, value in settings.items() if value is not None}
    before = _written(output)
    failed: dict[str, str] = {}
    there = _There()
    there.listen()
    try:
        model.predict(
            inputs[0] if len(inputs) == 1 else list(inputs),
            output_path=output,
            verbose=int(not quiet and is_watched()),
            settings=_settings(model, changes),
            roi=roi,
            outputs=outputs,
            overwrite=overwrite,
            scratch_path=scratch,
        )
    except PredictionError as error:
        failed = {i: _as_option(reason_of(e, i)) for i, e in error.failures.items()}
    except ConfigurationError as error:
        raise Failure(_as_option(str(error))) from error
    finally:
        there.leave()
    after = _written(output).items()
    written = sorted(p for p, state in after if before.get(p) != state and p != MANIFEST)
    if as_json:
        told = {"output": output, "written": written, "there": there.number, "failed": failed}
        echo_json(told)
    else:
        if not quiet:
            alone = not written and not failed
            all_of = "all " if alone else ""
            more = f"; {all_of}{there.number} subject(s) were there already" * bool(there.number)
            click.echo(f"Wrote {len(written)} file(s) to {output}{more}")
        show_failures(failed)
    if failed:
        click.get_current_context().exit(1)


class _There(logging.Filter):
    """Learns how many subjects were predicted before, and keeps quiet of what is told in the end.

    Those are also the subjects that failed, of which the prediction warns.
    """

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self._logger = logging.getLogger("miscnn.neural_network.prediction")
        self._level = self._logger.level

    def listen(self) -> None:
        self._logger.addFilter(self)
        self._logger.setLevel(logging.INFO)

    def leave(self) -> None:
        self._logger.setLevel(self._level)
        self._logger.removeFilter(self)

    def filter(self, record: logging.LogRecord) -> bool:
        self.number += int(getattr(record, "there", 0))
        return record.levelno >= logging.ERROR


def _as_option(text: str) -> str:
    """Say what the library says in words of the command line."""
    return text.replace("overwrite=True", "--overwrite").replace(str(_END), "end")


def _check_folder(output: str) -> None:
    from miscnn.data_loading.layouts._formats import format_of

    path = Path(output)
    if path.is_dir() or format_of(path.name) is None:
        return
    raise Failure(
        f"OUTPUT is a folder, but {output!r} is called like an image file. Name a folder, such as "
        f"{str(path.parent / 'predictions')!r}: each result is written into it under the name of "
        f"its image (OUTPUT/<name>)"
    )


def _settings(model: Any, changes: dict[str, Any]) -> Any:
    """Return the bundle's settings with what the user has said; None for the bundle's."""
    from miscnn.neural_network.prediction_settings import PredictionSettings

    own = getattr(model, "prediction", None) or PredictionSettings()
    return own.replace(**changes) if changes else None


def _written(folder: str) -> dict[str, tuple[int, int]]:
    """Return the files of a folder and those below it, with what changes when they are written."""
    found = {}
    for path in Path(folder).rglob("*"):
        if path.is_file() and not path.name.startswith("."):
            state = path.stat()
            found[str(path.relative_to(folder))] = (state.st_mtime_ns, state.st_size)
    return found
