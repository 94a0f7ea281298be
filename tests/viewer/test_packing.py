"""What a packed volume still tells: values, places, sides."""

from __future__ import annotations

import base64
import gzip
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from miscnn._viewer.encoding import encoded
from miscnn._viewer.packing import Packed, pack
from miscnn._viewer.page import thumbnail, viewer_page
from miscnn.data_loading.geometry import Geometry

# RAS: x to the patient's right, y to the front, z up; the largest spacing is along z.
SPACING = (1.0, 1.5, 4.0)


def grid(
    shape: tuple[int, ...], order: tuple[int, ...] = (0, 1, 2), flips: tuple[int, ...] = (0, 0, 0)
) -> Geometry:
    """A RAS grid of this shape, stored with permuted and flipped axes; begins at (10, 20, 30)."""
    affine = np.diag([*SPACING, 1.0])
    affine[:3, 3] = (10.0, 20.0, 30.0)
    step = np.eye(4)
    for axis, flip in enumerate(flips):
        if flip:
            step[axis, axis], step[axis, 3] = -1, shape[axis] - 1
    stored = [shape[axis] for axis in order]
    return Geometry(stored, (affine @ step)[:, [*order, 3]])


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", [(0, 0, 0), (1, 0, 0), (0, 1, 1), (1, 1, 1)])
def test_a_volume_is_turned_the_same_way_however_it_is_stored(
    order: tuple[int, ...], flips: tuple[int, ...], rng: np.random.Generator
) -> None:
    image = rng.integers(-100, 100, (8, 10, 5)).astype(np.int16)
    labels = (image > 50).astype(np.uint8)

    def stored(array: NDArray[np.generic]) -> NDArray[np.generic]:
        return np.flip(array, [k for k in range(3) if flips[k]]).transpose(order)

    packed = pack(stored(image)[..., None], stored(labels), None, grid(image.shape, order, flips))
    # rows from front to back, columns from the patient's right to the left
    expected = image[::-1, ::-1].transpose(2, 1, 0)
    slices = packed.image[0] if packed.letters[0] == "S" else packed.image[0][::-1]
    truth = packed.truth if packed.letters[0] == "S" else packed.truth[::-1]
    np.testing.assert_array_equal(slices, expected)
    np.testing.assert_array_equal(truth, expected > 50)
    assert packed.letters[1:] == ("P", "L")
    assert packed.spacing == pytest.approx((4.0, 1.5, 1.0))
    # the first voxel of the first row: right, front; and where every other one is
    for k, r, c in [(0, 0, 0), (4, 9, 7), (2, 3, 1)]:
        value = packed.image[0][k, r, c]
        x, y, z, _ = packed.affine @ [k, r, c, 1]
        voxel = (round((x - 10) / 1.0), round((y - 20) / 1.5), round((z - 30) / 4.0))
        assert image[voxel] == value


def test_places_stay_where_they_are_in_a_coarser_volume() -> None:
    image = np.zeros((40, 40, 20, 1), np.float32)
    packed = pack(image, None, None, grid((40, 40, 20)), plane=10, slices=5)
    assert packed.shape == (5, 10, 10)
    assert packed.spacing == pytest.approx((16.0, 6.0, 4.0))
    centre = packed.affine @ [2.0, 4.5, 4.5, 1.0]
    whole = grid((40, 40, 20)).affine @ [19.5, 19.5, 9.5, 1.0]
    np.testing.assert_allclose(centre, whole)
    again = packed.shrunk(0.3)
    np.testing.assert_allclose(again.affine @ [*((n - 1) / 2 for n in again.shape), 1.0], whole)
    assert again.image.size <= 0.4 * packed.image.size


