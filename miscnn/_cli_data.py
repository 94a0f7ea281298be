"""What the commands that look at a data set share: their options, and opening it."""

from __future__ import annotations

import functools
import logging
import textwrap
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from miscnn._cli_common import JSON_OPTION
from miscnn._cli_values import LabelValues, Setting, Threads, settings_of
from miscnn.exceptions import ConfigurationError, MiscnnError

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO

_FORMATS = ("NIfTI", "ITK", "image", "NumPy", "DICOM")
_LAYOUTS = (
    "miscnn", "subjects", "folders", "pairs", "images", "nnunet", "msd", "bids", "dicom", "listing",
)  # fmt: skip
_WIDTH = 100


@dataclass(frozen=True)
class OpenedDataSet:
    """A data set, and how its number of classes is known.

    Attributes
    ----------
    data_io : DataIO
    heading : str
        Tells which layout was found.
    classes_known : bool
        Whether the user, or the data set's own description, has said how many there are.
    classes_text : str
        Where the number of classes comes from; begins with a comma, or is empty.
    unclear : tuple of int
        The labels found, if nothing says what they mean.
    """

    data_io: DataIO
    heading: str
    classes_known: bool
    classes_text: str
    unclear: tuple[int, ...] = ()


def data_set_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument DIR and what says how it is to be read.

    The command gets the opened data set as ``data_set``, besides ``jobs`` and ``as_json``.
    """

    @click.argument("folder", metavar="DIR", type=click.Path(exists=True))
    @_reading_options
    @click.option(
        "--set",
        "settings",
        type=Setting(),
        multiple=True,
        help="Any further argument of miscnn.open_dataset or of the data interface, such as "
        "series=CT, 'series=[CT, MR]' or 'spacing=[0.5, 0.5]'.",
    )
    @click.option(
        "--jobs",
        type=Threads(),
        default=1,
        show_default=True,
        help="Number of threads; -1: as many as there are cores.",
    )
    @JSON_OPTION
    @functools.wraps(command)
    def with_data_set(
        folder: str,
        reading: _Reading,
        settings: tuple[tuple[str, Any], ...],
        **others: Any,
    ) -> None:
        command(data_set=_open(folder, reading.part, reading.arguments, settings), **others)

    return with_data_set


def data_set_opener(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the argument TARGET, and what opens it if it is a data set.

    The command gets ``target``, ``open_data_set`` (a function that takes arguments which the
    user's stand before), ``settings``, the names of the other options that were used as
    ``options_given``, and ``as_json``.
    """

    @click.argument("target", metavar="TARGET", type=click.Path(exists=True))
    @_reading_options
    @click.option(
        "--set",
        "settings",
        type=Setting(dotted=True),
        multiple=True,
        help="Any further argument of the data interface, such as series=CT; of a pipeline FILE "
        "a value in place of the file's, such as training.epochs=3.",
    )
    @JSON_OPTION
    @functools.wraps(command)
    def with_opener(
        target: str,
        reading: _Reading,
        settings: tuple[tuple[str, Any], ...],
        **others: Any,
    ) -> None:
        def open_data_set(told: Mapping[str, Any] | None = None) -> OpenedDataSet:
            given = reading.arguments
            labels = {"classes", "label_values", "ignore_label", "class_names"}
            told = {} if labels & {*given, *dict(settings)} else told or {}
            return _open(target, reading.part, {**told, **given}, settings)

        command(
            target=target,
            open_data_set=open_data_set,
            settings=settings,
            options_given=reading.options,
            **others,
        )

    return with_opener


