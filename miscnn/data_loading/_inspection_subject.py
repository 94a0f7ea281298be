"""What one subject is like."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._checks import MANY_LABELS, make_sample, non_finite
from miscnn.data_loading._inspection_values import count_labels, distribution
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample, as_labels
from miscnn.exceptions import GridMismatchError, LabelError, MiscnnError, SampleError

_LOG = logging.getLogger("miscnn.data_loading.inspection")
_MM3_PER_ML = 1000.0

_T = TypeVar("_T")


@dataclass
class SubjectFacts:
    """What one subject is like; what could not be found out is None.

    Attributes
    ----------
    index : str
    error : str or None
        Why something could not be found out.
    shape : tuple of int
        Voxels along each spatial axis.
    spacing : tuple of float
        In mm.
    orientation : str
        Letters towards which the axes run; None in 2D.
    slice_axis, n_slices : int
        None in 2D.
    slice_thickness : float
        In mm; None in 2D.
    dtype : str
        Type of the intensities, as the interface returns them.
    channels : int
    memory : int
        Size of the image in bytes, as the interface returns it.
    intensities : list
        For each channel minimum, percentiles and maximum of all (finite) voxels.
    foreground_intensities : list
        The same of the voxels of all classes but the background; empty without labels.
    voxels : dict
        Number of voxels of each class (or other label) that occurs; None without segmentation.
    ml : dict
        Their volumes in ml; None in 2D.
    ignored : int
        Voxels of the label that is no class (``ignore_label``).
    foreground : float
        Share of the voxels of all classes but the background in all that are not ignored.
    """

    index: str
    error: str | None = None
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, ...] | None = None
    orientation: str | None = None
    slice_axis: int | None = None
    n_slices: int | None = None
    slice_thickness: float | None = None
    dtype: str | None = None
    channels: int | None = None
    memory: int | None = None
    intensities: list[dict[str, float] | None] = field(default_factory=list)
    foreground_intensities: list[dict[str, float] | None] = field(default_factory=list)
    voxels: Mapping[int, int] | None = None
    ml: Mapping[int, float] | None = None
    ignored: int = 0
    foreground: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON values."""
        return asdict(self)


def look_at(interface: DataInterface, index: str) -> SubjectFacts:
    """Read one subject and describe it; whatever goes wrong is told in ``error``."""
    facts, errors = SubjectFacts(index), list[str]()
    sample = _attempt(errors, index, lambda: _image(interface, index))
    if sample is not None:
        _attempt(errors, index, lambda: _describe_image(facts, sample, errors))
    if _attempt(errors, index, lambda: interface.has_segmentation(index)):
        labels = _attempt(errors, index, lambda: _labels(interface, index))
        grid = _attempt(errors, index, lambda: interface.load_segmentation_geometry(index))
        if labels is not None:
            _attempt(
                errors, index, lambda: _describe_labels(facts, labels, sample, grid, interface)
            )
        if labels is not None and sample is not None:
            _attempt(errors, index, lambda: _describe_foreground(facts, labels, sample, grid))
    facts.error = "; ".join(dict.fromkeys(errors)) or None
    return facts


def _attempt(errors: list[str], index: str, function: Callable[[], _T]) -> _T | None:
    """Call a reader; whatever it raises is a fact about the file."""
    try:
        return function()
    except SampleError as error:
        errors.append(error.reason)
    except MiscnnError as error:
        errors.append(str(error).removeprefix(f"sample {index!r}: "))
    except Exception as error:  # a user's own interface may raise anything
        _LOG.debug("reading %r failed", index, exc_info=True)
        errors.append(f"reading failed: {type(error).__name__}: {error}")
    return None


def _image(interface: DataInterface, index: str) -> Sample:
    image, details = interface.load_image(index)
    return make_sample(interface, index, image, details)


def _labels(interface: DataInterface, index: str) -> NDArray[Any]:
    values = np.asarray(interface.load_segmentation(index))
    ndim = 3 if interface.three_dim else 2
    if values.ndim == ndim + 1 and values.shape[-1] == 1:
        values = values[..., 0]
    if values.ndim != ndim:
        raise GridMismatchError(
            index, f"the segmentation has shape {values.shape}, {ndim} axes are expected"
        )
    classes = interface.to_classes(values, index)
    return as_labels(classes, interface.classes, index, check_classes=False)


def _describe_image(facts: SubjectFacts, sample: Sample, errors: list[str]) -> None:
    geometry, image = sample.geometry, sample.image
    facts.shape, facts.spacing = geometry.shape, geometry.spacing
    if geometry.ndim == 3:
        facts.orientation = geometry.orientation
        facts.slice_axis, facts.n_slices = geometry.slice_axis, geometry.n_slices
        facts.slice_thickness = geometry.slice_thickness
    facts.dtype, facts.channels = image.dtype.name, image.shape[-1]
    facts.memory = int(image.nbytes)
    odd = non_finite(image)
    if odd is not None:
        errors.append(f"{odd[0]} of {image.size} values of the image are NaN or infinite")
    facts.intensities = [distribution(image[..., c]) for c in range(image.shape[-1])]


def _describe_labels(
    facts: SubjectFacts,
    labels: NDArray[Any],
    sample: Sample | None,
    grid: Geometry | None,
    interface: DataInterface,
) -> None:
    counts = count_labels(labels)
    if len(counts) > MANY_LABELS:
        raise LabelError(
            facts.index, f"the segmentation has {len(counts)} different values; is it an image?"
        )
    if interface.ignore_label is not None:
        facts.ignored = counts.pop(interface.ignore_label, 0)
    facts.voxels = counts
    grid = grid if sample is None or sample.spatial_shape != labels.shape else sample.geometry
    if grid is not None and grid.ndim == 3 and grid.usable:
        volume = grid.voxel_volume / _MM3_PER_ML
        facts.ml = {label: count * volume for label, count in counts.items()}
    annotated = sum(counts.values())
    facts.foreground = (annotated - counts.get(0, 0)) / annotated if annotated else None


def _describe_foreground(
    facts: SubjectFacts, labels: NDArray[Any], sample: Sample, grid: Geometry | None
) -> None:
    shape = sample.spatial_shape
    if labels.shape != shape:
        text = f"the segmentation has shape {labels.shape}, the image {shape}"
        raise GridMismatchError(facts.index, text)
    if grid is not None and not sample.geometry.matches(grid):
        text = grid.describe_difference(sample.geometry)
        raise GridMismatchError(
            facts.index, f"the segmentation does not lie on the image's grid: {text}"
        )
    if facts.voxels is None:
        return
    mask = labels != 0
    if sample.ignore_label is not None:
        mask &= labels != sample.ignore_label
    channels = range(sample.image.shape[-1])
    facts.foreground_intensities = [distribution(sample.image[..., c][mask]) for c in channels]