def test_a_2d_image_runs_to_the_right_along_its_first_axis() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(4, 3)
    packed = pack(image[..., None], None, image > 5, Geometry.from_spacing((4, 3), (0.5, 2.0)))
    np.testing.assert_array_equal(packed.image[0, 0], image.T)
    np.testing.assert_array_equal(packed.prediction[0], image.T > 5)
    assert packed.letters == ("", "", "")
    assert packed.spacing[1:] == (2.0, 0.5)
    assert packed.flat
    np.testing.assert_allclose(packed.affine @ [0, 2, 3, 1], [1.5, 4.0, 0.0, 1.0])


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(0, 99))
def test_values_are_off_by_half_a_step_at_most(low: float, span: float, seed: int) -> None:
    image = low + span * np.random.default_rng(seed).random((6, 5, 4, 1))
    image = image.astype(np.float32)
    packed = pack(image, None, None, Geometry.from_spacing((6, 5, 4), SPACING))
    found = packed.values().astype(np.float64)
    expected = image[..., 0][::-1, ::-1].transpose(2, 1, 0).astype(np.float64)
    step = packed.slopes[0]
    assert step <= 1.0001 * (image.max() - image.min()) / 65_534 or step == 1.0
    tolerance = 0.51 * step + 4e-7 * np.abs(expected).max()
    assert np.abs(found - expected).max() <= tolerance
    coarse = packed.coarsened(100)
    assert len(np.unique(coarse.image)) <= 101
    off = np.abs(coarse.values() - packed.values()).max()
    assert off <= 0.51 * coarse.slopes[0] + 4e-7 * np.abs(expected).max()


def test_hounsfield_units_stand_for_themselves() -> None:
    image = np.full((6, 6, 4, 1), -1000.0, np.float32)
    image[2:4] = 40.0
    packed = pack(image, None, None, Geometry.from_spacing((6, 6, 4), SPACING))
    assert (packed.slopes, packed.intercepts) == ((1.0,), (0.0,))
    assert packed.ct == (True,)
    assert packed.windows == ((-160.0, 240.0),)
    assert set(np.unique(packed.image)) == {-1000, 40}


def test_channels_have_values_and_windows_of_their_own(rng: np.random.Generator) -> None:
    image = rng.random((6, 5, 4, 2)).astype(np.float32) * [1.0, 1000.0]
    packed = pack(image, None, None, Geometry.from_spacing((6, 5, 4), SPACING))
    for channel in range(2):
        expected = image[..., channel][::-1, ::-1].transpose(2, 1, 0)
        np.testing.assert_allclose(packed.values(channel), expected, atol=packed.slopes[channel])
    assert packed.windows[0][1] < 1.1 < 500 < packed.windows[1][1]


def test_nan_and_infinity_are_shown_as_zero() -> None:
    image = np.ones((3, 3, 2, 1), np.float32)
    image[0, 0, 0], image[1, 0, 0] = np.nan, np.inf
    packed = pack(image, None, None, Geometry.from_spacing((3, 3, 2), (1, 1, 3)))
    assert set(np.unique(packed.values())) == {0.0, 1.0}


