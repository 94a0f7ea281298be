"""A subject as a page with a viewer of its slices, and as a few lines in a notebook."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from miscnn._files import write_text
from miscnn._viewer.packing import PLANE, SLICES, Packed, pack
from miscnn._viewer.page import thumbnail, viewer_page
from miscnn.exceptions import ConfigurationError

if TYPE_CHECKING:
    from miscnn.data_loading.sample import Sample

_NOT_ANNOTATED = "not annotated"
_HEIGHT = 860  # pixels: what the viewer of a square slice needs
_THUMBNAIL_PLANE = 160


class SampleView:
    """The slices of a subject: in a notebook it shows itself, elsewhere it is saved as a page.

    Made by :meth:`Sample.show`. The page is complete in itself: it needs no network and no
    further file.

    Parameters
    ----------
    index : str
        Name of the subject.
    page : str
        The page, HTML.
    """

    def __init__(self, index: str, page: str) -> None:
        self.index = index
        self.page = page

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page to a file (``….html``), to be opened with any browser."""
        write_text(path, self.page)
        return Path(path)

    def _repr_html_(self) -> str:
        # A frame of its own: several viewers in one notebook do not meet.
        return (
            f'<iframe title="Slices of {escape(self.index)}" '
            f'style="width:100%;max-width:760px;height:{_HEIGHT}px;border:0" '
            f'srcdoc="{escape(self.page)}"></iframe>'
        )

    def __repr__(self) -> str:
        return (
            f"SampleView({self.index!r}, {len(self.page) / 1e6:.1f} MB): a notebook shows it; "
            "elsewhere .save('slices.html') writes a page for the browser"
        )


def packed_sample(
    sample: Sample,
    class_names: Mapping[int, str] | Sequence[str] | None = None,
    plane: int = PLANE,
    slices: int = SLICES,
) -> Packed:
    """Pack a subject for viewing; labels without a name are called ``class <label>``.

    Raises
    ------
    ConfigurationError
        If ``plane`` or ``slices`` is below 1.
    """
    if plane < 1 or slices < 1:
        raise ConfigurationError(
            f"the viewer needs at least one pixel and one slice, got plane={plane} and "
            f"slices={slices}"
        )
    truth = None if sample.segmentation is None else sample.segmentation[..., 0]
    return pack(
        sample.image,
        truth,
        label_map(sample),
        sample.geometry,
        plane=plane,
        slices=slices,
        names=_names(class_names, sample.ignore_label),
        ignored=sample.ignore_label,
    )


def label_map(sample: Sample) -> NDArray[Any] | None:
    """Return the prediction as a label map on the grid of the image, or None.

    A prediction on another grid cannot be laid over the image; so it is left out.
    """
    prediction = sample.prediction
    if prediction is not None and prediction.ndim == len(sample.spatial_shape) + 1:
        prediction = np.argmax(prediction, axis=-1)
    if prediction is None or prediction.shape != sample.spatial_shape:
        return None
    return prediction


def show(
    sample: Sample,
    class_names: Mapping[int, str] | Sequence[str] | None,
    plane: int,
    slices: int,
) -> SampleView:
    """Make what :meth:`Sample.show` returns."""
    packed = packed_sample(sample, class_names, plane, slices)
    return SampleView(sample.index, viewer_page(packed, sample.index))


def sample_html(sample: Sample) -> str:
    """Return a small table on a subject, and a picture of its middle slice."""
    geometry = sample.geometry
    rows = [
        ("shape", " x ".join(map(str, sample.spatial_shape))),
        ("channels", str(sample.image.shape[-1])),
        ("spacing", f"{' x '.join(f'{s:.4g}' for s in geometry.spacing)} mm"),
    ]
    if geometry.ndim == 3:
        rows.append(("orientation", geometry.orientation))
    rows.append(("intensities", f"{_range(sample.image)} ({sample.image.dtype})"))
    maps = (
        ("segmentation", None if sample.segmentation is None else sample.segmentation[..., 0]),
        ("prediction", label_map(sample)),
    )
    rows += [(name, _counts(labels)) for name, labels in maps if labels is not None]
    cells = "".join(
        '<tr><th scope="row" style="text-align:left;padding:2px 10px 2px 0">'
        f'{escape(name)}</th><td style="text-align:left;padding:2px 0">{escape(text)}</td></tr>'
        for name, text in rows
    )
    return (
        '<div style="display:flex;gap:16px;align-items:flex-start;flex-wrap:wrap">'
        f'{_picture(sample)}<table><caption style="text-align:left;font-weight:bold">'
        f"{escape(f'Sample {sample.index}')}</caption>{cells}</table></div>"
    )


def _picture(sample: Sample) -> str:
    if not sample.image.size:
        return ""
    axis = sample.geometry.slice_axis
    image, grid = sample.image, sample.geometry
    if image.ndim == 4:  # one slice is enough
        middle = (image.shape[axis] - 1) // 2
        start = tuple(middle if a == axis else 0 for a in range(3))
        shape = tuple(1 if a == axis else n for a, n in enumerate(grid.shape))
        image, grid = np.take(image, [middle], axis=axis), grid.cropped(start, shape)
    packed = pack(image[..., :1], None, None, grid, plane=_THUMBNAIL_PLANE)
    data = base64.b64encode(thumbnail(packed)).decode("ascii")
    return f'<img alt="Middle slice" src="data:image/png;base64,{data}">'


def _range(image: NDArray[Any]) -> str:
    finite = image[np.isfinite(image)] if image.dtype.kind == "f" else image
    if not finite.size:
        return "no finite value"
    text = f"{finite.min():g} … {finite.max():g}"
    odd = image.size - finite.size
    return f"{text}, {odd} NaN or infinite" if odd else text


def _counts(labels: NDArray[Any]) -> str:
    values, counts = np.unique(labels, return_counts=True)
    told = [f"{value:g}: {count:,}" for value, count in zip(values, counts, strict=True)]
    shown = "; ".join(told[:12])
    return f"{shown}; … ({len(told)} labels)" if len(told) > 12 else f"{shown} voxels"


def _names(
    class_names: Mapping[int, str] | Sequence[str] | None, ignored: int | None
) -> dict[int, str]:
    if class_names is None:
        names: dict[int, str] = {}
    elif isinstance(class_names, str):
        raise ConfigurationError(
            f"class_names must hold one name per class, background first, got {class_names!r}"
        )
    elif isinstance(class_names, Mapping):
        names = {int(label): str(name) for label, name in class_names.items()}
    else:
        names = {label: str(name) for label, name in enumerate(class_names)}
    if ignored is not None:
        names.setdefault(ignored, _NOT_ANNOTATED)
    return names
