"""The text headers of NRRD and MetaImage, as far as the size of their data depends on them.

SimpleITK interprets these files. What it would do blindly is checked here first: whether the
file can hold the voxels that its header claims, and where a detached file of voxels lies.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import NoReturn

from miscnn.data_loading.formats.image_file import refuse
from miscnn.data_loading.formats.nrrd_text import LARGEST_DIMENSION, allowed

# Headers of segmentations with hundreds of names take some 100 KB.
_LARGEST_HEADER = 1 << 20
_LONGEST_LINE = 1 << 16
_META_LONGEST_LINE = 4096
# What a byte of deflate can become at most.
DEFLATE_BEST = 1032

# By encoding; SimpleITK cannot decompress bzip2.
_NRRD_FACTORS = {
    "raw": 1.0,
    "gz": DEFLATE_BEST,
    "gzip": DEFLATE_BEST,
    **dict.fromkeys(("txt", "text", "ascii"), -1.0),
    "hex": 0.5,
}


@dataclass(frozen=True)
class TextHeader:
    """What a text header says.

    Attributes
    ----------
    fields : mapping of str to str
        By lower-case name, without key/value pairs of applications (which may hold anything).
    data : Path
        The file that holds the voxels.
    available : int
        Number of bytes of voxels that it can hold at most, once decompressed.
    text_values : bool
        Whether voxels are written as decimal numbers: ``available`` counts values then.
    """

    fields: Mapping[str, str]
    data: Path
    available: int
    text_values: bool


def read_nrrd_header(path: Path, index: str) -> TextHeader:
    """Read the header of a ``.nrrd`` or ``.nhdr`` file."""
    block = _start(path)
    if not re.match(rb"NRRD000[1-6]\r?\n", block):
        refuse(path, index, f"not an NRRD file; it begins with {block[:12]!r}")
    end = re.search(rb"\r?\n\r?\n", block)
    if end is None and len(block) > _LARGEST_HEADER:
        _too_long(path, index)
    detached = path.suffix.lower() == ".nhdr"
    if end is None and not detached:
        refuse(path, index, "its header does not end, truncated; copy it again")
    text = block.rstrip(b"\r\n") if end is None else block[: end.start()]
    _check_lines(text, path, index, _LONGEST_LINE)
    if b"\0" in text:
        refuse(path, index, "its header is damaged: it holds zero bytes")
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").replace("\r\n", "\n").split("\n")[1:]:
        if line.startswith("#"):
            continue
        name, colon, value = line.partition(": ")
        if ":=" in (name if colon else line):  # what an application adds
            continue
        if not colon:
            refuse(path, index, "its header holds a line that is no 'name: value'")
        name = {"datafile": "data file", "lineskip": "line skip", "byteskip": "byte skip"}.get(
            name.strip().lower(), name.strip().lower()
        )
        if name in fields:
            refuse(path, index, f"its header gives {name!r} twice")
        fields[name] = value.strip()
    _dimension(fields.get("dimension", ""), path, index)
    odd = allowed(fields)
    if odd is not None:
        # its value is not shown: what a text holds is not known
        refuse(path, index, f"the line {odd[:40]!r} of its header is not valid NRRD")
    encoding = fields.get("encoding", "").lower()
    if encoding not in _NRRD_FACTORS:
        refuse(path, index, f"its voxels are encoded as {encoding!r}; save it with gzip")
    offset = 0
    if "data file" in fields:
        data = _beside(path, fields["data file"], index)
    elif detached or end is None:
        refuse(path, index, "its header names no data file")
    else:
        data, offset = path, end.end()
    size = max(data.stat().st_size - offset, 0)
    for skip in ("line skip", "byte skip"):
        count = _integer(fields.get(skip, "0"), path, index, skip)
        if not -1 <= count <= size:
            refuse(path, index, f"its header skips {count} ({skip}) of {size} bytes of voxels")
    factor = _NRRD_FACTORS[encoding]
    if factor < 0:
        return TextHeader(fields, data, size // 2 + 1, True)
    return TextHeader(fields, data, int(size * factor), False)


def read_meta_header(path: Path, index: str) -> TextHeader:
    """Read the header of a ``.mha`` or ``.mhd`` file."""
    block = _start(path)
    last = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\r\n]*(\r?\n|\Z)", block, re.MULTILINE)
    if last is None:
        if len(block) > _LARGEST_HEADER:
            _too_long(path, index)
        refuse(path, index, f"not a MetaImage file, or truncated; it begins with {block[:12]!r}")
    text = block[: last.end()]
    _check_lines(text, path, index, _META_LONGEST_LINE)
    if b"\0" in text:
        refuse(path, index, "its header is damaged: it holds zero bytes")
    fields: dict[str, str] = {}
    for line in text.decode("latin-1").replace("\r\n", "\n").split("\n"):
        name, sign, value = line.partition("=")
        if not sign:
            if line.strip():
                refuse(path, index, "its header holds a line that is no 'name = value'")
            continue
        if name.strip().lower() in fields:
            refuse(path, index, f"its header gives {name.strip()!r} twice")
        fields[name.strip().lower()] = value.strip()
    n = _dimension(fields.get("ndims", ""), path, index)
    if len(fields.get("dimsize", "").split()) != n:
        refuse(path, index, f"its header gives {n} axes, but DimSize {fields.get('dimsize')!r}")
    for name in ("elementnumberofchannels", "headersize", "compresseddatasize"):
        _integer(fields.get(name, "0"), path, index, name)
    named = fields["elementdatafile"]
    local = named.upper() == "LOCAL"
    data = path if local else _beside(path, named, index)
    size = data.stat().st_size - (last.end() if local else 0)
    if fields.get("binarydata", "true").lower()[:1] in "f0":
        return TextHeader(fields, data, size // 2 + 1, True)
    compressed = fields.get("compresseddata", "false").lower()[:1] in "t1"
    return TextHeader(fields, data, size * (DEFLATE_BEST if compressed else 1), False)


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_LARGEST_HEADER + 1)


def _check_lines(text: bytes, path: Path, index: str, longest: int) -> None:
    if len(text) > _LARGEST_HEADER or any(len(line) > longest for line in text.split(b"\n")):
        _too_long(path, index)


def _too_long(path: Path, index: str) -> NoReturn:
    refuse(path, index, "its header has no end, or a line that is absurdly long; it is damaged")


def _integer(text: str, path: Path, index: str, name: str) -> int:
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        refuse(path, index, f"its header gives {name} as {text[:40]!r}, expected a whole number")
    return int(text)


def _dimension(text: str, path: Path, index: str) -> int:
    n = _integer(text, path, index, "the number of axes")
    if not 2 <= n <= LARGEST_DIMENSION:
        refuse(path, index, f"its header gives {n} axes; expected 2 or 3, and one of channels")
    return n


def _beside(path: Path, name: str, index: str) -> Path:
    """Return the detached file, which must lie in the header's own folder or below it.

    A header from a stranger could otherwise show the content of any file as voxels.
    """
    parts = PureWindowsPath(name).parts  # knows both slashes and drives
    if not parts or PureWindowsPath(name).anchor or name.startswith("/") or ".." in parts:
        refuse(path, index, "its data file lies outside its own folder; copy it there and name it")
    if name == "-" or name.upper().split()[0] == "LIST" or "%" in name:
        refuse(path, index, "its voxels lie in several files; convert it to a single file")
    data = path.parent / name
    if not data.is_file():
        refuse(path, index, f"its data file {name[:80]!r} is missing; copy it beside the header")
    return data
