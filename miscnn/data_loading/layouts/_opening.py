"""Opening a data set without saying how it is laid out."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from miscnn.data_loading._patterns import Pattern
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces._listing import mapped
from miscnn.data_loading.layouts._classes import FoundClasses, declared_classes, find_classes
from miscnn.data_loading.layouts._finding import Part, find_layout
from miscnn.data_loading.layouts._first_image import seen_in_image
from miscnn.data_loading.layouts._formats import FORMATS, find_format, format_of, interface_class
from miscnn.data_loading.layouts._layout import Layout
from miscnn.exceptions import ConfigurationError, MissingFileError

_LOG = logging.getLogger("miscnn.data_loading.layouts")


def open_dataset(
    path: str | os.PathLike[str],
    *,
    output_path: str | Path = "predictions",
    batch_path: str | Path = "batches",
    layout: str | None = None,
    format: str | None = None,
    part: Part = "training",
    modalities: Sequence[str] | None = None,
    labels: str | None = None,
    **arguments: Any,
) -> DataIO:
    """Open a data set, finding out how it is laid out and in which format.

    What was found is logged (level INFO) and kept as ``data_io.layout``.

    Parameters
    ----------
    path : path
        The folder of the data set (of DICOM files also that of one subject), or a table that
        lists its files (TSV, CSV or JSON).
    output_path, batch_path
        See :class:`~miscnn.DataIO`.
    layout, format, part, modalities, labels
        What to choose where several could be meant, see
        :func:`~miscnn.data_loading.layouts.find_layout`. Layouts are called ``"miscnn"``,
        ``"subjects"``, ``"folders"``, ``"pairs"``, ``"images"``, ``"nnunet"``, ``"msd"``,
        ``"bids"``, ``"dicom"`` and ``"listing"``.
    **arguments
        For the data interface, in place of what was found: ``classes``, ``channels``, ``pattern``,
        ``image`` and ``segmentation`` (patterns), ``listing``, ``three_dim``, ``label_values``,
        ``ignore_label``, ``class_names`` and so on.

    Returns
    -------
    DataIO

    Raises
    ------
    MissingFileError
        If there is no such folder, or its layout is not known; naming what was found.
    ConfigurationError
        If several layouts fit, or labels are not 0 … n − 1 and nothing says what they mean.

    Notes
    -----
    The number of classes is that of ``label_values`` or ``class_names`` if these are given, or
    taken from ``dataset.json`` if there is one. Otherwise 50 segmentations are read (all, if there
    are no more), and further ones up to 2^29 voxels in all, and the number is logged: pass
    ``classes=…`` to be sure, and quicker. Masks of 0 and one other value, such as 255, are two
    classes. A label that turns up later in a subject that was not read is an error of that
    subject, which says what to pass.

    Channels in one file (a fourth axis, colours) are counted in the first 15 images; what most of
    them have counts.

    Examples
    --------
    >>> import tempfile
    >>> from miscnn.datasets.phantom import write_dataset
    >>> folder = tempfile.mkdtemp()
    >>> _ = write_dataset(folder, subjects=2, seed=0)
    >>> data_io = open_dataset(folder, classes=3)
    >>> data_io.layout.name, len(data_io.indices_list)
    ('miscnn', 2)
    """
    folder = Path(path)
    given = arguments.get("image") is not None or arguments.get("listing") is not None
    if given and folder.is_dir():
        choice = {"layout": layout, "modalities": modalities, "labels": labels}
        _check_not_given(choice, part)
        found = _given(folder, format, arguments)
    else:
        found = find_layout(
            path, layout=layout, format=format, part=part, modalities=modalities, labels=labels
        )
        folder = folder.parent if folder.is_file() else folder
    _check_names(found, arguments)
    ignore_label = arguments.get("ignore_label", found.further.get("ignore_label"))
    arguments = {**arguments, **declared_classes(arguments, ignore_label)}

    def opened() -> DataIO:
        interface = found.interface(**arguments)
        return DataIO(interface, folder, output_path=output_path, batch_path=batch_path)

    def reopened() -> DataIO:
        with muted():
            return opened()

    data_io = opened()
    if not data_io.indices_list:
        raise MissingFileError(
            f"no subject in {folder}: looked for {data_io.interface.expected_files()} "
            f"({found.description})"
        )
    told = {**found.arguments, **arguments}
    seen = seen_in_image(data_io.interface, data_io.indices_list, told)
    if seen:
        arguments = {**arguments, **seen}
        data_io = reopened()
    classes = _classes(data_io, {**found.further, **arguments})
    if classes.arguments:
        arguments = {**arguments, **classes.arguments}
        data_io = reopened()
    data_io.layout = found
    _LOG.info(
        "%s: %s; %s files, %d subjects%s",
        folder, found.description, found.format, len(data_io.indices_list), classes.description,
    )  # fmt: skip
    return data_io


def _classes(data_io: DataIO, told: dict[str, Any]) -> FoundClasses:
    """Count the classes where nobody tells their number."""
    if told.get("classes") is not None:
        return FoundClasses({}, "")
    found = find_classes(data_io.interface, data_io.indices_list)
    if not found.arguments:
        return FoundClasses({}, "; no segmentations, so the number of classes is not known")
    return FoundClasses(found.arguments, f"; {found.description}; pass classes=… to be sure")


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep an interface from logging what it has logged when it was opened first."""
    logger = logging.getLogger("miscnn.data_loading.files")

    def nothing(record: logging.LogRecord) -> bool:
        return False

    logger.addFilter(nothing)
    try:
        yield
    finally:
        logger.removeFilter(nothing)


