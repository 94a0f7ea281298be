"""What a sample shows of itself in a notebook."""

from __future__ import annotations

import base64
import html
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError


def subject(index: str = "s1", ignore_label: int | None = None) -> Sample:
    image = np.zeros((6, 5, 4), np.float32)
    image[3:, :, 1] = 2.5
    sample = Sample(
        index, image, 1, 3, Geometry.from_spacing((6, 5, 4), (1.0, 2.0, 3.5)),
        ignore_label=ignore_label,
    )  # fmt: skip
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[0, 0, :3] = 2
    sample.add_segmentation(labels)
    return sample


def volume_of(page: str) -> dict[str, object]:
    found = re.search(r'id="volume">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_the_table_tells_grid_values_and_voxel_counts() -> None:
    shown = subject()._repr_html_()
    text = re.sub(r"<[^>]+>", "|", shown)
    for expected in (
        "6 x 5 x 4",
        "1 x 2 x 3.5 mm",
        "RAS",
        "0 … 2.5 (float32)",
        "0: 117; 2: 3 voxels",
    ):
        assert f"|{expected}|" in text
    data = re.search(r"base64,([^\"]+)", shown)
    assert data is not None
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(data[1]))))
    # slice 1 of 4, 6 mm wide and 10 mm high; x from 3 on is the patient's right: on the left
    assert picture.shape == (160, 96)
    assert picture[:, :30].min() > 200 > 50 > picture[:, 66:].max()


def test_text_is_escaped() -> None:
    sample = subject("<script>alert(1)</script>")
    assert "<script>" not in sample._repr_html_()
    view = sample.show(["<i>", "b", "c"])
    frame = view._repr_html_()
    assert "<script>" not in frame  # all of the page is the value of an attribute
    assert frame.count("<iframe") == 1
    assert html.unescape(re.search(r'srcdoc="([^"]*)"', frame)[1]) == view.page
    assert "<script>alert" not in view.page


def test_names_and_what_is_not_annotated() -> None:
    document = volume_of(subject().show({1: "liver"}).page)
    assert document["names"] == {"1": "liver"}
    assert document["truth"]
    assert not document["prediction"]
    document = volume_of(subject(ignore_label=9).show(["background", "a", "b"]).page)
    assert document["names"]["9"] == "not annotated"
    assert document["ignored"] == 9
    with pytest.raises(ConfigurationError, match="class_names"):
        subject().show("liver")


def test_the_page_is_complete_in_itself(tmp_path: Path) -> None:
    view = subject().show()
    path = view.save(tmp_path / "s.html")
    page = path.read_text(encoding="utf-8")
    assert page == view.page
    assert not re.search(r"""(src|href)=|https?://|@import|url\(""", page)
    assert ".save(" in repr(view)
    assert "s1" in repr(view)


def test_the_size_can_be_bounded() -> None:
    sample = subject()
    assert volume_of(sample.show(plane=3, slices=2).page)["shape"] == [2, 2, 3]
    with pytest.raises(ConfigurationError, match="plane=0"):
        sample.show(plane=0)


def test_a_prediction_on_another_grid_is_left_out() -> None:
    sample = subject()
    sample.add_prediction(np.zeros((3, 3, 3), np.uint8))
    assert not volume_of(sample.show().page)["prediction"]
    sample.add_prediction(np.ones((6, 5, 4), np.uint8))
    assert volume_of(sample.show().page)["prediction"]


def test_2d_images_and_what_is_not_finite() -> None:
    image = np.full((4, 6), np.nan, np.float32)
    image[0, 0] = 3.0
    sample = Sample("flat", image, 1, 2, three_dim=False)
    text = re.sub(r"<[^>]+>", "|", sample._repr_html_())
    assert "|3 … 3, 23 NaN or infinite (float32)|" in text
    assert "orientation" not in text
    assert volume_of(sample.show().page)["shape"] == [1, 6, 4]
