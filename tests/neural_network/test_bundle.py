"""Bundles: what is written, that it comes back as it was, and that what is not whole is refused."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError, DamagedFileError, MissingFileError
from miscnn.neural_network import _bundle_files as files
from miscnn.neural_network import bundle
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.mean_ensemble import MeanEnsemble
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.postprocessing import KeepLargest, PostProcessing
from miscnn.processing.subfunctions import Normalization

NAMES = ["background", "kidney", "tumour | of it"]
PATIENTS = ("Mustermann_Erika_1957", "Doe^John", "patient-three")


def data(shape: tuple[int, int] = (24, 20)) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    subjects = {}
    for number, name in enumerate(PATIENTS):
        size = (shape[0] + 4 * number, shape[1])
        label = np.zeros(size, np.uint8)
        label[4:12, 4:12], label[6:9, 6:9] = 1, 2
        image = (rng.normal(size=size) + label).astype(np.float32)
        subjects[name] = (image, label, None, {"spacing": (0.5 + 0.25 * number, 2.0)})
    return subjects


def make_model(folder: Path, **options: Any) -> miscnn.NeuralNetwork:
    interface = DictionaryInterface(data(), 1, 3, False, class_names=NAMES)
    data_io = miscnn.DataIO(interface, None, folder / "out", folder / "batches")
    recipe = miscnn.Preprocessor(
        data_io,
        1,
        [Normalization("z-score", statistics="dataset")],
        None,
        analysis="fullimage",
        cache="memory",
    )
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1), **options)


def trained(folder: Path, **options: Any) -> miscnn.NeuralNetwork:
    model = make_model(folder, **options)
    model.train(PATIENTS[:2], epochs=1, verbose=0)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a trained network; tests that change files copy it."""
    folder = tmp_path_factory.mktemp("saved")
    model = trained(
        folder,
        prediction=PredictionSettings(mirror_axes=(0,), window_weight="constant"),
        postprocessing=PostProcessing([KeepLargest([1])]),
    )
    header = "fold\tsample\tclass\tclass_name\tmetric\tvalue\tn_slices\tslice_thickness_mm"
    lines = [f"0\t{name}\t1\tkidney\tdice\t0.{k}\t1\tnan" for k, name in enumerate(PATIENTS, 5)]
    (folder / "scores.tsv").write_text("\n".join([header, *lines]) + "\n")
    model.save(
        folder / "bundle",
        name="Kidneys",
        licence="CC BY-NC 4.0",
        colours={"kidney": "red"},
        scores=folder / "scores.tsv",
    )
    assert model.preprocessor.subfunctions[0].get_state()["indices"] == list(PATIENTS[:2])
    return folder / "bundle"


def copied(saved: Path, target: Path) -> Path:
    target.mkdir()
    for path in saved.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def image() -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(size=(22, 26, 1)).astype(np.float32)


def probabilities(model: Any) -> NDArray[np.float32]:
    (found,) = model.predict(image(), activation_output=True, verbose=0)
    return np.asarray(found)


def test_a_bundle_comes_back_as_it_was(saved: Path) -> None:
    assert sorted(path.name for path in saved.iterdir()) == [
        "README.md",
        "SHA256SUMS",
        "model.keras",
        "pipeline.json",
        "scores.tsv",
    ]
    model = miscnn.load(saved)
    assert model.prediction == PredictionSettings(mirror_axes=(0,), window_weight="constant")
    assert model.postprocessing == PostProcessing([KeepLargest([1])])
    assert model.bundle_digest == bundle.digest(saved)
    assert model.card.name == "Kidneys"
    assert model._epochs_trained == 1
    again = saved.parent / "again"
    model.save(again)
    # The card, the classes and what it was trained on are still known.
    before, after = bundle.describe(saved), bundle.describe(again)
    for key in ("folder", "size", "digest", "scores", "scores_from"):  # whose they are is not known
        before.pop(key), after.pop(key)
    assert after == before
    np.testing.assert_array_equal(probabilities(miscnn.load(again)), probabilities(model))


def test_what_is_trained_on_is_another_network(tmp_path: Path, saved: Path) -> None:
    model = miscnn.load(saved)
    model.preprocessor.data_io = make_model(tmp_path).preprocessor.data_io
    model.train([PATIENTS[2]], epochs=1, verbose=0)
    assert model.bundle_digest is None
    model.save(tmp_path / "more")
    found = bundle.describe(tmp_path / "more")["fingerprint"]
    assert (found["subjects"], found["before"]["subjects"]) == (1, 2)
    model.reset()
    model.save(tmp_path / "none")
    assert bundle.describe(tmp_path / "none")["fingerprint"] is None