def decoded(text: str) -> tuple[dict[str, object], NDArray[np.int64], list[NDArray[np.int64]]]:
    """What the script does: a program of its own, pixel by pixel."""
    document = json.loads(text)
    data = gzip.decompress(base64.b64decode(document["voxels"]))
    slices, rows, columns = document["shape"]
    size = slices * rows * columns
    images, at = [], 0
    for _ in document["channels"]:
        rest = [data[at + i] + 256 * data[at + size + i] for i in range(size)]
        at += 2 * size
        image = np.zeros((slices, rows, columns), np.int64)
        numbers = iter(rest)
        for k, r, c in np.ndindex(slices, rows, columns):
            guess = 0
            if r and c:
                guess = (int(image[k, r, c - 1]) + int(image[k, r - 1, c])) >> 1
            elif c:
                guess = int(image[k, r, c - 1])
            elif r:
                guess = int(image[k, r - 1, c])
            code = next(numbers)
            value = guess + (-(code + 1) // 2 if code & 1 else code // 2)
            image[k, r, c] = (value + 32_768) % 65_536 - 32_768
        images.append(image)
    maps = []
    for name in ("truth", "prediction"):
        if document[name]:
            labels = np.frombuffer(data, np.uint8, size, at).astype(np.int64)
            at += size
            if document["wide"]:
                labels += 256 * np.frombuffer(data, np.uint8, size, at).astype(np.int64)
                at += size
            maps.append(labels.reshape(slices, rows, columns))
    assert at == len(data)
    return document, np.stack(images), maps


@given(st.integers(0, 1000), st.sampled_from([5, 300]), st.booleans())
def test_what_is_written_into_a_page_is_read_back(seed: int, most: int, both: bool) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(-32_768, 32_767, (2, 3, 4, 5), dtype=np.int16)
    truth = rng.integers(0, most, (3, 4, 5)).astype(np.uint16)
    prediction = rng.integers(0, 5, (3, 4, 5)).astype(np.uint8)
    packed = Packed(
        image=image,
        slopes=(1.0, 0.5),
        intercepts=(0.0, -3.0),
        windows=((0.0, 1.0), (0.0, 2.0)),
        percentiles=((0.0, 1.0), (0.0, 2.0)),
        ct=(False, True),
        truth=truth if both else None,
        prediction=prediction,
        affine=np.eye(4),
        letters=("S", "P", "L"),
        sizes=(3, 4, 5),
    )
    document, images, maps = decoded(encoded(packed))
    np.testing.assert_array_equal(images, image)
    np.testing.assert_array_equal(maps[-1], prediction)
    if both:
        np.testing.assert_array_equal(maps[0], truth)
    assert document["channels"][1] == {
        "slope": 0.5, "intercept": -3.0, "window": [0.0, 2.0], "percentiles": [0.0, 2.0],
        "ct": True,
    }  # fmt: skip
    assert encoded(packed) == encoded(packed)


def test_names_cannot_end_the_script_of_the_page() -> None:
    image = np.zeros((3, 3, 2, 1), np.float32)
    name = "</script><script>alert(1)</script>"
    packed = pack(image, None, None, Geometry.from_spacing((3, 3, 2), SPACING), names={1: name})
    page = viewer_page(packed, name)
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert json.loads(encoded(packed, name))["names"] == {"1": name}


def test_the_thumbnail_is_the_middle_slice_in_true_proportions() -> None:
    from io import BytesIO

    from PIL import Image

    image = np.zeros((20, 10, 3), np.float32)
    image[:10, :, 1] = 1.0  # x up to 9: the patient's left
    packed = pack(image[..., None], None, None, Geometry.from_spacing((20, 10, 3), (1, 1, 5)))
    picture = np.asarray(Image.open(BytesIO(thumbnail(packed, 40))))
    assert picture.shape == (20, 40)
    assert picture[:, 25:].min() == 255  # shown on the right
    assert picture[:, :15].max() == 0


def test_a_2d_image_may_be_finer_than_a_slice() -> None:
    image = np.zeros((300, 150, 1), np.float32)
    grid_2d = Geometry.from_spacing((300, 150), (1.0, 1.0))
    assert pack(image, None, None, grid_2d, plane=60).shape == (1, 150, 300)
    assert pack(image, None, None, grid_2d, plane=30).shape == (1, 75, 150)


def test_the_sizes_of_the_original_and_how_it_is_counted_are_kept() -> None:
    image = np.zeros((40, 30, 20, 1), np.float32)
    packed = pack(image, None, None, grid((40, 30, 20)), plane=10, slices=5)
    assert packed.sizes == (20, 30, 40)
    assert packed.flips == (False, True, True)  # shown towards P and L, stored towards A and R
    lps = grid((40, 30, 20), flips=(1, 1, 0))
    assert pack(image, None, None, lps).flips == (False, False, False)
    flat = pack(image[:, :, 0], None, None, Geometry.from_spacing((40, 30), (1.0, 1.0)))
    assert flat.sizes == (1, 30, 40)


def test_each_channel_may_hold_hounsfield_units_or_not() -> None:
    image = np.full((6, 6, 4, 2), -1000.0, np.float32)
    image[2:4] = 40.0
    image[..., 1] = np.arange(6, dtype=np.float32)[:, None, None]
    packed = pack(image, None, None, Geometry.from_spacing((6, 6, 4), SPACING))
    assert packed.ct == (True, False)
    assert packed.windows[0] == (-160.0, 240.0)
    channels = json.loads(encoded(packed))["channels"]
    assert [channel["ct"] for channel in channels] == [True, False]
