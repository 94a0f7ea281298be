"""From a pipeline file to evaluated predictions, all by the command line."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

from miscnn.cli import main
from miscnn.datasets.phantom import make_subject
from miscnn.pipeline import Pipeline

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
pytestmark = pytest.mark.slow

_PIPELINE = """
[data]
path = "data"
class_names = ["background", "kidney", "tumour"]

[preprocessor]
batch_size = 2
patch_shape = [16, 16, 8]
augmentation = "none"
subfunctions = [{ type = "Resampling", new_spacing = [12, 12, 10] }, "Normalization"]

[network]
architecture = { type = "UNetStandard", n_filters = 2, depth = 1 }
loss = "tanimoto_crossentropy"

[training]
epochs = 1
iterations = 2
validation = ["case_3"]

[evaluation]
method = "split"
percentage = 0.5
draw_figures = false

[[postprocessing]]
type = "KeepLargest"

[bundle]
name = "a test"
licence = "CC0-1.0"
colours = { 1 = "#ff0000" }
"""


def run(*arguments: str | int | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a pipeline file, and what ``miscnn train`` made of them."""
    folder = tmp_path_factory.mktemp("cli")
    for number in range(4):
        subject = make_subject(
            np.random.default_rng(number), n_slices=16, thickness=5.0, in_plane=32
        )
        case = folder / "data" / f"case_{number}"
        case.mkdir(parents=True)
        for name in ("image", "segmentation"):
            file = case / ("imaging.nii.gz" if name == "image" else f"{name}.nii.gz")
            nib.save(nib.Nifti1Image(getattr(subject, name), subject.affine), file)
    (folder / "p.toml").write_text(_PIPELINE)
    result = run("train", folder / "p.toml", "--output", folder / "out", "--json")
    assert result.exit_code == 0, result.output
    (folder / "told.json").write_text(result.stdout)
    return folder


def test_train_tells_what_came_of_it(folder: Path) -> None:
    told = json.loads((folder / "told.json").read_text())
    assert told["training"] == ["case_0", "case_1", "case_2"]
    assert told["validation"] == ["case_3"]
    assert len(told["history"]["val_loss"]) == 1
    assert told["bundle"] == str(folder / "out" / "bundle")
    scored = {(row["class_name"], row["metric"]): row["n"] for row in told["evaluation"]["scores"]}
    assert scored["kidney", "dice"] == 2  # half of the subjects
    assert (folder / "out" / "evaluation" / "scores.tsv").is_file()
    assert sorted(p.name for p in folder.iterdir()) == ["data", "out", "p.toml", "told.json"]


def test_a_second_run_takes_over_what_is_done(folder: Path) -> None:
    before = (folder / "out" / "evaluation" / "run.json").stat().st_mtime_ns
    result = run("train", folder / "p.toml", "--output", folder / "out")
    assert result.exit_code == 0, result.output
    assert (folder / "out" / "evaluation" / "run.json").stat().st_mtime_ns == before
    assert "Nothing was trained: the checkpoints hold all 1 epochs" in result.stdout
    assert "It was trained on 3 subjects, validated on 1. Wrote the bundle " in result.stdout
    assert "95 % CI" in result.stdout
    assert run("train", folder / "p.toml", "--output", folder / "out", "-q").stdout == ""


