"""The files of a bundle: what is there, whether it is whole, and what it says.

Nothing here imports Keras: ``miscnn info`` answers at once.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from miscnn._files import temporary_beside
from miscnn._version import __version__
from miscnn.exceptions import ConfigurationError, DamagedFileError, MissingFileError
from miscnn.neural_network._checksums import (
    SUMS,
    check_sums,
    read_sums,
    sha256_of,
    write_sums,
)

__all__ = [
    "CARD",
    "ENSEMBLE",
    "FORMAT",
    "NETWORK",
    "PIPELINE",
    "SCORES",
    "check_version",
    "checked",
    "clear",
    "describe",
    "digest",
    "new_bundle",
    "read_document",
]

FORMAT = 3
NETWORK = "model.keras"
PIPELINE = "pipeline.json"
ENSEMBLE = "ensemble.json"
"""What marks a folder as the bundle of several networks."""
SCORES = "scores.tsv"
CARD = "README.md"

_MEMBER = re.compile(r"member_\d+(_\d+)?")
_MARKS = (ENSEMBLE, PIPELINE)
_LARGEST_DOCUMENT = 64 * 2**20  # bytes
_CHECKPOINT = "last.npz"
_WRITERS = "save() of a NeuralNetwork, MeanEnsemble or StackedEnsemble, or `miscnn train`,"


def describe(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what a bundle says about itself, without loading its network (or Keras).

    All check sums are compared first.

    Parameters
    ----------
    folder : path
        The bundle.

    Returns
    -------
    dict
        ``kind`` ("network", "stacked ensemble" or "mean ensemble"), ``name``, ``description``,
        ``licence``, ``versions``, ``labels`` (class, name and colour of each), ``regions``,
        ``inputs``, ``fingerprint`` (of the training data), ``scores`` (a summary),
        ``scores_from`` (where they are from, of how many folds and subjects, and how many of
        these the network's training saw), ``prediction``, ``postprocessing``, ``epochs_trained``,
        ``architecture``, ``members`` (of an ensemble, their folders), ``size`` (bytes of all
        files) and ``digest``. What is not known is None.

    Raises
    ------
    MissingFileError, DamagedFileError, ConfigurationError
        As :func:`miscnn.load`.
    """
    folder = Path(folder)
    names = checked(folder)
    document = read_document(folder)
    card, architecture = (_object(document, name) for name in ("card", "architecture"))
    told = {
        name: document.get(name)
        for name in (
            "kind", "versions", "labels", "regions", "inputs", "fingerprint", "scores",
            "scores_from", "prediction", "postprocessing", "epochs_trained",
        )
    }  # fmt: skip
    return {
        "folder": str(folder),
        **{name: card.get(name) for name in ("name", "description", "licence")},
        **told,
        "architecture": str(architecture.get("class", "")).rpartition(":")[2] or None,
        "members": sorted({str(Path(name).parent) for name in names} - {"."}),
        "size": sum((folder / name).stat().st_size for name in names),
        "digest": digest(folder),
    }


