"""Where slices lie beside a regular grid, and what is made of those that were measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn.data_loading.dicom._resample import Resampling
from miscnn.data_loading.dicom._stack import evenly_spaced
from miscnn.data_loading.dicom.series import Series, find_series, read
from miscnn.exceptions import GridMismatchError, UnreadableFileError

from .dicom_series import write_series

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def only(folder: Path) -> Series:
    (series,) = find_series(folder)
    return series


def test_small_errors_that_add_up_are_refused(tmp_path: Path) -> None:
    places = np.r_[0, np.cumsum(np.r_[np.full(100, 1.0095), np.full(100, 0.9905)])]
    array = np.broadcast_to(places * 100, (2, 2, 201)).astype(np.int16)
    write_series(tmp_path, array, LPS, ImagePositionPatient=lambda k: [0, 0, f"{places[k]:.4f}"])
    with pytest.raises(GridMismatchError, match="unevenly spaced"):
        only(tmp_path).open()
    volume = only(tmp_path).open("resample")
    heights = volume.affine[2, 2] * np.arange(volume.shape[2])
    np.testing.assert_allclose(read(volume)[0, 0], heights * 100, atol=1.0)
    assert heights[-1] == pytest.approx(places[-1], abs=1e-3)


def test_errors_of_which_none_is_large_are_told_in_sum(tmp_path: Path) -> None:
    places = np.r_[0, np.cumsum([*[1.009] * 5, *[1.0] * 8, *[0.991] * 5])]
    write_series(
        tmp_path,
        np.zeros((2, 2, len(places)), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [0, 0, f"{places[k]:.4f}"],
    )
    wanted = r"0\.991 to 1\.009 mm, which adds up to 0\.045 mm at 5\.04 mm"
    with pytest.raises(GridMismatchError, match=wanted):
        only(tmp_path).open()


@given(
    st.integers(2, 60),
    st.floats(0.3, 10),
    st.lists(st.floats(-1, 1), min_size=60, max_size=60),
    st.floats(0, 3),
)
def test_regular_is_what_lies_within_the_tolerance(
    count: int, distance: float, noise: list[float], size: float
) -> None:
    allowed = max(0.01, 0.01 * distance)
    places = np.arange(count) * distance + np.array(noise[:count]) * size * allowed
    off = np.abs(places - np.linspace(places[0], places[-1], count)).max()
    if evenly_spaced(places):
        assert off <= 1.1 * allowed  # the usual distance may differ from the mean one
    if size <= 0.4:
        assert evenly_spaced(places)


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("high", [11, 13, 15])
def test_values_lie_below_their_highest_bit(tmp_path: Path, signed: int, high: int) -> None:
    rng = np.random.default_rng(high)
    stored = rng.integers(0, 4096, (3, 4, 2))
    shift = high - 11
    noise = rng.integers(0, 65536, stored.shape) & ~(0xFFF << shift)
    paths = write_series(
        tmp_path,
        np.zeros((3, 4, 2), np.int16),
        LPS,
        BitsStored=12,
        HighBit=high,
        PixelRepresentation=signed,
    )
    for k, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        whole = (stored[:, :, k] << shift) | noise[:, :, k]
        dataset.PixelData = np.ascontiguousarray(whole.T).astype("<u2").tobytes()
        dataset.save_as(path)
    expected = np.where(stored > 2047, stored - 4096, stored) if signed else stored
    np.testing.assert_array_equal(read(only(tmp_path).open()), expected)


def test_a_highest_bit_of_compressed_voxels_is_refused(tmp_path: Path) -> None:
    for path in write_series(tmp_path, np.ones((3, 4, 2), np.int16), LPS):
        dataset = pydicom.dcmread(path)
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
        dataset.BitsStored, dataset.HighBit = 12, 13
        dataset.save_as(path)
    with pytest.raises(UnreadableFileError, match=r"HighBit is 13 .*expected HighBit 11"):
        read(only(tmp_path).open())


def tilted(folder: Path, array: NDArray, **values: Any) -> None:
    """Each slice is shifted by 0.6 rows against the one before."""
    write_series(
        folder, array, LPS, ImagePositionPatient=lambda k: [0, f"{0.6 * k:.1f}", k], **values
    )


def test_what_was_not_measured_does_not_bleed_into_tissue(tmp_path: Path) -> None:
    array = np.full((4, 6, 5), 40, np.int16)
    array[0, 0, 0] = -1000  # the least value fills
    tilted(tmp_path, array)
    voxels = read(only(tmp_path).open("resample"))
    assert voxels.shape == (4, 6 + 3, 5)
    assert set(np.unique(voxels[1:])) == {-1000, 40}
    for k in range(5):  # every row that a measured one reaches
        first, last = int(np.floor(0.6 * k + 1e-9)), int(np.ceil(0.6 * k + 5 - 1e-9))
        np.testing.assert_array_equal(np.flatnonzero(voxels[1, :, k] == 40), range(first, last + 1))


@pytest.mark.parametrize(
    ("padding", "limit", "signed"),
    [
        (-2000, None, 1),
        (63536, None, 1),
        (-2010, -1990, 1),
        (-1990, -2010, 1),
        (63536, None, 0),
        (-2000, None, 0),
    ],
)
def test_padding_is_not_interpolated(
    tmp_path: Path, padding: int, limit: int | None, signed: int
) -> None:
    array = np.full((4, 6, 5), 40, np.int16)
    array[:, :2] = -2000  # 63536 without a sign
    with pydicom.config.disable_value_validation():
        tilted(tmp_path, array, PixelRepresentation=signed)
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            for name, value in (
                ("PixelPaddingValue", padding),
                ("PixelPaddingRangeLimit", limit),
            ):
                if value is not None:
                    dataset.add_new(name, "SS" if value < 0 else "US", value)
            dataset.save_as(path)
    voxels = read(only(tmp_path).open("resample"))
    if not signed:  # the least value fills
        np.testing.assert_array_equal(voxels, 40)
        return
    assert set(np.unique(voxels)) == {-2000, 40}
    for k in range(5):  # every row that one of tissue reaches
        first, last = (int(round_(0.6 * k + n)) for round_, n in ((np.floor, 2), (np.ceil, 5)))
        np.testing.assert_array_equal(np.flatnonzero(voxels[1, :, k] == 40), range(first, last + 1))


def test_gaps_beside_padding_take_what_was_measured(tmp_path: Path) -> None:
    array = np.broadcast_to(np.array([0, 10, 20, 40, 50]), (3, 3, 5)).astype(np.int16)
    array = array.copy()
    array[0, 0, 2] = -2000
    array[0, 1, 2:4] = -2000
    places = [0, 1, 2, 4, 5]
    write_series(
        tmp_path,
        array,
        LPS,
        ImagePositionPatient=lambda k: [0, 0, places[k]],
        PixelPaddingValue=-2000,
    )
    voxels = read(only(tmp_path).open("resample"))
    np.testing.assert_allclose(voxels[1, 1], [0, 10, 20, 30, 40, 50], atol=1e-4)
    np.testing.assert_allclose(voxels[0, 0], [0, 10, -2000, 40, 40, 50], atol=1e-4)
    np.testing.assert_allclose(voxels[0, 1], [0, 10, -2000, -2000, -2000, 50], atol=1e-4)


def test_rounding_does_not_enlarge_the_grid(tmp_path: Path) -> None:
    write_series(
        tmp_path,
        np.zeros((4, 6, 5), np.int16),
        LPS,
        ImagePositionPatient=lambda k: [f"{-1e-7 * k:.8f}", f"{0.5 * k + 1e-7:.8f}", k],
    )
    assert only(tmp_path).open("resample").shape == (4, 6 + 2, 5)


@given(st.integers(0, 2**32 - 1))
def test_interpolated_values_lie_between_measured_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = np.cumsum(rng.uniform(0.5, 2.0, 4)) - 0.5
    shifts = rng.uniform(-1, 1, (4, 2))
    low, high = np.floor(shifts.min(axis=0)), np.ceil(shifts.max(axis=0))
    plan = Resampling(
        tuple(places - places[0]),
        tuple(map(tuple, shifts)),
        (int(low[0]), int(low[1])),
        (5 + int(high[0] - low[0]), 4 + int(high[1] - low[1]), 6),
        float(places[-1] - places[0]) / 5,
    )
    array = rng.uniform(100, 200, (5, 4, 4))
    there = rng.random(array.shape) < 0.7
    hidden = np.where(there, array, 1e6)
    voxels = plan.resample(lambda k: hidden[:, :, k], -1.0, lambda k: there[:, :, k])
    if there.any():
        inside = voxels != -1
        assert inside.any()
        assert voxels[inside].min() >= array[there].min() - 1e-3
        assert voxels[inside].max() <= array[there].max() + 1e-3


@pytest.mark.parametrize("noise", [-2e-7, 2e-7, 0.0])
def test_the_noise_of_headers_loses_no_row(noise: float) -> None:
    planes = np.arange(24.0).reshape(4, 3, 2).transpose(1, 0, 2)
    shifts = ((0.0, 0.0), (noise, noise))
    resampling = Resampling((0.0, 2.0), shifts, (0, 0), (3, 4, 2), 2.0)
    found = resampling.resample(lambda k: planes[..., k], -99.0)
    np.testing.assert_allclose(found, planes, atol=1e-4)
