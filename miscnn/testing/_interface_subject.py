"""Whether a data interface reads a subject as it promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import Scratch
from miscnn.data_loading._checks import make_sample, non_finite
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import MiscnnError
from miscnn.testing._interface_promises import Promises, equal, told

# Relative; headers hold float32.
_SPACING_TOLERANCE = 1e-3


class SubjectCheck:
    """Reads one subject in every way, and compares.

    Parameters
    ----------
    interface : DataInterface
        Initialized.
    index : str
        One of its subjects.
    """

    def __init__(self, interface: DataInterface, index: str) -> None:
        self.interface = interface
        self.index = index
        self.promises = Promises(interface, index)
        self.require = self.promises.require
        self.ndim = 3 if interface.three_dim else 2

    def run(self) -> Sample:
        """Check the subject and return it."""
        # One that reads headers comes first: it must not need an image that was loaded before.
        of_base = type(self.interface).load_geometry is DataInterface.load_geometry
        geometry = None if of_base else self.geometry()
        image, details = self.image()
        # Copies: the arrays that were returned are written into below.
        sample = self.checked_sample(image.copy(), dict(details))
        self.check_details(sample, details)
        geometry = geometry or self.geometry()
        self.require(
            geometry.matches(sample.geometry),
            "load_geometry() tells another grid than load_image(): "
            f"{_apart(geometry, sample.geometry)}; both must read the same values of the header, "
            "in the order of the array's axes",
        )
        self.check_image_again(image, details)
        self.check_mapped(image)
        self.check_segmentation(sample)
        self.check_files()
        return sample

    def geometry(self) -> Geometry:
        geometry: Any = self.promises.called(
            "load_geometry()", lambda: self.interface.load_geometry(self.index)
        )
        self.require(
            isinstance(geometry, Geometry),
            f"load_geometry() must return a Geometry, got {_types(geometry)}",
        )
        return geometry  # type: ignore[no-any-return]  # as was just seen

    def image(self) -> tuple[NDArray[Any], dict[str, Any]]:
        result: Any = self.promises.called(
            "load_image()", lambda: self.interface.load_image(self.index)
        )
        self.require(
            isinstance(result, tuple)
            and len(result) == 2
            and isinstance(result[0], np.ndarray)
            and isinstance(result[1], dict),
            "load_image() must return (array, dictionary of details), got "
            f"{_types(result)}; the details hold at least affine or spacing",
        )
        return result  # type: ignore[no-any-return]  # as was just seen

    def checked_sample(self, image: NDArray[Any], details: dict[str, Any]) -> Sample:
        self.require(image.size > 0, f"load_image() returned an empty array {image.shape}")
        self.require(
            image.ndim in (self.ndim, self.ndim + 1),
            f"load_image() returned an array of shape {image.shape}; with "
            f"three_dim={self.interface.three_dim} it has {self.ndim} spatial axes, and perhaps "
            "one of channels behind them",
        )
        try:
            sample = make_sample(self.interface, self.index, image, details)
        except MiscnnError as error:
            reason = getattr(error, "reason", str(error))
            raise self.promises.broken(f"load_image(): {reason}") from error
        except Exception as error:  # details of any kind
            raise self.promises.broken(
                f"no grid can be made of the details of load_image() ({told(error)}); affine is a "
                f"matrix {self.ndim + 1} x {self.ndim + 1}, spacing {self.ndim} numbers in mm"
            ) from error
        odd = non_finite(sample.image)
        self.require(
            odd is None,
            f"load_image() returned values that are NaN or infinite, the first at {odd and odd[1]};"
            " replace them by what the file means",
        )
        return sample

    def check_details(self, sample: Sample, details: dict[str, Any]) -> None:
        affine, spacing = details.get("affine"), details.get("spacing")
        self.require(
            not self.interface.reads_files or affine is not None or spacing is not None,
            "the details of load_image() have neither affine nor spacing, so that voxels of 1 mm "
            "are taken; return what the file tells",
        )
        if affine is not None and spacing is not None:
            stored = np.asarray(spacing, dtype=np.float64)[: self.ndim]
            self.require(
                stored.shape == (self.ndim,)
                and np.allclose(stored, sample.spacing, rtol=_SPACING_TOLERANCE, atol=0),
                f"details['spacing'] is {tuple(spacing)}, but the affine has voxels of "
                f"{tuple(round(s, 6) for s in sample.spacing)} mm; give both in the order of the "
                "array's axes, or the affine alone",
            )
        grid = details.get("grid")
        self.require(
            grid is None or tuple(grid) == sample.spatial_shape,
            f"details['grid'] is {grid}, the image has shape {sample.spatial_shape}; it is the "
            "shape that predictions must have, in the order of the array's axes",
        )

    def check_image_again(self, image: NDArray[Any], details: dict[str, Any]) -> None:
        before, place = image.copy(), _place(details)
        again, repeated = self.image()
        self.require(
            again.dtype == before.dtype and equal(again, before) and _place(repeated) == place,
            "load_image() gave something else the second time; nothing may depend on chance or on "
            "what was loaded before",
        )
        _spoil(image)
        _spoil(again)
        for name in ("affine", "spacing"):
            _spoil_detail(repeated, name)
        anew, details_anew = self.image()
        self.require(
            equal(anew, before),
            "what was written into the image that load_image() returned is there when it is loaded "
            "again; return a copy of what is kept, or make it read-only",
        )
        self.require(
            _place(details_anew) == place,
            "what was written into the details that load_image() returned (affine or spacing) is "
            "there when it is loaded again; return a copy of what is kept",
        )

    def check_mapped(self, image: NDArray[Any]) -> None:
        fresh = self.image()[0]
        with Scratch() as scratch:
            mapped, _ = self.promises.called(
                "map_image()", lambda: self.interface.map_image(self.index, scratch)
            )
            self.require(
                equal(np.asarray(mapped), fresh), "map_image() gave another image than load_image()"
            )

    def check_segmentation(self, sample: Sample) -> None:
        known: Any = self.promises.called(
            "has_segmentation()", lambda: self.interface.has_segmentation(self.index)
        )
        self.require(
            isinstance(known, bool | np.bool_),
            f"has_segmentation() returned {known!r}; it tells True or False",
        )
        try:
            labels: Any = self.interface.load_segmentation(self.index)
        except FileNotFoundError as error:
            self.require(
                not known,
                f"has_segmentation() is True, but load_segmentation() finds none: {told(error)}",
            )
            return
        except Exception as error:
            # where there is none this is how the base class finds out
            hint = "" if known else "; where there is none, raise MissingFileError"
            raise self.promises.broken(
                f"load_segmentation() failed: {told(error)}{hint}"
            ) from error
        self.require(
            bool(known),
            "has_segmentation() is False, but load_segmentation() returns one; where there is "
            "none, raise MissingFileError",
        )
        self.require(
            isinstance(labels, np.ndarray),
            f"load_segmentation() must return an array, got {_types(labels)}",
        )
        before = labels.copy()
        try:
            sample.add_segmentation(self.interface.to_classes(before, self.index))
        except MiscnnError as error:
            reason = getattr(error, "reason", str(error))
            raise self.promises.broken(f"load_segmentation(): {reason}") from error
        self.check_segmentation_again(labels, before)
        self.check_segmentation_grid(sample)

    def check_segmentation_again(self, labels: NDArray[Any], before: NDArray[Any]) -> None:
        again = self.interface.load_segmentation(self.index)
        self.require(
            equal(again, before),
            "load_segmentation() gave something else the second time; nothing may depend on chance "
            "or on what was loaded before",
        )
        _spoil(labels)
        _spoil(again)
        self.require(
            equal(self.interface.load_segmentation(self.index), before),
            "what was written into the array that load_segmentation() returned is there when it is "
            "loaded again; return a copy of what is kept, or make it read-only",
        )

    def check_segmentation_grid(self, sample: Sample) -> None:
        grid = self.promises.called(
            "load_segmentation_geometry()",
            lambda: self.interface.load_segmentation_geometry(self.index),
        )
        if grid is not None:
            self.require(
                grid.matches(sample.geometry),
                "load_segmentation_geometry() tells another grid than the image's: "
                f"{_apart(grid, sample.geometry)}; resample the segmentation onto the image, or "
                "return None if the format knows no grid of its own",
            )

    def check_files(self) -> None:
        known = self.promises.called("has_image()", lambda: self.interface.has_image(self.index))
        self.require(bool(known), "has_image() is False, though load_image() returns one")
        files = self.promises.called(
            "source_files()", lambda: self.interface.source_files(self.index)
        )
        missing = [str(path) for path in files if not Path(path).is_file()]
        self.require(
            not missing,
            f"source_files() names what is no file: {', '.join(missing)}; prepared data are "
            "renewed when one of these files changes",
        )


def _apart(one: Geometry, other: Geometry) -> str:
    return one.describe_difference(other)


def _types(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(type(item).__name__ for item in value)})"
    return type(value).__name__


def _place(details: dict[str, Any]) -> tuple[Any, ...]:
    """Return what the details say of the grid, as values that can be compared."""
    found = (details.get(name) for name in ("affine", "spacing"))
    return tuple(None if value is None else np.array(value).tolist() for value in found)


def _spoil(array: NDArray[Any]) -> None:
    """Change every value of an array that can be written to, as any caller might."""
    if array.flags.writeable:
        array[...] = ~array if array.dtype.kind == "b" else array + np.ones(1, array.dtype)


def _spoil_detail(details: dict[str, Any], name: str) -> None:
    value = details.get(name)
    if isinstance(value, list):
        value[:] = [7.0] * len(value)
    elif isinstance(value, np.ndarray):
        _spoil(value)