def test_other_labels_under_the_same_names_are_no_training_to_go_on_with(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "data", tmp_path / "data")
    text = _PIPELINE[: _PIPELINE.index("[evaluation]")]
    (tmp_path / "p.toml").write_text(text)
    command = ("train", tmp_path / "p.toml")
    first = run(*command)
    assert first.exit_code == 0, first.output
    assert "Nothing was trained" not in first.stdout
    assert "training: 3 training, 1 validation subjects; 1 epoch(s)" in first.stderr
    assert "training: 1 epochs done, the loss is " in first.stderr
    weights = (tmp_path / "bundle" / "model.keras").stat().st_mtime_ns
    again = run(*command)
    assert again.exit_code == 0, again.output
    assert "Nothing was trained: the checkpoints hold all 1 epochs" in again.stdout
    assert "\nIt was trained on 3 subjects" in again.stdout
    assert not json.loads(run(*command, "--json").stdout)["trained"]
    label = tmp_path / "data" / "case_1" / "segmentation.nii.gz"
    image = nib.load(label)
    empty = np.zeros(image.shape, np.uint8)
    empty[4:9, 4:9, 4:9] = 1
    nib.save(nib.Nifti1Image(empty, image.affine), label)
    weights = (tmp_path / "bundle" / "model.keras").stat().st_mtime_ns
    refused = run(*command)
    assert refused.exit_code == 2
    assert "the files of 1 subject(s) have changed since (case_1). Begin anew" in refused.stderr
    assert "another --output, or --set training.resume=false to begin anew" in refused.stderr
    assert "--set evaluation" not in refused.stderr
    assert (tmp_path / "bundle" / "model.keras").stat().st_mtime_ns == weights
    anew = run(*command, "--set", "training.resume=false")
    assert anew.exit_code == 0, anew.output
    assert "Nothing was trained" not in anew.stdout


def test_a_dry_run_writes_nothing(folder: Path) -> None:
    before = sorted(folder.rglob("*"))
    result = run(
        "train", folder / "p.toml", "--dry-run", "--epochs", 3, "--set", "training.max_minutes=5"
    )
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[2] == "training    3 subjects, 1 others validate; 3 epochs or 5 minutes"
    assert lines[3] == "chain       Resampling -> Normalization"
    assert lines[-1].startswith("Nothing was trained")
    plan = json.loads(run("train", folder / "p.toml", "--dry-run", "--json").stdout)
    assert plan["document"] == Pipeline.from_file(folder / "p.toml").to_dict()
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.subjects=[case_0, case_9]", "subjects: [data] subjects names case_9, which"),
        ("training.validation=[nobody, x]", "names nobody, x, which is not among the 4 subjects"),
        ("bundle.colours={'1': 'redd'}", "--set bundle.colours: [bundle]"),
        ("data.path=nowhere", "nowhere"),
        ("network.learning_rate=-1", "learning_rate = -1: expected a positive number"),
        ("network.loss={'type': 'keras.Nope'}", "'keras.Nope': expected one of keras.Binary"),
        ("training.x=" + "1" * 5000, "[training] x is not known"),
        ("training.x=" + "[" * 900 + "]" * 900, "nested deeper than 32 levels"),
        ("bundle.folder=..", "a bundle needs a folder of its own"),
        ("bundle.folder=/", "= '/': holds the pipeline's folder"),
        ("training.epochs", "expected SECTION.KEY=VALUE, such as training.epochs=3"),
        ("trainng.epochs=3", "--set trainng.epochs: [trainng] is not known"),
    ],
)
def test_what_cannot_be_done_is_told_before_anything_is_built(
    setting: str, message: str, folder: Path
) -> None:
    for options in (("--dry-run",), ()):
        result = run("train", folder / "p.toml", "--set", setting, *options)
        assert result.exit_code == 2
        assert message in result.stderr
        assert "Loading" not in result.stderr
        assert "Traceback" not in result.output
        assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "training.epochs=7", "--set", "training.epochs=8"],
         "--set training.epochs=8 contradicts --set training.epochs=7; say it once"),
        (["--set", "training.epochs=8", "--epochs", "9"],
         "--set training.epochs=8 contradicts --epochs=9; say it once"),
        (["--set", "network.architecture.depth=1", "--set", "network.architecture=NNUNet"],
         "would replace --set network.architecture.depth; say it before"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(arguments: list[str], message: str, folder: Path) -> None:
    result = run("train", folder / "p.toml", "--dry-run", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_what_is_said_twice_alike_is_no_contradiction(folder: Path) -> None:
    said = ("--set", "training.epochs=9", "--epochs", "9", "--set", "training.epochs=9")
    parts = ("--set", "network.architecture=UNetPlain", "--set", "network.architecture.depth=2")
    result = run("train", folder / "p.toml", "--dry-run", "--json", *said, *parts)
    document = json.loads(result.stdout)["document"]
    assert document["training"]["epochs"] == 9
    assert document["network"]["architecture"]["type"] == "UNetPlain"
    assert document["network"]["architecture"]["depth"] == 2
    assert run("verify", folder / "data", "--classes", 3, "--set", "classes=4").exit_code == 2
    assert run("inspect", folder / "data", "--classes", 3, "--set", "classes=3").exit_code == 0


def test_an_interruption_has_an_exit_status_of_its_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "check", interrupted)
    result = run("train", folder / "p.toml")
    assert result.exit_code == 130
    assert result.stderr == "\nInterrupted\n"


def test_an_interrupted_training_tells_how_it_goes_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Pipeline, "run", interrupted)
    command = ("train", folder / "p.toml", "--output", folder / "out")
    result = run(*command)
    assert result.exit_code == 130
    assert str(folder / "out" / "checkpoints") in result.stderr
    assert "Give the same command again to go on" in result.stderr
    assert run(*command, "-q").stderr == "\nInterrupted\n"
    anew = ("--set", "training.resume=false", "--set", "evaluation.resume=false")
    assert "No checkpoint was written" in run(*command, *anew).stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no such device here")
