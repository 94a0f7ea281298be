"""Choosing one series of many."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from miscnn.data_loading.dicom.series import Series
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

Criteria = int | str | Mapping[str, Any]

_SHOWN = 20


def _holds(text: str, part: Any) -> bool:
    return str(part).lower() in text.lower()


def _close(value: float | None, wanted: Any) -> bool:
    return value is not None and abs(value - float(wanted)) <= 1e-3 * max(1.0, abs(value))


_TESTS: Mapping[str, Callable[[Series, Any], bool]] = MappingProxyType(
    {
        "modality": lambda series, value: series.modality == str(value).upper(),
        "number": lambda series, value: series.number == value,
        "description": lambda series, value: _holds(series.description, value),
        "stack": lambda series, value: series.stack == value,
        "slices": lambda series, value: len(series.slices) == value,
        "files": lambda series, value: len(series.files) == value,
        "plane": lambda series, value: series.plane == str(value).lower(),
        "echo_time": lambda series, value: _close(series.echo_time, value),
        "image_type": lambda series, value: _holds(series.image_type, value),
        "folder": lambda series, value: _holds(PurePath(series.files[0]).parent.as_posix(), value),
        "uid": lambda series, value: series.series_uid == value,
    }
)


def criteria_list(series: Any, channels: int) -> list[Criteria | None]:
    """Return what is asked for, one for each channel; None stands for the only series.

    Raises
    ------
    ConfigurationError
        If these are not as many as channels, or describe no series.
    """
    several = isinstance(series, Sequence) and not isinstance(series, str)
    wanted: list[Criteria | None] = list(series) if several else [series]
    if len(wanted) != channels:
        raise ConfigurationError(
            f"channels={channels}, but series names {len(wanted)} series: give one for each "
            "channel, such as series=['CT', 'PT']"
        )
    for criteria in wanted:
        if criteria is not None or several:
            _check(criteria)
    return wanted


def _check(criteria: Any) -> None:
    if isinstance(criteria, bool) or not isinstance(criteria, int | str | Mapping):
        raise ConfigurationError(
            f"series={criteria!r}: expected a modality or a part of the description (text), a "
            f"series number, or a dictionary with some of {', '.join(_TESTS)}"
        )
    if isinstance(criteria, Mapping):
        unknown = sorted(set(map(str, criteria)) - set(_TESTS))
        if unknown or not criteria:
            raise ConfigurationError(
                f"series={dict(criteria)!r}: {', '.join(unknown) or 'nothing'} cannot be asked "
                f"for; expected some of {', '.join(_TESTS)}"
            )


def choose(found: Sequence[Series], criteria: Criteria | None, index: str) -> Series:
    """Return the one series that fits.

    Scouts, and pictures that are no slices of the patient (in colours, or without a place), are
    left out where anything else fits.

    Raises
    ------
    MissingFileError
        If there is no image at all.
    SampleError
        With the list of what there is, if none or several fit.
    """
    if not found:
        raise MissingFileError(f"sample {index!r}: there is no DICOM image series")
    fitting = _fitting(found, criteria)
    fitting = [series for series in fitting if not series.is_picture] or fitting
    fitting = [series for series in fitting if not series.is_scout] or fitting
    if len(fitting) == 1:
        return fitting[0]
    asked = "" if criteria is None else f" for series={criteria!r}"
    listed = "; ".join(f"[{k}] {series.describe()}" for k, series in enumerate(found[:_SHOWN], 1))
    more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    more += "".join(f"; {text}" for text in found[0].unreadable[:_SHOWN] if not fitting)
    raise SampleError(
        index,
        f"{len(fitting) or 'none'} of {len(found)} series fit{asked}: {listed}{more}. Say which "
        "one is meant: series='CT', series=3 (its number), or a dictionary with some of "
        f"{', '.join(_TESTS)}, such as {{'modality': 'MR', 'number': 3, 'stack': 1}}",
    )


def _fitting(found: Sequence[Series], criteria: Criteria | None) -> list[Series]:
    if criteria is None:
        return list(found)
    if isinstance(criteria, str):
        same = [series for series in found if series.modality == criteria.upper()]
        return same or [series for series in found if _holds(series.description, criteria)]
    wanted = {"number": criteria} if isinstance(criteria, int) else criteria
    return [series for series in found if all(_fits(series, k, v) for k, v in wanted.items())]


def _fits(series: Series, name: str, value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return any(_TESTS[name](series, one) for one in values)
