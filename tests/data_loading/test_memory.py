from __future__ import annotations

import json

import numpy as np
import pytest

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import Dictionary_interface, DictionaryInterface
from miscnn.exceptions import ConfigurationError, MissingFileError, SampleError

IMAGE = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
LABELS = (IMAGE > 11).astype(np.uint8)


def test_tuples_mappings_and_bare_arrays() -> None:
    details = {"spacing": (1, 2, 3), "slope": 5}
    data_io = DataIO(
        Dictionary_interface(
            {
                "t10": (IMAGE, LABELS, None, details),
                "t9": (IMAGE, None),
                "m": {"image": IMAGE, "segmentation": LABELS, "details": details},
                "b": IMAGE,
            }
        )
    )
    assert data_io.indices_list == ["b", "m", "t9", "t10"]
    assert [data_io.has_segmentation(i) for i in data_io.indices_list] == [False, True, False, True]
    for index in ("t10", "m"):
        sample = data_io.sample_loader(index)
        np.testing.assert_array_equal(sample.image[..., 0], IMAGE)
        np.testing.assert_array_equal(sample.segmentation[..., 0], LABELS)
        assert sample.image.dtype == np.int16
        assert sample.spacing == (1, 2, 3)
        assert sample.details["slope"] == 5
        assert data_io.geometry(index) == sample.geometry
    assert data_io.sample_loader("b", load_seg=False).spacing == (1, 1, 1)
    sample.add_details({"more": 1})
    assert "more" not in details


def test_predictions_are_kept_apart_and_replaced() -> None:
    given = (IMAGE, LABELS, LABELS)
    dictionary = {"a": given}
    data_io = DataIO(DictionaryInterface(dictionary))
    sample = data_io.sample_loader("a", load_pred=True)
    np.testing.assert_array_equal(sample.prediction, LABELS)
    for value in (0, 1):
        sample.add_prediction(np.full(IMAGE.shape, value))
        assert data_io.save_prediction(sample) is None
        assert data_io.sample_loader("a", load_pred=True).prediction.sum() == 24 * value
    assert dictionary["a"] is given
    assert list(data_io.interface.predictions) == ["a"]


def test_what_is_missing_is_named() -> None:
    interface = DictionaryInterface({"a": (IMAGE, None), "b": (None, LABELS), "c": {"img": 1}})
    with pytest.raises(MissingFileError, match="no such index"):
        interface.load_image("z")
    with pytest.raises(MissingFileError, match=r"'a'.*no segmentation"):
        interface.load_segmentation("a")
    with pytest.raises(MissingFileError, match=r"'b'.*no image"):
        interface.load_image("b")
    with pytest.raises(MissingFileError, match="no prediction"):
        interface.load_prediction("a")
    with pytest.raises(SampleError, match=r"unknown key.*img.*known: image"):
        interface.load_image("c")
    with pytest.raises(SampleError, match="1 to 4 items"):
        DictionaryInterface({"a": (1, 2, 3, 4, 5)}).load_image("a")
    assert not interface.has_segmentation("z")


def test_the_configuration_holds_no_arrays() -> None:
    interface = DictionaryInterface({"a": (IMAGE, LABELS)}, channels=1, classes=4, three_dim=True)
    config = interface.get_config()
    assert json.loads(json.dumps(config)) == {
        "channels": 1,
        "classes": 4,
        "three_dim": True,
        "ignore_label": None,
        "label_values": None,
        "class_names": None,
    }
    twin = DictionaryInterface.from_config(config)
    assert (twin.classes, len(twin.dictionary)) == (4, 0)
    assert repr(interface).startswith("DictionaryInterface(1 subjects")


def test_flat_images() -> None:
    data_io = DataIO(
        DictionaryInterface({"a": (IMAGE[..., :3], LABELS[..., 0])}, channels=3, three_dim=False)
    )
    sample = data_io.sample_loader("a")
    assert sample.shape == (2, 3, 3)
    assert sample.segmentation.shape == (2, 3, 1)
    assert data_io.geometry("a").ndim == 2


def test_whole_numbers_as_indices_become_text() -> None:
    given = {10: (IMAGE, LABELS), np.int64(9): IMAGE}
    data_io = DataIO(DictionaryInterface(given))
    assert data_io.indices_list == ["9", "10"]
    np.testing.assert_array_equal(data_io.sample_loader("10").segmentation[..., 0], LABELS)
    assert list(given) == [10, 9]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ((1, "1"), "two subjects have the index '1'"),
        ((1.5,), "1.5 is of type float"),
        ((True,), "bool"),
    ],
)
def test_indices_that_are_no_names_are_refused(keys: tuple, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        DictionaryInterface(dict.fromkeys(keys, IMAGE))


def test_writing_into_a_sample_leaves_the_dictionary_alone() -> None:
    image, labels = IMAGE.copy(), LABELS.copy()
    sample = DataIO(DictionaryInterface({"a": (image, labels)})).sample_loader("a")
    sample.img_data[...] = 0
    sample.seg_data[...] = 0
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(labels, LABELS)