@pytest.mark.parametrize("arguments", [["info", "out/bundle"], ["--help"], ["train", "--help"]])
def test_output_that_cannot_be_written_is_one_line(arguments: list[str], folder: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "miscnn", *arguments],
            cwd=folder, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == "Error: cannot write the output: No space left on device\n"


def test_info(folder: Path) -> None:
    result = run("info", folder / "out" / "bundle")
    assert result.exit_code == 0, result.output
    lines = [line.split() for line in result.stdout.splitlines()]
    assert ["name", "a", "test"] in lines
    assert ["licence", "CC0-1.0"] in lines
    assert ["kidney", "1", "#ff0000", "1"] in lines  # a row of the table of labels
    assert max(map(len, result.stdout.splitlines())) <= 120  # the table of scores is wide
    document = json.loads(run("info", folder / "out" / "bundle", "--json").stdout)
    assert document["architecture"] == "UNetStandard"
    assert document["fingerprint"]["subjects"] == 3
    assert "case_" not in json.dumps(document)  # nobody is named
    assert run("info", folder / "data").exit_code == 2
    broken = folder / "broken"
    shutil.copytree(folder / "out" / "bundle", broken)
    (broken / "pipeline.json").write_text("{}")
    result = run("info", broken)
    assert result.exit_code == 2
    assert "pipeline.json" in result.stderr
    shutil.rmtree(broken)