def _check_not_given(choice: dict[str, Any], part: Part) -> None:
    given = [f"{name}={value!r}" for name, value in choice.items() if value is not None]
    given += [f"part={part!r}"] if part != "training" else []
    if given:
        raise ConfigurationError(
            f"{', '.join(given)}: these choose among the layouts that are found, but the files are "
            "named by image or listing; leave one or the other out"
        )


def _given(folder: Path, format: str | None, arguments: dict[str, Any]) -> Layout:
    """Describe what the user has said of the files."""
    image = arguments.get("image")
    if format is None:
        names = [image] if isinstance(image, str) else list(image or _first_listed(arguments))
        known = {form.name for name in names if (form := format_of(name)) is not None}
        if not known and image is not None:
            known = {
                form.name
                for form in FORMATS
                if any(Pattern(name, form.endings).find(folder) for name in names)
            }
        if len(known) != 1:
            state = f"there are {' and '.join(sorted(known))} files" if known else "no files fit"
            raise ConfigurationError(
                f"image={image!r}: the format cannot be told ({state}); name it: format="
                + " or ".join(repr(form.name) for form in FORMATS)
            )
        format = known.pop()
    form = find_format(format)
    if image is None:
        return Layout("listing", "the files that were listed", format=form.name)
    images = (image,) if isinstance(image, str) else tuple(image)
    label = arguments.get("segmentation")
    text = f"images {' and '.join(images)}, "
    text += f"segmentations {label}" if label else "no segmentations"
    return Layout("patterns", text, images, label, form.name)


def _first_listed(arguments: dict[str, Any]) -> list[str]:
    listing = arguments["listing"]
    if isinstance(listing, str):
        raise ConfigurationError(
            f"listing={listing!r}: open the file itself, open_dataset('…/{listing}'), or name the "
            "format, such as format='NIfTI'"
        )
    if not isinstance(listing, Mapping):
        raise ConfigurationError(
            f"listing={listing!r}: expected {{index: {{'image': …, 'segmentation': …}}}}"
        )
    return [name for entry in mapped(listing).entries.values() for name in entry.images][:1]


def _check_names(found: Layout, arguments: dict[str, Any]) -> None:
    known = list(inspect.signature(interface_class(found.format)).parameters)
    unknown = sorted(set(arguments) - set(known))
    if unknown:
        raise ConfigurationError(
            f"open_dataset does not know {', '.join(unknown)}; for {found.format} files it takes "
            f"{', '.join(known)}, besides layout, format, part, modalities, labels, output_path "
            "and batch_path"
        )
