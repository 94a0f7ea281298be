"""How many classes there are, from the segmentations themselves."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from miscnn.data_loading._checks import label_values
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.label_mapping import proposal
from miscnn.exceptions import ConfigurationError, MiscnnError

_LOG = logging.getLogger("miscnn.data_loading.layouts")

MOST_READ = 50
"""So many segmentations are read of large volumes: half a minute for CT of 200 slices of 512."""

MOST_VOXELS = 1 << 29
"""Further ones are read until these many voxels: small volumes are all read."""

_MOST_CLASSES = 256
_LARGEST_LABEL = (1 << 31) - 1
_SHOWN = 20


@dataclass(frozen=True)
class FoundClasses:
    """What the segmentations hold.

    Attributes
    ----------
    arguments : dict
        ``classes``, and ``label_values`` for masks that hold 0 and one other value than 1.
    description : str
        What was found, in words; empty without segmentations.
    """

    arguments: dict[str, Any]
    description: str


class UnclearLabelsError(ConfigurationError):
    """Nothing says what the labels mean; ``values`` are those found, if a mapping can take them."""

    def __init__(self, message: str, values: Sequence[float] = ()) -> None:
        super().__init__(message)
        self.values = tuple(int(value) for value in values)


def find_classes(interface: DataInterface, indices: Sequence[str]) -> FoundClasses:
    """Read segmentations and count the classes.

    50 that are spread evenly over the list, and further ones as long as they are small (2^29 voxels
    in all). A label that only others hold is told when they are loaded. The interface's
    ``ignore_label`` is no class.

    Raises
    ------
    ConfigurationError
        If the labels are not 0 … n − 1 and more than one besides 0: what they mean must be said.
        The message proposes ``label_values``.
    """
    labelled = _labelled(interface, indices)
    if not labelled:
        return FoundClasses({}, "")
    step = np.linspace(0, len(labelled) - 1, min(MOST_READ, len(labelled)))
    read = [labelled[round(place)] for place in step]
    chosen = set(read)
    values: dict[float, str] = {}
    unreadable: list[Exception] = []
    voxels = 0
    for index in [*read, *(index for index in labelled if index not in chosen)]:
        if index not in chosen and voxels > MOST_VOXELS:
            break
        if index not in chosen:
            read.append(index)
        try:
            segmentation = interface.load_segmentation(index)
            voxels += segmentation.size
            for value in label_values(segmentation) if segmentation.size else ():
                values.setdefault(value, index)
        except (MiscnnError, OSError) as error:
            unreadable.append(error)
            _LOG.warning("%s", error)
    if interface.ignore_label is not None:  # no class
        values.pop(float(interface.ignore_label), None)
    seen = len(read) - len(unreadable)
    if not seen:
        raise ConfigurationError(
            f"classes: none of {len(read)} segmentations can be read ({unreadable[0]}); mend that, "
            "or pass classes=…"
        ) from unreadable[0]
    part = "1 segmentation" if seen == 1 else f"{seen} segmentations"
    return _counted(
        values, part if seen == len(labelled) else f"{seen} of {len(labelled)} segmentations"
    )


def declared_classes(arguments: Mapping[str, Any], ignore_label: int | None) -> dict[str, Any]:
    """Return the number of classes that ``label_values`` or else ``class_names`` tell.

    Nothing if they do not, or if it is given.
    """
    values, names = arguments.get("label_values"), arguments.get("class_names")
    if arguments.get("classes") is not None:
        return {}
    if isinstance(values, Mapping):
        numbers = [n for n in values.values() if isinstance(n, int) and n != ignore_label]
        return {"classes": max(numbers) + 1} if numbers else {}
    for listed in (values, names):
        if isinstance(listed, Sequence) and not isinstance(listed, str) and listed:
            return {"classes": len(listed)}
    return {}


def _labelled(interface: DataInterface, indices: Sequence[str]) -> list[str]:
    """Return the subjects with a segmentation; raise what is wrong if it is so with all."""
    found, errors = [], []
    for index in indices:
        try:
            if interface.has_segmentation(index):
                found.append(index)
        except MiscnnError as error:
            errors.append(error)
    if errors and len(errors) == len(indices):
        raise errors[0]
    for wrong in errors:
        _LOG.warning("%s", wrong)
    return found


def _counted(values: dict[float, str], part: str) -> FoundClasses:
    found = sorted(values, key=lambda value: (value != value, value))  # NaN last
    shown = ", ".join(f"{value:g}" for value in found[:_SHOWN]) + (" …" if found[_SHOWN:] else "")
    if all(value.is_integer() and value >= 0 for value in found):
        whole = sorted({0, *(int(value) for value in found)})
        if whole == list(range(len(whole))) and len(whole) <= _MOST_CLASSES:
            classes = max(2, len(whole))
            return FoundClasses({"classes": classes}, f"classes={classes} found in {part}")
        if len(whole) == 2 and whole[1] <= _LARGEST_LABEL:
            text = f"classes=2, label_values={whole} found in {part}"
            return FoundClasses({"classes": 2, "label_values": whole}, text)
    odd = next((value for place, value in enumerate(found) if value != place), found[-1])
    usual = len(found) <= _MOST_CLASSES and max(map(abs, found)) <= _LARGEST_LABEL
    advice = proposal(found) if usual else None
    hold = "holds" if part == "1 segmentation" else "hold"
    raise UnclearLabelsError(
        f"classes: {part} {hold} the values {shown} ({odd:g} in sample {values[odd]!r}), which are "
        "not 0 … n - 1; say what they mean"
        + (f", such as {advice}" if advice else ": these are no label maps"),
        found if advice else (),
    )