def test_info_needs_no_tensorflow(folder: Path) -> None:
    code = (
        "import sys; from click.testing import CliRunner; import miscnn.cli\n"
        f"r = CliRunner().invoke(miscnn.cli.main, ['info', {str(folder / 'out/bundle')!r}])\n"
        "print(r.exit_code, [m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "0 []"


def test_predict_a_folder_and_one_file(folder: Path, tmp_path: Path) -> None:
    bundle = folder / "out" / "bundle"
    result = run("predict", bundle, folder / "data", tmp_path / "all", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["failed"] == {}
    assert told["written"] == [f"case_{k}.nii.gz" for k in range(4)]
    one = folder / "data" / "case_2" / "imaging.nii.gz"
    result = run("predict", bundle, one, tmp_path / "one", "--outputs", "labels,entropy")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"Wrote 2 file(s) to {tmp_path / 'one'}\n"
    (labels,) = (p for p in (tmp_path / "one").glob("*.nii.gz") if "entropy" not in p.name)
    assert (tmp_path / "one" / labels.name.replace(".nii", "_entropy.nii")).is_file()
    both = [nib.load(p) for p in (labels, tmp_path / "all" / "case_2.nii.gz")]
    np.testing.assert_array_equal(*(np.asanyarray(image.dataobj) for image in both))
    np.testing.assert_array_equal(both[0].affine, nib.load(one).affine)
    # what is there is left as it is
    again = run("predict", bundle, folder / "data", tmp_path / "all")
    assert again.stdout == (
        f"Wrote 0 file(s) to {tmp_path / 'all'}; all 4 subject(s) were there already\n"
    )
    other = run("predict", bundle, folder / "data", tmp_path / "all", "--mirror", "0")
    assert other.exit_code == 2
    assert "--overwrite" in other.stderr
    replaced = run(
        "predict", bundle, folder / "data", tmp_path / "all", "--mirror", "0", "--overwrite"
    )
    assert replaced.exit_code == 0, replaced.output
    assert "Wrote 0" not in replaced.stdout


def test_a_bad_subject_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    good = folder / "data" / "case_0" / "imaging.nii.gz"
    (tmp_path / "bad.nii.gz").write_text("nonsense")
    result = run("predict", folder / "out/bundle", tmp_path / "bad.nii.gz", good, tmp_path / "p")
    assert result.exit_code == 1
    assert len(list((tmp_path / "p").glob("*.nii.gz"))) == 1
    head, table = result.stderr.split("1 subject(s) failed:\n")
    assert head == "Loading Keras and TensorFlow ...\n"  # and is not told twice
    assert table.startswith("  bad  ")
    assert "not a NIfTI file" in " ".join(table.split())
    told = run(
        "predict", folder / "out/bundle", tmp_path / "bad.nii.gz", good, tmp_path / "p", "--json"
    )
    assert told.exit_code == 1
    assert list(json.loads(told.stdout)["failed"]) == ["bad"]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--roi", "3,4", "expected start:stop in voxels for each axis"),
        ("--mirror", "0,0", "expected different axes of the network's input"),
        ("--overlap", "1.5", "expected a share of the window such as 0.5"),
        ("--outputs", "labels,mask", "expected some of labels,probabilities,entropy,volumes"),
        ("--foreground", "much", 'expected a number, or "auto"'),
        ("--roi", "5:30,:", "roi has 2 axes, but the network's images have 3"),
        ("--roi", "30:5,:,:", "((30, 5), (0, end), (0, end))"),
        ("--digest", "0" * 64, "has the digest"),
    ],
)
def test_options_of_predict(
    option: str, value: str, message: str, folder: Path, tmp_path: Path
) -> None:
    result = run("predict", folder / "out/bundle", folder / "data", tmp_path / "p", option, value)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "p").exists()


def test_a_region_of_interest_is_in_voxels(folder: Path, tmp_path: Path) -> None:
    result = run(
        "predict", folder / "out/bundle", folder / "data", tmp_path / "p", "--roi", "0:20,:,4:9"
    )
    assert result.exit_code == 0, result.output
    for path in (tmp_path / "p").glob("*.nii.gz"):
        labels = np.asanyarray(nib.load(path).dataobj)
        outside = np.ones(labels.shape, bool)
        outside[0:20, :, 4:9] = False
        assert not labels[outside].any()


def test_a_folder_that_is_called_like_an_image(folder: Path, tmp_path: Path) -> None:
    given = tmp_path / "p" / "out.nii.gz"
    result = run("predict", folder / "out/bundle", folder / "data", given)
    assert result.exit_code == 2
    assert f"OUTPUT is a folder, but '{given}' is called like an image file" in result.stderr
    assert "OUTPUT/<name>" in result.stderr
    assert not given.parent.exists()


