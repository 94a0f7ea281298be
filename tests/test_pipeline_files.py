"""TOML and YAML: values, lines, and the way there and back."""

from __future__ import annotations

import json
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.pipeline import Pipeline, PipelineError, _toml, _toml_write, _yaml

_TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=12)
_LOOKALIKES = st.sampled_from(
    ["no", "yes", "1e-4", "0o17", "0x1F", "1_000", "null", "~", "12:30", "2020-01-01", "010",
     ".inf", ".5", "1.", "-", "<<", "=", "", " x ", "a: b", "# x", "true", "[", "{", "*a", "&a"]
)  # fmt: skip
_NUMBERS = st.integers(-(2**62), 2**62) | st.floats(allow_nan=False)
_SCALARS = _TEXT | _LOOKALIKES | _NUMBERS | st.booleans()
_VALUES = st.recursive(
    _SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=12,
)
_DOCUMENTS = st.dictionaries(_TEXT | st.sampled_from(["a", "b"]), _VALUES, max_size=4)


@given(_DOCUMENTS)
@settings(max_examples=150)
def test_what_is_written_is_read_back(document: dict[str, Any]) -> None:
    toml = _toml_write.write(document)
    assert same(tomllib.loads(toml), document)
    assert same(_toml.read(toml, "x")[0], document)
    if "<<" not in keys_of(document):
        assert same(_yaml.read(_yaml.write(document), "x")[0], document)


@given(_DOCUMENTS)
@settings(max_examples=100)
def test_every_key_of_a_toml_text_has_its_line(document: dict[str, Any]) -> None:
    text = _toml_write.write(document)
    _, lines = _toml.read(text, "x")
    rows = text.replace("\r\n", "\n").split("\n")
    for place in places_of(document):
        key = next(part for part in reversed(place) if isinstance(part, str))
        shown = _toml_write._key(key)
        assert shown in rows[lines[place] - 1], place


def places_of(value: Any, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else []
    inner = enumerate(value) if isinstance(value, list) else inner
    own = [place] if place else []
    return own + [p for key, item in inner for p in places_of(item, (*place, key))]


def keys_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*map(keys_of, value.values()))
    return set().union(*map(keys_of, value)) if isinstance(value, list) else set()


def same(a: Any, b: Any) -> bool:
    """Equal, in type as well: 1 is not true and not 1.0."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def test_lines_of_all_kinds_of_toml() -> None:
    text = """\
# first
title = "# no comment"
"quoted key" . 'other' = 1 # x
long = \"\"\"
[no.header]
a = 3 \\\"\"\" \"\"\"\"
raw = '''
''x'''
list = [
  1, # one ]
  { a = "]", b = [
    2 ] },

  'x' ]
date = 2020-01-01T00:00:00Z
[ a . "b.c" ]
x.y.z = 1
x.y.w = { deep . er = 1 }
[[a.steps]]
name = 1
[a.steps.sub]
k = 1
[[a.steps]]
[[a.steps.more]]
q = [ ]
[last]
"""
    values, lines = _toml.read(text, "x")
    assert values["long"] == '[no.header]\na = 3 """ "'
    expected = {
        ("title",): 2, ("quoted key",): 3, ("quoted key", "other"): 3, ("long",): 4, ("raw",): 7,
        ("list",): 9, ("list", 0): 10, ("list", 1): 11, ("list", 1, "a"): 11,
        ("list", 1, "b", 0): 12, ("list", 2): 14, ("date",): 15, ("a", "b.c"): 16,
        ("a", "b.c", "x", "y", "z"): 17, ("a", "b.c", "x", "y", "w", "deep", "er"): 18,
        ("a", "steps"): 19, ("a", "steps", 0): 19, ("a", "steps", 0, "name"): 20,
        ("a", "steps", 0, "sub"): 21, ("a", "steps", 0, "sub", "k"): 22, ("a", "steps", 1): 23,
        ("a", "steps", 1, "more", 0, "q"): 25, ("last",): 26,
    }  # fmt: skip
    assert {place: lines.get(place) for place in expected} == expected


def test_windows_line_ends_count_once() -> None:
    _, lines = _toml.read("a = 1\r\n\r\nb = '''\r\nx'''\r\nc = 2\r\n", "x")
    assert lines == {("a",): 1, ("b",): 3, ("c",): 5}


