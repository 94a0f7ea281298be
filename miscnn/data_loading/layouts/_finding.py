"""Finding out which of the known layouts a folder has."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.interfaces._listing import TABLE_ENDINGS
from miscnn.data_loading.layouts._bids import bids
from miscnn.data_loading.layouts._described import DESCRIPTION, described
from miscnn.data_loading.layouts._dicom import dicom_tree
from miscnn.data_loading.layouts._folders import (
    TEST_FOLDERS,
    TRAINING_FOLDERS,
    folders_apart,
    subject_folders,
)
from miscnn.data_loading.layouts._formats import DICOM, FORMATS, Format, find_format, format_of
from miscnn.data_loading.layouts._images import flat_images, images_in_folders
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._listed import table_layout
from miscnn.data_loading.layouts._pairs import pairs
from miscnn.exceptions import ConfigurationError, MissingFileError

Part = Literal["training", "test"]

LAYOUTS = (
    "miscnn", "subjects", "folders", "pairs", "images", "nnunet", "msd", "bids", "dicom", "listing",
)  # fmt: skip
"""The names that ``find_layout`` takes."""

_SHOWN = 5

_KNOWN = (
    "MIScnn folders (<index>/imaging.* with segmentation.*), a folder for each subject "
    "(<index>/*.* with *_seg.*), nnU-Net raw data and MSD (dataset.json, imagesTr, labelsTr), BIDS "
    "(sub-*/anat with derivatives), images/ with labels/, a flat folder (X.* with X_seg.*, or "
    "ct_X.* with seg_X.*), a "
    "folder of DICOM files for each subject or those of one, a listing (TSV, CSV or JSON file)"
)


def find_layout(
    path: str | os.PathLike[str],
    *,
    layout: str | None = None,
    format: str | None = None,
    part: Part = "training",
    modalities: Sequence[str] | None = None,
    labels: str | None = None,
) -> Layout:
    """Find out how a data set is laid out, by the names of its files.

    Known are: MIScnn and KiTS (``<index>/imaging.*`` and ``segmentation.*``); a folder for each
    subject, in which ``*_seg``, ``mask`` or the like is the segmentation; nnU-Net's raw data and
    the Medical Segmentation Decathlon (``dataset.json``); BIDS and its derivatives; a folder of
    images beside a folder of labels (``images``/``labels``, ``imagesTr``/``labelsTr``; channel
    numbers ``_0000`` are recognised); a flat folder, in which ``X_label``, ``X_mask``, ``seg_X``
    or the like is the segmentation of ``X`` or ``ct_X``; DICOM files in a folder for each subject,
    or those of one subject in ``path`` itself; and a table that lists the files (TSV, CSV or JSON),
    handed in as ``path``. Images alone are a data set only where no segmentations are found.

    Parameters
    ----------
    path : path
        The folder, or the listing.
    layout : str, optional
        Takes only layouts of this name: ``"miscnn"``, ``"subjects"``, ``"folders"``, ``"pairs"``,
        ``"images"``, ``"nnunet"``, ``"msd"``, ``"bids"``, ``"dicom"`` or ``"listing"``, see
        :class:`Layout`. Capitals and hyphens do not count.
    format : str, optional
        Takes only files of this format: ``"NIfTI"``, ``"ITK"``, ``"image"``, ``"NumPy"`` or
        ``"DICOM"``.
    part : "training" or "test"
        Which part of a data set with ``imagesTr`` and ``imagesTs`` is meant.
    modalities : sequence of str, optional
        Which images are the channels where each subject has several, such as
        ``["T1w", "FLAIR"]``; default: those that all subjects have.
    labels : str, optional
        Which segmentations of a BIDS data set are meant, as ``"pipeline/name"``.

    Raises
    ------
    MissingFileError
        If there is no such folder, or it holds none of these.
    ConfigurationError
        If there is no layout of this name. If several layouts fit; naming five at most, with the
        arguments that choose. If files look like segmentations, and it cannot be told of which
        images. If most subjects have an image that others lack. If ``part``, ``modalities`` or
        ``labels`` do not belong to the layout that was found.
    """
    folder = Path(path)
    _check_choice(part, modalities)
    layout = None if layout is None else _known_name(layout)
    chosen = None if format is None else find_format(format)
    if folder.is_file() and folder.name == DESCRIPTION:
        folder = folder.parent
    if folder.is_file() and folder.suffix.lower() in TABLE_ENDINGS:
        return _with_choice(table_layout(folder, chosen), part, modalities, labels)
    if not str(path) or not folder.is_dir():
        raise MissingFileError(_no_folder(folder, str(path)))
    asked = _Asked(folder, layout, chosen, part == "test", modalities, labels)
    found = asked.found()
    if len(found) > 1:
        shown = [f"{one.choice()}, for: {one.description}" for one in found[:_SHOWN]]
        shown += [f"one of {len(found) - _SHOWN} others"] if found[_SHOWN:] else []
        choices = "; or ".join(shown)
        raise ConfigurationError(f"{len(found)} layouts fit {folder}; choose by {choices}")
    if not found:
        raise MissingFileError(_unknown(folder, layout, format, part))
    return _with_choice(found[0], part, modalities, labels)


@dataclass(frozen=True)
class _Asked:
    """What is looked for, and where."""

    folder: Path
    layout: str | None
    chosen: Format | None
    test: bool
    modalities: Sequence[str] | None
    labels: str | None

    def found(self) -> list[Layout]:
        """Return the layouts of the first kind of which there is any, the most telling first."""
        kinds: list[Callable[[], list[Layout]]] = [lambda: described(self.folder, self.test)]
        if not self.test:
            kinds.append(self._with_labels)
        else:
            kinds.append(lambda: self._each(folders_apart, TEST_FOLDERS))
        if self.layout in (None, "images"):
            among = TEST_FOLDERS if self.test else TRAINING_FOLDERS
            sure = self.layout is not None
            kinds.append(lambda: self._each(images_in_folders, among, sure))
            kinds += [] if self.test else [lambda: self._each(flat_images, sure)]
        for kind in kinds:
            found = [
                one
                for one in kind()
                if self.layout in (None, one.name)
                and (self.chosen is None or one.format == self.chosen.name)
            ]
            if found:
                return found
        return []

    def _with_labels(self) -> list[Layout]:
        found = []
        for form in self._forms:
            # names of BIDS tell more than those of folders
            found += bids(self.folder, form, self.modalities, self.labels) or [
                *subject_folders(self.folder, form, self.modalities),
                *folders_apart(self.folder, form, TRAINING_FOLDERS),
                *pairs(self.folder, form, self.modalities),
            ]
        return found + (dicom_tree(self.folder) if self.chosen in (None, DICOM) else [])

    def _each(self, recognise: Callable[..., list[Layout]], *further: Any) -> list[Layout]:
        return [one for form in self._forms for one in recognise(self.folder, form, *further)]

    @property
    def _forms(self) -> list[Format]:
        return [form for form in FORMATS if self.chosen in (None, form)]


def _known_name(layout: object) -> str:
    """Return the name of a layout as it is spelled here."""
    plain = re.sub(r"[-_ ]", "", layout).lower() if isinstance(layout, str) else ""
    if plain not in LAYOUTS:
        raise ConfigurationError(
            f"layout={layout!r} is not known; known are {', '.join(map(repr, LAYOUTS))}"
        )
    return plain


def _check_choice(part: object, modalities: object) -> None:
    if part not in ("training", "test"):
        raise ConfigurationError(f"part={part!r}; expected 'training' or 'test'")
    if modalities is None:
        return
    if (
        isinstance(modalities, str)
        or not isinstance(modalities, Sequence)
        or not modalities
        or not all(isinstance(name, str) for name in modalities)
        or len(set(modalities)) < len(modalities)
    ):
        example = [modalities] if isinstance(modalities, str) else ["T1w", "FLAIR"]
        raise ConfigurationError(
            f"modalities={modalities!r}; expected a list of different names, such as {example!r}"
        )


def _with_choice(
    found: Layout, part: Part, modalities: Sequence[str] | None, labels: str | None
) -> Layout:
    """Refuse what chooses nothing in the layout that was found."""
    if part == "test" and found.name == "listing":
        raise ConfigurationError("part='test': a table has no parts; leave part out")
    if modalities is not None and found.name not in ("bids", "subjects", "pairs"):
        raise ConfigurationError(
            f"modalities={list(modalities)!r} chooses nothing here, since the channels are told by "
            f"the layout ({found.description}); leave it out, or name the images by patterns, such "
            "as image=['images/*_t1.nii.gz', 'images/*_t2.nii.gz']"
        )
    if labels is not None and found.name != "bids":
        raise ConfigurationError(
            f"labels={labels!r} chooses among the segmentations of a BIDS data set, but this is "
            f"none ({found.description}); leave it out, or name them by a pattern, with image=… "
            "and segmentation=…"
        )
    return found


def _no_folder(path: Path, text: str) -> str:
    form = format_of(path.name)
    if path.is_file() and form is not None:
        return (
            f"{text!r} is a single image; expected the folder of a data set, or a table that lists "
            "its files. To predict one file, hand it to the predict method of a network"
        )
    return f"there is no folder {text!r}, and no listing that ends in .tsv, .csv or .json"


def _unknown(folder: Path, layout: str | None, format: str | None, part: Part) -> str:
    names = visible_names(folder)
    if part == "test":
        return (
            f"part='test': {folder} has no test part, neither a folder imagesTs nor a dataset.json "
            "that lists one; leave part out"
        )
    seen = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    asked = "".join(
        f" with {name}={value!r}"
        for name, value in (("layout", layout), ("format", format))
        if value is not None
    )
    text = f"found no known layout{asked} in {folder} (it holds {seen or 'nothing'})"
    if any(name.lower() in map(str.lower, TEST_FOLDERS) for name in names):
        text += "; images of the test part are opened by part='test'"
    capital = _capital(folder, names)
    if capital is not None:
        text += f"; files such as {capital} are not read, because of the capitals in their endings"
        text += f": rename them {capital.stem.split('.')[0]}{''.join(capital.suffixes).lower()}"
    return (
        f"{text}. Known are {_KNOWN}. Name the files by patterns, such as image='scans/*_ct.nii.gz'"
    )


def _capital(folder: Path, names: Sequence[str]) -> Path | None:
    """Return a file, perhaps one in a folder, that no format takes because of its capitals."""
    for name in names:
        inside = visible_names(folder / name)
        for path in [Path(name), *(Path(name) / other for other in inside)]:
            form = format_of(path.name)
            if form is not None and form.stem(path.name) is None and not (folder / path).is_dir():
                return path
    return None
