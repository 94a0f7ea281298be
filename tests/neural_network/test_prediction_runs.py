"""Many subjects in one call: what is written, what is left out, and what becomes of mistakes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO
from miscnn._text import read_tsv
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, PredictionError, SampleError
from miscnn.neural_network._engine import WholeEngine
from miscnn.neural_network.prediction import PredictionOptions, predict_subjects
from miscnn.processing.postprocessing import KeepLargest, PostProcessing

SPACING = (0.5, 2.0, 3.0)


class OneHot(WholeEngine):
    """Says what the intensity names, with 0.8; notes whom it has predicted."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__(self.whole, classes)
        self.seen: list[str] = []

    def whole(self, sample: Sample, probabilities: bool) -> Any:
        if not probabilities:
            self.seen.append(sample.index)
        label = np.rint(sample.image[..., 0]).astype(np.uint8)
        if not probabilities:
            return label
        sure = np.full((*label.shape, self.channels), 0.2 / (self.channels - 1), np.float32)
        np.put_along_axis(sure, label[..., np.newaxis].astype(int), 0.8, axis=-1)
        return sure


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    for number in range(5):
        label = np.zeros((4, 5, 6), dtype=np.float32)
        label[0, 0, :number] = 1
        label[2:, 2:, 2:] = 2
        image = nib.Nifti1Image(label, np.diag([*SPACING, 1]))
        nib.save(image, tmp_path / "data" / f"c{number}.nii.gz")
    return tmp_path


def data(folder: Path, **options: Any) -> DataIO:
    interface = NIfTIInterface(1, 3, image="*.nii.gz", **options)
    return DataIO(interface, folder / "data", folder / "out")


def run(given: Any, data_io: DataIO, engine: Any = None, identity: Any = dict, **options: Any):
    engine = OneHot() if engine is None else engine
    postprocessing = options.pop("postprocessing", None)
    return predict_subjects(
        given,
        data_io,
        lambda: engine,
        PredictionOptions(**{"verbose": 0, **options}),
        postprocessing=postprocessing,
        identity=identity,
    )


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def test_several_outputs_of_one_pass(folder: Path) -> None:
    data_io = data(folder, class_names=("nothing", "vessel", "organ"))
    asked = ("labels", "probabilities", "entropy", "volumes")
    assert run(["c1", "c3"], data_io, outputs=asked) is None
    out = folder / "out"
    assert files(out) == {
        "predictions.json", "volumes.tsv",
        *(f"{i}{name}.nii.gz" for i in ("c1", "c3") for name in ("", "_probabilities", "_entropy")),
    }  # fmt: skip
    label = values(folder / "data/c3.nii.gz")
    np.testing.assert_array_equal(values(out / "c3.nii.gz"), label)
    likely = values(out / "c3_probabilities.nii.gz")
    assert likely.shape == (4, 5, 6, 3)
    np.testing.assert_allclose(likely.max(axis=-1), 0.8, atol=1e-6)
    np.testing.assert_array_equal(likely.argmax(axis=-1), label)
    entropy = values(out / "c3_entropy.nii.gz")
    assert entropy.shape == (4, 5, 6)
    expected = -(0.8 * np.log(0.8) + 2 * 0.1 * np.log(0.1))
    np.testing.assert_allclose(entropy, expected, atol=1e-5)
    for name in ("", "_probabilities", "_entropy"):
        np.testing.assert_array_equal(
            nib.load(out / f"c3{name}.nii.gz").affine, np.diag([*SPACING, 1])
        )
    header, *rows = read_tsv(out / "volumes.tsv")
    assert header == ["index", "class", "value", "name", "voxels", "ml"]
    assert [row[:5] for row in rows] == [
        ["c1", "1", "1", "vessel", "1"], ["c1", "2", "2", "organ", "24"],
        ["c3", "1", "1", "vessel", "3"], ["c3", "2", "2", "organ", "24"],
    ]  # fmt: skip
    # a voxel of 0.5 x 2 x 3 mm is 0.003 ml
    assert [row[5] for row in rows] == ["0.003", "0.072", "0.009", "0.072"]