def test_yaml_is_read_as_version_1_2_says() -> None:
    text = """\
a: no
b: 1e-4
c: 010
d: 1:30
e: 2020-01-01
f: ~
g: True
h: -.inf
i: 0x1F
j: 'true'
k: 1_000
l:
m: .5
n: |
  true
"""
    values, lines = _yaml.read(text, "x")
    assert values == {
        "a": "no", "b": 1e-4, "c": 10, "d": "1:30", "e": "2020-01-01", "f": None, "g": True,
        "h": float("-inf"), "i": 31, "j": "true", "k": "1_000", "l": None, "m": 0.5, "n": "true\n",
    }  # fmt: skip
    assert type(values["g"]) is bool
    assert lines["f",] == 6
    assert lines["m",] == 13


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "a: 1\nb:\n  c: 2\n  c: 3\n",
            "x, line 4: [b] c stands here again; it was given on line 3",
        ),
        ("a: &x {b: 1}\nc: {<<: *x}\n", "x, line 2: [c] merges tables by <<"),
        ("b: 1\na: !!python/object/apply:os.system ['x']\n", "x, line 2: [a] has the tag "
         "!!python/object/apply:os.system, and tags are not supported"),
        ("a: !own 3\n", "x, line 1: [a] has the tag !own, and tags are not supported"),
        ("a: !own\n  b: 1\n", "x, line 1: [a] has the tag !own, and tags are not supported"),
        ("a:\n  b: !bar [1]\n", "x, line 2: [a] b has the tag !bar, and tags are not"),
        ("a: !!str 123\n", "x, line 1: [a] has the tag !!str, and tags are not supported; a "
         "text is written in quotes"),
        ('a: !!int "3"\n', "x, line 1: [a] has the tag !!int"),
        ("a: ! 3\n", "x, line 1: [a] has the tag !, and"),
        ("!!str a: 3\n", "x, line 1: has the tag !!str"),
        ("a: &x [*x]\n", "x, line 1: this is nested deeper than 32 levels"),
        (f"a: {'7' * 5000}\n", "x, line 1: [a] has an integer of 5000 digits"),
        ("? [a]\n: 1\n", "x, line 1: has a key that is no text"),
        ("- a\n- b\n", "x, line 1: expected sections such as data: and preprocessor:"),
        ("a: [1, 2\nb: 3\n", "x, line 2: this is no YAML: "),
        ("a: b: c\n", "x, line 1: this is no YAML: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2\n", "this is no YAML: but found another document"),
        ("a: \x07", "this is no YAML: unacceptable character"),
        ("a: *nowhere\n", "x, line 1: this is no YAML: found undefined alias"),
        ("[" * 5000, "x, line 1: this is nested deeper than 32 levels"),
    ],
)  # fmt: skip
def test_yaml_that_is_not_understood(text: str, message: str) -> None:
    with pytest.raises(PipelineError) as caught:
        _yaml.read(text, "x")
    assert message in str(caught.value)


def test_aliases_of_aliases_do_not_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{k}: &a{k} [{', '.join([f'*a{k - 1}'] * 10)}]" for k in range(1, 9)]
    with pytest.raises(PipelineError, match="more than 50000 values"):
        _yaml.read("\n".join(lines), "x")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.toml", b"[data]\npath = 3 4\n", "p.toml, line 2: this is no TOML: "),
        ("p.toml", b"[data]\npath = ", "p.toml, line 2: this is no TOML: Invalid value"),
        ("p.toml", b"a = 1\na = 2\n", "p.toml, line 2: this is no TOML: Cannot overwrite a value"),
        ("p.toml", b"a = '\xff'\n", "p.toml: this is no text in UTF-8"),
        ("p.toml", b"a = " + b"[" * 5000, "p.toml"),
        ("p.yml", b"", "p.yml: the section [data] is missing"),
        ("p.json", b"{}", "'p.json' tells no format; expected a name that ends in .toml or .yaml"),
        ("p.toml", b"#" * (2 << 20), "is larger than 1 MiB; is it a pipeline?"),
        ("p.toml", b"a = 1\nb = " + b"1" * 5000, "p.toml, line 2: this is no TOML: an integer of"),
        ("p.toml", b"\na = 0x" + b"f" * 5000, "p.toml, line 2: [a] has an integer of more tha"),
        ("p.yaml", b"a: 0x" + b"f" * 20, "p.yaml, line 1: [a] has an integer of more than 64 bits"),
        (
            "p.toml",
            b"\n" + b".".join([b"a"] * 3000) + b" = 1",
            "p.toml, line 2: this has a name of",
        ),
        ("p.toml", b" . ".join([b'"a"'] * 20_000) + b" = 1", "p.toml, line 1: this has a name of"),
        ("p.toml", b"[" + b".".join([b"a"] * 30) + b"]\na.b.c.d.e = 1", "deeper than 32 levels"),
        ("p.toml", b"a = " + b"[" * 100 + b"]" * 100, "p.toml: this is nested deeper than 32"),
        ("p.toml", b"a = [" + b"1," * 400_000 + b"]", "p.toml: this has more than 50000 values"),
        ("p.yaml", b"a: [" + b"1," * 400_000 + b"]", "p.yaml, line 1: this has more than 50000 v"),
    ],
)
def test_files_that_are_no_pipelines(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigurationError) as caught:
        Pipeline.from_file(tmp_path / name)
    assert message in str(caught.value)


