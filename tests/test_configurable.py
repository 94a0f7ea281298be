from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn._configurable import (
    Configurable,
    deserialize,
    from_json,
    import_classes,
    serialize,
    to_json,
)
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.exceptions import ConfigurationError


class Part(Configurable):
    def __init__(self, size: Any = (1, 2), name: str | None = None, *, inner: Any = None) -> None:
        self.size = size
        self.name = name
        self.inner = inner


class Learner(Part):
    mean = 0.0

    def get_state(self) -> dict[str, Any]:
        return {"mean": self.mean} if self.mean else {}

    def set_state(self, state: Any) -> None:
        self.mean = state["mean"]


CUSTOM = {"Part": Part, "Learner": Learner}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: (
        st.lists(children).map(tuple)
        | st.dictionaries(
            st.text().filter(lambda key: key not in ("class", "config", "state")), children
        )
    ),
    max_leaves=12,
)


@given(value=values)
def test_values_survive_json(value: Any) -> None:
    assert from_json(json.loads(json.dumps(to_json(value)))) == value


@given(size=values, name=st.text())
def test_a_part_is_made_again_from_its_document(size: Any, name: str) -> None:
    part = Part(size, name)
    twin = deserialize(json.loads(json.dumps(serialize(part))), CUSTOM)
    assert twin == part
    assert twin.size == size
    assert twin is not part


def test_numpy_values_become_plain() -> None:
    config = Part(np.arange(3), inner={"a": np.float32(0.5)}).get_config()
    assert config == {"size": [0, 1, 2], "name": None, "inner": {"a": 0.5}}
    assert Part.from_config(config).size == (0, 1, 2)


def test_parts_inside_of_parts() -> None:
    outer = Part(inner=NIfTIInterface(classes=4, image=["*_a.nii"]))
    twin = deserialize(json.loads(json.dumps(serialize(outer))), CUSTOM)
    assert isinstance(twin.inner, NIfTIInterface)
    assert twin == outer
    assert twin != Part(inner=NIfTIInterface(classes=5))


def test_what_was_learned_is_part_of_the_document_and_of_equality() -> None:
    part = Learner()
    part.mean = 2.5
    twin = deserialize(serialize(part), CUSTOM)
    assert twin.mean == 2.5
    assert twin == part
    assert Learner() != part
    with pytest.raises(ConfigurationError, match=r"no learned state.*mean"):
        Part().set_state({"mean": 1})
    assert Part() != Learner()


def test_a_class_of_the_users_must_be_handed_in() -> None:
    document = serialize(Part())
    with pytest.raises(ConfigurationError, match=r"custom_objects=\{'Part': Part\}"):
        deserialize(document)
    assert deserialize(document, {document["class"]: Part}) == Part()


@pytest.mark.parametrize(
    "name",
    [
        "os:system",
        "subprocess:Popen",
        "builtins:eval",
        "miscnn._configurable:importlib",
        "miscnn._configurable:to_json",
        "miscnn._files:Path",
        "miscnn.data_loading.interfaces.nifti:np",
        "miscnn.exceptions:SampleError",
        "miscnn_evil:Part",
        "miscnn.nowhere:Part",
        "miscnn..os:system",
        "miscnn.data_loading:interfaces.nifti.NIfTIInterface",
        "miscnn:__class__",
        "",
    ],
)
def test_a_strangers_document_makes_nothing_run(name: str) -> None:
    with pytest.raises(ConfigurationError, match="not part of miscnn"):
        deserialize({"class": name, "config": {}})
    with pytest.raises(ConfigurationError, match="not part of miscnn"):
        from_json({"class": name, "config": {"args": ["rm"]}})


@pytest.mark.parametrize("document", [{}, {"class": "miscnn:x"}, {"config": {}}, [], None, "x"])
def test_what_is_no_document_is_refused(document: Any) -> None:
    with pytest.raises(ConfigurationError):
        deserialize(document)


def test_unknown_arguments_and_values_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Part does not know .*colour.*size, name"):
        Part.from_config({"colour": 1})
    with pytest.raises(ConfigurationError, match="cannot be written as JSON"):
        Part(inner=object()).get_config()


def test_text_form_and_hash() -> None:
    assert repr(Part(name="x")) == "Part(size=(1, 2), name='x', inner=None)"
    with pytest.raises(TypeError, match="unhashable"):
        hash(Part())


class Renamed(Configurable):
    """Stores an argument under another name, as classes from before may do."""

    def __init__(self, low: float = 0, high: float = 1) -> None:
        self._low = low
        self.high = high


def test_an_argument_that_was_stored_under_another_name_is_named() -> None:
    part = Renamed(2)
    with pytest.raises(
        ConfigurationError,
        match=r"Renamed has no attribute 'low'.*store each argument of the constructor under its "
        r"own name, or write get_config\(\)/from_config\(\)",
    ):
        serialize(part)
    assert repr(part) == "Renamed(low=?, high=1)"
    assert part == part
    assert part != Renamed(2)


@pytest.mark.parametrize(
    "name",
    [
        "miscnn.__main__:main",  # is run by being imported
        "miscnn.neural_network.__init__:Configurable",
        "miscnn..data_loading:NIfTIInterface",
        "miscnn.data_loading.interfaces:__class__",
        "miscnnother:Part",
        "miscnn._configurable:serialize",
        "miscnn._configurable:importlib",
        "miscnn:",
        ":",
    ],
)
def test_other_names_of_the_library_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not part of miscnn"):
        deserialize({"class": name, "config": {}})


def test_classes_of_modules_that_the_user_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_module.py").write_text(
        "from miscnn._configurable import Configurable\n"
        "from miscnn.processing.regions import Regions\n"
        "class Own(Configurable):\n"
        "    def __init__(self, inner=None):\n"
        "        self.inner = inner\n"
        "class Other:\n"
        "    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    inner = {"class": "own_module:Own", "config": {"inner": 5}}
    document = {"class": "own_module:Own", "config": {"inner": [inner]}}
    assert import_classes(document, ()) == {}
    assert import_classes(document, ("own_modul", "module")) == {}
    assert "own_module" not in sys.modules
    found = import_classes([{"deep": document}], ("own_module",))
    part = deserialize(document, found)
    assert (type(part).__name__, part.inner[0].inner) == ("Own", 5)
    for name in ("Other", "Regions", "Missing"):
        document = {"class": f"own_module:{name}", "config": {}}
        with pytest.raises(ConfigurationError, match="defines no part of this name"):
            import_classes(document, ("own_module",))
    with pytest.raises(ConfigurationError, match="cannot be imported"):
        import_classes({"class": "own_module.x:A", "config": {}}, ("own_module",))
    sys.modules.pop("own_module")
