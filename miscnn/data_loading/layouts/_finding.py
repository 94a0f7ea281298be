"""Finding out which of the known layouts a folder has."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from miscnn.data_loading._patterns import visible_names
from miscnn.data_loading.interfaces._listing import TABLE_ENDINGS
from miscnn.data_loading.layouts._bids import bids
from miscnn.data_loading.layouts._described import DESCRIPTION, described
from miscnn.data_loading.layouts._dicom import dicom_tree, holds_dicom
from miscnn.data_loading.layouts._folders import flat, folders_apart, subject_folders
from miscnn.data_loading.layouts._formats import DICOM, FORMATS, find_format
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._listed import table_layout
from miscnn.exceptions import ConfigurationError, MissingFileError

Part = Literal["training", "test"]

_KNOWN = (
    "MIScnn folders (<index>/imaging.* with segmentation.*), a folder for each subject "
    "(<index>/*.* with *_seg.*), nnU-Net raw data and MSD (dataset.json, imagesTr, labelsTr), BIDS "
    "(sub-*/anat with derivatives), images/ with labels/, a flat folder (X.* with X_seg.*), a "
    "folder of DICOM files for each subject, a listing (TSV, CSV or JSON file)"
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
    numbers ``_0000`` are recognised); a flat folder, in which ``X_label``, ``X_seg`` or ``X_mask``
    is the segmentation of ``X``; DICOM files in a folder for each subject; and a table that lists
    the files (TSV, CSV or JSON), handed in as ``path``.

    Parameters
    ----------
    path : path
        The folder, or the listing.
    layout : str, optional
        Takes only layouts of this name, see :class:`Layout`.
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
        If several layouts fit; naming all, with the arguments that choose.
    """
    folder = Path(path)
    if part not in ("training", "test"):
        raise ConfigurationError(f"part={part!r}; expected 'training' or 'test'")
    chosen = None if format is None else find_format(format)
    if folder.is_file() and folder.name == DESCRIPTION:
        folder = folder.parent
    if folder.is_file() and folder.suffix.lower() in TABLE_ENDINGS:
        return table_layout(folder, chosen)
    if not str(path) or not folder.is_dir():
        raise MissingFileError(
            f"there is no folder {str(path)!r}, and no listing that ends in .tsv, .csv or .json"
        )
    test = part == "test"
    found = described(folder, test)
    if not found or (layout is not None and layout not in [one.name for one in found]):
        found = []
        for form in [chosen] if chosen else FORMATS:
            # names of BIDS tell more than those of folders
            found += bids(folder, form, modalities, labels) or [
                *subject_folders(folder, form, modalities),
                *folders_apart(folder, form, test),
                *flat(folder, form, modalities),
            ]
        found += dicom_tree(folder) if chosen in (None, DICOM) else []
    found = [
        one
        for one in found
        if layout in (None, one.name) and (chosen is None or one.format == chosen.name)
    ]
    if len(found) > 1:
        choices = "; or ".join(f"{one.choice()}, for: {one.description}" for one in found)
        raise ConfigurationError(f"{len(found)} layouts fit {folder}; choose by {choices}")
    if not found:
        raise MissingFileError(_unknown(folder, layout, format))
    return found[0]


def _unknown(folder: Path, layout: str | None, format: str | None) -> str:
    names = visible_names(folder)
    seen = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    asked = "".join(
        f" with {name}={value!r}"
        for name, value in (("layout", layout), ("format", format))
        if value is not None
    )
    text = f"found no known layout{asked} in {folder} (it holds {seen or 'nothing'}); known are "
    if any(not (folder / name).is_dir() for name in names) and holds_dicom(folder):
        text = (
            f"{folder} holds the DICOM files of one subject; open the folder above it. Known are "
        )
    return f"{text}{_KNOWN}. Name the files by patterns, such as image='scans/*_ct.nii.gz'"
