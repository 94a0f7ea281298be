"""A data set of listed files finds nothing in another folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.neural_network.prediction import find_subjects


@pytest.mark.parametrize("merged", [False, True])
def test_a_new_folder_is_looked_into(merged: bool, tmp_path: Path) -> None:
    for folder in ("old", "new"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.nii.gz").write_bytes(b"x")
    interface = NIfTIInterface(listing={"a": {"image": "a.nii.gz"}})
    wrapped = MergedLabels(interface, ((0,), (1,))) if merged else interface
    data_io = DataIO(wrapped, tmp_path / "old")
    assert find_subjects(tmp_path / "new", data_io)[1] == ["a"]
    assert find_subjects(tmp_path / "old", data_io)[1] == ["a"]


def test_bundles_do_not_tell_the_subjects() -> None:
    from types import SimpleNamespace

    from miscnn.neural_network._bundle_document import _interface_document

    interface = NIfTIInterface(listing={"patient_7": {"image": "patient_7.nii.gz"}})
    model = SimpleNamespace(preprocessor=SimpleNamespace(data=SimpleNamespace(interface=interface)))
    document = _interface_document(model)
    assert "patient_7" not in str(document)
    assert NIfTIInterface.from_config(document["config"]).listing == {}