def test_files_that_are_no_pipelines_are_refused_soon(tmp_path: Path) -> None:
    contents = {
        "values.yaml": "a: [" + "1," * 400_000 + "]",
        "values.toml": "a = [" + "1," * 400_000 + "]",
        "dots.toml": ".".join(["a"] * 20_000) + " = 1",
        "word.toml": "a" * 1_000_000,
        "quotes.toml": '"' * 1_000_000,
    }
    began = time.process_time()
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
        with pytest.raises(PipelineError):
            Pipeline.from_file(tmp_path / name)
    assert time.process_time() - began < 10  # 20 s and more without limits


def test_values_in_place_of_the_files_have_limits_too(tmp_path: Path) -> None:
    (tmp_path / "p.toml").write_text("")
    for name, value in (
        (".".join("a" * 3000), 1),
        ("data.path", json.loads("[" * 900 + "]" * 900)),
    ):
        with pytest.raises(ConfigurationError, match="nested deeper than 32 levels"):
            Pipeline.from_file(tmp_path / "p.toml", {name: value})


def test_names_with_points_in_texts_are_no_keys() -> None:
    text = "a = 'www.a.b.c.d.e.f'\nb = [1.5, 2.5, " + "3.5, " * 100 + "]\n"
    assert _toml.read(text, "x")[0]["a"] == "www.a.b.c.d.e.f"


def test_a_text_that_says_none_is_kept_where_it_is_free(tmp_path: Path) -> None:
    recipe = {"batch_size": 1, "patch_shape": [8, 8, 8]}
    document = {"data": {"path": "x"}, "preprocessor": recipe}
    for card in ({"name": "none"}, {"description": "none", "licence": None}, {}):
        pipeline = Pipeline({**document, "bundle": card}, tmp_path)
        written = {k: v for k, v in pipeline.to_dict()["bundle"].items() if v is not None}
        assert written == {"folder": "bundle", **{k: v for k, v in card.items() if v}}
        for name in ("p.toml", "p.yaml"):
            pipeline.to_file(tmp_path / name)
            assert Pipeline.from_file(tmp_path / name).to_dict() == pipeline.to_dict()
    training = {"checkpoint_path": "none"}
    complete = Pipeline({**document, "training": training}, tmp_path).to_dict()
    assert complete["training"]["checkpoint_path"] is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"there is no file .*p\.toml"):
        Pipeline.from_file(tmp_path / "p.toml")


# ------------------------------------------------------------------ whole pipelines

