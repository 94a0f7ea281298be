"""Stored label values, and the classes that they mean."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError, LabelError

# Values this close to each other are looked up in a table.
_TABLE = 1 << 16
_SHOWN = 12
# Numbers beyond are not exact as floats, so that what would be proposed may not be what is stored.
_LARGEST_PROPOSED = 1 << 53
# More values than this are no labels that anybody declares.
_MOST_CLASSES = 256
_UNANNOTATED = 255


class LabelMapping:
    """Which value in a file means which class, and back.

    Parameters
    ----------
    label_values : sequence of int or mapping of int to int
        The value of each class from class 0 on, or the class of each value. Several values may
        mean one class; the first of them is what is written. A value may mean ``ignore_label``.
    classes : int
        Number of classes; each must have a value.
    ignore_label : int, optional
        The label of voxels without annotation; in files it stands for itself.

    Raises
    ------
    ConfigurationError
        If a class has no value, a value has two classes, a class does not exist, or
        ``ignore_label`` is the value of a class.

    Examples
    --------
    >>> mapping = LabelMapping([0, 255], classes=2)
    >>> mapping.to_classes(np.array([0, 255, 255]), "a")
    array([0, 1, 1], dtype=uint8)
    >>> mapping.to_values(np.array([1, 0], dtype=np.uint8))
    array([255,   0], dtype=uint8)
    """

    def __init__(
        self,
        label_values: Sequence[int] | Mapping[int, int],
        classes: int,
        ignore_label: int | None = None,
    ) -> None:
        self._classes = classes
        self._class_of = _checked(label_values, classes, ignore_label)
        if ignore_label is not None:
            self._class_of.setdefault(ignore_label, ignore_label)
        first: dict[int, int] = {}
        for value, label in self._class_of.items():
            first.setdefault(label, value)
        self._value_of = {label: first[label] for label in sorted(first)}

    @property
    def values(self) -> list[int]:
        """The values that are written, one for each class, that of class 0 first."""
        return [self._value_of[label] for label in range(self._classes)]

    def to_classes(self, array: NDArray[Any], index: str) -> NDArray[Any]:
        """Return the classes that the values of a segmentation mean.

        Raises
        ------
        LabelError
            If a value is not declared; naming all of them.
        """
        return _replaced(array, self._class_of, index)

    def to_values(self, array: NDArray[Any], index: str = "") -> NDArray[Any]:
        """Return the values that are written for classes; undoes :meth:`to_classes`.

        Raises
        ------
        LabelError
            If there is no such class.
        """
        return _replaced(array, self._value_of, index)


def proposal(values: Sequence[float]) -> str | None:
    """Return the arguments of an interface that would take these values, or None if none can.

    Values below 0 are taken for background, the others for classes in their order. A lone 255 above
    0, 1 … often marks voxels that nobody has annotated: that comes first.

    Examples
    --------
    >>> proposal([0, 128, 255])
    'classes=3, label_values=[0, 128, 255]'
    >>> proposal([-1, 0, 4])
    'classes=2, label_values={-1: 0, 0: 0, 4: 1}'
    >>> proposal([0, 1, 255])
    'ignore_label=255 if these voxels are not annotated, or classes=3, label_values=[0, 1, 255]'
    """
    whole = [int(v) for v in values if float(v).is_integer()]
    if len(whole) < len(values) or not 0 < len(whole) <= _MOST_CLASSES:
        return None
    if max(map(abs, whole)) > _LARGEST_PROPOSED:
        return None
    classes = sorted({0, *(v for v in whole if v > 0)})
    if min(whole) >= 0:
        declared = str(classes)
    else:
        declared = str({v: classes.index(max(v, 0)) for v in sorted({0, *whole})})
    text = f"classes={len(classes)}, label_values={declared}"
    if may_be_ignored(whole):
        text = f"ignore_label={_UNANNOTATED} if these voxels are not annotated, or {text}"
    return text


def may_be_ignored(values: Sequence[float]) -> bool:
    """Tell whether 255 stands alone above 0 … n - 1 for two classes or more.

    A mask of 0 and 255 has just two classes.
    """
    found = sorted({0, *values})
    return len(found) > 2 and found == [*range(len(found) - 1), _UNANNOTATED]


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values[:_SHOWN])) + (", …" if len(values) > _SHOWN else "")


def _checked(
    label_values: Sequence[int] | Mapping[int, int], classes: int, ignore_label: int | None
) -> dict[int, int]:
    hint = (
        f"label_values={label_values!r}: expected the value of each of the {classes} classes, such "
        f"as {[0, *range(255, 254 + classes)]}, or the class of each value, such as "
        f"{dict(zip([0, *range(255, 254 + classes)], range(classes), strict=True))}"
    )
    pairs: list[tuple[Any, Any]]
    if isinstance(label_values, Mapping):
        pairs = list(label_values.items())
    else:
        pairs = [(value, label) for label, value in enumerate(label_values)]
    result: dict[int, int] = {}
    for value, label in pairs:
        try:  # JSON turns the keys of a mapping into text
            number = int(value) if isinstance(value, str) else operator.index(value)
            label = operator.index(label)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"{hint}; {value!r}: {label!r} are no integers") from error
        if not -(1 << 63) <= number < 1 << 63:
            raise ConfigurationError(f"{hint}; {number} does not fit into 64 bits with a sign")
        if not 0 <= label < classes and label != ignore_label:
            raise ConfigurationError(f"{hint}; there is no class {label} (classes={classes})")
        if result.setdefault(number, label) != label:
            raise ConfigurationError(f"{hint}; {number} would mean {result[number]} and {label}")
    if ignore_label is not None and result.get(ignore_label, ignore_label) != ignore_label:
        raise ConfigurationError(
            f"{hint}; {ignore_label} would mean class {result[ignore_label]}, but ignore_label="
            f"{ignore_label} says that such voxels are not annotated: leave out one of the two, "
            "or choose another ignore_label and declare which value means it"
        )
    missing = sorted(set(range(classes)) - set(result.values()))
    if missing:
        raise ConfigurationError(f"{hint}; no value means class {', '.join(map(str, missing))}")
    return result


def _replaced(array: NDArray[Any], mapping: Mapping[int, int], index: str) -> NDArray[Any]:
    """Return an array with every value replaced, in the smallest type for all that may come."""
    dtype = np.result_type(*(np.min_scalar_type(v) for v in mapping.values()))
    if array.dtype.kind not in "biuf":
        raise LabelError(index, f"labels must be integers, got an array of dtype {array.dtype}")
    if array.size == 0:
        return np.zeros(array.shape, dtype)
    if array.dtype.kind == "f" and not bool(np.all(np.isfinite(array))):
        raise LabelError(index, "the segmentation holds NaN or infinite values")
    low, high = min(mapping), max(mapping)
    outside = (array < low) | (array > high)
    if high - low < _TABLE and not outside.any():
        known = np.zeros(high - low + 1, dtype=bool)
        table = np.zeros(high - low + 1, dtype)
        for value, replacement in mapping.items():
            known[value - low] = True
            table[value - low] = replacement
        places = array.astype(np.int64) - low
        right = known[places]
        if array.dtype.kind == "f":
            right &= places + low == array
        if right.all():
            return np.asarray(table[places])
    result = np.zeros(array.shape, dtype)
    found = np.zeros(array.shape, dtype=bool)
    for value, replacement in mapping.items():
        here = array == value
        result[here] = replacement
        found |= here
    if found.all():
        return result
    odd = [f"{value:g}" for value in np.unique(array[~found])]
    raise LabelError(
        index,
        f"the segmentation holds {_list(odd)}; label_values declares {_list(list(mapping))} only. "
        "Declare what the others mean, 0 if they are background",
    )
