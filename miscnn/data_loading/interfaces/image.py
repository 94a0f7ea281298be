"""Pictures: PNG, TIFF, BMP, JPEG and GIF."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading._problems import Remark
from miscnn.data_loading.formats.colours import ColourMap, image_values, mask_values
from miscnn.data_loading.formats.image_2d import Picture, Pixels, open_picture, write_picture
from miscnn.data_loading.formats.image_file import is_label_map
from miscnn.data_loading.formats.tiff_file import is_tiff, open_tiff, write_tiff
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError

_LARGEST = 65535  # in a PNG
_TYPES = ("grayscale", "rgb", "multichannel")
_ALPHA = ("LA", "PA", "RGBA")
_COLOURED = ("P", "PA", "RGB", "RGBA")


class ImageInterface(FileInterface):
    """Reads pictures, PNG, TIFF, BMP, JPEG and GIF, and stacks of them in TIFF.

    Parameters
    ----------
    classes : int
        Number of segmentation classes.
    img_type : {"grayscale", "rgb", "multichannel"}
        What is made of an image: one channel (colours become their luminance, ITU-R BT.601),
        three, or those that are stored (TIFF; set ``channels``).
    img_format : str
        Ending of the files where no pattern says it, such as ``"png"`` or ``"tif"``.
    pattern, image, segmentation, listing
        Where the files lie, see :class:`FileInterface`. Default: ``{index}/imaging.png`` and
        ``{index}/segmentation.png``.
    channels : int, optional
        Default: 3 for ``"rgb"``; else the number of patterns in ``image``, 1 for a single one.
    three_dim : bool
        Whether a subject is a stack of pages, ``(columns, rows, pages)``, in one TIFF file.
    spacing : sequence of float, optional
        Size of a pixel in mm along columns and rows (and pages): the distance of neighbouring
        columns first. Default: 1 mm, since resolution tags of pictures are not to be trusted.
    label_colours : sequence of colours or mapping of colour to int, optional
        What the colours of masks mean: one ``(red, green, blue)`` for each class, or the class of
        each colour, ``{(255, 0, 0): 1, …}``. Predictions get these colours.
    ignore_label, label_values, class_names
        See :class:`DataInterface`.

    Notes
    -----
    Arrays are ``(x, y[, c])``: the first axis runs along a row of pixels to the right, the second
    one down, as NIfTI and SimpleITK have it. (MIScnn 1.x had rows first.) Values are those stored:
    1-bit pixels are 0 and 1, those of 2 and 4 bits are not stretched, and those of TIFF in which
    zero is white (MINISWHITE) are not inverted, whatever the compression. The transparency of
    images is not read, and a rotation noted by a camera (EXIF) is not applied, to images as to
    masks.

    TIFF is read with no compression, deflate and PackBits; with LZW and JPEG as far as Pillow
    keeps the values: one band of 1 to 16 bits, of 16 or 32 with a sign, or float32 (the latter
    little-endian), and colours of 8 bits. The rest is refused, unless ``imagecodecs`` is
    installed.

    Masks in a palette hold the palette's indices, unless ``label_colours`` is given. Masks in
    colour need it, unless their colours are grey; masks from JPEG are refused if they hold
    anything but label values, since the compression has changed them.

    Predictions are PNG with 8 or 16 bits, never JPEG; stacks, probabilities (float32, classes as
    samples of a pixel) and negative or larger values are TIFF. PNG gets the colours of
    ``label_colours`` as a palette; without a palette, predictions hold classes.

    Examples
    --------
    >>> interface = ImageInterface(
    ...     image="images/*.png", segmentation="labels/*.png", label_values=[0, 255]
    ... )
    >>> interface.channels, interface.three_dim
    (1, False)
    """

    endings = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg", ".gif")

    def __init__(
        self,
        classes: int = 2,
        img_type: str = "grayscale",
        img_format: str = "png",
        pattern: str | None = None,
        image: str | Sequence[str] | None = None,
        segmentation: str | None = None,
        channels: int | None = None,
        three_dim: bool = False,
        spacing: Sequence[float] | None = None,
        label_colours: Sequence[Any] | Mapping[Any, int] | None = None,
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
        listing: Mapping[str, Mapping[str, Any]] | str | None = None,
    ) -> None:
        if img_type not in _TYPES:
            raise ConfigurationError(f"img_type must be one of {_TYPES}, got {img_type!r}")
        self.img_type = img_type
        self.img_format = img_format
        if self.default_ending not in self.endings:
            raise ConfigurationError(
                f"img_format={img_format!r} is not read; expected one of "
                f"{', '.join(ending[1:] for ending in self.endings)}"
            )
        if channels is None:
            several = not (image is None or isinstance(image, str)) and len(image) > 1
            channels = len(image or ()) if several else 3 if img_type == "rgb" else 1
        if img_type == "rgb" and channels != 3:
            raise ConfigurationError(f"img_type='rgb' has 3 channels, got channels={channels}")
        super().__init__(
            channels,
            classes,
            three_dim,
            pattern,
            image,
            segmentation,
            ignore_label,
            label_values,
            class_names,
            listing,
        )
        n = 3 if three_dim else 2
        if spacing is not None and (
            len(spacing) != n or not all(np.isfinite(s) and s > 0 for s in spacing)
        ):
            raise ConfigurationError(
                f"spacing={spacing!r}: expected {n} sizes in mm above 0, those of columns first"
            )
        self.spacing = spacing
        self.label_colours = label_colours
        self._colours: ColourMap | None = None
        if label_colours is not None:
            if label_values is not None:
                raise ConfigurationError(
                    "label_colours and label_values both say what masks mean; leave one out"
                )
            self._colours = ColourMap(label_colours, classes, self.ignore_label)

    @property
    def default_ending(self) -> str:
        """How files end where no pattern says it."""
        return "." + self.img_format.lower().lstrip(".")

    def open_file(self, path: Path, index: str) -> Picture:
        """Read and check the header of an image."""
        return self._open(path, index, self._image_values)

    def open_labels(self, path: Path, index: str) -> Picture:
        """Read and check the header of a mask or a prediction."""
        return self._open(path, index, self._mask_values)

    def open_prediction(self, path: Path, index: str) -> Picture:
        """Read and check the header of a prediction, whose colours lie in a palette at most."""
        return self._open(path, index, self._prediction_values)

    def result_ending(self, sample: Sample) -> str:
        """Return ``.png`` for a label map that fits into one, else ``.tif``."""
        labels = sample.prediction
        if labels is None or self.three_dim or not is_label_map(labels, self._ndim):
            return ".tif"
        fits = labels.size == 0 or (labels.min() >= 0 and labels.max() <= _LARGEST)
        declared = [] if self.mapping is None else self.mapping.values
        return ".png" if fits and all(0 <= v <= _LARGEST for v in declared) else ".tif"

    def planned_ending(self, index: str, labels: bool) -> str:
        """Return ``.png`` for a label map of a picture, else ``.tif``."""
        declared = [self.classes - 1] if self.mapping is None else self.mapping.values
        fits = all(0 <= v <= _LARGEST for v in declared)
        return ".png" if labels and fits and not self.three_dim else ".tif"

    def write_file(self, path: Path, array: NDArray[Any], sample: Sample) -> None:
        """Write an array as PNG or TIFF."""
        if not self.three_dim:
            array = array[:, :, 0]
        if path.suffix == ".png":
            write_picture(path, array, self._palette(array))
            return
        n = self._ndim
        rows_first = array.transpose(*reversed(range(n)), *range(n, array.ndim))
        write_tiff(path, rows_first, samples=array.ndim > n)

    def remarks(self, index: str, details: dict[str, Any]) -> list[Remark]:
        """Tell what is not read of an image, and that its pixels have no size."""
        found: list[Remark] = []
        mode = str(details.get("mode", ""))
        if mode in _ALPHA:
            found.append(("note", "channels", "the transparency of the image is not read"))
        if mode in _COLOURED and self.img_type == "grayscale":
            text = "the image is coloured and read as luminance; set img_type='rgb' for colours"
            found.append(("note", "channels", text))
        if self.spacing is None:
            text = "pictures do not tell the size of a pixel; 1 mm is taken, set spacing"
            found.append(("note", "spacing", text))
        return found

    @staticmethod
    def check_file_termination(termination: str) -> bool:
        """Tell whether files with this ending are read by this interface."""
        return "." + termination.lower().lstrip(".") in ImageInterface.endings

    def _open(self, path: Path, index: str, view: Any) -> Picture:
        spacing = None if self.spacing is None else tuple(float(s) for s in self.spacing)
        opener = open_tiff if is_tiff(path) else open_picture
        return opener(path, index, spacing, view)

    def _image_values(self, pixels: Pixels, name: str, index: str) -> NDArray[Any]:
        return image_values(pixels, self.img_type)

    def _prediction_values(self, pixels: Pixels, name: str, index: str) -> NDArray[Any]:
        bands = pixels.values.ndim - pixels.spatial
        if bands == 0 and pixels.palette is None and not pixels.lossy:
            return pixels.values  # classes: stacks and more than 8 bits have no palette
        return self._mask_values(pixels, name, index)

    def _mask_values(self, pixels: Pixels, name: str, index: str) -> NDArray[Any]:
        # of a mapping, its keys
        known = range(self.classes) if self.label_values is None else self.label_values
        allowed = {*map(int, known), *(() if self.ignore_label is None else (self.ignore_label,))}
        return mask_values(pixels, self._colours, allowed, name, index)

    def _palette(self, labels: NDArray[Any]) -> NDArray[np.uint8] | None:
        """Return the colours of labels; None where a label has none, or lies beyond a palette."""
        if self._colours is None or labels.max(initial=0) > 255:
            return None
        if not np.isin(labels, list(self._colours.class_of.values())).all():
            return None
        return self._colours.palette[:256]


Image_interface = ImageInterface
"""Name in MIScnn 1.x."""
