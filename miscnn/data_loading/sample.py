"""One subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from miscnn._scratch import Scratch
from miscnn._viewer.packing import PLANE, SLICES
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.label_mapping import proposal
from miscnn.exceptions import GridMismatchError, LabelError, SampleError

if TYPE_CHECKING:
    from miscnn.data_loading._showing import SampleView

# No unsigned integer of NumPy's holds this.
_TOO_LARGE = 1 << 64
# A last axis of more than this is rather one of space than of channels.
_MOST_COLOURS = 4


class Sample:
    """One subject: image, segmentation, prediction and where they lie.

    Parameters
    ----------
    index : str
        Name of the subject.
    image : ndarray
        Shape ``(x, y, z, c)`` or ``(x, y, c)``. Without a channel axis, one is added if
        ``channels`` is 1 and ``geometry`` (or ``three_dim``) says that it is missing.
    channels, classes : int
        Number of image channels and of segmentation classes (background included).
    geometry : Geometry, optional
        Grid of the image. Default: voxels of 1 mm along the array's axes.
    details : mapping, optional
        What the interface knows besides: header, files, acquisition values.
    three_dim : bool, optional
        Number of spatial axes where no geometry says it. Default: three.
    ignore_label : int, optional
        Label of voxels that nobody has annotated: no class, but allowed in a segmentation.

    Attributes
    ----------
    image, segmentation, prediction : ndarray or None
        ``(…, c)``; ``(…, 1)`` unsigned integer; label map without channel axis or
        probabilities ``(…, classes)``.
    extended : dict
        Where a subfunction leaves what its way back needs (JSON values or arrays); each
        subfunction has a dictionary of its own.
    scratch : Scratch or None
        Where :meth:`empty` puts large arrays; None: into memory. A prediction sets it.

    Notes
    -----
    ``img_data``, ``seg_data`` and ``pred_data`` are the names these had in MIScnn 1.x;
    ``pred_data`` shows a label map with a channel axis, as ``seg_data`` does.
    """

    def __init__(
        self,
        index: str,
        image: NDArray[Any],
        channels: int = 1,
        classes: int = 2,
        geometry: Geometry | None = None,
        details: Mapping[str, Any] | None = None,
        three_dim: bool | None = None,
        ignore_label: int | None = None,
    ) -> None:
        self.index = index
        self.channels = channels
        self.classes = classes
        self.ignore_label = ignore_label
        self.details: dict[str, Any] = dict(details or {})
        self.extended: dict[str, Any] = {}
        self.scratch: Scratch | None = None
        flat = geometry.ndim == 2 if geometry is not None else three_dim is False
        ndim = 2 if flat else 3
        self.image = self._with_channels(np.asarray(image), ndim)
        self.geometry = geometry or Geometry(self.image.shape[:-1])
        if self.image.shape[:-1] != self.geometry.shape:
            raise GridMismatchError(
                index,
                f"the image has shape {self.image.shape[:-1]}, its geometry {self.geometry.shape}",
            )
        self.segmentation: NDArray[Any] | None = None
        self.prediction: NDArray[Any] | None = None

    def _with_channels(self, image: NDArray[Any], ndim: int) -> NDArray[Any]:
        if image.ndim == ndim and self.channels == 1:
            image = image[..., np.newaxis]
        if image.ndim != ndim + 1 or image.shape[-1] != self.channels:
            raise SampleError(
                self.index,
                f"an image with {self.channels} channel(s) and {ndim} spatial axes has "
                f"{ndim + 1} axes, the last of length {self.channels}; got shape {image.shape}. "
                "Set channels and three_dim of the data interface to what the files hold"
                f"{_fitting(image.shape, ndim)}{_several(image.shape, ndim, self.channels)}",
            )
        return image

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the image, channels included."""
        return self.image.shape

    @property
    def spatial_shape(self) -> tuple[int, ...]:
        """Shape of the image without its channel axis."""
        return self.image.shape[:-1]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Voxel size per axis in mm."""
        return self.geometry.spacing

    def empty(
        self, shape: Sequence[int], dtype: DTypeLike, order: Literal["C", "F"] = "C"
    ) -> NDArray[Any]:
        """Return an array whose values are not set: in a scratch file if it is large."""
        if self.scratch is None:
            return np.empty(tuple(shape), dtype, order)
        return self.scratch.empty(shape, dtype, order)

    def add_segmentation(self, segmentation: ArrayLike, check_classes: bool = True) -> None:
        """Set the segmentation: integer labels ``0 … classes - 1``, shape as the image.

        The sample's ``ignore_label``, if it has one, is allowed too. Floating point labels are
        taken if every value is a whole number.

        Parameters
        ----------
        segmentation : array_like
        check_classes : bool
            Whether labels from ``classes`` on are refused at once. If not, whoever maps them
            calls :meth:`check_labels` afterwards.

        Raises
        ------
        GridMismatchError
            If the shape is another one than the image's.
        LabelError
            If a value is no label.
        """
        array = np.asarray(segmentation)
        if array.ndim == self.image.ndim and array.shape[-1] == 1:
            array = array[..., 0]
        if array.shape != self.spatial_shape:
            raise GridMismatchError(
                self.index,
                f"the segmentation has shape {array.shape}, the image {self.spatial_shape}; "
                "both must lie on one grid",
            )
        labels = as_labels(array, self.classes, self.index, check_classes, self.ignore_label)
        self.segmentation = labels[..., np.newaxis]

    def check_labels(self) -> None:
        """Hold the segmentation, if there is one, against ``classes``; shrink its type to them.

        Raises
        ------
        LabelError
            If a value is no label ``0 … classes - 1``, nor ``ignore_label``.
        """
        if self.segmentation is not None:
            self.segmentation = as_labels(
                self.segmentation, self.classes, self.index, ignore_label=self.ignore_label
            )

    def add_prediction(self, prediction: ArrayLike, activation_output: bool = False) -> None:
        """Set the prediction: a label map, or probabilities if ``activation_output``."""
        array = np.asarray(prediction)
        if not activation_output and array.ndim == self.image.ndim and array.shape[-1] == 1:
            array = array[..., 0]
        self.prediction = array

    def add_details(self, details: Mapping[str, Any]) -> None:
        """Add to :attr:`details`."""
        self.details.update(details)

    def get_extended_data(self) -> dict[str, Any]:
        """Return :attr:`extended` (name of MIScnn 1.x)."""
        return self.extended

    def copy(self) -> Sample:
        """Return a sample of its own that shares the arrays (replace them, never write to them)."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.details = dict(self.details)
        other.extended = dict(self.extended)
        return other

    def show(
        self,
        class_names: Mapping[int, str] | Sequence[str] | None = None,
        *,
        plane: int = PLANE,
        slices: int = SLICES,
    ) -> SampleView:
        """Show the slices, with segmentation and prediction if there are any.

        In a notebook the result is a viewer: wheel and arrow keys go through the slices,
        dragging with the right button changes the window. Elsewhere ``.save(path)`` writes it as
        a page. The volume is made small for it, and labels so that no object vanishes.

        Parameters
        ----------
        class_names : sequence or mapping, optional
            One name per class, background first; or names by label.
        plane, slices : int
            Most pixels along the longer edge of a slice (of a 2D image five times as many), and
            most slices.

        Returns
        -------
        SampleView
        """
        from miscnn.data_loading._showing import show  # it needs Pillow

        return show(self, class_names, plane, slices)

    def _repr_html_(self) -> str:
        from miscnn.data_loading._showing import sample_html

        return sample_html(self)

    @property
    def img_data(self) -> NDArray[Any]:
        """The image (name of MIScnn 1.x)."""
        return self.image

    @img_data.setter
    def img_data(self, value: NDArray[Any]) -> None:
        self.image = value

    @property
    def seg_data(self) -> NDArray[Any] | None:
        """The segmentation (name of MIScnn 1.x)."""
        return self.segmentation

    @seg_data.setter
    def seg_data(self, value: NDArray[Any] | None) -> None:
        self.segmentation = value

    @property
    def pred_data(self) -> NDArray[Any] | None:
        """The prediction (name of MIScnn 1.x); a label map has a channel axis here."""
        if self.prediction is not None and self.prediction.ndim == self.geometry.ndim:
            return self.prediction[..., np.newaxis]
        return self.prediction

    @pred_data.setter
    def pred_data(self, value: NDArray[Any] | None) -> None:
        if value is not None and value.ndim == self.geometry.ndim + 1 and value.shape[-1] == 1:
            value = value[..., 0]
        self.prediction = value

    def __repr__(self) -> str:
        held = [name for name in ("segmentation", "prediction") if getattr(self, name) is not None]
        return (
            f"Sample({self.index!r}, image {self.image.shape} {self.image.dtype}, "
            f"{self.geometry!r}{''.join(', ' + name for name in held)})"
        )


