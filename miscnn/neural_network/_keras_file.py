"""Files in the ``.keras`` format, looked through before Keras reads them.

Such a file is a zip of a description (``config.json``) and of weights (HDF5). One from a stranger
may name classes that run code (:mod:`miscnn.neural_network._keras_names`), hold more than it seems
to, or refer to other files.
"""

from __future__ import annotations

import json
import math
import stat
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import h5py  # type: ignore[import-untyped,unused-ignore]

# The networks' layers are known to Keras by name once their modules are imported.
import miscnn.neural_network.architecture  # noqa: F401
from miscnn._keras import keras
from miscnn.exceptions import DamagedFileError
from miscnn.neural_network._keras_names import check_names

__all__ = ["check_keras_file", "read_keras_file"]

_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_MEMBERS = (_CONFIG, _METADATA, _WEIGHTS)
_LARGEST_TEXT = 64 * 2**20  # bytes
_MOST_OBJECTS = 1_000_000


def read_keras_file(
    path: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    modules: Sequence[str] = (),
) -> Any:
    """Check a ``.keras`` file and read it; the model is not compiled.

    Parameters and errors are those of :func:`check_keras_file`.
    """
    objects = check_keras_file(path, custom_objects, modules)
    return keras.models.load_model(path, custom_objects=objects, compile=False, safe_mode=True)


def check_keras_file(
    path: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    modules: Sequence[str] = (),
) -> dict[str, Any]:
    """Raise an error unless a ``.keras`` file holds a network and nothing else.

    Parameters
    ----------
    path : path
    custom_objects : mapping of str to class or function, optional
        What the user hands in.
    modules : sequence of str
        Modules that the user allows to import classes from.

    Returns
    -------
    dict of str to class or function
        What to hand to Keras as custom objects.

    Raises
    ------
    DamagedFileError
        If the archive or the weights are not as Keras writes them: other members than the three
        that there are, compressed ones or links, weights that refer to other files, or that claim
        more values than the file holds.
    ConfigurationError
        If it names a class or a function that is not allowed.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_members(archive, path)
            document = _description(archive, path)
            objects = check_names(document, f"{path}: {_CONFIG}", custom_objects, modules)
            with archive.open(_WEIGHTS) as file:
                _check_weights(file, path, archive.getinfo(_WEIGHTS).file_size)
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise DamagedFileError(f"{path} cannot be read as a Keras model: {error}") from error
    return objects


def _check_members(archive: zipfile.ZipFile, path: Path) -> None:
    names = [member.filename for member in archive.infolist()]
    for member in archive.infolist():
        name = member.filename
        if name not in _MEMBERS:
            raise _unlike(path, f"it holds {name[:100]!r}; expected {', '.join(_MEMBERS)} only")
        if names.count(name) > 1:
            raise _unlike(path, f"it holds {name!r} twice")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise _unlike(path, f"{name!r} is a link")
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise _unlike(path, f"{name!r} is compressed, and may be of any size")
        if member.flag_bits & 0x1:
            raise _unlike(path, f"{name!r} is encrypted")
    for name in (_CONFIG, _WEIGHTS):
        if name not in names:
            raise _unlike(path, f"it holds no {name}")
    if sum(member.file_size for member in archive.infolist()) > path.stat().st_size:
        raise _unlike(path, "its members claim to be larger than the file")


def _description(archive: zipfile.ZipFile, path: Path) -> Any:
    if archive.getinfo(_CONFIG).file_size > _LARGEST_TEXT:
        raise _unlike(path, f"{_CONFIG} is larger than {_LARGEST_TEXT // 2**20} MiB")
    try:
        document = json.loads(archive.read(_CONFIG))
    except (ValueError, RecursionError) as error:
        raise _unlike(path, f"{_CONFIG} is no JSON ({str(error)[:100]})") from error
    if not isinstance(document, dict):
        raise _unlike(path, f"{_CONFIG} is no JSON object")
    document.pop("compile_config", None)  # is not read: the network is compiled by its recipe
    return document


def _check_weights(file: IO[bytes], path: Path, size: int) -> None:
    """Raise DamagedFileError unless all values of an HDF5 file stand in the file itself."""
    try:
        with h5py.File(file, "r") as weights:
            _walk(weights, path, size)
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, DamagedFileError):
            raise
        raise _unlike(path, f"{_WEIGHTS} cannot be read ({str(error)[:100]})") from error


def _walk(weights: Any, path: Path, size: int) -> None:
    pending = [weights]
    seen: set[int] = set()
    claimed = 0
    while pending:
        group = pending.pop()
        for name in group:
            place = f"{_WEIGHTS}: {group.name.rstrip('/')}/{name}"[:200]
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _unlike(path, f"{place} is a {type(link).__name__}: it refers elsewhere")
            item = group[name]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen or len(seen) > _MOST_OBJECTS:
                raise _unlike(path, f"{place} is there twice, or there are too many")
            seen.add(address)
            if isinstance(item, h5py.Group):
                pending.append(item)
                continue
            claimed += _stored_size(item, path, place)
    if claimed > size:
        raise _unlike(path, f"{_WEIGHTS} claims {claimed} bytes of values, but has {size}")


def _stored_size(item: Any, path: Path, place: str) -> int:
    """Return the number of bytes of a dataset, all of which are in the file."""
    if not isinstance(item, h5py.Dataset):
        raise _unlike(path, f"{place} is a {type(item).__name__}")
    if item.is_virtual or item.external:
        raise _unlike(path, f"{place} takes its values from other files")
    if item.shape is None or item.dtype.kind not in "biufV" or item.dtype.hasobject:
        raise _unlike(path, f"{place} holds no numbers, but {item.dtype}")
    claimed: int = math.prod(item.shape) * item.dtype.itemsize
    stored = int(item.id.get_storage_size())
    if claimed > stored:
        raise _unlike(path, f"{place} claims {claimed} bytes of values, but holds {stored}")
    return claimed


def _unlike(path: Path, reason: str) -> DamagedFileError:
    return DamagedFileError(
        f"{path} is not as Keras writes a model: {reason}. Nothing of it was loaded"
    )