def test_outputs_are_returned_by_name(folder: Path) -> None:
    data_io = data(folder)
    (both,) = run("c2", data_io, return_output=True, outputs=("labels", "volumes"))
    assert list(both) == ["labels", "volumes"]
    assert both["volumes"] == [
        ("c2", 1, "class-1", 2, pytest.approx(0.006)),
        ("c2", 2, "class-2", 24, pytest.approx(0.072)),
    ]
    (entropy,) = run("c2", data_io, return_output=True, outputs="entropy")
    assert entropy.shape == (4, 5, 6)
    (likely,) = run("c2", data_io, return_output=True, activation_output=True)
    assert likely.shape == (4, 5, 6, 3)
    assert not (folder / "out").exists()


def test_probabilities_take_the_place_of_the_labels(folder: Path) -> None:
    run("c2", data(folder), activation_output=True)
    assert files(folder / "out") == {"predictions.json", "c2.nii.gz"}
    assert values(folder / "out/c2.nii.gz").shape == (4, 5, 6, 3)


def test_a_region_of_interest_leaves_background_around(folder: Path) -> None:
    roi = ((0, 3), (0, 4), (1, 99))
    asked = ("labels", "probabilities", "entropy", "volumes")
    (found,) = run("c3", data(folder), return_output=True, outputs=asked, roi=roi)
    label = values(folder / "data/c3.nii.gz")
    inside = np.zeros(label.shape, dtype=bool)
    inside[0:3, 0:4, 1:] = True
    np.testing.assert_array_equal(found["labels"], np.where(inside, label, 0))
    np.testing.assert_array_equal(found["probabilities"][~inside], [[1, 0, 0]] * (~inside).sum())
    np.testing.assert_array_equal(found["entropy"][~inside], 0)
    assert found["volumes"][1][3] == np.sum(label[inside] == 2)
    for wrong in (((0, 3), (0, 4)), ((3, 3), (0, 4), (0, 2)), ((9, 12), (0, 4), (0, 2)), 3):
        with pytest.raises(ConfigurationError, match="roi"):
            run("c3", data(folder), return_output=True, roi=wrong)


def test_label_maps_are_post_processed_before_they_are_counted(folder: Path) -> None:
    steps = PostProcessing([KeepLargest(labels="foreground")])
    asked = ("labels", "probabilities", "volumes")
    (found,) = run("c3", data(folder), return_output=True, outputs=asked, postprocessing=steps)
    label = values(folder / "data/c3.nii.gz")
    np.testing.assert_array_equal(found["labels"], np.where(label == 2, 2, 0))
    assert [row[3] for row in found["volumes"]] == [0, 24]
    np.testing.assert_array_equal(found["probabilities"].argmax(axis=-1), label)


