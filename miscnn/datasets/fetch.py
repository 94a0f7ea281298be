"""Downloading public data sets."""

from __future__ import annotations

import logging
import operator
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from miscnn._files import write_json, write_text
from miscnn.datasets import _sources
from miscnn.datasets._download import download, on_disk, parts_of
from miscnn.datasets._sources import Archive, Licence
from miscnn.datasets._unpack import unpack
from miscnn.exceptions import ConfigurationError, DownloadError

_LOG = logging.getLogger("miscnn.datasets")

_LICENCE_FILE = "LICENSE.txt"
_RECORD = "SOURCE.json"


@dataclass(frozen=True)
class FetchedDataset:
    """A data set that was downloaded; usable wherever a path is.

    Attributes
    ----------
    folder : Path
        For :func:`miscnn.open_dataset`.
    licence : Licence
        With ``name``, ``url``, and the ``reference`` that is to be cited.
    """

    folder: Path
    licence: Licence

    def __fspath__(self) -> str:
        return str(self.folder)

    def __str__(self) -> str:
        return str(self.folder)


def fetch_msd(
    task: int | str,
    folder: str | Path,
    *,
    mirror: str | None = None,
    keep_archive: bool = False,
    retries: int = 5,
    progress: bool = True,
) -> FetchedDataset:
    """Download a task of the Medical Segmentation Decathlon (CC BY-SA 4.0).

    Parameters
    ----------
    task : int or str
        1 … 10, ``"Task04_Hippocampus"``, or ``"hippocampus"``.
    folder : str or Path
        The task's folder, such as ``Task04_Hippocampus``, is made in it.
    mirror : str, optional
        Address of a folder that holds the same files, such as ``"https://server/msd"``.
    keep_archive : bool
        Whether the archive stays beside the folder.
    retries : int
        How often in a row nothing may arrive before the download is given up. The next call goes
        on where it was interrupted.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    FetchedDataset
        Usable as the path of the data set. A second call downloads nothing.

    Raises
    ------
    DownloadError
        If the archive cannot be had, is another one than expected, or cannot be unpacked safely.
    ConfigurationError
        If there is no such task.

    Notes
    -----
    The archives come from the address that MONAI uses, and are checked by its MD5 sums. Tests run
    against a server of their own: whether the address answers is not tried.
    """
    name = _task(task)
    licence = _sources.MSD_LICENCE
    target = Path(folder) / name
    base = mirror or _sources.MSD_URL
    _fetch_archive(_sources.MSD[name], base, target, licence, keep_archive, retries, progress)
    return FetchedDataset(target, licence)


def fetch_chaos(
    folder: str | Path,
    part: Literal["training", "test"] = "training",
    modality: Literal["CT", "MR"] = "CT",
    *,
    mirror: str | None = None,
    keep_archive: bool = False,
    retries: int = 5,
    progress: bool = True,
) -> FetchedDataset:
    """Download CHAOS: DICOM series of the abdomen with masks as PNG (CC BY-NC-SA 4.0).

    Parameters
    ----------
    folder : str or Path
        ``CHAOS_Train_Sets`` or ``CHAOS_Test_Sets`` is made in it, with CT and MR.
    part : "training" or "test"
    modality : "CT" or "MR"
        Whose folder is returned.
    mirror, keep_archive, retries, progress
        See :func:`fetch_msd`.

    Returns
    -------
    FetchedDataset
        The folder with a folder of DICOM files for each patient. Masks are stacks of PNG files
        (``Ground``), in an order of their own, which are not read as segmentations.

    Raises
    ------
    DownloadError, ConfigurationError
        See :func:`fetch_msd`.

    Notes
    -----
    The archives come from Zenodo, record 3431873. Tests run against a server of their own:
    whether the address answers is not tried.
    """
    if part not in _sources.CHAOS or modality not in ("CT", "MR"):
        raise ConfigurationError(
            f"part={part!r}, modality={modality!r}: expected 'training' or 'test', 'CT' or 'MR'"
        )
    archive = _sources.CHAOS[part]
    licence = _sources.CHAOS_LICENCE
    target = Path(folder) / Path(archive.file).stem
    _fetch_archive(
        archive, mirror or _sources.CHAOS_URL, target, licence, keep_archive, retries, progress
    )
    return FetchedDataset(target / modality, licence)


