"""Medians, ranges and frequencies over the subjects of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from miscnn.data_loading._inspection_subject import SubjectFacts
from miscnn.data_loading._inspection_values import STATISTICS


def summarize(
    subjects: Sequence[SubjectFacts], labels: Sequence[int], names: Mapping[int, str]
) -> dict[str, Any]:
    """Return the summary as JSON values; of what no subject has, None."""
    labelled = [subject for subject in subjects if subject.voxels is not None]
    return {
        "subjects": len(subjects),
        "labelled": len(labelled),
        "errors": sum(subject.error is not None for subject in subjects),
        "shape": _axes(subject.shape for subject in subjects),
        "spacing": _axes(subject.spacing for subject in subjects),
        "n_slices": spread(subject.n_slices for subject in subjects),
        "slice_thickness": spread(subject.slice_thickness for subject in subjects),
        "orientations": _counts(subject.orientation for subject in subjects),
        "dtypes": _counts(subject.dtype for subject in subjects),
        "channels": _counts(subject.channels for subject in subjects),
        "memory": spread(subject.memory for subject in subjects),
        "intensities": _intensities([subject.intensities for subject in subjects]),
        "foreground_intensities": _intensities(
            [subject.foreground_intensities for subject in subjects]
        ),
        "foreground": spread(subject.foreground for subject in labelled),
        "ignored": sum(subject.ignored for subject in labelled),
        "classes": [_class(label, labelled, names) for label in labels],
    }


def spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Return median, least and largest of what is known; None if nothing is."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    return {"median": _median(known), "min": min(known), "max": max(known)}


def _axes(values: Iterable[Sequence[float] | None]) -> dict[str, list[float]] | None:
    """Return the spread of each array axis, if all have as many."""
    known = [value for value in values if value is not None]
    if len({len(value) for value in known}) != 1:
        return None
    return {
        "median": [_median(column) for column in zip(*known, strict=True)],
        "min": np.min(known, axis=0).tolist(),
        "max": np.max(known, axis=0).tolist(),
    }


def _median(values: Sequence[float]) -> float:
    """Return the median; the mean of two numbers without their sum, which may be infinite."""
    ordered = sorted(values)
    first, second = ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2]
    return float(first) if first == second else first / 2 + second / 2


def _counts(values: Iterable[Any]) -> dict[str, int]:
    """Return how often each value occurs, the most frequent first."""
    return dict(Counter(str(value) for value in values if value is not None).most_common())


def _intensities(
    subjects: Sequence[Sequence[Mapping[str, float] | None]],
) -> list[dict[str, Any]]:
    """Return for each channel the spread of each statistic."""
    channels = max(map(len, subjects), default=0)
    result = []
    for c in range(channels):
        known = [channel[c] for channel in subjects if len(channel) > c]
        found = [values for values in known if values is not None]
        result.append({name: spread(values[name] for values in found) for name in STATISTICS})
    return result


def _class(
    label: int, labelled: Sequence[SubjectFacts], names: Mapping[int, str]
) -> dict[str, Any]:
    holding = [subject for subject in labelled if (subject.voxels or {}).get(label)]
    voxels = sum((subject.voxels or {})[label] for subject in holding)
    total = sum(sum((subject.voxels or {}).values()) for subject in labelled)
    return {
        "label": label,
        "name": names.get(label),
        "subjects": len(holding),
        "voxels": voxels,
        "share": voxels / total if total else None,
        "ml": spread((subject.ml or {}).get(label) for subject in holding),
    }