_sizes = st.lists(st.integers(1, 128), min_size=3, max_size=3)
_spacing = st.lists(st.floats(0.1, 10), min_size=3, max_size=3)
_names = st.text(st.characters(blacklist_categories=("Cs",)), max_size=8)
_subfunctions = st.lists(
    st.one_of(
        st.builds(lambda s: {"type": "Resampling", "new_spacing": s}, _spacing),
        st.builds(
            lambda s, c: {"type": "resize", "new_shape": s, "clip": c}, _sizes, st.booleans()
        ),
        st.just("Normalization"),
        st.sampled_from(["lung", "kidney"]).map(lambda n: {"type": "Windowing", "name": n}),
        st.just({"type": "Clipping", "min": -1000.5}),
    ),
    max_size=4,
)
_pipelines = st.fixed_dictionaries(
    {
        "data": st.fixed_dictionaries(
            {"path": st.sampled_from(["scans", "a/b", "../x", "/y/z"])},
            optional={
                "classes": st.integers(1, 5),
                "class_names": st.lists(_names, max_size=3),
                "label_values": st.dictionaries(
                    st.integers(0, 9).map(str), st.integers(0, 3), max_size=3
                ),
                "subjects": st.none() | st.lists(_names, max_size=3),
                "output_path": st.just("out put"),
            },
        ),
        "preprocessor": st.fixed_dictionaries(
            {"batch_size": st.integers(1, 4), "patch_shape": _sizes},
            optional={
                "seed": st.integers(0, 2**40),
                "foreground_oversampling": st.floats(0, 1),
                "subfunctions": _subfunctions,
                "augmentation": st.sampled_from(
                    ["none", "general", "ct", {"type": "general", "gamma": None}]
                ),
                "regions": st.sampled_from([{"whole": [1, 2], "core": 2}, None]),
            },
        ),
    },
    optional={
        "network": st.fixed_dictionaries(
            {},
            optional={
                "architecture": st.sampled_from(
                    ["nnunet", {"type": "UNetPlain", "normalization": "none"}, {"depth": 3}]
                ),
                "learning_rate": st.floats(1e-12, 1),
                "loss": st.sampled_from(
                    [
                        "Dice",
                        "keras.Huber",
                        {
                            "type": "CompoundLoss",
                            "losses": [[1.0, {"type": "Dice"}], [0.5, {"type": "CrossEntropy"}]],
                        },
                    ]
                ),
                "optimizer": st.sampled_from(["sgd", {"type": "Adam", "beta_1": 0.8}]),
                "metrics": st.just([{"type": "DiceScore", "class_index": 1}]),
                "schedule": st.sampled_from(["cosine", {"type": "polynomial", "power": 0.5}]),
            },
        ),
        "training": st.fixed_dictionaries(
            {},
            optional={
                "epochs": st.none() | st.integers(1, 1000),
                "validation": st.floats(0, 0.9) | st.lists(_names, max_size=3),
                "class_weight": st.sampled_from([[1.0, 2.0], {"1": 2.5}, None]),
                "checkpoint_path": st.sampled_from([None, "checks", "/c"]),
            },
        ),
        "evaluation": st.sampled_from(
            [
                {"method": "split", "percentage": 0.25},
                {"method": "leave-one-out", "n_subjects": 2},
                {"folds": 4, "splitter": "slice-sorted", "inner_validation": 0.1},
                {},
            ]
        ),
        "prediction": st.fixed_dictionaries(
            {"overlap": st.none() | st.floats(0, 0.9) | _sizes},
            optional={"mirror_axes": st.sampled_from([[], [0], [0, 2]])},
        ),
        "postprocessing": st.lists(
            st.sampled_from(
                [
                    "KeepLargest",
                    {"type": "RemoveSmall", "minimum_ml": 0.5, "labels": [1, [2, 3]]},
                    {"type": "PerClass", "steps": {"2": [{"type": "FillHoles"}]}},
                ]
            ),
            max_size=2,
        ),
        "bundle": st.fixed_dictionaries({}, optional={"name": _names, "folder": st.just("b")}),
    },
)


@given(document=_pipelines)
@settings(max_examples=30)
def test_documents_files_and_objects_agree(document: dict[str, Any], tmp_path_factory: Any) -> None:
    folder = tmp_path_factory.mktemp("pipelines")
    pipeline = Pipeline.from_dict(document, folder)
    complete = pipeline.to_dict()
    assert same(Pipeline.from_dict(complete, folder).to_dict(), complete)  # nothing is left to add
    for name in ("p.toml", "q.yaml", "other/p.toml"):
        pipeline.to_file(folder / name)
        again = Pipeline.from_file(folder / name)
        assert again == pipeline
        if "/" not in name:
            assert same(again.to_dict(), complete)
    # Objects, written down, are the tables that they were made of.
    recipe = pipeline.preprocessor()
    objects = {
        **document,
        "preprocessor": {
            **document["preprocessor"],
            "subfunctions": recipe.subfunctions,
            "augmentation": recipe.data_augmentation or "none",
        },
    }
    made = Pipeline(objects, folder)
    assert made.preprocessor().get_config() == recipe.get_config()
    assert made == pipeline