def fetch_kits19(
    folder: str | Path,
    cases: Iterable[int] = range(_sources.KITS19_LABELLED),
    *,
    mirror: str | None = None,
    retries: int = 5,
    progress: bool = True,
) -> FetchedDataset:
    """Download KiTS19: CT of kidney tumours, as NIfTI (CC BY-NC-SA 4.0).

    Parameters
    ----------
    folder : str or Path
        ``kits19`` is made in it, with ``case_00000/imaging.nii.gz`` and ``segmentation.nii.gz``.
    cases : iterable of int
        0 … 299; those from 210 on have no segmentation. Default: 0 … 209.
    mirror : str, optional
        Address of a folder that holds ``case_00000/imaging.nii.gz`` and so on.
    retries, progress
        See :func:`fetch_msd`.

    Returns
    -------
    FetchedDataset
        Usable as the path of the data set. A second call downloads what is missing, and checks the
        other files.

    Raises
    ------
    DownloadError, ConfigurationError
        See :func:`fetch_msd`.

    Notes
    -----
    Images come from the challenge's own server, segmentations from its repository on GitHub.
    No published checksums are known: those of the first download are kept in ``SHA256SUMS`` in
    ``kits19`` and demanded from then on. Tests run against a server of their own: whether the
    addresses answer is not tried.
    """
    numbers = _numbers(cases)
    target = Path(folder) / "kits19"
    licence = _sources.KITS19_LICENCE
    with on_disk(target):
        target.mkdir(parents=True, exist_ok=True)
        _show(licence, "KiTS19")
        _write_licence(target, licence)
    for number in numbers:
        case = f"case_{number:05d}"
        image = f"{case}/imaging.nii.gz"
        label = f"{case}/segmentation.nii.gz"
        url = f"{_sources.KITS19_IMAGES}/master_{number:05d}.nii.gz"
        download(_mirrored(mirror, image, url), target, image, None, retries, progress)
        if number < _sources.KITS19_LABELLED:
            url = f"{_sources.KITS19_LABELS}/{label}"
            download(_mirrored(mirror, label, url), target, label, None, retries, progress)
    return FetchedDataset(target, licence)


def _numbers(cases: Iterable[int]) -> list[int]:
    """Check the numbers of cases, and sort them."""
    try:
        given = list(cases)
        numbers = sorted({operator.index(n) for n in given})
    except TypeError as error:
        raise ConfigurationError(
            f"cases={cases!r}: expected whole numbers from 0 to 299, such as [0, 17] or range(10)"
        ) from error
    wrong = [n for n in given if isinstance(n, bool) or not 0 <= n < _sources.KITS19_CASES]
    if wrong or not numbers:
        raise ConfigurationError(f"cases: expected numbers from 0 to 299, got {wrong or 'none'}")
    return numbers


def _mirrored(mirror: str | None, name: str, url: str) -> str:
    return url if mirror is None else f"{mirror.rstrip('/')}/{name}"


def _fetch_archive(
    archive: Archive,
    base: str,
    target: Path,
    licence: Licence,
    keep: bool,
    retries: int,
    progress: bool,
) -> None:
    """Download and unpack, unless that was done before."""
    record = target / _RECORD
    if record.is_file():
        _LOG.info("%s is there already; its licence is %s", target, licence.name)
        return
    with on_disk(target.parent):
        _check_target(target)
    _show(licence, target.name)
    url = f"{base.rstrip('/')}/{archive.file}"
    path = target.parent / archive.file

    def finish(unpacked: Path) -> None:
        _write_licence(unpacked, licence)
        write_json(unpacked / _RECORD, {"url": url, "checksum": archive.checksum})

    try:
        download(url, target.parent, archive.file, archive.checksum, retries, progress)
        if not record.is_file():
            unpack(path, target.resolve(), finish)
    except DownloadError:
        if not record.is_file():
            raise
        _LOG.info("another process has put %s there in the meantime", target)
    with on_disk(target.parent):
        for leftover in (*(() if keep else (path,)), *parts_of(path)):
            leftover.unlink(missing_ok=True)


def _check_target(target: Path) -> None:
    """Refuse to unpack where there is something else."""
    if target.is_symlink() and not target.exists():
        reason = "is a link to something that does not exist; mend or remove it"
    elif target.exists() and not target.is_dir():
        reason = "is a file, but a folder is to be made there; remove it"
    elif target.exists() and any(target.iterdir()):
        reason = "exists and was not downloaded by this function; open it as it is"
    else:
        return
    raise DownloadError(f"{target} {reason}, or name another folder")


def _show(licence: Licence, name: str) -> None:
    _LOG.info("%s: licence %s, %s; cite %s", name, licence.name, licence.url, licence.reference)


def _write_licence(folder: Path, licence: Licence) -> None:
    if not (folder / _LICENCE_FILE).exists():
        text = f"{licence.name}\n{licence.url}\n\nPlease cite: {licence.reference}\n"
        write_text(folder / _LICENCE_FILE, text)


def _task(task: int | str) -> str:
    for number, name in enumerate(_sources.MSD, start=1):
        short = name.partition("_")[2].lower()
        if task == number and not isinstance(task, bool):
            return name
        if isinstance(task, str) and task.lower() in (name.lower(), short):
            return name
    raise ConfigurationError(f"task={task!r}: expected 1 … 10 or one of {', '.join(_sources.MSD)}")
