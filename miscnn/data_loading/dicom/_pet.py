"""Standardised uptake values (SUV) of PET, by body weight."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from miscnn.data_loading.dicom._source import number, text
from miscnn.exceptions import UnreadableFileError

_GRAMS = 1000.0
# Philips' private group: SUV for a count, Bq/ml for a count.
_PHILIPS = "Philips PET Private Group"
# An injection is no longer ago than this.
_LONGEST = timedelta(days=1)
# A scan takes no longer; the series is made from it within the rest of a day.
_LONGEST_SCAN = timedelta(hours=4)
# Less is given to nobody: the dose is in MBq, not in Bq.
_LEAST_DOSE = 1e5
_FARTHEST_ZONE = 14


def suv_factor(first: Any, acquisitions: Collection[tuple[str, str, str]], index: str) -> float:
    """Return by what rescaled voxels of PET are multiplied to be SUVbw in g/ml.

    ``SUV = activity concentration · body weight / injected dose``, the dose decayed to the time
    that the concentration was corrected to (after the vendor-neutral pseudo-code of the
    Quantitative Imaging Biomarkers Alliance). By ``DecayCorrection`` this is, with ``START``, the
    start of the scan: the series' date and time, unless an acquisition is earlier; with
    ``ADMIN``, the injection. Images in ``GML`` are SUVbw already; those in ``CNTS`` (Philips)
    are multiplied by the private factors.

    Parameters
    ----------
    first : pydicom Dataset
        Header of a slice.
    acquisitions : collection of (str, str, str)
        AcquisitionDate, AcquisitionTime and AcquisitionDateTime of all slices; empty if missing.
    index : str
        The subject, for messages.

    Raises
    ------
    UnreadableFileError
        If it is no PET, or a field is missing or nonsense.

    Notes
    -----
    Times are in the zone that they name, else in ``TimezoneOffsetFromUTC``; if one names a zone
    and this is missing, they cannot be compared. An acquisition without a date belongs to the day
    on which it began at most 4 h after, or less than 20 h before the series' time.
    """
    if text(first, "Modality") != "PT":
        _refuse(index, "the series is no PET (Modality PT); leave suv=False")
    units, kind = text(first, "Units").upper(), text(first, "SUVType").upper()
    if units == "GML":
        if kind not in ("", "BW"):
            _refuse(index, f"the voxels are SUV of type {kind[:8]} (SUVType), not by body weight")
        return 1.0
    factor = 1.0
    if units == "CNTS":
        suv, factor = _philips(first, 0x00, index), _philips(first, 0x09, index)
        if suv:
            return suv
        if not factor:
            _refuse(index, "Units is CNTS, and the private factors (7053,xx00), (7053,xx09) lack")
    elif units != "BQML":
        _refuse(index, f"Units is {units[:8] or 'missing'}; expected BQML, GML or Philips' CNTS")
    for correction in ("ATTN", "DECY"):
        if correction not in text(first, "CorrectedImage").upper().split("\\"):
            _refuse(index, f"CorrectedImage does not hold {correction}")
    weight = _positive(first, "PatientWeight", index)
    items = first.get("RadiopharmaceuticalInformationSequence") or []
    if len(items) != 1:
        _refuse(index, f"RadiopharmaceuticalInformationSequence has {len(items)} items, not one")
    dose = _positive(items[0], "RadionuclideTotalDose", index)
    if dose < _LEAST_DOSE:
        _refuse(
            index,
            f"RadionuclideTotalDose is {dose:g}; expected Bq, at least {_LEAST_DOSE:g}. If it is "
            "in MBq, mend the header",
        )
    left = dose * _decay(first, items[0], acquisitions, index)
    result = factor * weight * _GRAMS / left if left > 0 else math.inf
    if not math.isfinite(result) or result <= 0:
        _refuse(index, "weight, dose and RadionuclideHalfLife do not fit together")
    return result


def _decay(
    first: Any, tracer: Any, acquisitions: Collection[tuple[str, str, str]], index: str
) -> float:
    """Return the share of the dose that is left when the voxels were corrected to."""
    correction = text(first, "DecayCorrection").upper()
    if correction == "ADMIN":
        return 1.0
    if correction != "START":
        _refuse(index, f"DecayCorrection is {correction[:8] or 'missing'}, expected START or ADMIN")
    half_life = _positive(tracer, "RadionuclideHalfLife", index)
    zone = _zone(text(first, "TimezoneOffsetFromUTC"))
    scan = _started(first, acquisitions, zone, index)
    waited = scan - _injected(tracer, scan, zone, index)
    if waited < timedelta(0):  # by how much is not told, as it may tell the date
        _refuse(index, "the scan began before the injection (RadiopharmaceuticalStartDateTime)")
    if waited > _LONGEST:
        _refuse(
            index,
            "the scan began more than 24 h after the injection (RadiopharmaceuticalStartDateTime)",
        )
    return float(2.0 ** (-waited.total_seconds() / half_life))


def _started(
    first: Any,
    acquisitions: Collection[tuple[str, str, str]],
    zone: timedelta | None,
    index: str,
) -> datetime:
    """Return when the scan began: with the series, unless it was made later from what there was."""
    series = _moment(text(first, "SeriesDate") + text(first, "SeriesTime"), zone, index)
    moments = [] if series is None else [series]
    for date, time, both in acquisitions:
        if not time and not both:
            continue
        moment = _moment(date + time, zone, index) if time else None
        moment = moment or _moment(both, zone, index)
        if moment is None and series is not None:  # without a date
            moment = _moment(text(first, "SeriesDate") + time, zone, index)
            if moment is not None and moment - series > _LONGEST_SCAN:
                moment -= timedelta(days=1)
            elif moment is not None and moment - series <= _LONGEST_SCAN - timedelta(days=1):
                moment += timedelta(days=1)
        if moment is None:
            _refuse(index, "AcquisitionDate and AcquisitionTime are nonsense, or lack a date")
        moments.append(moment)
    if not moments:
        _refuse(index, "SeriesDate and SeriesTime are missing or nonsense, AcquisitionTime too")
    return min(moments)


def _injected(tracer: Any, scan: datetime, zone: timedelta | None, index: str) -> datetime:
    injection = _moment(text(tracer, "RadiopharmaceuticalStartDateTime"), zone, index)
    if injection is not None:
        return injection
    day = f"{scan + (zone or timedelta(0)):%Y%m%d}"
    injection = _moment(day + text(tracer, "RadiopharmaceuticalStartTime"), zone, index)
    if injection is None:
        _refuse(
            index, "RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are missing"
        )
    # before midnight, if it seems to be later
    return injection - timedelta(days=1) if injection > scan else injection


def _moment(value: str, zone: timedelta | None, index: str) -> datetime | None:
    """Read ``YYYYMMDDhhmm[ss[.f]]`` and perhaps a time zone; None if it is none.

    Without any zone it is as if all were UTC.
    """
    match = re.fullmatch(r"(\d{12})(\d{2})?(\.\d{1,6})?([+-]\d{4})?", value.replace(" ", ""))
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1] + (match[2] or "00"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    if match[4] and zone is None:
        _refuse(
            index,
            "a date and time names its time zone, but TimezoneOffsetFromUTC, that of the others, "
            "is missing or nonsense",
        )
    zone = _zone(match[4]) if match[4] else zone
    if match[4] and zone is None:
        return None
    moment = moment.replace(tzinfo=UTC) + timedelta(seconds=float(match[3] or 0))
    try:
        return moment - (zone or timedelta(0))
    except OverflowError:
        return None


def _zone(value: str) -> timedelta | None:
    """Read ``+hhmm``; None if it is none."""
    match = re.fullmatch(r"([+-])(\d{2})([0-5]\d)", value)
    if match is None or int(match[2]) > _FARTHEST_ZONE:
        return None
    offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
    return offset if match[1] == "+" else -offset


def _philips(dataset: Any, element: int, index: str) -> float:
    """Return a private factor; 0 if it is missing."""
    try:
        value = float(dataset.private_block(0x7053, _PHILIPS)[element].value)
    except (KeyError, TypeError, ValueError):
        return 0.0
    if not math.isfinite(value) or value < 0:
        _refuse(index, f"the private factor (7053,xx{element:02x}) is no positive number")
    return value


def _positive(dataset: Any, name: str, index: str) -> float:
    value = number(dataset, name)
    if value is None or value <= 0:
        _refuse(index, f"{name} is {'missing' if value is None else 'not positive'}")
    return value


def _refuse(index: str, reason: str) -> NoReturn:
    raise UnreadableFileError(index, f"SUV cannot be computed: {reason}")
