"""A data set and a model without a network, for tests of everything around them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample

N_SUBJECTS = 9
SPACING = (1.0, 0.5, 3.0)


class FakeInterface:
    """Arrays in memory; predictions as files."""

    classes = 3

    def __init__(self) -> None:
        self.truths: dict[str, NDArray[np.uint8]] = {}
        for k in range(N_SUBJECTS):
            truth = np.zeros((14, 16, 6 + k), dtype=np.uint8)
            truth[3:9, 4:10, 1:5] = 1
            truth[5:8, 5:8, 2:4] = 2
            self.truths[f"case_{k}"] = truth
        self.unlabelled: set[str] = set()

    def has_segmentation(self, index: str) -> bool:
        return index not in self.unlabelled

    def save(self, index: str, array: NDArray[Any], output_path: str | Path) -> None:
        Path(output_path).mkdir(parents=True, exist_ok=True)
        np.save(Path(output_path) / f"{index}.npy", array, allow_pickle=False)


class FakeDataIO:
    def __init__(self) -> None:
        self.interface = FakeInterface()

    def geometry(self, index: str) -> Geometry:
        return Geometry.from_spacing(self.interface.truths[index].shape, SPACING)

    def load_prediction(self, index: str, output_path: str | Path) -> NDArray[Any]:
        return np.load(Path(output_path) / f"{index}.npy", allow_pickle=False)

    def sample_loader(self, index: str, load_seg: bool = True, load_pred: bool = False) -> Sample:
        truth = self.interface.truths[index]
        sample = Sample(index, truth * 10.0, 1, 3, self.geometry(index))
        if load_seg:
            sample.add_segmentation(truth)
        return sample


class FakePreprocessor:
    def __init__(self) -> None:
        self.data_io = FakeDataIO()


class FakeHistory:
    def __init__(self, history: Mapping[str, Sequence[float]]) -> None:
        self.history = {name: list(values) for name, values in history.items()}

    def to_tsv(self, path: str | Path) -> None:
        rows = zip(*self.history.values(), strict=True)
        lines = [
            "\t".join(["epoch", *self.history]),
            *("\t".join(map(str, (k, *row))) for k, row in enumerate(rows, 1)),
        ]
        Path(path).write_text("\n".join(lines) + "\n")

    def plot(self, path: str | Path) -> None:
        Path(path).write_bytes(b"curves")


class FakeModel:
    """Predicts the truth moved by one voxel per digit of the subject's name."""

    def __init__(self) -> None:
        self.preprocessor = FakePreprocessor()
        self.calls: list[tuple[str, Any]] = []
        self.seen: set[str] = set()
        self.best = False

    def reset(self) -> None:
        self.calls.append(("reset", None))
        self.seen = set()

    def train(self, training: Sequence[str], **options: Any) -> FakeHistory:
        self.calls.append(("train", options))
        self.seen |= set(training)
        for callback in options["callbacks"]:
            callback.append(len(training))
        n = options["epochs"]
        return FakeHistory({"loss": [len(self.seen) / (k + 1) for k in range(n)]})

    def evaluate(
        self, training: Sequence[str], validation: Sequence[str], **options: Any
    ) -> FakeHistory:
        self.calls.append(("evaluate", {**options, "validation": list(validation)}))
        self.seen |= set(training) | set(validation)
        return FakeHistory({"loss": [1.0, 0.5], "val_loss": [1.5, 2.0]})

    def predict(self, samples: Sequence[str], *, output_path: str | Path, verbose: int) -> None:
        self.calls.append(("predict", list(samples)))
        assert not self.seen & set(samples), "a subject that was trained on is validated on"
        interface = self.preprocessor.data_io.interface
        for index in samples:
            interface.save(index, moved(interface.truths[index], index), output_path)

    def dump(self, file_path: str | Path) -> None:
        Path(file_path).write_text(",".join(sorted(self.seen)))


def moved(truth: NDArray[np.uint8], index: str) -> NDArray[np.uint8]:
    """What the model predicts: the truth, moved along the first axis."""
    return np.roll(truth, int(index[-1]) % 5, axis=0)


@pytest.fixture
def model() -> FakeModel:
    return FakeModel()


@pytest.fixture
def samples() -> list[str]:
    return [f"case_{k}" for k in range(N_SUBJECTS)]


@pytest.fixture
def predicted() -> Any:
    """The function that tells what the model predicts."""
    return moved


@pytest.fixture(scope="session")
def scored_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An evaluation of three subjects with previews; slice k of each image is 20 k + 10."""
    from miscnn.evaluation.detailed_validation import score_sample, write_scores
    from miscnn.evaluation.preview import FOLDER, write_preview
    from miscnn.evaluation.summary import ScoreTable

    folder = tmp_path_factory.mktemp("scored") / "evaluated"
    names = ["background", "liver", "<b>tumour</b>"]
    rows = []
    for shift, index in enumerate(["case_a", "case_b", "<script>alert(1)</script>"]):
        image = np.zeros((20, 24, 10), np.float32) + 20.0 * np.arange(10, dtype=np.float32) + 10.0
        truth = np.zeros((20, 24, 10), np.uint8)
        truth[4:12, 6:16, 2:8] = 1
        truth[8:10, 8:10, 4:6] = 2
        sample = Sample(index, image, 1, 3, Geometry.from_spacing(image.shape, (1.0, 1.0, 3.0)))
        sample.add_segmentation(truth)
        prediction = np.roll(truth, shift, axis=0)
        if shift == 2:
            prediction[prediction == 2] = 1  # distances of class 2 are infinite
        sample.add_prediction(prediction)
        rows += score_sample(sample, names)
        write_preview(sample, folder / FOLDER, names)
    write_scores(ScoreTable(rows), folder)
    return folder


@pytest.fixture
def scored_folder(scored_once: Path, tmp_path: Path) -> Path:
    """The same, for a test that changes it."""
    return Path(shutil.copytree(scored_once, tmp_path / "evaluated"))
