"""What a ``dataset.json`` says of labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from miscnn.exceptions import ConfigurationError

# Outside of what 8 bit label maps hold as classes, if a declared one cannot stay as it is.
_IGNORED = 255


@dataclass(frozen=True)
class DeclaredLabels:
    """Labels as the interface takes them.

    Attributes
    ----------
    arguments : dict
        ``classes``, and where they are needed ``class_names``, ``label_values``,
        ``ignore_label``.
    regions : dict
        The classes of each region.
    order : tuple of int
        The class that is written for each region.
    description : str
        The same in words.
    """

    arguments: dict[str, Any]
    regions: dict[str, tuple[int, ...]]
    order: tuple[int, ...]
    description: str


def declared_labels(labels: Any, content: Mapping[str, Any], file: str) -> DeclaredLabels:
    """Understand the key ``labels`` of nnU-Net (name to value or values) or MSD (value to name).

    Raises
    ------
    ConfigurationError
        If it is neither.
    """
    names = _by_name(labels, file)
    ignored = names.pop("ignore", None)
    if ignored is not None and len(ignored) != 1:
        raise ConfigurationError(f"{file}: the label 'ignore' must be one value, got {ignored}")
    values = sorted({0, *(value for found in names.values() for value in found)})
    if min(values) < 0 or (ignored and ignored[0] in values):
        raise ConfigurationError(
            f"{file}: labels are {labels}; expected values from 0 on, and another one for 'ignore'"
        )
    classes = {value: label for label, value in enumerate(values)}
    arguments: dict[str, Any] = {"classes": max(2, len(values))}
    if values != list(range(len(values))):
        arguments["label_values"] = values
    if ignored:
        arguments.update(_ignored(ignored[0], values))
    regions = {
        name: tuple(classes[value] for value in found)
        for name, found in names.items()
        if found != (0,)
    }
    overlapping = any(len(found) > 1 for found in regions.values())
    single = {found[0]: name for name, found in names.items() if len(found) == 1}
    single.setdefault(0, "background")
    if not overlapping and len(single) == arguments["classes"]:
        arguments["class_names"] = [single[value] for value in values]
    text = f"{arguments['classes']} classes"
    if "class_names" in arguments:
        text += f": {', '.join(arguments['class_names'])}"
    if overlapping:
        text += f", regions {', '.join(regions)}"
    if ignored:
        text += f", voxels of {ignored[0]} ignored"
    order = _order(content.get("regions_class_order"), classes, file) if overlapping else ()
    return DeclaredLabels(arguments, regions if overlapping else {}, order, text)


def _ignored(value: int, values: list[int]) -> dict[str, Any]:
    """Return the arguments for the value of voxels that nobody has annotated."""
    if value >= max(2, len(values)):
        return {"ignore_label": value}
    ignored = max(_IGNORED, len(values))  # the value is a class's number: it needs another
    declared = {stored: label for label, stored in enumerate(values)}
    return {"ignore_label": ignored, "label_values": {**declared, value: ignored}}


def _by_name(labels: Any, file: str) -> dict[str, tuple[int, ...]]:
    """Return the values of each name, from either of the two ways to write them."""
    wrong = ConfigurationError(
        f'{file}: labels are {str(labels)[:300]}; expected {{"background": 0, "liver": 1}} as '
        'nnU-Net has it, or {"0": "background", "1": "liver"} as MSD has it'
    )
    if not isinstance(labels, Mapping) or not labels:
        raise wrong
    found: dict[str, tuple[int, ...]] = {}
    for name, values in labels.items():
        if isinstance(values, str):  # MSD's way round
            name, values = values, name
        listed = values if isinstance(values, list) else [values]
        try:
            whole = tuple(sorted({_whole(value) for value in listed}))
        except (TypeError, ValueError, OverflowError) as error:
            raise wrong from error
        if not whole:
            raise wrong
        key = str(name) if str(name) not in found else f"{name} ({whole[0]})"
        found[key] = whole
    return found


def _whole(value: Any) -> int:
    if isinstance(value, bool) or float(value) != int(value):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def _order(order: Any, classes: Mapping[int, int], file: str) -> tuple[int, ...]:
    if order is None:
        return ()
    if not isinstance(order, list) or not all(
        isinstance(value, int) and value in classes for value in order
    ):
        raise ConfigurationError(
            f"{file}: regions_class_order is {order!r}; expected a list of the values "
            f"{list(classes)}"
        )
    return tuple(classes[value] for value in order)
