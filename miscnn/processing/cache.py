"""Prepared samples on disk.

One folder a sample: image and labels as blosc2 arrays in chunks of about a patch, so that a
patch is read without the rest of the volume, and a JSON file that is written last, holds
the check sums and thereby says that the folder is complete. A folder that is damaged is made anew.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import marshal
import re
import shutil
import tempfile
import threading
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import blosc2
import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable, json_values, serialize
from miscnn._files import write_json
from miscnn._version import __version__
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.processing.prepared import PreparedSample

_log = logging.getLogger("miscnn.processing.cache")

# Raised when the layout of a folder changes; part of every fingerprint.
_FORMAT = 2

_PARSER = threading.Lock()


def fingerprint(*parts: Any) -> str:
    """Return a short digest of JSON values; equal values give equal digests."""
    text = json.dumps([_FORMAT, __version__, *parts], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


class _DiskArray:
    """An array in a blosc2 file that is opened for each read.

    Reads from several threads then share no state, and no file stays open.
    """

    def __init__(self, path: Path) -> None:
        self._path = str(path)
        opened = self._open()
        self.shape: tuple[int, ...] = tuple(opened.shape)
        self.dtype: np.dtype[Any] = opened.dtype
        self.ndim = len(self.shape)

    def _open(self) -> Any:
        return blosc2.open(self._path, mode="r", dparams=blosc2.DParams(nthreads=1))

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self._open()[key])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)


class SampleCache:
    """Keeps prepared samples in a folder.

    Parameters
    ----------
    folder : path
    chunks : sequence of int or "slices", optional
        Spatial shape of the chunks: about the shape of what is read at once; or each slice by
        itself.
    """

    def __init__(
        self, folder: str | Path, chunks: Sequence[int] | Literal["slices"] | None = None
    ) -> None:
        self.folder = Path(folder)
        self.chunks = chunks

    def path(self, index: str, key: str) -> Path:
        """Return the folder of one sample."""
        readable = re.sub(r"[^A-Za-z0-9._-]+", "_", index)[:80]
        return self.folder / f"{readable}-{key}"

    def get(self, index: str, key: str) -> PreparedSample | None:
        """Return a sample if it is there and whole; None otherwise."""
        folder = self.path(index, key)
        description = folder / "sample.json"
        if not description.is_file():
            return None
        try:
            document = json.loads(description.read_text(encoding="utf-8"))
            for name, expected in document["checksums"].items():
                if _checksum(folder / name) != expected:
                    raise ValueError(f"{name} is damaged")
            return PreparedSample(
                index=document["index"],
                image=_DiskArray(folder / "image.b2nd"),
                labels=_DiskArray(folder / "labels.b2nd"),
                geometry=Geometry(document["shape"], document["affine"], document["slice_axis"]),
                details=document["details"],
                fill=np.asarray(document["fill"], dtype=np.float32),
                positions=_DiskArray(folder / "positions.b2nd"),
                class_rows={int(c): tuple(r) for c, r in document["class_rows"].items()},
            )
        except (ValueError, KeyError, OSError, RuntimeError) as error:
            _log.warning("prepared data of sample %r are made anew: %s", index, error)
            return None

    def put(self, key: str, prepared: PreparedSample) -> PreparedSample:
        """Write a sample, whole or not at all, and return it as it is read from disk."""
        target = self.path(prepared.index, key)
        self.folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=self.folder))
        try:
            ndim = prepared.geometry.ndim
            chunks = self._chunk_shape(prepared.geometry)
            _write(temporary / "image.b2nd", prepared.image, chunks)
            _write(temporary / "labels.b2nd", prepared.labels, chunks)
            # blosc2 stores no empty arrays: without foreground there is one row that no
            # class points to.
            positions = prepared.positions if len(prepared.positions) else [[0] * ndim]
            blosc2.asarray(
                np.asarray(positions, dtype=np.int32),
                urlpath=str(temporary / "positions.b2nd"),
                mode="w",
            )
            write_json(
                temporary / "sample.json",
                {
                    "index": prepared.index,
                    "shape": list(prepared.geometry.shape),
                    "affine": prepared.geometry.affine.tolist(),
                    "slice_axis": prepared.geometry.slice_axis,
                    "details": dict(prepared.details),
                    "fill": [float(value) for value in prepared.fill],
                    "class_rows": {str(c): list(r) for c, r in prepared.class_rows.items()},
                    "checksums": {p.name: _checksum(p) for p in temporary.glob("*.b2nd")},
                },
            )
            temporary.chmod(0o755)
            if target.exists() and self.get(prepared.index, key) is None:
                shutil.rmtree(target)
            try:
                temporary.rename(target)
            except OSError:  # another process was faster
                if not target.exists():
                    raise
                shutil.rmtree(temporary)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        stored = self.get(prepared.index, key)
        if stored is None:
            raise OSError(f"what was just written to {target} cannot be read; is the disk full?")
        return stored

    def _chunk_shape(self, geometry: Geometry) -> tuple[int, ...] | None:
        if self.chunks is None:
            return None
        if self.chunks == "slices":
            across = geometry.slice_axis
            return tuple(1 if axis == across else n for axis, n in enumerate(geometry.shape))
        sizes = zip(self.chunks, geometry.shape, strict=True)
        return tuple(max(1, min(int(c), n)) for c, n in sizes)

    def measures(self, index: str, key: str, tail_key: str) -> list[dict[str, Any]] | None:
        """Return what was measured on a sample for the pointwise end of the chain."""
        path = self.path(index, key) / f"measures-{tail_key}.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return found if isinstance(found, list) else None

    def put_measures(
        self, index: str, key: str, tail_key: str, measures: list[dict[str, Any]]
    ) -> None:
        """Keep what was measured on a sample."""
        write_json(self.path(index, key) / f"measures-{tail_key}.json", measures)


def _write(path: Path, array: NDArray[Any], chunks: tuple[int, ...] | None) -> None:
    if chunks is not None:
        chunks = (*chunks, *array.shape[len(chunks) :])
    blosc2.asarray(
        np.ascontiguousarray(array),
        urlpath=str(path),
        mode="w",
        chunks=chunks,
        cparams=blosc2.CParams(
            codec=blosc2.Codec.ZSTD,
            clevel=1,
            nthreads=1,
            filters=[blosc2.Filter.SHUFFLE],
        ),
    )


def _checksum(path: Path) -> int:
    value = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            value = zlib.crc32(block, value)
    return value


def source_fingerprint(interface: DataInterface, index: str) -> str:
    """Return a digest of what a subject is read from: its files, or its arrays without files."""
    files = interface.source_files(index)
    if files:
        states = [(str(f.resolve()), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
        return fingerprint(serialize(interface), index, states)
    image, details = interface.load_image(index)
    arrays = [image]
    if interface.has_segmentation(index):
        arrays.append(interface.load_segmentation(index))
    contents = [
        (array.shape, array.dtype.str, hashlib.sha256(np.ascontiguousarray(array).data).hexdigest())
        for array in arrays
    ]
    return fingerprint(serialize(interface), index, contents, json_values(details))


def recipe_fingerprint(part: Configurable, codes: Mapping[str, str] | None = None) -> list[Any]:
    """Return what identifies what a part does: configuration, state, and a stranger's code.

    miscnn's own code is identified by its version. The code of a class of the user's own
    changes without one; ``codes`` holds that of classes whose source is not here
    (:func:`codes_of`).
    """
    known = codes or {}
    return [serialize(part), *(_code_of(cls, known) for cls in _own(part))]


def _code_of(cls: type, known: Mapping[str, str]) -> str:
    found = known.get(cls.__qualname__) if cls.__module__ == "__main__" else None
    return _code(cls) if found is None else found


def codes_of(parts: Iterable[Configurable]) -> dict[str, str]:
    """Return the code of what a script or a notebook has defined, by qualified name.

    Such classes travel to other processes by value, without their source.
    """
    found = (cls for part in parts for cls in _own(part) if cls.__module__ == "__main__")
    return {cls.__qualname__: _code(cls) for cls in found}


def _own(part: Configurable) -> list[type]:
    """Return those of the classes of a part that are the user's own."""
    return [
        cls
        for cls in type(part).__mro__
        if cls is not object and not cls.__module__.startswith("miscnn.")
    ]


def _code(cls: type) -> str:
    try:
        # In Python 3.11 the parser behind getsource must not be entered by several threads at
        # once ("AST constructor recursion depth mismatch").
        with _PARSER:
            return inspect.getsource(cls)
    except (OSError, TypeError):  # typed at a prompt
        functions = (f for f in vars(cls).values() if inspect.isfunction(f))
        parts = [marshal.dumps(f.__code__) for f in functions]
        return hashlib.sha256(b"".join(parts)).hexdigest()