def further_data_set(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command that is about something else the option ``--data``.

    The command gets ``open_data_set``, a function without arguments, or None without the option.
    """

    @click.option(
        "--data",
        metavar="DIR",
        type=click.Path(exists=True),
        help="The data set (a folder in any known layout, or a table that lists the files).",
    )
    @_reading_options
    @click.option(
        "--set",
        "settings",
        type=Setting(),
        multiple=True,
        help="Any further argument of the data interface, such as series=CT.",
    )
    @functools.wraps(command)
    def with_opener(
        data: str | None,
        reading: _Reading,
        settings: tuple[tuple[str, Any], ...],
        **others: Any,
    ) -> None:
        if data is None:
            if reading.options or settings:
                said = ", ".join([*reading.options, *(f"--set {name}=…" for name, _ in settings)])
                raise click.UsageError(f"{said}: say with --data which data set is meant")
            command(open_data_set=None, **others)
            return
        command(
            open_data_set=lambda: _open(data, reading.part, reading.arguments, settings), **others
        )

    return with_opener


@dataclass(frozen=True)
class _Reading:
    """What the user has said of how a data set is to be read."""

    part: str
    arguments: dict[str, Any]

    @property
    def options(self) -> tuple[str, ...]:
        names = [*(["part"] if self.part != "training" else []), *self.arguments]
        return tuple(f"--{name.replace('_', '-')}" for name in names)


def _reading_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that say how a data set is to be read, as ``reading``."""

    @click.option(
        "--classes",
        type=click.IntRange(min=1),
        help="Number of classes, background included. Default: what the data set says, or the "
        "labels found.",
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
        "--segmentation",
        metavar="PATTERN",
        help="The same for the segmentations: 'labels/*.nii.gz'.",
    )
    @click.option(
        "--format",
        "format_name",
        type=click.Choice(_FORMATS, case_sensitive=False),
        help="Format of the files. Default: found out.",
    )
    @click.option(
        "--layout",
        metavar="NAME",
        help=f"Which layout is meant, where several could be: {', '.join(_LAYOUTS)}.",
    )
    @click.option(
        "--part",
        type=click.Choice(("training", "test")),
        default="training",
        show_default=True,
        help="Which part of a data set with imagesTr and imagesTs.",
    )
    @click.option(
        "--label-values",
        type=LabelValues(),
        help="What is stored for each class: 0,255. Or the class of each value: 0:0,1:1,2:1.",
    )
    @click.option(
        "--ignore-label", type=click.IntRange(min=1), help="Label of voxels without annotation."
    )
    @functools.wraps(command)
    def with_reading(
        classes: int | None,
        channels: int | None,
        image: tuple[str, ...],
        segmentation: str | None,
        format_name: str | None,
        layout: str | None,
        part: str,
        label_values: list[int] | dict[int, int] | None,
        ignore_label: int | None,
        **others: Any,
    ) -> None:
        if segmentation and not image:
            raise click.UsageError("--segmentation needs --image as well")
        given: dict[str, Any] = {
            "classes": classes if classes is not None else _count(label_values, ignore_label),
            "channels": channels if channels is not None else len(image) or None,
            "image": image if len(image) > 1 else image[0] if image else None,
            "segmentation": segmentation,
            "label_values": label_values,
            "ignore_label": ignore_label,
            "format": format_name,
            "layout": layout,
        }
        if len(image) == 1 and channels is None:
            del given["channels"]  # one file may hold several
        arguments = {name: value for name, value in given.items() if value is not None}
        command(reading=_Reading(part, arguments), **others)

    return with_reading


def is_labelled(data_io: DataIO) -> bool:
    """Tell whether any subject has a segmentation; one that cannot be read has none."""
    for index in data_io.indices_list:
        with suppress(MiscnnError):
            if data_io.has_segmentation(index):
                return True
    return False


def show_heading(data_set: OpenedDataSet, classes: int | None) -> None:
    """Print which layout was found and how many classes there are."""
    click.echo(textwrap.fill(data_set.heading, _WIDTH, subsequent_indent="  "))
    if classes is not None or data_set.unclear:
        text = f"Classes: {classes}{data_set.classes_text}"
        if data_set.unclear:
            text = f"Classes: not known; say what the labels found mean: {ways(data_set.unclear)}"
        # what is to be copied stays in one piece
        wrapped = textwrap.wrap(
            text, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
        )
        click.echo("\n".join(wrapped))


def ways(values: tuple[int, ...]) -> str:
    """Return the options that would take these labels."""
    from miscnn.data_loading.label_mapping import may_be_ignored

    classes = sorted({0, *(v for v in values if v > 0)})
    told = ",".join(map(str, classes))
    if min(values) < 0:
        told = ",".join(f"{v}:{classes.index(max(v, 0))}" for v in sorted({0, *values}))
    text = f"--label-values={told}"
    if may_be_ignored(values):
        text = f"--ignore-label={values[-1]} if these voxels are not annotated, or {text}"
    return text


def _open(
    folder: str, part: str, arguments: dict[str, Any], settings: tuple[tuple[str, Any], ...]
) -> OpenedDataSet:
    """Open the data set; that its labels are odd is a finding and no reason not to."""
    from miscnn.data_loading.layouts import open_dataset
    from miscnn.data_loading.layouts._classes import UnclearLabelsError

    unclear: tuple[int, ...] = ()
    options = {name: (f"--{name.replace('_', '-')}", value) for name, value in arguments.items()}
    arguments = settings_of(settings, options)
    known = {"classes", "label_values"} & set(arguments)
    # What it warns of, unreadable labels above all, is told in the report.
    logger = logging.getLogger("miscnn.data_loading.layouts")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        try:
            data_io = open_dataset(folder, **{"part": part, **arguments})
        except ConfigurationError as error:
            if known:
                raise
            unclear = error.values if isinstance(error, UnclearLabelsError) else ()
            data_io = open_dataset(folder, **{"part": part, "classes": 2, **arguments})
    except MiscnnError as error:
        names = "--image, --format, --layout, --label-values and so on; others by --set NAME=VALUE"
        raise click.UsageError(f"{error}\n(Arguments are given here as {names}.)") from error
    except (TypeError, ValueError) as error:
        if not settings:
            raise
        said = ", ".join(f"{name}={value!r}" for name, value in settings)
        raise click.UsageError(f"--set {said}: is the value of this kind? ({error})") from error
    finally:
        logger.setLevel(level)
    interface, layout = data_io.interface, data_io.layout
    declared = set(layout.further) & {"classes", "label_values"} if layout else set()
    if interface.mapping is not None:
        text = f", stored as {', '.join(map(str, interface.mapping.values))}"
        text += "" if known | declared else " (or say --label-values)"
    elif known:
        text = ""
    elif declared:
        text = ", as the data set says"
    else:
        text = ", from the labels found (or say --classes N)"
    return OpenedDataSet(
        data_io,
        f"Layout: {layout.description}; format {layout.format}" if layout else "",
        bool(known | declared) or interface.mapping is not None,
        text,
        unclear,
    )


def _count(label_values: list[int] | dict[int, int] | None, ignore_label: int | None) -> int | None:
    """Return how many classes the values are declared for."""
    if not isinstance(label_values, dict):
        return None if label_values is None else len(label_values)
    return max((k for k in label_values.values() if k != ignore_label), default=0) + 1
