"""Checks of what a DICOM interface is asked for, before a file is read or a net is trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from miscnn.data_loading.dicom._names import check_structures
from miscnn.data_loading.dicom._write_common import structures as described
from miscnn.data_loading.label_mapping import LabelMapping
from miscnn.exceptions import ConfigurationError, LabelError

# What labels of any file fit into.
_LOWEST, _HIGHEST = -(2**31), 2**32 - 1


def check_option(name: str, value: str, known: Collection[str]) -> None:
    """Refuse a value that is none of those that there are."""
    if value not in known:
        raise ConfigurationError(f"{name} is {value!r}; expected one of {tuple(known)}")


def check_tag(tag: str | None) -> None:
    """Refuse what is no part of a path: an empty one would be part of all."""
    if tag is not None and (not isinstance(tag, str) or not tag.strip()):
        raise ConfigurationError(f"annotation_tag is {tag!r}; expected a part of a path, or None")


def checked_structures(
    structures: Mapping[str, int] | None,
    classes: int,
    ignore_label: int | None,
    mapping: LabelMapping | None,
) -> Mapping[str, int] | None:
    """Return the mapping if each of its labels means a class (or 0, or the ignore label)."""
    if structures is None:
        return None
    check_structures(structures, "structure_dict")
    for name, label in structures.items():
        if label != 0 and label != ignore_label and not _is_declared(label, classes, mapping):
            known = f"1 … {classes - 1}" if mapping is None else "those of label_values"
            raise ConfigurationError(
                f"structure_dict has {name!r}: {label}, but with classes={classes} labels are "
                f"{known} (0: leave it out)"
            )
    return structures


def checked_background(
    background: int,
    structures: Mapping[str, int] | None,
    classes: int,
    mapping: LabelMapping | None,
) -> int:
    """Return the value of voxels in no structure if it can be told from those of structures."""
    whole = isinstance(background, int | np.integer) and not isinstance(background, bool)
    if not whole or not _LOWEST <= background <= _HIGHEST:
        raise ConfigurationError(
            f"mask_background is {background!r}; expected a whole number, {_LOWEST} … {_HIGHEST}"
        )
    if structures:
        taken = background in structures.values()
    else:  # all structures of a file are read, of any class
        taken = mapping is None and background in range(1, classes)
    if background and taken:
        raise ConfigurationError(
            f"mask_background={background} is the label of a structure too: nobody could tell the "
            "two apart; choose another value, such as 0"
        )
    return int(background)


def names_of_results(
    class_names: Sequence[str] | None, structures: Mapping[str, int] | None, classes: int
) -> list[str]:
    """Return one name for each class: its own, else the first structure of its label."""
    if class_names is not None:
        return list(class_names)
    known = {label: str(name) for name, label in reversed(list((structures or {}).items()))}
    return ["background", *(known.get(n, f"class {n}") for n in range(1, classes))]


def check_names(names: Sequence[str], argument: str) -> None:
    """Refuse names that cannot be written to DICOM, which would be found out after predicting."""
    stripped = [name.strip() if isinstance(name, str) else name for name in names]
    if len(stripped) < 2:
        raise ConfigurationError(
            "classes=1 leaves nothing to write: the background is no segment; set classes=2 or "
            "more, or output='nifti'"
        )
    try:
        described(np.zeros(0, np.uint8), stripped, None)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{argument}: {error}; change them, or set output='nifti'"
        ) from error


def _is_declared(label: int, classes: int, mapping: LabelMapping | None) -> bool:
    if mapping is None:
        return 0 < label < classes
    try:
        mapping.to_classes(np.array([label]), "")
    except LabelError:
        return False
    return True
