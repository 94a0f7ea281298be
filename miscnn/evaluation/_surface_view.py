"""Truth and prediction as surfaces in space."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import cc3d
import numpy as np
from matplotlib.colors import LightSource
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from numpy.typing import NDArray

from miscnn import _style
from miscnn._text import number
from miscnn.data_loading._drawing import colour_of
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.detailed_validation import ClassNames, class_names_by_label
from miscnn.exceptions import ConfigurationError, SampleError

_CELLS = 44  # along the longest edge
_SMALL = 0.75  # what a cell has that holds a piece of an object too small for the cells
_SIDES = ("right", "anterior", "superior")


def surface_view(
    sample: Sample,
    path: str | os.PathLike[str] | None = None,
    *,
    labels: Sequence[int] | None = None,
    elevation: float = 15.0,
    azimuth: float = 60.0,
    cells: int = _CELLS,
    class_names: ClassNames = None,
    title: str | None = None,
) -> Figure:
    """Draw the surfaces of truth and prediction side by side, seen from the same point.

    Axes are the patient's, in mm and in true proportions; by default the patient is seen from the
    front, a little from their right and from above. Surfaces are found by marching cubes
    (Lewiner et al., J Graph Tools 8:1, 2003) on a grid that is coarser than the image; objects
    that would be lost on it are kept, and look larger than they are. The titles tell the volumes on
    the grid of the image.

    Parameters
    ----------
    sample : Sample
        In 3D, with a segmentation, a prediction, or both.
    path : path, optional
        File to write.
    labels : sequence of int, optional
        Classes to draw. Default: all but the background, and but the sample's ``ignore_label``.
    elevation, azimuth : float
        Point of view in degrees: above the horizon; from the patient's right (0) over the front
        (90) to the left (180).
    cells : int
        Of the coarser grid along the longest edge: more show more, and take longer.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label.
    title : str, optional
        Default: the index of the sample.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    SampleError
        If the sample is 2D, or has neither segmentation nor prediction.
    """
    if cells < 4:
        raise ConfigurationError(f"cells must be at least 4, got {cells}")
    _style.check_path(path)
    maps = _maps(sample)
    present = sorted({int(k) for array in maps.values() for k in np.unique(array) if k > 0})
    wanted = [k for k in present if k != sample.ignore_label] if labels is None else list(labels)
    names = class_names_by_label(class_names, sample.classes)
    boxes = [_box(array, wanted) for array in maps.values()]
    found = [box for box in boxes if box is not None]
    figure = _style.new_figure(4.6 * len(maps), 4.8)
    limits = _limits(found, sample.geometry) if found else np.array([[0.0, 1.0]] * 3)
    edge = float(np.ptp(limits, axis=1).max()) / cells
    steps = [max(1, round(edge / mm)) for mm in sample.geometry.spacing]
    ignored = None if sample.segmentation is None else sample.segmentation[..., 0]
    for k, ((word, array), box) in enumerate(zip(maps.items(), boxes, strict=True)):
        axes = figure.add_subplot(1, len(maps), k + 1, projection="3d")
        sizes = []
        if box is not None:
            faces, colours = [], []
            cut = array[box]
            if sample.ignore_label is not None and ignored is not None:
                cut = np.where(ignored[box] == sample.ignore_label, 0, cut)
            for label in wanted:
                mask = cut == label
                if mask.any():
                    triangles, shade = _surface(mask, box, sample.geometry, steps)
                    faces.append(triangles)
                    colours.append(shade[:, np.newaxis] * colour_of(label))
                volume = mask.sum() * sample.geometry.voxel_volume / 1000.0
                sizes.append(f"{_style.short(names.get(label, str(label)))} {number(volume)} ml")
            if faces:  # one collection: matplotlib sorts the faces of one by their depth
                axes.add_collection3d(
                    Poly3DCollection(
                        np.concatenate(faces),
                        facecolors=np.concatenate(colours),
                        edgecolors="none",
                        antialiased=False,
                    )
                )
        _finish(axes, limits, elevation, azimuth)
        text = "\n".join([word, *sizes[:4]]) if sizes else f"{word}\nnothing there"
        if len(sizes) > 4:
            text += f" and {len(sizes) - 4} more"
        axes.set_title(text, fontsize=9, color=_style.INK, parse_math=False)
    _style.entitle(figure, title or sample.index)
    _explain(figure, [k for k in wanted if k in present], names)
    _style.save(figure, path)
    return figure


def _maps(sample: Sample) -> dict[str, NDArray[Any]]:
    if sample.geometry.ndim != 3:
        raise SampleError(sample.index, "surfaces are of volumes; this image has two axes")
    maps: dict[str, NDArray[Any]] = {}
    if sample.segmentation is not None:
        maps["truth"] = sample.segmentation[..., 0]
    prediction = sample.prediction
    if prediction is not None:
        maps["prediction"] = np.argmax(prediction, axis=-1) if prediction.ndim == 4 else prediction
    if not maps:
        raise SampleError(sample.index, "there is neither a segmentation nor a prediction to draw")
    return maps


def _box(array: NDArray[Any], labels: Sequence[int]) -> tuple[slice, ...] | None:
    mask = np.isin(array, labels)
    parts = []
    for axis in range(3):
        where = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
        if not where.size:
            return None
        parts.append(slice(int(where[0]), int(where[-1]) + 1))
    return tuple(parts)


def _limits(boxes: Sequence[tuple[slice, ...]], geometry: Geometry) -> NDArray[np.float64]:
    """Return the ends of what is shown along the patient's axes in mm, (3, 2)."""
    corners = []
    for box in boxes:
        ends = [(part.start - 0.5, part.stop - 0.5) for part in box]
        corners.append(np.stack(np.meshgrid(*ends), -1).reshape(-1, 3))
    points = _to_patient(np.concatenate(corners), geometry)
    return np.stack([points.min(axis=0), points.max(axis=0)], axis=1)


