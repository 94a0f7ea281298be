"""Small copies of scored subjects, for looking at without the data.

``previews/<index>.npz`` beside the scores holds the image at a lower resolution, the segmentation
and the prediction. The report of an evaluation takes its slice viewers from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._viewer.packing import Packed
from miscnn.data_loading._showing import packed_sample
from miscnn.data_loading.sample import Sample
from miscnn.evaluation._sample_scores import ClassNames
from miscnn.exceptions import DamagedFileError, MissingFileError

FOLDER = "previews"
"""Name of the folder, within that of the scores."""

PLANE, SLICES = 160, 80
_STEPS = 1000  # different values per channel: windows have 256 greys on the screen
_VERSION = 2
_T = TypeVar("_T")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_HASHED = re.compile(r".*-[0-9a-f]{12}")


@dataclass(frozen=True, eq=False)
class Preview:
    """A subject as it was previewed.

    Attributes
    ----------
    index : str
        Name of the subject.
    packed : Packed
        What is shown.
    """

    index: str
    packed: Packed


def preview_name(index: str) -> str:
    """Return the name of a subject's preview file.

    The index itself if it is plain (letters, digits, ``_``, ``.``, ``-``); else what is plain of
    it and a digest, so that no two subjects have one name.
    """
    if _PLAIN.fullmatch(index) and not _HASHED.fullmatch(index):
        return f"{index}.npz"
    digest = hashlib.sha256(index.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", index).lstrip(".-")[:80]
    return f"{plain or 'subject'}-{digest}.npz"


def write_preview(
    sample: Sample,
    folder: str | os.PathLike[str],
    class_names: ClassNames = None,
    *,
    plane: int = PLANE,
    slices: int = SLICES,
) -> Path:
    """Write a small copy of a subject with its segmentation and prediction.

    Parameters
    ----------
    sample : Sample
        As it was scored. Probabilities are made a label map.
    folder : path
        Of the previews: ``<evaluation_path>/previews``.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    plane, slices : int
        Most pixels along the longer edge of a slice (of a 2D image five times as many), and most
        slices.

    Returns
    -------
    Path
        The file: ``<folder>/<index>.npz``, see :func:`preview_name`.
    """
    packed = packed_sample(sample, class_names, plane, slices).coarsened(_STEPS)
    document = {
        "version": _VERSION,
        "index": sample.index,
        "slopes": packed.slopes,
        "intercepts": packed.intercepts,
        "windows": packed.windows,
        "percentiles": packed.percentiles,
        "ct": packed.ct,
        "affine": packed.affine.tolist(),
        "letters": packed.letters,
        "sizes": packed.sizes,
        "flips": packed.flips,
        "flat": packed.flat,
        "names": {str(label): name for label, name in packed.names.items()},
        "ignored": packed.ignored,
        "shape": packed.image.shape,
    }
    text = json.dumps(document, allow_nan=False).encode()
    arrays: dict[str, NDArray[Any]] = {
        "document": np.frombuffer(text, np.uint8),
        "image": packed.image,
    }
    for name in ("truth", "prediction"):
        labels = getattr(packed, name)
        if labels is not None:
            arrays[name] = labels
    target = Path(folder) / preview_name(sample.index)
    with atomic_path(target) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return target


def read_preview(path: str | os.PathLike[str]) -> Preview:
    """Read what :func:`write_preview` wrote.

    Raises
    ------
    MissingFileError
        If the file does not exist.
    DamagedFileError
        If it is something else, or damaged.
    """
    with _opened(Path(path)) as content:
        document = _document(content)
        image = content["image"]
        maps = {n: content[n] if n in content.files else None for n in ("truth", "prediction")}
        if image.dtype != np.int16 or list(image.shape) != document["shape"]:
            raise ValueError(f"its image has shape {image.shape} and type {image.dtype}")
        for name, labels in maps.items():
            if labels is not None and (labels.dtype.kind != "u" or labels.shape != image.shape[1:]):
                raise ValueError(f"its {name} has shape {labels.shape} and type {labels.dtype}")
        _check_numbers(document, len(image))
        packed = Packed(
            image=image,
            slopes=tuple(document["slopes"]),
            intercepts=tuple(document["intercepts"]),
            windows=tuple((low, high) for low, high in document["windows"]),
            percentiles=tuple((low, high) for low, high in document["percentiles"]),
            ct=tuple(bool(ct) for ct in document["ct"]),
            truth=maps["truth"],
            prediction=maps["prediction"],
            affine=np.array(document["affine"], dtype=np.float64).reshape(4, 4),
            letters=_three(document["letters"], str),
            sizes=_three(document["sizes"], int),
            flips=_three(document["flips"], bool),
            flat=bool(document["flat"]),
            names={int(label): str(name) for label, name in document["names"].items()},
            ignored=None if document["ignored"] is None else int(document["ignored"]),
        )
        return Preview(str(document["index"]), packed)


def preview_heading(path: str | os.PathLike[str]) -> tuple[str, int]:
    """Return the index of a previewed subject and its number of values, without reading these.

    Raises
    ------
    As :func:`read_preview`.
    """
    with _opened(Path(path)) as content:
        document = _document(content)
        return str(document["index"]), int(np.prod([int(n) for n in document["shape"]]))


def _document(content: Any) -> dict[str, Any]:
    document = json.loads(bytes(content["document"]).decode())
    if not isinstance(document, Mapping) or document.get("version") != _VERSION:
        raise ValueError(f"it is of another version than {_VERSION}")
    return dict(document)


def _three(values: list[Any], kind: Callable[[Any], _T]) -> tuple[_T, _T, _T]:
    slices, rows, columns = (kind(value) for value in values)
    return slices, rows, columns


def _check_numbers(document: Mapping[str, Any], channels: int) -> None:
    """Refuse what would be found out only when the page is written."""
    for name in ("slopes", "intercepts", "windows", "percentiles", "ct"):
        if len(document[name]) != channels:
            raise ValueError(f"its {name} are not those of {channels} channel(s)")
    for name in ("slopes", "intercepts", "windows", "percentiles", "affine"):
        if not np.isfinite(np.asarray(document[name], dtype=np.float64)).all():
            raise ValueError(f"its {name} are not finite")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a preview; whatever is wrong with it is told with the name of the file."""
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; write_preview writes it")
    try:
        with open(path, "rb") as file:
            content = np.load(file, allow_pickle=False)
            if not isinstance(content, np.lib.npyio.NpzFile):
                raise ValueError("it is no archive of arrays")
            yield content
    except _WRONG as error:
        raise DamagedFileError(
            f"{path} is no preview that can be read ({error}); remove it, or evaluate again"
        ) from error


_WRONG = (
    ValueError, KeyError, TypeError, EOFError, OSError, NotImplementedError, RuntimeError,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip
