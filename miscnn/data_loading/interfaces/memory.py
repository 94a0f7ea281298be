"""Arrays that are already in memory."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import to_json
from miscnn.data_loading._patterns import natural_key
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import (
    ConfigurationError,
    GridMismatchError,
    MissingFileError,
    SampleError,
)

_SETTINGS = (
    "channels",
    "classes",
    "three_dim",
    "ignore_label",
    "label_values",
    "class_names",
)
_KEYS = ("image", "segmentation", "prediction", "details")


class DictionaryInterface(DataInterface):
    """Takes subjects from a dictionary, and keeps predictions in another one.

    Parameters
    ----------
    dictionary : mapping, optional
        Index to ``(image, segmentation[, prediction[, details]])`` or to a mapping with these
        names as keys; ``segmentation``, ``prediction`` and ``details`` may be None or left
        out. ``details`` with ``affine`` or ``spacing`` (mm) say where the image lies. Whole
        numbers as indices become text: the subject 3 is ``"3"`` everywhere.
    channels, classes, three_dim, ignore_label, label_values, class_names
        See :class:`DataInterface`.

    Attributes
    ----------
    predictions : dict
        What was saved, by index. The dictionary that was handed in is never changed, and
        neither are its arrays: subjects are loaded as copies.

    Raises
    ------
    ConfigurationError
        If an index is neither text nor a whole number, or two become the same text.

    Notes
    -----
    The configuration leaves the arrays out: an interface that was made from it is empty, and
    two interfaces count as equal whatever they hold. Fill :attr:`dictionary` afterwards.

    Examples
    --------
    >>> image, mask = np.zeros((8, 8, 4)), np.zeros((8, 8, 4), dtype=np.uint8)
    >>> interface = DictionaryInterface({"a": (image, mask), "b": {"image": image}})
    >>> interface.initialize()
    ['a', 'b']
    >>> interface.has_segmentation("b")
    False
    """

    reads_files = False

    def __init__(
        self,
        dictionary: Mapping[str, Any] | Mapping[int, Any] | None = None,
        channels: int = 1,
        classes: int = 2,
        three_dim: bool = True,
        ignore_label: int | None = None,
        label_values: Sequence[int] | Mapping[int, int] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> None:
        super().__init__(channels, classes, three_dim, ignore_label, label_values, class_names)
        self.dictionary: Mapping[str, Any] = _by_text({} if dictionary is None else dictionary)
        self.predictions: dict[str, NDArray[Any]] = {}

    def get_config(self) -> dict[str, Any]:
        """Return the arguments without the arrays."""
        return {name: to_json(getattr(self, name)) for name in _SETTINGS}

    def initialize(self, input_path: str | Path | None = None) -> list[str]:
        """Return the indices in natural order; the path is not used."""
        self.dictionary = _by_text(self.dictionary)
        return sorted(self.dictionary, key=natural_key)

    def load_image(self, index: str) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return copies of the image that was handed in and of its details."""
        entry = self._entry(index)
        if entry.get("image") is None:
            raise MissingFileError(f"sample {index!r}: the dictionary holds no image")
        return np.array(entry["image"]), copy.deepcopy(dict(entry.get("details") or {}))

    def load_segmentation(self, index: str) -> NDArray[Any]:
        """Return a copy of the segmentation that was handed in."""
        segmentation = self._entry(index).get("segmentation")
        if segmentation is None:
            raise MissingFileError(f"sample {index!r}: the dictionary holds no segmentation")
        return np.array(segmentation)

    def has_segmentation(self, index: str) -> bool:
        """Tell whether a segmentation was handed in."""
        return index in self.dictionary and self._entry(index).get("segmentation") is not None

    def load_prediction(self, index: str, output_path: str | Path | None = None) -> NDArray[Any]:
        """Return a copy of the prediction that was saved last, else of the one handed in."""
        if index in self.predictions:
            return self.predictions[index].copy()
        prediction = self._entry(index).get("prediction")
        if prediction is None:
            raise MissingFileError(f"sample {index!r}: there is no prediction yet")
        return np.array(prediction)

    def save_prediction(self, sample: Sample, output_path: str | Path | None = None) -> None:
        """Keep a copy of the prediction in :attr:`predictions`; nothing is written.

        Raises
        ------
        SampleError
            If there is no prediction.
        GridMismatchError
            If its shape is not the image's.
        """
        if sample.prediction is None:
            raise SampleError(sample.index, "there is no prediction to save")
        prediction, grid = np.array(sample.prediction), sample.geometry.shape
        if prediction.shape[: len(grid)] != grid or prediction.ndim > len(grid) + 1:
            raise GridMismatchError(
                sample.index,
                f"the prediction has shape {prediction.shape}, the image {grid}; it must be "
                "brought back to the image's grid before it is saved",
            )
        self.predictions[sample.index] = prediction

    def _entry(self, index: str) -> dict[str, Any]:
        if index not in self.dictionary:
            raise MissingFileError(f"sample {index!r}: the dictionary has no such index")
        entry = self.dictionary[index]
        if isinstance(entry, Mapping):
            unknown = sorted(set(entry) - set(_KEYS))
            if unknown:
                raise SampleError(
                    index, f"unknown key(s) {', '.join(unknown)}; known: {', '.join(_KEYS)}"
                )
            return dict(entry)
        if isinstance(entry, tuple | list):
            if not 1 <= len(entry) <= len(_KEYS):
                raise SampleError(
                    index, f"an entry has 1 to 4 items ({', '.join(_KEYS)}), got {len(entry)}"
                )
            return dict(zip(_KEYS, entry, strict=False))
        return {"image": entry}

    def __repr__(self) -> str:
        ignored = "" if self.ignore_label is None else f", ignore_label={self.ignore_label}"
        return (
            f"DictionaryInterface({len(self.dictionary)} subjects, channels={self.channels}, "
            f"classes={self.classes}, three_dim={self.three_dim}{ignored})"
        )


def _by_text(dictionary: Mapping[Any, Any]) -> Mapping[str, Any]:
    """Return the dictionary itself if all its keys are text, else one in which they are."""
    if all(isinstance(key, str) for key in dictionary):
        return dictionary
    result: dict[str, Any] = {}
    for key, entry in dictionary.items():
        if isinstance(key, bool) or not isinstance(key, str | int | np.integer):
            raise ConfigurationError(
                f"dictionary: the index {key!r} is of type {type(key).__name__}; name subjects by "
                "text (or whole numbers)"
            )
        if str(key) in result:
            raise ConfigurationError(
                f"dictionary: two subjects have the index {str(key)!r}, once as text and once as "
                "a number; rename one of them"
            )
        result[str(key)] = entry
    return result


Dictionary_interface = DictionaryInterface
"""Name in MIScnn 1.x."""