def _to_patient(voxels: NDArray[np.float64], geometry: Geometry) -> NDArray[np.float64]:
    return np.asarray(voxels @ geometry.affine[:3, :3].T + geometry.affine[:3, 3])


def _surface(
    mask: NDArray[np.bool_], box: tuple[slice, ...], geometry: Geometry, steps: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the triangles of a surface, (n, 3, 3), in mm of the patient, and how bright they are.

    A cell of the coarser grid has ``steps`` voxels along the axes.
    """
    from skimage.measure import marching_cubes  # takes a while to import

    coarse = np.pad(_coarser(mask, steps), 1)  # a surface is closed at the edge of the box
    vertices, faces, _, _ = marching_cubes(coarse, 0.5)
    start = np.array([part.start for part in box], dtype=np.float64)
    voxels = (vertices - 1.0 + 0.5) * steps - 0.5 + start
    triangles: NDArray[np.float64] = _to_patient(voxels, geometry)[faces]
    return triangles, _brightness(triangles, faces)


def _coarser(mask: NDArray[np.bool_], steps: Sequence[int]) -> NDArray[np.float32]:
    """Return the share of the mask in blocks of voxels; blocks of lost objects count as full."""
    padded = np.pad(mask, [(0, -n % step) for n, step in zip(mask.shape, steps, strict=True)])
    share = _blocks(padded, steps).mean(axis=(1, 3, 5), dtype=np.float32)
    if max(steps) > 1:
        objects = cc3d.connected_components(padded)
        kept = np.zeros(int(objects.max()) + 1, dtype=bool)
        blocks = _blocks(objects, steps)
        inside = blocks.transpose(0, 2, 4, 1, 3, 5)[share > 0.5]
        kept[np.unique(inside)] = True
        kept[0] = True
        if not kept.all():
            lost = _blocks(~kept[objects], steps).any(axis=(1, 3, 5))
            share = np.maximum(share, _SMALL * lost.astype(np.float32))
    return np.asarray(share, dtype=np.float32)


def _blocks(array: NDArray[Any], steps: Sequence[int]) -> NDArray[Any]:
    shape = [m for n, step in zip(array.shape, steps, strict=True) for m in (n // step, step)]
    return array.reshape(shape)


def _brightness(
    triangles: NDArray[np.float64], faces: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Return how bright each face is: light from the front, the right and above."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    # Those of the faces round a corner are added up, so that steps of the grid are smoothed.
    at_corners = np.zeros((int(faces.max()) + 1, 3))
    for corner in range(3):
        np.add.at(at_corners, faces[:, corner], normals)
    smooth = at_corners[faces].sum(axis=1)
    lengths = np.linalg.norm(smooth, axis=1, keepdims=True)
    smooth = smooth / np.where(lengths > 0, lengths, 1.0)
    light = LightSource(azdeg=20, altdeg=45).direction
    # Marching cubes of a mirrored grid turn all faces round: the side that is seen is lit.
    return np.asarray(0.4 + 0.6 * np.abs(smooth @ light))


def _finish(axes: Any, limits: NDArray[np.float64], elevation: float, azimuth: float) -> None:
    margin = 0.03 * float(np.ptp(limits, axis=1).max())
    for name, (low, high), side in zip("xyz", limits, _SIDES, strict=True):
        getattr(axes, f"set_{name}lim")(low - margin, high + margin)
        axis = getattr(axes, f"{name}axis")
        axis.set_major_locator(MaxNLocator(4))
        getattr(axes, f"set_{name}label")(f"{side} (mm)", fontsize=8, color=_style.INK)
        axis.set_pane_color((0.96, 0.96, 0.96, 1.0))
    axes.tick_params(labelsize=7, colors=_style.GREY)
    axes.set_box_aspect(np.ptp(limits, axis=1) + 2 * margin, zoom=1.0)
    axes.view_init(elevation, azimuth)


def _explain(figure: Figure, labels: Sequence[int], names: dict[int, str]) -> None:
    from matplotlib.patches import Patch

    keys = [
        Patch(facecolor=colour_of(k), label=_style.short(names.get(k, str(k)))) for k in labels[:12]
    ]
    if len(labels) > len(keys):
        keys.append(Patch(alpha=0, label=f"{len(labels) - len(keys)} more classes"))
    if keys:
        _style.legend(figure, handles=keys, loc="outside lower center", ncols=min(len(keys), 4))
