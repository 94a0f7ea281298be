"""Standardised uptake values (SUV) of PET, by body weight."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from miscnn.data_loading.dicom._source import number, text
from miscnn.exceptions import UnreadableFileError

_GRAMS = 1000.0
# Philips' private group: SUV for a count, Bq/ml for a count.
_PHILIPS = "Philips PET Private Group"
# An injection is no longer ago than this.
_LONGEST = 24 * 3600.0


def suv_factor(first: Any, started: str, index: str) -> float:
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
    started : str
        Earliest acquisition of all slices, ``YYYYMMDDhhmmss[.f]``; empty if unknown.
    index : str
        The subject, for messages.

    Raises
    ------
    UnreadableFileError
        If it is no PET, or a field is missing.
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
        suv, factor = _philips(first, 0x00), _philips(first, 0x09)
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
    return factor * weight * _GRAMS / (dose * _decay(first, items[0], started, index))


def _decay(first: Any, tracer: Any, started: str, index: str) -> float:
    """Return the share of the dose that is left when the voxels were corrected to."""
    correction = text(first, "DecayCorrection").upper()
    if correction == "ADMIN":
        return 1.0
    if correction != "START":
        _refuse(index, f"DecayCorrection is {correction[:8] or 'missing'}, expected START or ADMIN")
    half_life = _positive(tracer, "RadionuclideHalfLife", index)
    scan = _moment(text(first, "SeriesDate") + text(first, "SeriesTime"))
    acquired = _moment(started)
    if scan is None or (acquired is not None and acquired < scan):
        scan = acquired  # the series was made later, from what was acquired then
    if scan is None:
        _refuse(index, "SeriesDate and SeriesTime are missing or nonsense, AcquisitionTime too")
    injection = _moment(text(tracer, "RadiopharmaceuticalStartDateTime"))
    if injection is None:
        day = f"{scan:%Y%m%d}"
        injection = _moment(day + text(tracer, "RadiopharmaceuticalStartTime"))
        if injection is None:
            _refuse(
                index,
                "RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime are missing",
            )
        if injection > scan:  # before midnight
            injection -= timedelta(days=1)
    waited = (scan - injection).total_seconds()
    if not 0 <= waited <= _LONGEST:
        _refuse(
            index,
            f"the scan began {waited:.0f} s after the injection (RadiopharmaceuticalStartDateTime)",
        )
    return float(2.0 ** (-waited / half_life))


def _moment(value: str) -> datetime | None:
    """Read ``YYYYMMDDhhmm[ss[.f]]``, and what a time zone may follow; None if it is none."""
    match = re.fullmatch(r"(\d{12})(\d{2})?(\.\d{1,6})?([+-]\d{4})?", value.replace(" ", ""))
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1] + (match[2] or "00"), "%Y%m%d%H%M%S")
    except ValueError:
        return None
    # times of one scan are in one zone, whether it is told or not
    return moment.replace(tzinfo=UTC) + timedelta(seconds=float(match[3] or 0))


def _philips(dataset: Any, element: int) -> float:
    try:
        value = dataset.private_block(0x7053, _PHILIPS)[element].value
        return float(value)
    except (KeyError, TypeError, ValueError):
        return 0.0


def _positive(dataset: Any, name: str, index: str) -> float:
    value = number(dataset, name)
    if value is None or value <= 0:
        _refuse(index, f"{name} is {'missing' if value is None else 'not positive'}")
    return value


def _refuse(index: str, reason: str) -> NoReturn:
    raise UnreadableFileError(index, f"SUV cannot be computed: {reason}")