def test_bad_subjects_do_not_stop_the_others(folder: Path) -> None:
    whole = (folder / "data/c1.nii.gz").read_bytes()
    (folder / "data/c1.nii.gz").write_bytes(whole[: len(whole) // 2])
    image = np.full((4, 5, 6), np.nan, dtype=np.float32)
    nib.save(nib.Nifti1Image(image, np.eye(4)), folder / "data/c3.nii.gz")
    everyone = [f"c{n}" for n in range(5)]
    data_io = data(folder)
    with pytest.raises(PredictionError, match=r"2 of 5 subject\(s\) could not") as caught:
        run(everyone, data_io)
    assert list(caught.value.failures) == ["c1", "c3"]
    assert "c1: c1" not in str(caught.value)
    assert "c3: 120 of 120 image values are NaN" in str(caught.value)
    assert files(folder / "out") == {"predictions.json", "c0.nii.gz", "c2.nii.gz", "c4.nii.gz"}
    # at once, with its own error; so does one that is alone
    engine = OneHot()
    with pytest.raises(SampleError, match="c1"):
        run(everyone, data_io, engine, on_error="raise")
    assert engine.seen == ["c0"]
    with pytest.raises(SampleError, match="c3"):
        run("c3", data_io)
    # what is returned keeps its place
    with pytest.raises(PredictionError) as caught:
        run(everyone, data_io, return_output=True)
    assert [found is None for found in caught.value.results] == [False, True, False, True, False]


def test_mistakes_of_the_network_and_of_writing_are_told_too(folder: Path) -> None:
    class Failing(OneHot):
        def whole(self, sample: Sample, probabilities: bool) -> Any:
            if sample.index == "c1":
                raise MemoryError("no room on the device")
            return super().whole(sample, probabilities)

    (folder / "out/c2.nii.gz").mkdir(parents=True)  # cannot be replaced by a file
    with pytest.raises(PredictionError) as caught:
        run(["c0", "c1", "c2", "c3"], data(folder), Failing())
    assert list(caught.value.failures) == ["c1", "c2"]
    assert "c1: MemoryError: no room on the device" in str(caught.value)
    manifest = json.loads((folder / "out/predictions.json").read_text())
    assert list(manifest["subjects"]) == ["c0", "c3"]
    # no error holds on to the images it came through
    assert all(error.__traceback__ is None for error in caught.value.failures.values())


def test_what_is_there_is_left_out(folder: Path) -> None:
    data_io = data(folder)
    run(["c0", "c1"], data_io, overwrite=False)
    engine = OneHot()
    run([f"c{n}" for n in range(4)], data_io, engine, overwrite=False)
    assert engine.seen == ["c2", "c3"]
    # another output is not there; a file that was removed neither
    (folder / "out/c3.nii.gz").unlink()
    engine = OneHot()
    run(["c1", "c2", "c3"], data_io, engine, overwrite=False)
    assert engine.seen == ["c3"]
    engine = OneHot()
    run(["c1", "c2"], data_io, engine, overwrite=False, outputs=("labels", "volumes"))
    assert engine.seen == ["c1", "c2"]
    engine = OneHot()
    run(["c1", "c2", "c3"], data_io, engine, overwrite=False, outputs=("labels", "volumes"))
    assert engine.seen == ["c3"]
    engine = OneHot()
    run(["c1", "c2"], data_io, engine)  # unless asked otherwise
    assert engine.seen == ["c1", "c2"]
    with pytest.raises(ConfigurationError, match="overwrite=False"):
        run("c1", data_io, overwrite=False, return_output=True)


def test_rows_of_volumes_are_replaced(folder: Path) -> None:
    data_io = data(folder)
    run(["c1", "c2"], data_io, outputs=("labels", "volumes"))
    label = np.zeros((4, 5, 6), dtype=np.float32)
    nib.save(nib.Nifti1Image(label, np.eye(4)), folder / "data/c1.nii.gz")
    run(["c1"], data_io, outputs=("labels", "volumes"))
    rows = read_tsv(folder / "out/volumes.tsv")[1:]
    assert [(row[0], row[4]) for row in rows] == [
        ("c1", "0"), ("c1", "0"), ("c2", "2"), ("c2", "24"),
    ]  # fmt: skip


def test_a_folder_of_another_model_is_refused(folder: Path) -> None:
    data_io = data(folder)
    run(["c0", "c1"], data_io, identity=lambda: {"model": "a", "roi": None})
    other = {"identity": lambda: {"model": "b", "roi": None}}
    with pytest.raises(ConfigurationError, match=r"predictions.json .*model was 'a', is 'b'"):
        run(["c0", "c2"], data_io, overwrite=False, **other)
    run(["c0"], data_io, **other)  # they are replaced
    manifest = json.loads((folder / "out/predictions.json").read_text())
    assert list(manifest["subjects"]) == ["c0"]
    engine = OneHot()
    run(["c0", "c1"], data_io, engine, overwrite=False, **other)
    assert engine.seen == ["c1"]
    (folder / "out/predictions.json").write_text("[]")
    with pytest.raises(ConfigurationError, match=r"predictions\.json is not a list"):
        run(["c0"], data_io, overwrite=False)
    run(["c0"], data_io)


def test_reading_predicting_and_writing_overlap_within_bounds(folder: Path) -> None:
    """One is read and one is written while one is predicted, and no more than these."""
    lock, held, most = threading.Lock(), set(), [0]
    reading, writing = threading.Event(), threading.Event()
    order: list[tuple[str, str]] = []

    class Slow(OneHot):
        def prepare(self, sample: Sample, shared: Any = None) -> Any:
            with lock:
                held.add(sample.index)
                most[0] = max(most[0], len(held))
                order.append(("read", sample.index))
            if sample.index == "c2":
                reading.set()
            return super().prepare(sample)

        def whole(self, sample: Sample, probabilities: bool) -> Any:
            if sample.index == "c1":  # c2 is read, and c0 is written, before c1 is predicted
                assert reading.wait(10)
                assert writing.wait(10)
            with lock:
                order.append(("predicted", sample.index))
            return super().whole(sample, probabilities)

    class Noting(DataIO):
        def save_prediction(self, sample: Sample, *arguments: Any) -> Any:
            path = super().save_prediction(sample, *arguments)
            writing.set()
            time.sleep(0.05)
            with lock:
                held.discard(sample.index)
                order.append(("written", sample.index))
            return path

    data_io = Noting(NIfTIInterface(1, 3, image="*.nii.gz"), folder / "data", folder / "out")
    everyone = [f"c{n}" for n in range(5)]
    run(everyone, data_io, Slow())
    assert most[0] == 3
    for what in ("read", "predicted", "written"):
        assert [index for kind, index in order if kind == what] == everyone


def test_an_interrupt_ends_the_threads_and_keeps_what_is_done(folder: Path) -> None:
    class Interrupted(OneHot):
        def whole(self, sample: Sample, probabilities: bool) -> Any:
            if sample.index == "c2":
                raise KeyboardInterrupt
            return super().whole(sample, probabilities)

    before = threading.active_count()
    everyone = [f"c{n}" for n in range(5)]
    with pytest.raises(KeyboardInterrupt):
        run(everyone, data(folder), Interrupted())
    assert threading.active_count() == before
    assert files(folder / "out") == {"predictions.json", "c0.nii.gz", "c1.nii.gz"}
    engine = OneHot()
    run(everyone, data(folder), engine, overwrite=False)
    assert engine.seen == ["c2", "c3", "c4"]


SCRIPT = """
import os, signal, sys, time
from pathlib import Path
sys.path[:0] = {path!r}
import numpy as np
from miscnn import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.neural_network._engine import WholeEngine
from miscnn.neural_network.prediction import PredictionOptions, predict_subjects

folder = Path({folder!r})
seen = []

def predict(sample, probabilities):
    seen.append(sample.index)
    time.sleep(0.02)  # no more than a few between two kills
    return (sample.image[..., 0] > 0).astype(np.uint8)

def run():
    data_io = DataIO(NIfTIInterface(1, 2, image="*.nii"), folder / "data", folder / "out")
    predict_subjects(data_io.get_indiceslist(), data_io, lambda: WholeEngine(predict, 2),
                     PredictionOptions(verbose=0, overwrite=False, outputs=("labels", "volumes")))

for line in sys.stdin:
    if line == "run\\n":
        run()
        print(" ".join(seen), flush=True)
        continue
    child = os.fork()
    if not child:
        run()
        os._exit(0)
    time.sleep(float(line))
    os.kill(child, signal.SIGKILL)
    print(int(os.WIFSIGNALED(os.waitpid(child, 0)[1])), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that can be copied")
def test_a_process_that_is_killed_leaves_no_half_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "data").mkdir()
    count = 40
    for number in range(count):
        image = rng.integers(-1, 3, size=(96, 96, 40)).astype(np.int16)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"data/c{number:02d}.nii")
    script = tmp_path / "run.py"
    script.write_text(SCRIPT.format(path=sys.path, folder=str(tmp_path)))
    out = tmp_path / "out"
    killed = 0
    # A process without TensorFlow, whose children begin at once.
    process = subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(line: str) -> str:
        print(line, file=process.stdin, flush=True)
        return process.stdout.readline()

    for wait in rng.uniform(0.01, 0.2, 8):
        killed += int(ask(str(wait)))
        for path in out.glob("c*.nii.gz") if out.exists() else ():
            expected = values(tmp_path / "data" / path.name.removesuffix(".gz")) > 0
            np.testing.assert_array_equal(values(path), expected)
        if (out / "predictions.json").exists():
            json.loads((out / "predictions.json").read_text())
    assert killed >= 4
    manifest = json.loads((out / "predictions.json").read_text())
    done = {index for index in manifest["subjects"] if (out / f"{index}.nii.gz").exists()}
    assert done
    seen = ask("run").split()
    everyone = {f"c{number:02d}" for number in range(count)}
    process.stdin.close()
    assert process.wait() == 0
    process.stdout.close()
    assert set(seen) == everyone - done
    assert files(out) == {"predictions.json", "volumes.tsv", *(f"{i}.nii.gz" for i in everyone)}
    rows = read_tsv(out / "volumes.tsv")[1:]
    assert [row[0] for row in rows] == sorted(everyone)
    for row in rows:
        assert int(row[4]) == values(out / f"{row[0]}.nii.gz").sum()
