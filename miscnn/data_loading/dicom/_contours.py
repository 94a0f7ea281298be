"""Outlines of masks along the edges of their pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def trace(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the outlines of a mask as closed polygons along pixel edges.

    Outer boundaries and holes are polygons of their own. A pixel belongs to the mask if its centre
    lies inside an odd number of them (even-odd rule); since outer boundaries and holes run in
    opposite directions, the nonzero rule gives the same. No pixel centre is nearer to a polygon
    than half a pixel.

    Parameters
    ----------
    mask : ndarray
        Shape ``(m, n)``, bool.

    Returns
    -------
    list of ndarray
        Each of shape ``(points, 2)``, float64, in index units: pixel ``(i, j)`` reaches from
        ``i - 0.5`` to ``i + 0.5``. Corners only, neither collinear points nor the first one
        again at the end. Every polygon is simple: where pixels touch at a corner alone, different
        polygons meet there, or none passes twice.

    Notes
    -----
    The outline turns at a lattice point if an odd number of the four pixels around it belong to
    the mask, and twice if it is two that lie diagonally. Along a line of the lattice, corners
    follow one another as begin and end of a stretch of the outline; so sorting the corners by
    rows and by columns links each of them with its two neighbours.
    """
    padded = np.pad(np.asarray(mask, dtype=np.uint8), 1)
    here = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    # corner (i, j) has the pixels (i - 1, j - 1), (i - 1, j), (i, j - 1), (i, j) around it
    odd = (here[0] ^ here[1] ^ here[2] ^ here[3]).astype(bool)
    diagonal = (here[0] == here[3]) & (here[1] == here[2]) & (here[0] != here[1])
    rows, columns = np.nonzero(odd | diagonal)
    if not len(rows):
        return []
    times = 1 + diagonal[rows, columns]
    rows, columns = np.repeat(rows, times), np.repeat(columns, times)
    along_rows, along_columns = _neighbours(rows, columns)
    inside = padded[rows + 1, columns + 1].astype(bool)  # the pixel that follows on both axes
    points = np.column_stack([rows, columns])
    polygons = []
    for loop in _loops(along_rows, along_columns):
        # the loop begins along its row towards higher columns: the mask lies at one side of it
        ordered = loop if inside[loop[0]] else loop[::-1]
        places = [(row, column) for row, column in points[ordered].tolist()]
        polygons += [np.array(part, dtype=np.float64) - 0.5 for part in _simple(places)]
    return polygons


def _neighbours(rows: NDArray[np.intp], columns: NDArray[np.intp]) -> tuple[list[int], list[int]]:
    """Link the corners, sorted by row and column, along their rows and along their columns.

    Of a corner that is there twice, the first one is linked with what lies before it and the second
    one with what lies behind it, along the row as along the column.
    """
    along_rows = _pairs(np.arange(len(rows)))
    return along_rows.tolist(), _pairs(np.lexsort((rows, columns))).tolist()


def _pairs(order: NDArray[np.intp]) -> NDArray[np.intp]:
    partner = np.empty_like(order)
    partner[order[0::2]] = order[1::2]
    partner[order[1::2]] = order[0::2]
    return partner


def _loops(along_rows: list[int], along_columns: list[int]) -> list[list[int]]:
    seen = bytearray(len(along_rows))
    loops = []
    for start in range(len(along_rows)):
        if seen[start]:
            continue
        loop, corner = [], start
        while not seen[corner]:
            other = along_rows[corner]
            seen[corner] = seen[other] = 1
            loop += [corner, other]
            corner = along_columns[other]
        loops.append(loop)
    return loops


def _simple(places: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Cut a loop where it comes back to a point."""
    if len(set(places)) == len(places):
        return [places]
    parts: list[list[tuple[int, int]]] = []
    path: list[tuple[int, int]] = []
    position: dict[tuple[int, int], int] = {}
    for place in places:
        if place in position:
            begin = position[place]
            parts.append(path[begin:])
            for gone in path[begin:]:
                del position[gone]
            del path[begin:]
        position[place] = len(path)
        path.append(place)
    return [*parts, path]
