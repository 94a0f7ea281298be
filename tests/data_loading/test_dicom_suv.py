"""Standardised uptake values of PET: by which times and amounts, and when they are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from miscnn.data_loading.dicom.series import Series, find_series, read
from miscnn.exceptions import UnreadableFileError

from .dicom_series import write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def pet(folder: Path, array: NDArray, tracer: dict[str, Any] | None = None, **values: Any) -> None:
    item = Dataset()
    known = {
        "RadionuclideTotalDose": 3e8,
        "RadionuclideHalfLife": 6600.0,
        "RadiopharmaceuticalStartTime": "090000",
    }
    for name, value in {**known, **(tracer or {})}.items():
        if value is not None:
            setattr(item, name, value)
    fields = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "CorrectedImage": ["DECY", "ATTN"],
        "PatientWeight": 75,
        "SeriesDate": "20200102",
        "SeriesTime": "100000",
        "AcquisitionDate": "20200102",
        "AcquisitionTime": lambda k: f"10{k:02d}00",
        "RadiopharmaceuticalInformationSequence": [item],
    }
    write_series(folder, array, LPS, modality="PT", **{**fields, **values})


@pytest.mark.parametrize(
    ("tracer", "values", "decay"),
    [
        ({}, {}, 2 ** (-3600 / 6600)),
        ({}, {"DecayCorrection": "ADMIN"}, 1.0),
        ({}, {"SeriesTime": "120000"}, 2 ** (-3600 / 6600)),  # made later: acquisition counts
        ({"RadiopharmaceuticalStartTime": "233000"}, {}, 2 ** (-10.5 * 3600 / 6600)),
        ({"RadiopharmaceuticalStartDateTime": "20200102093000.5"}, {}, 2 ** (-1799.5 / 6600)),
        # time zones: 8:30 UTC, and 9 UTC
        (
            {"RadiopharmaceuticalStartDateTime": "20200102083000+0000"},
            {"TimezoneOffsetFromUTC": "+0100"},
            2 ** (-1800 / 6600),
        ),
        ({}, {"TimezoneOffsetFromUTC": "-0530"}, 2 ** (-3600 / 6600)),
        (  # the scan is on the day before by UTC
            {},
            {
                "TimezoneOffsetFromUTC": "+1100",
                "AcquisitionDateTime": "20200101230000+0000",
                "AcquisitionDate": None,
                "AcquisitionTime": None,
            },
            2 ** (-3600 / 6600),
        ),
        # dates of acquisitions are missing: the series was made later, on that day or the next
        ({}, {"SeriesTime": "130000", "AcquisitionDate": None}, 2 ** (-3600 / 6600)),
        ({}, {"SeriesTime": "095900", "AcquisitionDate": None}, 2 ** (-3540 / 6600)),
        (
            {"RadiopharmaceuticalStartTime": "225000"},
            {
                "SeriesDate": "20200103",
                "SeriesTime": "003000",
                "AcquisitionDate": None,
                "AcquisitionTime": lambda k: "235000" if k < 2 else "001000",
            },
            2 ** (-3600 / 6600),
        ),
        (  # a scan that goes on past midnight
            {"RadiopharmaceuticalStartTime": "225000"},
            {
                "SeriesTime": "235000",
                "AcquisitionDate": None,
                "AcquisitionTime": lambda k: "235000" if k < 2 else "001000",
            },
            2 ** (-3600 / 6600),
        ),
    ],
)
def test_suv_by_body_weight(
    tmp_path: Path, tracer: dict[str, Any], values: dict[str, Any], decay: float
) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    pet(tmp_path, array, tracer, RescaleSlope=lambda k: 100.5 + k, **values)
    suv = read(only(tmp_path).open(), suv=True)
    activity = array * (100.5 + np.arange(4))  # Bq/ml
    assert suv.dtype == np.float32
    np.testing.assert_allclose(suv, activity * 75_000 / (3e8 * decay), rtol=1e-6)


def test_suv_of_what_is_suv_already(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    pet(tmp_path, array, Units="GML", RescaleSlope=0.5)
    np.testing.assert_allclose(read(only(tmp_path).open(), suv=True), array * 0.5)


@pytest.mark.parametrize(
    ("tracer", "values", "message"),
    [
        ({}, {"PatientWeight": None}, "PatientWeight is missing"),
        ({}, {"PatientWeight": 0}, "PatientWeight is not positive"),
        ({"RadionuclideTotalDose": None}, {}, "RadionuclideTotalDose is missing"),
        ({"RadionuclideHalfLife": None}, {}, "RadionuclideHalfLife is missing"),
        ({"RadiopharmaceuticalStartTime": None}, {}, "RadiopharmaceuticalStartTime are missing"),
        ({}, {"Units": "PROPCNTS"}, "Units is PROPCNTS"),
        ({}, {"Units": "CNTS"}, "private factors"),
        ({}, {"Units": "GML", "SUVType": "LBM"}, "LBM"),
        ({}, {"DecayCorrection": "NONE"}, "DecayCorrection is NONE"),
        ({}, {"CorrectedImage": ["DECY", "NORM"]}, "ATTN"),
        ({}, {"RadiopharmaceuticalInformationSequence": []}, "0 items"),
        (
            {"RadiopharmaceuticalStartDateTime": "20191201093000"},
            {},
            r"more than 24 h after the injection \(RadiopharmaceuticalStartDateTime\)$",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20200102100100"},
            {},
            r"before the injection \(RadiopharmaceuticalStartDateTime\)$",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20200102093000+0000"},
            {},
            "TimezoneOffsetFromUTC.*is missing",
        ),
        (
            {"RadiopharmaceuticalStartDateTime": "20200102093000+0000"},
            {"TimezoneOffsetFromUTC": "+9900"},
            "TimezoneOffsetFromUTC.*is missing or nonsense",
        ),
        ({}, {"SeriesDate": None, "AcquisitionDate": None}, "lack a date"),
        ({}, {"AcquisitionTime": "1"}, "nonsense"),
        ({"RadionuclideTotalDose": 370}, {}, "RadionuclideTotalDose is 370; expected Bq.*MBq"),
        ({"RadionuclideHalfLife": 1e-3}, {}, "RadionuclideHalfLife do not fit together"),
    ],
)
def test_suv_is_refused_without_what_it_needs(
    tmp_path: Path, tracer: dict[str, Any], values: dict[str, Any], message: str
) -> None:
    with pydicom.config.disable_value_validation():
        pet(tmp_path, np.zeros((2, 3, 4), np.int16), tracer, **values)
    with pytest.raises(UnreadableFileError, match=f"SUV cannot be computed.*{message}"):
        read(only(tmp_path).open(), suv=True)


@pytest.mark.parametrize(
    ("factors", "expected"),
    [
        ({0x00: "0.002"}, 0.002),
        ({0x00: "0", 0x09: "2.0"}, 2 * 75_000 / (3e8 * 2 ** (-3600 / 6600))),
        ({0x00: "1e400"}, r"\(7053,xx00\) is no positive"),
        ({0x00: "nan"}, r"\(7053,xx00\) is no positive"),
        ({0x00: "-1"}, r"\(7053,xx00\) is no positive"),
        ({0x09: "-inf"}, r"\(7053,xx09\) is no positive"),
    ],
)
def test_suv_of_counts_by_private_factors(
    tmp_path: Path, factors: dict[int, str], expected: Any
) -> None:
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    pet(tmp_path, array, Units="CNTS")
    with pydicom.config.disable_value_validation():
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            block = dataset.private_block(0x7053, "Philips PET Private Group", create=True)
            for element, value in factors.items():
                block.add_new(element, "DS", value)
            dataset.save_as(path)
    if isinstance(expected, str):
        with pytest.raises(UnreadableFileError, match=expected):
            read(only(tmp_path).open(), suv=True)
    else:
        np.testing.assert_allclose(read(only(tmp_path).open(), suv=True), array * expected, 1e-6)


def test_suv_of_ct_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, np.zeros((2, 3, 4), np.int16), LPS)
    with pytest.raises(UnreadableFileError, match="no PET"):
        read(only(tmp_path).open(), suv=True)
