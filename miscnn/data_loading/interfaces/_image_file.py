"""What the interfaces of file formats know of one opened file."""

from __future__ import annotations

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


def short(path: Path) -> str:
    """Name a file by its folder and name, for messages."""
    return f"{path.parent.name}/{path.name}" if path.parent.name else path.name


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the three spatial axes of a file; axes that are left out have length 1."""
    return tuple(int(n) for n in (*shape, 1, 1, 1)[:3])
