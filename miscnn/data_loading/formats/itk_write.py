"""Writing arrays as NRRD, MetaImage or GIPL on the grid of an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import atomic_path
from miscnn._gzip import compressing
from miscnn._optional import optional
from miscnn._scratch import release
from miscnn.data_loading.geometry import Geometry

_NRRD_TYPES = {
    **{f"int{8 * n}": f"int{8 * n}" for n in (1, 2, 4, 8)},
    **{f"uint{8 * n}": f"uint{8 * n}" for n in (1, 2, 4, 8)},
    "float32": "float",
    "float64": "double",
}
# One entry for each axis; the others concern space as a whole.
_PER_AXIS = ("space directions", "spacings", "axis mins", "axis maxs", "centers", "centerings")
_WHOLE = ("space", "space dimension", "space origin")
_MISSING = {"space directions": "none", "centers": "???", "centerings": "???"}
_SPATIAL_KINDS = ("domain", "space", "???", "none", "time")


def grid_from_geometry(geometry: Geometry) -> dict[str, Any]:
    """Return SimpleITK's description (LPS) of a grid whose file is not known."""
    n = geometry.ndim
    affine = np.array(geometry.affine)
    affine[:2] *= -1
    spacing = np.linalg.norm(affine[:n, :n], axis=0)
    return {
        "size": list(geometry.shape),
        "spacing": spacing.tolist(),
        "origin": (affine[:n, n] + 0.0).tolist(),
        "direction": (affine[:n, :n] / spacing + 0.0).ravel().tolist(),
        "ending": ".nrrd",
        "header": {},
    }


def write_nrrd(path: Path, array: NDArray[Any], grid: Mapping[str, Any]) -> None:
    """Write ``(x, y, z[, c])`` as NRRD with gzip-compressed voxels.

    The lines on the grid are those of the image's own header, letter by letter: SimpleITK would
    split each direction into its length and a unit vector, and join them again with an error of
    rounding. The same input gives the same bytes.
    """
    vector = array.ndim == 4
    n = len(grid["size"])
    lines = [
        "NRRD0004",
        f"type: {_NRRD_TYPES[array.dtype.name]}",
        f"dimension: {n + vector}",
    ]
    sizes = [*([array.shape[3]] if vector else []), *grid["size"]]
    kinds = [*(["vector"] if vector else []), *["domain"] * n]
    lines += [f"{name}: {value}" for name, value in _grid_lines(grid, vector)]
    # `space` must stand before all that depends on it, `dimension` before all
    lines += [
        f"sizes: {' '.join(map(str, sizes))}",
        f"kinds: {' '.join(kinds)}",
        "endian: little",
        "encoding: gzip",
    ]
    with atomic_path(path) as temporary, temporary.open("wb") as raw:
        raw.write(("\n".join(lines) + "\n\n").encode("ascii"))
        with compressing(raw) as stream:
            for z in range(array.shape[2]):
                slab = np.swapaxes(array[:, :, z], 0, 1)  # rows of x, classes within a voxel
                stream.write(slab.astype(array.dtype.newbyteorder("<"), copy=False).tobytes("C"))
                release(array[:, :, z])


def write_by_itk(path: Path, array: NDArray[Any], grid: Mapping[str, Any]) -> None:
    """Write ``(x, y, z[, c])`` by SimpleITK, compressed; spacing, origin, direction as given."""
    sitk = optional("SimpleITK", "itk", "Writing MetaImage and GIPL")
    n = len(grid["size"])
    if n == 2:
        array = array[:, :, 0]
    order = (*reversed(range(n)), *range(n, array.ndim))
    image = sitk.GetImageFromArray(array.transpose(order), isVector=array.ndim > n)
    image.SetSpacing(tuple(grid["spacing"]))
    image.SetOrigin(tuple(grid["origin"]))
    image.SetDirection(tuple(grid["direction"]))
    writer = sitk.ImageFileWriter()
    writer.SetImageIO("GiplImageIO" if ".gipl" in path.name else "MetaImageIO")
    writer.SetUseCompression(True)
    with atomic_path(path) as temporary:
        writer.SetFileName(str(temporary))
        writer.Execute(image)


def _grid_lines(grid: Mapping[str, Any], vector: bool) -> list[tuple[str, str]]:
    header: Mapping[str, str] = grid.get("header") or {}
    n = len(grid["size"])
    axes = _spatial_axes(header, n)
    if axes is None:
        return _computed_lines(grid, vector)
    lines = [(name, header[name]) for name in _WHOLE if name in header]
    for name in _PER_AXIS:
        if name in header:
            entries = re.findall(r"\([^)]*\)|[^\s()]+", header[name])
            if len(entries) != int(header["dimension"]):
                return _computed_lines(grid, vector)
            first = [_MISSING.get(name, "NaN")] if vector else []
            lines.append((name, " ".join([*first, *(entries[axis] for axis in axes)])))
    return lines


def _spatial_axes(header: Mapping[str, str], n: int) -> list[int] | None:
    """Return which axes of an NRRD header are those of space; None if they cannot be told."""
    dimension = int(header.get("dimension", "0"))
    if dimension == n:
        return list(range(n))
    kinds = header.get("kinds", "").lower().split()
    if len(kinds) != dimension:
        return None
    axes = [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    return axes if len(axes) == n else None


def _computed_lines(grid: Mapping[str, Any], vector: bool) -> list[tuple[str, str]]:
    n = len(grid["size"])
    steps = np.reshape(grid["direction"], (n, n)) * np.asarray(grid["spacing"])
    columns = ["(" + ",".join(repr(float(v)) for v in steps[:, axis]) + ")" for axis in range(n)]
    space = ("space", "left-posterior-superior") if n == 3 else ("space dimension", str(n))
    return [
        space,
        ("space directions", " ".join([*(["none"] if vector else []), *columns])),
        ("space origin", "(" + ",".join(repr(float(v)) for v in grid["origin"]) + ")"),
    ]