def digest(folder: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a bundle's list of check sums.

    It stands for all files of the bundle, if their check sums are right (:func:`miscnn.load` and
    :func:`describe` compare them). Publish it where nobody who can change the bundle can change
    it, and hand it to ``miscnn.load(folder, digest=...)``.

    Parameters
    ----------
    folder : path
        The bundle.

    Raises
    ------
    MissingFileError
        If there is no complete bundle.
    """
    path = Path(folder) / SUMS
    if not path.is_file():
        read_sums(Path(folder))  # which tells
    return sha256_of(path)


def checked(folder: Path, expected_digest: str | None = None) -> frozenset[str]:
    """Compare all files of a bundle with their check sums; return the names of the files.

    Files that are not listed are no part of the bundle and must not be read.

    Raises
    ------
    MissingFileError, DamagedFileError
        If a file is missing or has changed.
    ConfigurationError
        If the bundle is of another format or version, or has another digest than expected.
    """
    _check_there(folder)
    check_version(folder)
    sums = read_sums(folder)
    if expected_digest is not None:
        found = digest(folder)
        if found != expected_digest.strip().lower():
            raise ConfigurationError(
                f"{folder} has the digest {found}, expected {expected_digest}: it is another "
                "bundle than the one that was published, or was changed since"
            )
    mark = next((name for name in _MARKS if name in sums), None)
    if mark is None or (mark == PIPELINE and NETWORK not in sums):
        raise DamagedFileError(
            f"{folder / SUMS} does not list {PIPELINE} and {NETWORK} (nor {ENSEMBLE}): get the "
            "bundle anew"
        )
    check_sums(folder, sums)
    return frozenset(sums)


def read_document(folder: Path) -> dict[str, Any]:
    """Read ``pipeline.json``, or ``ensemble.json`` where there is one."""
    path = _mark(folder)
    try:
        document = json.loads(_bounded(path))
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(f"{path} is no JSON: {str(error)[:200]}") from error
    if not isinstance(document, dict):
        raise DamagedFileError(f"{path} holds no JSON object")
    return document


def is_member(name: Any) -> bool:
    """Tell whether an ensemble may call the folder of one of its networks so."""
    return isinstance(name, str) and _MEMBER.fullmatch(name) is not None


@contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; its files become those of the bundle if all went well.

    The files of a bundle of this name are replaced, others beside them stay. If the process is
    killed, there is the bundle of before, or one that is told to be incomplete.

    Raises
    ------
    ConfigurationError
        If the folder holds files of the same names that belong to no bundle.
    """
    _own_files(folder)  # what cannot be replaced is said before any work
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(folder)
    temporary.mkdir()
    try:
        yield temporary
        write_sums(temporary)
        _install(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear(folder: Path) -> None:
    """Remove the bundle of this name, so that a file can take its place.

    Raises
    ------
    ConfigurationError
        If the folder holds anything else.
    """
    if not folder.is_dir() or folder.is_symlink():
        return
    own = _own_files(folder)
    others = [entry.name for entry in folder.iterdir() if entry not in own]
    if others:
        raise ConfigurationError(
            f"{folder} is a folder that holds more than a saved model ({', '.join(others[:5])}); "
            "a file of this name is to be written: choose another name or move the folder away"
        )
    shutil.rmtree(folder)


def _install(temporary: Path, folder: Path) -> None:
    if folder.is_file() or (folder.is_symlink() and not folder.exists()):
        folder.unlink()
    if not folder.exists():
        temporary.rename(folder)
        return
    # Without its list of check sums a bundle is incomplete. What marks the other files as a
    # bundle's goes last, and comes first.
    for entry in _own_files(folder):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    entries = sorted(temporary.iterdir(), key=lambda e: (e.name == SUMS, e.name not in _MARKS))
    for entry in entries:
        os.replace(entry, folder / entry.name)


def _own_files(folder: Path) -> list[Path]:
    """Return the entries of a folder that are a bundle's, in the order to remove them."""
    if not folder.is_dir():
        return []
    present = {entry.name: entry for entry in folder.iterdir()}
    bundle = any(mark in present for mark in _MARKS)
    listed: set[str] | None = None
    if SUMS in present:
        try:
            listed = set(read_sums(folder))
        except (MissingFileError, DamagedFileError):
            listed = None if bundle else set()
    own = [SUMS, SCORES, CARD, NETWORK, *filter(_MEMBER.fullmatch, present), *_MARKS]
    foreign = [
        name
        for name in (SUMS, SCORES, CARD)
        if name in present and not (bundle and (listed is None or name in listed or name == SUMS))
    ]
    if foreign:
        raise ConfigurationError(
            f"{folder} holds {', '.join(foreign)} that belong(s) to no bundle and would be "
            "replaced; save into another folder"
        )
    return [present[name] for name in own if name in present]


def _mark(folder: Path) -> Path:
    """Return the path of the document, whether or not it is there."""
    try:
        several = ENSEMBLE in read_sums(folder)
    except (MissingFileError, DamagedFileError):
        several = (folder / ENSEMBLE).is_file()
    return folder / (ENSEMBLE if several else PIPELINE)


def _check_there(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingFileError(f"{folder} is no folder: expected one that {_WRITERS} wrote")
    if not _mark(folder).is_file() and not (folder / SUMS).is_file():
        raise MissingFileError(
            f"{folder} holds no {PIPELINE} (nor {ENSEMBLE}): expected a folder that "
            f"{_WRITERS} wrote"
            + (
                ". It holds checkpoints, which NeuralNetwork.load_checkpoint() reads"
                if (folder / _CHECKPOINT).is_file()
                else ""
            )
        )


def check_version(folder: Path) -> None:
    """Raise ConfigurationError if the document says that another version must read it.

    It is not checked yet: what cannot be read is left to the check sums.
    """
    path = _mark(folder)
    try:
        document = json.loads(_bounded(path))
    except (OSError, ValueError, RecursionError):
        return
    if not isinstance(document, dict):
        return
    written_as = document.get("format")
    versions = document.get("versions")
    by = versions.get("miscnn") if isinstance(versions, dict) else None
    who = f"{path} was written by miscnn {by}" if isinstance(by, str) else f"{path} was written"
    if written_as != FORMAT:
        older = isinstance(written_as, int) and written_as < FORMAT
        raise ConfigurationError(
            f"{who} in format {written_as!r}; this is miscnn {__version__}, which reads format "
            f"{FORMAT}. "
            + (
                "Load it there, train or save it again with this version"
                if older
                else "Install a miscnn that is at least as new: pip install --upgrade miscnn"
            )
        )
    theirs, ours = str(by).split(".")[0], __version__.split(".")[0]
    if theirs != ours:
        raise ConfigurationError(
            f"{who}, this is miscnn {__version__}: recipes of another major version may mean "
            f"something else. Install that one (pip install 'miscnn=={theirs}.*'), or train again"
        )


def _bounded(path: Path) -> bytes:
    if not path.is_file():  # such as a pipe, which would never end
        raise MissingFileError(f"{path} does not exist, or is no file")
    if path.stat().st_size > _LARGEST_DOCUMENT:
        raise DamagedFileError(f"{path} is larger than {_LARGEST_DOCUMENT // 2**20} MiB")
    return path.read_bytes()


def _object(document: dict[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}