def test_a_killed_prediction_leaves_no_half_file_and_goes_on(folder: Path, tmp_path: Path) -> None:
    data, output = tmp_path / "images", tmp_path / "p"
    data.mkdir()
    for number in range(40):
        source = folder / "data" / f"case_{number % 4}" / "imaging.nii.gz"
        os.link(source, data / f"s{number:02d}.nii.gz")
    command = ["predict", str(folder / "out/bundle"), str(data), str(output)]
    process = subprocess.Popen(
        [sys.executable, "-m", "miscnn", *command], stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not list(output.glob("s*.nii.gz")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it was done before it was killed"
    done = {path: path.stat().st_mtime_ns for path in output.glob("s*.nii.gz")}
    assert 0 < len(done) < 40
    for path in done:  # what is there is whole
        np.asanyarray(nib.load(path).dataobj)
    manifest = output / "predictions.json"
    subjects = json.loads(manifest.read_text())["subjects"] if manifest.is_file() else {}
    listed = {name for files in subjects.values() for name in files["labels"]}
    result = run(*command)
    assert result.exit_code == 0, result.output
    assert len(list(output.glob("s*.nii.gz"))) == 40
    assert not [p.name for p in output.iterdir() if p.name.startswith(".")]
    kept = [path for path, when in done.items() if path.stat().st_mtime_ns == when]
    assert all(path in kept for path in done if path.name in listed)
    assert len(kept) >= len(done) - 2  # at most those that were not in the list yet
    firsts = [np.asanyarray(nib.load(output / f"s{k:02d}.nii.gz").dataobj) for k in range(4)]
    for number in range(4, 40):
        labels = np.asanyarray(nib.load(output / f"s{number:02d}.nii.gz").dataobj)
        np.testing.assert_array_equal(labels, firsts[number % 4])


def test_evaluate_predictions_a_bundle_and_a_pipeline(folder: Path, tmp_path: Path) -> None:
    bundle, data = folder / "out" / "bundle", folder / "data"
    assert run("predict", bundle, data, tmp_path / "p").exit_code == 0
    names = 'class_names=["background", "kidney", "tumour"]'
    first = run(
        "evaluate",
        data,
        "--predictions",
        tmp_path / "p",
        "--output",
        tmp_path / "a",
        "--set",
        names,
    )
    assert first.exit_code == 0, first.output
    second = run("evaluate", data, "--bundle", bundle, "--output", tmp_path / "b", "--json")
    assert second.exit_code == 0, second.output
    scores = (tmp_path / "a" / "scores.tsv").read_text()
    assert scores == (tmp_path / "b" / "scores.tsv").read_text()
    told = json.loads(second.stdout)
    assert {row["class_name"] for row in told["scores"]} == {"kidney", "tumour"}
    (tmp_path / "p" / "case_1.nii.gz").unlink()
    partly = run("evaluate", data, "--predictions", tmp_path / "p", "--output", tmp_path / "c")
    assert partly.exit_code == 1
    assert "1 subject(s) failed:" in partly.stderr
    assert "case_1" in partly.stderr
    assert "case_1" not in (tmp_path / "c" / "scores.tsv").read_text()
    expected = "sample\treason\ncase_1\tno prediction\n"
    assert (tmp_path / "c" / "not_scored.tsv").read_text() == expected
    (tmp_path / "c" / "notes.tsv").write_text("mine")
    (tmp_path / "none").mkdir()
    nobody = run("evaluate", data, "--predictions", tmp_path / "none", "--output", tmp_path / "c")
    assert nobody.exit_code == 1
    assert sorted(p.name for p in (tmp_path / "c").iterdir()) == [
        "not_scored.tsv",
        "notes.tsv",
    ]  # no scores of earlier runs
    third = run("evaluate", folder / "p.toml", "--output", tmp_path / "d")
    assert third.exit_code == 0, third.output
    assert (tmp_path / "d" / "evaluation" / "scores.tsv").is_file()
    assert not (tmp_path / "d" / "bundle").exists()


def test_evaluate_asks_for_scores(folder: Path, tmp_path: Path) -> None:
    bundle, data = folder / "out" / "bundle", folder / "data"
    options = ("--metrics", "dice, nsd", "--nsd-tolerance", "1", "--nsd-tolerance", "3.5")
    more = ("--lesions", "--lesion-iou", "0.3", "--calibration", "--no-previews")
    done = run("evaluate", data, "--bundle", bundle, "--output", tmp_path, *options, *more)
    assert done.exit_code == 0, done.output
    header, *lines = (tmp_path / "scores.tsv").read_text().splitlines()
    place = header.split("\t").index("metric")
    names = {line.split("\t")[place] for line in lines}
    assert {"dice", "nsd_1mm", "nsd_3.5mm", "lesion_f1", "ece", "brier"} <= names
    assert not {"hd95_mm", "nsd_2mm"} & names
    assert (tmp_path / "lesions.tsv").is_file()
    assert (tmp_path / "calibration.tsv").is_file()
    assert not (tmp_path / "previews").exists()


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("data", [], "say what is to be scored: --predictions FOLDER, or --bundle BUNDLE"),
        ("data", ["--predictions", "data", "--bundle", "out/bundle"], "say what is to be scored"),
        ("p.toml", ["--bundle", "out/bundle"], "--bundle is for a data set"),
        ("data", ["--bundle", "out/bundle", "--only-predicted"], "it needs --predictions FOLDER"),
        ("p.toml", ["--only-predicted"], "--only-predicted is for a data set"),
        ("data", ["--predictions", "out", "--only-predicted"], "no subject has a prediction in"),
        ("p.toml", ["--lesions"], "whose [evaluation] says it: scoring.lesions = true"),
        ("p.toml", ["--no-previews"], "whose [evaluation] says it: previews = false"),
        ("data", ["--predictions", "data", "--calibration"], "it needs --bundle BUNDLE"),
        ("data", ["--predictions", "data", "--lesion-iou", "0.3"], "give --lesions, too"),
        ("data", ["--predictions", "data", "--metrics", "dise"], "metrics holds 'dise'"),
        ("p.toml", ["--classes", "3"], "--classes: of a pipeline the file says"),
        ("data", ["--predictions", "data", "--set", "nonsense=1"], "does not know nonsense"),
    ],
)
def test_usage_of_evaluate(
    target: str, options: list[str], message: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    result = run("evaluate", target, *options)
    assert result.exit_code == 2
    assert message in result.stderr


def test_without_segmentations_nothing_can_be_scored(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "flat").mkdir()
    for case in (folder / "data").iterdir():
        shutil.copy(case / "imaging.nii.gz", tmp_path / "flat" / f"{case.name}.nii.gz")
    output = tmp_path / "e"
    result = run("evaluate", tmp_path / "flat", "--predictions", tmp_path, "--output", output)
    assert result.exit_code == 2
    assert "no subject has a segmentation, so that nothing can be scored" in result.stderr
    assert "load_seg" not in result.stderr
    assert not output.exists()


def test_the_example_runs(folder: Path, tmp_path: Path) -> None:
    """As it is, but for the data, and for a network and a training that are small."""
    settings = (
        f"data.path={folder / 'data'}",
        "preprocessor.patch_shape=[16, 16, 16]",
        "network.architecture.n_filters=1",
        "network.architecture.depth=1",
        "network.architecture.pool_size=2",
        "training.iterations=1",
        "evaluation.folds=2",
        "evaluation.draw_figures=false",
        "prediction.overlap=0",
    )
    result = run(
        *("train", EXAMPLES / "pipeline.toml", "--output", tmp_path, "--epochs", "1"),
        *(argument for setting in settings for argument in ("--set", setting)),
    )
    assert result.exit_code == 0, result.output
    assert (tmp_path / "bundle" / "model.keras").is_file()
    assert (tmp_path / "evaluation" / "fold_1" / "run.json").is_file()


def test_classes_of_the_users_own_go_all_the_way(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "own_step_of_a_test.py").write_text(
        "from miscnn.processing.subfunctions import Clipping\n\n\n"
        "class OwnStep(Clipping):\n"
        "    def __init__(self, limit: float = 100.0) -> None:\n"
        "        super().__init__(-limit, limit)\n"
        "        self.limit = limit\n"
    )
    text = _PIPELINE.replace('"Normalization"]', '{ type = "OwnStep", limit = 50 }]')
    text = text[: text.index("[evaluation]")].replace('"data"', f'"{folder / "data"}"')
    (tmp_path / "p.toml").write_text(f'modules = ["own_step_of_a_test"]\n{text}')
    result = run("train", tmp_path / "p.toml", "-q")
    assert result.exit_code == 0, result.output
    predict = ("predict", tmp_path / "bundle", folder / "data", tmp_path / "p")
    refused = run(*predict)  # though its module is imported by now
    assert refused.exit_code == 2
    assert "OwnStep" in refused.stderr
    assert "(On the command line: --module NAME, " in refused.stderr
    assert not (tmp_path / "p").exists()
    del sys.modules["own_step_of_a_test"]
    result = run(*predict, "--module", tmp_path / "own_step_of_a_test.py")
    assert result.exit_code == 0, result.output
    assert len(list((tmp_path / "p").glob("*.nii.gz"))) == 4
    del sys.modules["own_step_of_a_test"]
