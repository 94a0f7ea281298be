"""What a montage shows, which way round."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from miscnn._colours import CLASS_COLOURS as COLOURS
from miscnn.data_loading import montage as module
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.data_loading.montage import montage
from miscnn.exceptions import ConfigurationError


def io(subjects: dict[str, Any], **arguments: Any) -> DataIO:
    return DataIO(DictionaryInterface(subjects, **arguments))


def colour(label: int) -> np.ndarray:
    return np.rint(np.array(to_rgb(COLOURS[label - 1])) * 255)


def places(picture: np.ndarray, label: int) -> np.ndarray:
    """Rows and columns at which there is the colour of a class."""
    return np.argwhere(np.abs(picture[..., :3] - colour(label)).max(axis=-1) < 40)


def tile(data_io: DataIO, index: str = "a", window: Any = "auto") -> Any:
    return module._tile(data_io, index, 0, window, 200)


@pytest.mark.parametrize("affine", ["RAS", "LPS", "permuted"])
def test_the_patients_right_is_on_the_left_and_anterior_up(affine: str) -> None:
    """A class in the right front of the patient, and one in the left back; 3 mm apart slices."""
    labels = np.zeros((20, 30, 5), dtype=np.uint8)  # RAS: x to the left of the picture is small x
    labels[14:18, 22:28, 1:4] = 1  # to the right in RAS, and to the front
    labels[2:6, 2:8, 1:4] = 2
    matrix = np.diag([1.0, 1.0, 3.0, 1.0])
    if affine == "LPS":
        labels = labels[::-1, ::-1]
        matrix = np.diag([-1.0, -1.0, 3.0, 1.0])
    elif affine == "permuted":
        labels = labels.transpose(2, 0, 1)
        matrix = np.array([[0, 1, 0, 0], [0, 0, 1, 0], [3, 0, 0, 0], [0, 0, 0, 1.0]])
    image = np.zeros(labels.shape)
    image.flat[0] = 1.0
    made = tile(io({"a": (image, labels, None, {"affine": matrix})}, classes=3))
    assert made.sides == ("R", "A")
    assert made.labels == (1, 2)
    picture = made.picture.astype(float)
    assert picture.shape == (200, 133, 3)  # 30 x 20 mm
    front, back = places(picture, 1), places(picture, 2)
    # x = 14 … 17 of 20 is the patient's right: columns 2 … 5 from the left of 20.
    assert front[:, 1].min() == pytest.approx(2 / 20 * 133, abs=2)
    assert front[:, 1].max() == pytest.approx(6 / 20 * 133, abs=2)
    assert front[:, 0].min() == pytest.approx(2 / 30 * 200, abs=2)
    assert front[:, 0].max() == pytest.approx(8 / 30 * 200, abs=2)
    assert back[:, 1].min() == pytest.approx(14 / 20 * 133, abs=2)
    assert back[:, 0].max() == pytest.approx(28 / 30 * 200, abs=2)


def test_pixels_have_the_shape_of_the_spacing_and_2d_images_lie_as_read() -> None:
    labels = np.zeros((40, 10), dtype=np.uint8)
    labels[30:38, 1:3] = 1  # at the right, near the top
    subject = (np.arange(400.0).reshape(40, 10), labels, None, {"spacing": (1.0, 2.0)})
    made = tile(io({"a": subject}, three_dim=False))
    assert made.picture.shape == (100, 200, 3)  # 20 mm high, 40 mm wide
    assert made.sides == ("", "")
    found = places(made.picture.astype(float), 1)
    assert found[:, 1].min() == pytest.approx(30 / 40 * 200, abs=2)
    assert found[:, 0].max() == pytest.approx(3 / 10 * 100, abs=2)


def test_the_slice_lies_in_the_middle_of_the_foreground() -> None:
    image = np.zeros((8, 8, 20)) + np.arange(20.0)
    labels = np.zeros((8, 8, 20), dtype=np.uint8)
    labels[2:4, 2:4, 2:5] = 1
    labels[2:7, 2:7, 10:17] = 1  # most of it: 7 slices of 25 voxels against 3 of 4
    data_io = io({"a": (image, labels), "b": (image, labels * 0), "c": image}, ignore_label=255)
    for index, position in (("a", 13), ("b", 10), ("c", 10)):
        sample = data_io.sample_loader(index, load_seg="if available")
        found = module._middle_slice(sample)
        assert found.image.shape == (8, 8, 1, 1)
        assert (found.image == position).all(), index
        assert found.geometry.affine[2, 3] == position
    labels[:, :, 18] = 255  # is no foreground
    found = module._middle_slice(io({"a": (image, labels)}, ignore_label=255).sample_loader("a"))
    assert (found.image == 13).all()


def test_windows() -> None:
    """Soft tissue for what looks like CT, else what the slice holds."""
    ct = np.full((10, 10, 3), 40.0)
    ct[:3] = -1000.0
    ct[7:] = 240.0
    picture = tile(io({"a": ct})).picture
    assert {int(v) for v in np.unique(picture)} >= {0, 128, 255}
    middle = picture[100, 100]
    assert middle.tolist() == [128, 128, 128]  # (40 + 160) / 400
    given = tile(io({"a": ct}), window=(40.0, 240.0)).picture
    assert given[100, 100].tolist() == [0, 0, 0]
    mr = np.zeros((10, 10, 3)) + np.linspace(0, 50000, 10)[:, None, None]
    picture = tile(io({"a": mr})).picture
    assert int(picture.max()) - int(picture.min()) == 255


def test_broken_subjects_have_a_tile_with_the_reason(tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(8, 9, 3))
    nan = np.where(image > 2, np.nan, image)
    nan[0, 0, 0] = np.nan
    data_io = io(
        {
            "bad labels": (image, np.ones((2, 2, 2), np.uint8)),
            "constant": np.ones((8, 9, 3)),
            "nan": nan,
        }
    )
    labels, constant, broken = (tile(data_io, index) for index in data_io.indices_list)
    assert labels.picture is not None
    assert "segmentation not shown: the segmentation has shape (2, 2, 2)" in labels.problem
    assert constant.problem == "all values of this slice are 1"
    assert broken.picture is None
    assert "NaN or infinite" in broken.problem
    montage(data_io, tmp_path / "m.png")
    assert (iio.imread(tmp_path / "m.png")[..., :3] > 0).any()


@pytest.mark.parametrize("n", [1, 2, 7, 61])
def test_pages_hold_all_subjects_up_to_the_limit(n: int, tmp_path: Path) -> None:
    """Each subject has a picture of its own brightness; all of them must be found."""
    labels = np.zeros((6, 6, 3), dtype=np.uint8)
    labels[2:4, 2:4] = 1
    image = np.zeros((6, 6, 3))
    image[0, 0] = 1
    data_io = io({f"s{k:02d}": (image, labels) for k in range(n)})
    montage(data_io, tmp_path / "m.png")
    picture = iio.imread(tmp_path / "m.png").astype(float)
    assert picture.shape[1] == 1500
    from scipy import ndimage

    mask = np.zeros(picture.shape[:2], dtype=bool)
    mask[tuple(places(picture, 1).T)] = True
    _, count = ndimage.label(ndimage.binary_dilation(mask, iterations=2))
    assert count == min(n, 60) + 1  # and the legend
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.png"]


def test_more_than_the_limit_are_chosen_evenly_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.arange(27.0).reshape(3, 3, 3)
    data_io = io({f"s{k}": image for k in range(10)})
    shown, said = [], []
    original = module._tile

    def noting(data_io: DataIO, index: str, *others: Any) -> Any:
        shown.append(index)
        return original(data_io, index, *others)

    def explain(figure: Any, labels: Any, names: Any, n: int, total: int) -> None:
        said.append((n, total))

    monkeypatch.setattr(module, "_tile", noting)
    monkeypatch.setattr(module, "_explain", explain)
    montage(data_io, tmp_path / "m.png", most=4)
    assert shown == ["s0", "s2", "s5", "s7"]
    assert said == [(4, 10)]


def test_arguments_are_checked(tmp_path: Path) -> None:
    data_io = io({"a": np.arange(27.0).reshape(3, 3, 3)})
    for path, arguments, message in (
        ("m.xyz", {}, "unknown ending"),
        ("m.png", {"indices": []}, "no subjects"),
        ("m.png", {"most": 0}, "most=0"),
        ("m.png", {"columns": 0}, "columns=0"),
        ("m.png", {"window": (3.0, 3.0)}, "low < high"),
        ("m.png", {"channel": 1}, "channel=1 does not exist"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            montage(data_io, tmp_path / path, **arguments)
    assert not list(tmp_path.iterdir())


def test_names_are_no_mathematics(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.arange(27.0).reshape(3, 3, 3)
    name = "$\\frac{$"
    data_io = io({name: (image, image > 9), "a": (image, image > 40)}, class_names=["$", name])

    def fail(self: DataIO, index: str, *arguments: Any, **others: Any) -> None:
        raise ConfigurationError(f"no {name}")

    montage(data_io, tmp_path / "m.png")
    monkeypatch.setattr(DataIO, "sample_loader", fail)
    montage(data_io, tmp_path / "n.png")
    assert (tmp_path / "m.png").stat().st_size > 1000
    assert (iio.imread(tmp_path / "n.png")[..., :3] > 0).any()


@pytest.mark.parametrize("shape", [(1800, 3), (3, 1800)])
def test_a_tile_that_is_a_mere_line_tells_so(shape: tuple[int, int], tmp_path: Path) -> None:
    image = np.random.default_rng(0).normal(size=(*shape, 4))
    data_io = io({"a": (image, np.ones(image.shape, np.uint8), None, {"spacing": (1, 1, 2.0)})})
    made = tile(data_io)
    narrow = "1800 x 3 mm" if shape[0] > 3 else "3 x 1800 mm"
    assert made.problem == f"{narrow}: too narrow to be seen here"
    assert made.picture.shape[1] == 200
    assert made.picture.shape[0] == (100 if shape[0] > 3 else 200)
    lines = np.argwhere(made.picture.any(axis=-1))
    assert np.ptp(lines, axis=0).tolist() == ([0, 199] if shape[0] > 3 else [199, 0])
    assert tile(io({"a": image[:40, :40]})).problem == ""
    montage(data_io, tmp_path / "m.png")
