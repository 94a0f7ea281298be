"""Finding DICOM files whatever they are called, and reading them without surprises."""

from __future__ import annotations

import math
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from miscnn._optional import optional
from miscnn.data_loading.dicom._quiet import quiet
from miscnn.data_loading.formats.image_file import READ_ERRORS, BoundedFile, readable, refuse
from miscnn.exceptions import MiscnnError

_PREAMBLE = 128
_HEAD = 1024
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_MOST_INFLATED = 1 << 28
_BLOCK = 1 << 20
# Farther away is no position in a patient.
_FARTHEST = 1e6
_SHORT_VRS = frozenset((b"AE", b"CS", b"DA", b"LO", b"SH", b"TM", b"UI", b"UL", b"OB"))


class InvalidValueError(ValueError):
    """An attribute of a file holds nonsense; the text names the attribute and no patient."""


def dicom_files(folder: Path, recursive: bool = True) -> Iterator[Path]:
    """Yield the files below a folder that are DICOM by what they begin with, sorted by path.

    Names do not matter; hidden ones, and indices (``DICOMDIR``), are left out. Links to folders
    are followed, each folder once.
    """
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and recursive)
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        for name in sorted(names):
            path = Path(parent) / name
            if not name.startswith(".") and name.upper() != "DICOMDIR" and is_dicom(path):
                yield path


def is_dicom(path: Path) -> bool:
    """Tell whether a file is DICOM by its first bytes."""
    head = _head(path)
    return head[_PREAMBLE : _PREAMBLE + 4] == b"DICM" or _starts_bare(head)


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():  # not to wait for a pipe
            return b""
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError:
        return b""


def _starts_bare(head: bytes) -> bool:
    """Look whether two elements in order begin a file without preamble."""
    place, last = 0, (0, 0)
    for _ in range(2):
        if len(head) < place + 12:
            return False
        tag = struct.unpack_from("<HH", head, place)
        vr, length = head[place + 4 : place + 6], 0
        if vr == b"OB":
            length = 4 + struct.unpack_from("<I", head, place + 8)[0]
        elif vr in _SHORT_VRS:
            length = struct.unpack_from("<H", head, place + 6)[0]
        else:
            length = struct.unpack_from("<I", head, place + 4)[0]
        if tag[0] not in (2, 8) or tag <= last or tag[1] > 0x1000 or length > 256 or length % 2:
            return False
        place, last = place + 8 + length, tag
    return True


@contextmanager
def dicom_readable(path: Path, index: str) -> Iterator[None]:
    """Turn whatever a broken file raises into an error that names the file.

    What a library says of its own is left out: it may quote the patient. Its warnings are not
    shown either.
    """
    errors = optional("pydicom.errors", "dicom", "Reading DICOM")
    also = (
        errors.InvalidDicomError,
        errors.BytesLengthException,
        AttributeError,
        RuntimeError,
        struct.error,
        zlib.error,
    )
    with readable(path, index, "DICOM"), quiet():
        try:
            yield
        except (FileNotFoundError, MemoryError, MiscnnError):
            raise
        except InvalidValueError as error:
            refuse(path, index, str(error), None)
        except (*READ_ERRORS, *also) as error:
            refuse(path, index, f"not a valid DICOM file ({type(error).__name__})", None)


def read_dataset(
    path: Path, index: str, tags: Sequence[str] | None = None, pixels: bool = False
) -> Any:
    """Read a file with pydicom, without its voxels unless they are wanted.

    Parameters
    ----------
    path : Path
    index : str
        The subject, for messages.
    tags : sequence of str, optional
        Keywords of the attributes that are needed. Default: all.
    pixels : bool
        Whether the voxels are needed too.

    Raises
    ------
    MissingFileError
    UnreadableFileError
    """
    pydicom = optional("pydicom", "dicom", "Reading DICOM")
    with dicom_readable(path, index):
        if _DEFLATED in _head(path):
            _check_inflated(path)
        with BoundedFile(path) as file:
            dataset = pydicom.dcmread(
                file,
                stop_before_pixels=not pixels,
                specific_tags=None if tags is None else list(tags),
                force=not _has_preamble(path),
            )
        if not dataset and not dataset.file_meta:
            raise InvalidValueError("it holds no DICOM attributes")
        if "TransferSyntaxUID" not in dataset.file_meta:
            dataset.file_meta.TransferSyntaxUID = _plain_syntax(*dataset.original_encoding)
        return dataset


def _plain_syntax(implicit: bool | None, little: bool | None) -> str:
    """Name the way of writing that a file without file meta information was found to have."""
    if implicit:
        return "1.2.840.10008.1.2"
    return "1.2.840.10008.1.2.1" if little else "1.2.840.10008.1.2.2"


def _has_preamble(path: Path) -> bool:
    return _head(path)[_PREAMBLE : _PREAMBLE + 4] == b"DICM"


def _check_inflated(path: Path) -> None:
    """Refuse a deflated file that would fill the memory, before pydicom inflates it."""
    size = path.stat().st_size
    if size > 1 << 20:  # inflates to a thousand times of that at most
        total = 0
        meta = struct.unpack_from("<I", _head(path), 140)[0] + 144
        archive = zlib.decompressobj(-zlib.MAX_WBITS)
        with path.open("rb") as stream:
            stream.seek(meta)
            pending = stream.read(_BLOCK)
            while pending:
                total += len(archive.decompress(pending, _BLOCK))
                if total > _MOST_INFLATED:
                    raise InvalidValueError(f"it inflates to more than {_MOST_INFLATED >> 20} MiB")
                pending = archive.unconsumed_tail or stream.read(_BLOCK)


def text(dataset: Any, name: str) -> str:
    """Return an attribute as text, several values joined by a backslash; empty if missing."""
    value = dataset.get(name)
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value).strip()
    if hasattr(value, "__iter__"):
        return "\\".join(str(part) for part in value)
    return str(value)


def number(dataset: Any, name: str) -> float | None:
    """Return an attribute as a finite number, or None if it is missing or empty."""
    found = numbers(dataset, name, 1)
    return None if found is None else found[0]


def numbers(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """Return an attribute as finite numbers, or None if it is missing or empty.

    Raises
    ------
    InvalidValueError
        If these are no numbers, or not as many.
    """
    value = dataset.get(name)
    if value is None or value == "":
        return None
    values = [value] if isinstance(value, str | int | float) or not _iterable(value) else value
    try:
        found = tuple(float(part) for part in values)
    except (TypeError, ValueError, OverflowError):
        raise InvalidValueError(f"{name} holds no numbers") from None
    if not found:
        return None
    if len(found) != count:
        raise InvalidValueError(f"{name} has {len(found)} values, expected {count}")
    if not all(math.isfinite(part) for part in found):
        raise InvalidValueError(f"{name} is not finite")
    return found


def lengths(dataset: Any, name: str, count: int) -> tuple[float, ...] | None:
    """Return an attribute in millimetres; refuse what is farther than a kilometre."""
    found = numbers(dataset, name, count)
    if found is not None and max(map(abs, found)) > _FARTHEST:
        raise InvalidValueError(f"{name} is {found}, farther than {_FARTHEST:g} mm")
    return found


def _iterable(value: Any) -> bool:
    return hasattr(value, "__iter__")