def test_the_check_sums_are_those_of_other_programs(saved: Path) -> None:
    told = subprocess.run(
        ["sha256sum", "-c", "SHA256SUMS"], cwd=saved, capture_output=True, text=True, check=True
    )
    assert told.stdout.count(": OK") == 4


def test_another_process_predicts_the_same(saved: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", image())
    code = (
        "import sys, numpy as np, miscnn\n"
        "model = miscnn.load(sys.argv[1])\n"
        "image = np.load(sys.argv[2] + '/image.npy')\n"
        "(found,) = model.predict(image, activation_output=True, verbose=0)\n"
        "np.save(sys.argv[2] + '/found.npy', found)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(saved), str(tmp_path)], check=True, timeout=120)
    found = np.load(tmp_path / "found.npy")
    np.testing.assert_array_equal(found, probabilities(miscnn.load(saved)))


# ---------------------------------------------------------------------- what it says


def test_what_a_bundle_says_without_keras(saved: Path) -> None:
    code = (
        "import sys, json\n"
        "from miscnn.neural_network._bundle_files import describe\n"
        "print(json.dumps(describe(sys.argv[1])))\n"
        "assert not {'keras', 'tensorflow', 'torch', 'jax', 'h5py'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(saved)], capture_output=True, text=True, check=True
    )
    told = json.loads(done.stdout)
    assert told == bundle.describe(saved)
    assert (told["kind"], told["name"], told["architecture"]) == (
        "network",
        "Kidneys",
        "UNetStandard",
    )
    assert told["labels"] == [
        {"label": 0, "name": "background", "colour": None, "value": 0},
        {"label": 1, "name": "kidney", "colour": "#ff0000", "value": 1},
        {"label": 2, "name": "tumour | of it", "colour": "#3fa9f5", "value": 2},
    ]
    assert told["inputs"] == {
        "channels": 1,
        "three_dim": False,
        "format": "Dictionary",
        "steps": ["Normalization"],
        "patch_shape": None,
    }
    assert told["versions"]["miscnn"] == miscnn.__version__
    assert told["fingerprint"] == {
        "subjects": 2,
        "headers_read": 2,
        "format": "Dictionary",
        "channels": 1,
        "three_dim": False,
        "shape": {"min": [24, 20], "median": [26, 20], "max": [28, 20]},
        "spacing": {"min": [0.5, 2.0], "median": [0.625, 2.0], "max": [0.75, 2.0]},
    }
    assert told["size"] == sum(
        path.stat().st_size for path in saved.iterdir() if path.name != "SHA256SUMS"
    )
    (score,) = told["scores"]
    assert (score["name"], score["metric"], score["n"]) == ("kidney", "dice", 3)
    assert (score["mean"], score["worst"]) == (pytest.approx(0.6), 0.5)
    assert told["scores_from"] == {"from": "not known", "folds": 1, "subjects": 3, "trained_on": 2}
    assert told["digest"] == bundle.digest(saved)


def test_the_card(saved: Path, tmp_path: Path) -> None:
    text = (saved / "README.md").read_text()
    for line in (
        "# Kidneys",
        "CC BY-NC 4.0",
        "| 1 | kidney | #ff0000 | 1 |",
        "| 2 | tumour \\| of it | #3fa9f5 | 2 |",
        "- Intended use: not stated.",
        "| kidney | dice | 3 | 0.600 | 0.100 | 0.600 | 0.500 |  |  |",
        "- Subjects: 2 (headers of 2 were read)",
        "- Architecture: UNetStandard",
        "- Loss: TverskyCrossEntropy",
        "- Epochs trained: 1",
        "Given when it was saved: which network they are of is not known. Subjects: 3; this "
        "network's training saw 2 of them.",
        "- Voxel spacing, mm: median 0.625 x 2 (lowest 0.5 x 2, highest 0.75 x 2)",
        f"- miscnn {miscnn.__version__}",
        "miscnn predict path/to/this/folder folder/of/images predictions",
    ):
        assert line in text.splitlines(), line
    make_model(tmp_path).save(tmp_path / "bundle")
    bare = (tmp_path / "bundle" / "README.md").read_text()
    assert "**LICENCE NOT STATED.**" in bare
    assert bare.count("Not stated.") == 2  # training data and scores
    assert "- Epochs trained: 0\n- **NEVER TRAINED.**" in bare
    assert "NEVER" not in text


def test_no_name_of_a_subject_is_in_a_bundle(saved: Path) -> None:
    for path in saved.iterdir():
        content = path.read_bytes()
        assert not any(name.encode() in content for name in PATIENTS), path
        assert str(saved.parent).encode() not in content, path
    state = miscnn.load(saved).preprocessor.subfunctions[0].get_state()
    assert state["indices"] == ["1", "2"]
    assert state["voxels"] == 24 * 20 + 28 * 20
    assert (saved / "scores.tsv").read_text().splitlines()[1].startswith("0\t1\t1\tkidney\tdice")


def test_colours(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    for colours, expected in (
        (None, [None, "#f0a000", "#3fa9f5"]),
        (["#112233", (0, 0, 1)], [None, "#112233", "#0000ff"]),
        (["black", "#112233", "w"], ["#000000", "#112233", "#ffffff"]),
        ({2: "#ABC"}, [None, "#f0a000", "#aabbcc"]),
    ):
        model.save(tmp_path / "bundle", colours=colours)
        labels = bundle.describe(tmp_path / "bundle")["labels"]
        assert [label["colour"] for label in labels] == expected
    for colours, message in (
        ({3: "red"}, r"class 3; expected 0 … 2 or one of background, kidney"),
        ({1: "reddish"}, "'reddish' of class 1 is no colour; expected '#ff8800', a name"),
        ([(255, 0, 0), (0, 255, 0)], r"\(255, 0, 0\) of class 1 is no colour.*numbers 0 … 1"),
        (5, "a list of 2"),
        (["red"], "a list of 2"),
        ("red", "a list of 2"),
    ):
        with pytest.raises(ConfigurationError, match=message):
            model.save(tmp_path / "other", colours=colours)
    with pytest.raises(ConfigurationError) as caught:
        model.save(tmp_path / "other", colours={1: (255, 0, 0)})
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    model.preprocessor.data.interface.class_names = None
    with pytest.raises(ConfigurationError, match=r"'kidney'; expected 0 … 2, for .*no class_names"):
        model.save(tmp_path / "other", colours={"kidney": "red"})
    assert not (tmp_path / "other").exists()


# ---------------------------------------------------------------------- what is not whole


def test_a_changed_file_is_named(saved: Path, tmp_path: Path) -> None:
    for name in ("model.keras", "pipeline.json", "README.md", "scores.tsv"):
        folder = copied(saved, tmp_path / f"changed-{name}")
        content = bytearray((folder / name).read_bytes())
        content[len(content) // 2] ^= 1
        (folder / name).write_bytes(content)
        for read in (miscnn.load, bundle.describe):
            with pytest.raises(DamagedFileError, match=f"Changed: {re.escape(name)}"):
                read(folder)


def test_a_missing_file_is_named(saved: Path, tmp_path: Path) -> None:
    for name, message in (
        ("model.keras", r"Missing: model\.keras"),
        ("README.md", r"Missing: README\.md"),
        ("pipeline.json", r"Missing: pipeline\.json"),
        ("SHA256SUMS", "holds no SHA256SUMS, which is written last: the bundle is incomplete"),
    ):
        folder = copied(saved, tmp_path / f"without-{name}")
        (folder / name).unlink()
        with pytest.raises(MissingFileError, match=message):
            miscnn.load(folder)


def test_what_is_not_listed_is_not_read(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "more")
    (folder / "ensemble.json").write_text("no JSON")
    (folder / "notes.txt").write_text("mine")
    assert isinstance(miscnn.load(folder), miscnn.NeuralNetwork)
    assert bundle.describe(folder)["kind"] == "network"


@pytest.mark.parametrize(
    "line",
    [
        "{sum}  ../pipeline.json",
        "{sum}  /etc/hostname",
        "{sum}  member/../../pipeline.json",
        "{sum}  pipeline.json\n{sum}  pipeline.json",
        "{sum}",
        "abc  pipeline.json",
        "{sum}  C:\\pipeline.json",
        "\x00",
        "ä",
    ],
)
def test_a_list_of_other_files_is_refused(line: str, saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "list")
    text = line.replace("{sum}", "0" * 64) + "\n"
    (folder / "SHA256SUMS").write_text(text, encoding="utf-8")
    with pytest.raises(DamagedFileError, match="SHA256SUMS"):
        miscnn.load(folder)


def test_a_forged_list_has_another_digest(saved: Path, tmp_path: Path) -> None:
    digest = bundle.digest(saved)
    assert isinstance(miscnn.load(saved, digest=digest.upper()), miscnn.NeuralNetwork)
    folder = copied(saved, tmp_path / "forged")
    document = json.loads((folder / "pipeline.json").read_text())
    (folder / "pipeline.json").write_text(json.dumps({**document, "seed": 1}))
    files.write_sums(folder)
    assert miscnn.load(folder).seed == 1  # check sums alone do not tell
    with pytest.raises(ConfigurationError, match=f"expected {digest}: it is another bundle"):
        miscnn.load(folder, digest=digest)


def forged(saved: Path, folder: Path, **changes: Any) -> Path:
    """A bundle with another document, and check sums that are right."""
    copied(saved, folder)
    document = json.loads((folder / "pipeline.json").read_text())
    (folder / "pipeline.json").write_text(json.dumps({**document, **changes}))
    files.write_sums(folder)
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "in format 2; .*reads format 3. Load it there"),
        ({"format": 1}, "in format 1; "),
        ({"format": 99}, "in format 99; .*reads format 3. Install a miscnn that is at least as"),
        ({"format": None}, "in format None"),
        (
            {"versions": {"miscnn": "3.1.4"}},
            rf"by miscnn 3\.1\.4, this is miscnn {re.escape(miscnn.__version__)}.*'miscnn==3\.\*'",
        ),
        ({"versions": {}}, "another major version"),
    ],
)
def test_other_versions_are_told(
    changes: dict[str, Any], message: str, saved: Path, tmp_path: Path
) -> None:
    folder = forged(saved, tmp_path / "other", **changes)
    for read in (miscnn.load, bundle.describe):
        with pytest.raises(ConfigurationError, match=message):
            read(folder)
    (folder / "SHA256SUMS").unlink()  # formats 1 and 2 had none
    with pytest.raises(ConfigurationError, match=message):
        miscnn.load(folder)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("interface", {"class": "miscnn.processing.regions:Regions", "config": {"regions": {}}}),
        ("schedule", {"class": "miscnn.neural_network.optimizers:OptimizerRecipe", "config": {}}),
        ("postprocessing", {"class": "miscnn.neural_network.schedules:Schedule", "config": {}}),
        ("preprocessor", {"unheard": 1}),
        ("metrics", 5),
        ("learning_rate", "fast"),
        ("card", "text"),
        ("labels", None),
        ("own_statistics", ...),
    ],
)
def test_a_document_of_something_else_is_refused(
    name: str, value: Any, saved: Path, tmp_path: Path
) -> None:
    if value is ...:
        folder = forged(saved, tmp_path / "odd")
        document = json.loads((folder / "pipeline.json").read_text())
        document.pop(name)
        (folder / "pipeline.json").write_text(json.dumps(document))
        files.write_sums(folder)
    else:
        folder = forged(saved, tmp_path / "odd", **{name: value})
    with pytest.raises((DamagedFileError, ConfigurationError)):
        miscnn.load(folder)


