"""What the interfaces of file formats know of one opened file."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import MiscnnError, MissingFileError, UnreadableFileError


class ImageFile(Protocol):
    """The header of one file, and the way to its voxels.

    Attributes
    ----------
    path : Path
    shape : tuple of int
        All axes of the file, the spatial ones first.
    affine : ndarray
        Shape (4, 4), float64: voxel index to mm (RAS+).
    """

    @property
    def path(self) -> Path: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def affine(self) -> NDArray[np.float64]: ...

    def read(self) -> NDArray[Any]:
        """Read the voxels; colours may take a last axis that :attr:`shape` does not count."""
        ...

    def details(self) -> dict[str, Any]:
        """Return what a prediction needs to be written onto the same grid."""
        ...


# Lengths that are asked for without a look at the file's.
_SMALL = 1 << 16

# What readers of broken files raise.
READ_ERRORS: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    MemoryError,
)


@contextmanager
def readable(
    path: Path, index: str, kind: str, also: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Turn whatever reading a broken file raises into an error that names the file.

    Parameters
    ----------
    path : Path
    index : str
        The subject.
    kind : str
        The format as it is called in messages, such as ``"NIfTI"``.
    also : tuple of exception types
        What the format's reader raises besides :data:`READ_ERRORS`.
    """
    try:
        yield
    except MiscnnError:
        raise
    except FileNotFoundError as error:
        broken = f"{path} is a link to {os.readlink(path)}" if path.is_symlink() else ""
        raise MissingFileError(
            f"sample {index!r}: {broken}, which does not exist; mend the link, or copy the file"
            if broken
            else f"sample {index!r}: there is no file {path}"
        ) from error
    except MemoryError as error:
        refuse(path, index, "its voxels do not fit into memory", error)
    except (*READ_ERRORS, *also) as error:
        refuse(path, index, f"not a valid {kind} file ({error})", error)


def refuse(path: Path, index: str, reason: str, cause: BaseException | None = None) -> NoReturn:
    """Raise the error that says why a file cannot be read."""
    raise UnreadableFileError(index, f"{short(path)} cannot be read: {reason}") from cause


class BoundedFile(io.BufferedReader):
    """A file that allocates no more than it holds, whatever length is asked for.

    Readers ask for as many bytes as a header claims, and Python makes room for all of them.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(io.FileIO(path))
        self._size = os.fstat(self.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _SMALL:
            size = min(size, max(0, self._size - self.tell()))
        return super().read(size)


def short(path: Path) -> str:
    """Name a file by its folder and name, for messages."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the three spatial axes of a file; axes that are left out have length 1."""
    return tuple(int(n) for n in (*shape, 1, 1, 1)[:3])


def is_label_map(prediction: NDArray[Any], ndim: int) -> bool:
    """Tell whether a prediction holds labels, perhaps on an axis of length 1, or probabilities."""
    return prediction.ndim == ndim or (prediction.shape[-1] == 1 and prediction.dtype.kind in "biu")
