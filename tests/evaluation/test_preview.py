"""Previews: what is read is what was written, and no two subjects share a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.data_loading._showing import packed_sample
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.evaluation.preview import (
    preview_heading,
    preview_name,
    read_preview,
    write_preview,
)
from miscnn.exceptions import DamagedFileError, MissingFileError


def subject(index: str = "s 1") -> Sample:
    rng = np.random.default_rng(4)
    image = rng.integers(0, 200, (12, 10, 6)).astype(np.float32)
    sample = Sample(index, image, 1, 3, Geometry.from_spacing(image.shape, (1.0, 2.0, 3.0)))
    sample.add_segmentation((image > 150).astype(np.uint8))
    sample.add_prediction(rng.random((12, 10, 6, 3)), activation_output=True)
    return sample


def test_a_preview_is_read_back(tmp_path: Path) -> None:
    sample = subject()
    path = write_preview(sample, tmp_path, ["background", "a", "b"])
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    found = read_preview(path)
    expected = packed_sample(sample, ["background", "a", "b"])
    assert found.index == "s 1"
    for name in ("image", "truth", "prediction", "affine"):
        np.testing.assert_array_equal(getattr(found.packed, name), getattr(expected, name))
    for name in ("slopes", "intercepts", "windows", "percentiles", "ct", "letters", "sizes",
                 "flips", "flat", "names", "ignored"):  # fmt: skip
        assert getattr(found.packed, name) == getattr(expected, name), name
    # probabilities are shown as the label map they stand for
    labels = np.argmax(sample.prediction, axis=-1)
    np.testing.assert_array_equal(found.packed.prediction, labels[::-1, ::-1].transpose(2, 1, 0))
    assert preview_heading(path) == ("s 1", found.packed.image.size)


def test_the_size_is_bounded(tmp_path: Path) -> None:
    image = np.zeros((90, 60, 40), np.float32)
    sample = Sample("x", image, 1, 2, Geometry.from_spacing(image.shape, (1.0, 1.0, 2.0)))
    packed = read_preview(write_preview(sample, tmp_path, plane=30, slices=10)).packed
    assert packed.shape == (10, 20, 30)
    assert packed.sizes == (40, 60, 90)
    assert packed.truth is None
    assert packed.prediction is None


@given(st.text(max_size=120), st.text(max_size=120))
def test_names_are_safe_and_tell_subjects_apart(first: str, second: str) -> None:
    name = preview_name(first)
    assert Path(name).name == name
    assert name.isascii()
    assert not name.startswith(".")
    assert len(name) < 120
    assert (name == preview_name(second)) == (first == second)


def test_odd_names() -> None:
    assert preview_name("case_00001.x") == "case_00001.x.npz"
    hashed = preview_name("../a b")
    assert hashed.startswith("_a_b-")
    # an index that looks like another one's file has a name of its own
    assert preview_name(hashed.removesuffix(".npz")) != hashed
    assert preview_name("") != preview_name(".")


def test_what_is_no_preview_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.npz"):
        read_preview(tmp_path / "none.npz")
    path = write_preview(subject(), tmp_path)
    whole = path.read_bytes()
    for broken in (b"", b"text", whole[: len(whole) // 2]):
        path.write_bytes(broken)
        with pytest.raises(DamagedFileError, match=path.name):
            read_preview(path)
    np.savez_compressed(path, document=np.frombuffer(b'{"version": 9}', np.uint8))
    with pytest.raises(DamagedFileError, match="another version"):
        read_preview(path)
    np.savez_compressed(path, image=np.zeros(3))
    with pytest.raises(DamagedFileError, match="document"):
        preview_heading(path)
    with np.load(write_preview(subject(), tmp_path)) as content:
        arrays = dict(content)
    document = json.loads(bytes(arrays["document"]).decode())
    for name, value in (("slopes", [1.0, 2.0]), ("ct", []), ("windows", [[0.0, float("nan")]])):
        text = json.dumps({**document, name: value}).encode()
        np.savez_compressed(path, **{**arrays, "document": np.frombuffer(text, np.uint8)})
        with pytest.raises(DamagedFileError, match=f"its {name} are not"):
            read_preview(path)
    np.save(tmp_path / "a.npy", np.zeros(3))
    (tmp_path / "a.npy").rename(path)
    with pytest.raises(DamagedFileError, match="no archive"):
        read_preview(path)