def _fitting(shape: tuple[int, ...], ndim: int) -> str:
    """Say with which arguments an image of this shape would be taken."""
    channels = {ndim: 1, ndim + 1: shape[-1] if shape else 1}.get(len(shape))
    ways = [] if channels is None else [f"channels={channels}"]
    other = 5 - ndim  # two axes instead of three, or three instead of two
    if len(shape) in (other, other + 1):
        number = 1 if len(shape) == other else shape[-1]
        # 35 slices are no 35 channels
        if other == 3 or number <= _MOST_COLOURS:
            ways.append(f"three_dim={other == 3}, channels={number}")
    if ndim == 2 and len(shape) == 3 and shape[-1] > _MOST_COLOURS:
        ways = ways[1:]
    return f": {' or '.join(ways)}" if ways else ""


def _several(shape: tuple[int, ...], ndim: int, channels: int) -> str:
    """Say how several files become the channels that are expected and one does not hold."""
    held = {ndim: 1, ndim + 1: shape[-1] if shape else 1}.get(len(shape))
    if held is None or held >= channels:
        return ""
    return (
        f". The image holds {held}, the interface expects {channels}: if each channel has a file "
        "of its own, name a pattern for each, such as image=['*_t1.nii.gz', '*_t2.nii.gz']"
    )