@pytest.mark.parametrize("text", ["", "[" * 100_000, "[]", '{"format": 3', "\x00"])
def test_a_document_that_is_none(text: str, saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "none")
    (folder / "pipeline.json").write_text(text)
    with pytest.raises(DamagedFileError, match=r"Changed: pipeline\.json"):
        miscnn.load(folder)
    files.write_sums(folder)
    with pytest.raises(DamagedFileError, match=r"pipeline\.json (is no JSON|holds no JSON object)"):
        miscnn.load(folder)


def test_what_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is no folder"):
        miscnn.load(tmp_path / "nothing")
    (tmp_path / "last.npz").write_text("")
    with pytest.raises(
        MissingFileError,
        match=r"holds no pipeline\.json.*MeanEnsemble.*`miscnn train`.*holds checkpoints",
    ):
        miscnn.load(tmp_path)


# ---------------------------------------------------------------------- writing


@pytest.mark.parametrize("step", ["dump", "_write_documents", "write_sums", "_install"])
def test_a_failed_save_leaves_the_bundle_of_before(
    step: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copied(saved, tmp_path / "bundle")
    before = bundle.digest(folder)
    model = make_model(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    owner: Any = model if step == "dump" else bundle if step == "_write_documents" else files
    monkeypatch.setattr(owner, step, fail)
    with pytest.raises(KeyboardInterrupt):
        model.save(folder)
    assert bundle.describe(folder)["digest"] == before
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_save_that_is_killed_is_refused_or_whole(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever change of the folder is the last one before the process ends."""
    model = make_model(tmp_path)
    model.save(tmp_path / "new")
    old, new = bundle.digest(saved), bundle.digest(tmp_path / "new")
    seen = set()
    for allowed in range(12):
        folder = copied(saved, tmp_path / f"bundle-{allowed}")
        (folder / "notes").write_text("mine")
        left = allowed

        def counted(function: Callable[..., Any], folder: Path = folder) -> Callable[..., Any]:
            def call(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if any(str(argument).startswith(str(folder)) for argument in arguments):
                    if left == 0:
                        raise KeyboardInterrupt
                    left -= 1
                return function(*arguments, **options)

            return call

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", counted(Path.unlink))
            patch.setattr(files.os, "replace", counted(files.os.replace))
            temporary = files.temporary_beside(folder)
            copied(tmp_path / "new", temporary)
            with suppress(KeyboardInterrupt):
                files._install(temporary, folder)
        try:
            files.checked(folder)
            seen.add(bundle.digest(folder))
        except MissingFileError as error:
            assert "incomplete" in str(error) or "holds no pipeline.json" in str(error)  # noqa: PT017
            seen.add("refused")
            model.save(folder)  # and can be written again
            assert bundle.describe(folder)["name"] is None
        assert (folder / "notes").read_text() == "mine"
    assert seen == {old, new, "refused"}


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    model = make_model(tmp_path)
    folder = tmp_path / "project.keras"
    folder.mkdir()
    for name in ("README.md", "scores.tsv", "SHA256SUMS"):
        (folder / name).write_text("mine")
        with pytest.raises(ConfigurationError, match=f"holds {re.escape(name)} that belong"):
            model.save(folder)
        with pytest.raises(ConfigurationError, match=re.escape(name)):
            model.dump(folder)
        assert (folder / name).read_text() == "mine"
        (folder / name).unlink()
    (folder / "thesis.tex").write_text("mine")
    model.save(folder)
    model.save(folder)  # and again
    assert (folder / "thesis.tex").read_text() == "mine"
    assert isinstance(miscnn.load(folder), miscnn.NeuralNetwork)


# ---------------------------------------------------------------------- several networks


def test_a_mean_of_networks(tmp_path: Path) -> None:
    recipe = make_model(tmp_path).preprocessor
    recipe.fit(PATIENTS[:2])
    networks = [
        miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1), seed=seed)
        for seed in (1, 2)
    ]
    steps = PostProcessing([KeepLargest([2])])
    ensemble = MeanEnsemble(networks, "logits", steps)
    ensemble.save(tmp_path / "bundle", name="Two", licence="CC0")
    loaded: Any = miscnn.load(tmp_path / "bundle")
    assert isinstance(loaded, MeanEnsemble)
    assert (loaded.combine, loaded.postprocessing, loaded.card.name) == ("logits", steps, "Two")
    assert loaded.bundle_digest == bundle.digest(tmp_path / "bundle")
    np.testing.assert_array_equal(probabilities(loaded), probabilities(ensemble))
    told = bundle.describe(tmp_path / "bundle")
    assert (told["kind"], told["members"]) == ("mean ensemble", ["member_0_0", "member_0_1"])
    assert (told["licence"], told["labels"][1]["name"]) == ("CC0", "kidney")
    # A member is a bundle of its own.
    alone = miscnn.load(tmp_path / "bundle" / "member_0_1")
    np.testing.assert_array_equal(probabilities(alone), probabilities(networks[1]))
    with pytest.raises(ConfigurationError, match="holds several networks"):
        bundle.load_network(tmp_path / "bundle")
    # One network takes the place of several.
    networks[0].save(tmp_path / "bundle")
    assert isinstance(miscnn.load(tmp_path / "bundle"), miscnn.NeuralNetwork)
    assert not list((tmp_path / "bundle").glob("member_*"))
    ensemble.save(tmp_path / "bundle")

    weights = tmp_path / "bundle" / "member_0_1" / "model.keras"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + b"?")
    with pytest.raises(DamagedFileError, match=r"Changed: member_0_1/model\.keras"):
        miscnn.load(tmp_path / "bundle")
    weights.unlink()
    with pytest.raises(MissingFileError, match=r"Missing: member_0_1/model\.keras"):
        miscnn.load(tmp_path / "bundle")
    weights.write_bytes(content)
    sums = tmp_path / "bundle" / "SHA256SUMS"
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if "member_0_1/model.keras" not in line))
    with pytest.raises(MissingFileError, match=r"member_0_1 is incomplete\. Missing: model\.keras"):
        miscnn.load(tmp_path / "bundle")