def as_labels(
    array: NDArray[Any],
    classes: int,
    index: str,
    check_classes: bool = True,
    ignore_label: int | None = None,
) -> NDArray[Any]:
    """Check that an array holds labels ``0 … classes - 1`` and return it as unsigned integers.

    ``ignore_label`` passes too. Without ``check_classes`` larger labels pass, and the type is
    large enough to hold them.

    Raises
    ------
    LabelError
        With the offending values.
    """
    if array.dtype.kind not in "biuf":
        raise LabelError(index, f"labels must be integers, got an array of dtype {array.dtype}")
    if array.dtype.kind == "f" and not bool(np.all(np.isfinite(array))):
        raise LabelError(index, odd_labels(array))
    if array.dtype.kind == "f" and not bool(np.all(array == np.rint(array))):
        odd = array[array != np.rint(array)].flat[0]
        raise LabelError(index, f"labels must be whole numbers, found {odd:g}")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    allowed = low >= 0 and high < (classes if check_classes else _TOO_LARGE)
    if not allowed and low >= 0 and ignore_label is not None and check_classes:
        allowed = bool(np.all((array < classes) | (array == ignore_label)))
    if not allowed:
        ignored = "" if ignore_label is None else f" or {ignore_label} (ignore_label)"
        values = np.unique(array)
        found = ", ".join(f"{value:g}" for value in values[:12])
        raise LabelError(
            index,
            f"labels must be 0 … {classes - 1} for classes={classes}{ignored}, found {found}"
            f"{', …' if len(values) > 12 else ''}; {_remedy(values)}",
        )
    return array.astype(np.min_scalar_type(max(classes - 1, high, 1)), copy=False)


def _remedy(values: NDArray[Any]) -> str:
    found = [float(value) for value in values]
    if found == list(range(len(found))):
        return f"set classes={len(values)} if these are the classes"
    proposed = proposal(found)
    declare = f"declare what they mean, for example {proposed}" if proposed else "rewrite them"
    return f"set classes to the number of classes, or {declare}"


def odd_labels(array: NDArray[Any]) -> str:
    """Say that a floating point array of labels holds NaN or infinite values."""
    count = array.size - int(np.count_nonzero(np.isfinite(array)))
    return (
        f"{count} of {array.size} labels are NaN or infinite; replace them in the file by the "
        "label that is meant (0 for background)"
    )
