"""A training, or a fold, is not gone on with when the files of its subjects have changed."""

from __future__ import annotations

import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import miscnn
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.neural_network._sources import Sources

MakeNetwork = Callable[..., miscnn.NeuralNetwork]


class Interface:
    """Two files for each subject; none for those that begin with "n"."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def source_files(self, index: str) -> list[Path]:
        if index == "gone":
            raise SampleError(index, "has no image")
        if index.startswith("n"):
            return []
        return [self.folder / f"{index}_image", self.folder / f"{index}_label"]


def written(folder: Path, size: int = 50) -> Interface:
    folder.mkdir(exist_ok=True)
    for number in range(4):
        content = np.random.default_rng(number).bytes(size)
        (folder / f"s{number}_image").write_bytes(content)
        (folder / f"s{number}_label").write_bytes(content[::-1])
    return Interface(folder)


def touched(path: Path) -> None:
    when = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(when, when))


def test_copies_and_new_dates_are_the_same_data(tmp_path: Path) -> None:
    interface = written(tmp_path / "a")
    before = Sources(interface).fingerprints(["s0", "s1", "n", "gone"])
    assert set(before) == {"s0", "s1"}
    assert Sources(interface).differences(before) == []
    touched(tmp_path / "a" / "s0_image")
    assert Sources(interface).differences(before) == []
    shutil.copytree(tmp_path / "a", tmp_path / "b", copy_function=shutil.copyfile)
    assert Sources(Interface(tmp_path / "b")).differences(before) == []
    assert Sources(interface).differences(None) == []  # as older versions wrote it
    assert Sources(object()).differences(before) == []


def test_other_contents_are_told_of_by_size_or_by_digest(tmp_path: Path) -> None:
    interface = written(tmp_path)
    before = Sources(interface).fingerprints(["s0", "s1", "s2"])
    with (tmp_path / "s1_label").open("ab") as file:
        file.write(b"x")
    label = tmp_path / "s2_label"
    label.write_bytes(label.read_bytes()[:-1] + b"?")
    touched(label)  # the clock of the file system may be coarse
    assert Sources(interface).differences(before) == [
        "the files of 2 subject(s) have changed since (s1 s2)"
    ]


@pytest.mark.parametrize("where", [0, 10_000, 40_000, -1])
def test_compressed_files_are_told_apart_wherever_they_differ(where: int, tmp_path: Path) -> None:
    interface = written(tmp_path)
    label = np.random.default_rng(0).integers(0, 256, 3 << 20, dtype=np.uint8)

    def write() -> None:
        (tmp_path / "s0_label").write_bytes(gzip.compress(label.tobytes(), 1, mtime=0))

    write()
    before = Sources(interface).fingerprints(["s0"])
    size = (tmp_path / "s0_label").stat().st_size
    label[where] ^= 1
    write()
    touched(tmp_path / "s0_label")
    assert (tmp_path / "s0_label").stat().st_size == size > 2 << 20
    assert len(Sources(interface).differences(before)) == 1


def test_little_is_read_of_large_files_and_dates_alone_of_unchanged_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from miscnn.neural_network import _sources

    interface = written(tmp_path, 3 << 20)
    before = Sources(interface).fingerprints(["s0"])
    for part in (slice(0, 1), slice(-1, None)):  # the first and the last byte count
        content = bytearray((tmp_path / "s0_image").read_bytes())
        kept = bytes(content)
        content[part] = bytes([content[part][0] ^ 1])
        (tmp_path / "s0_image").write_bytes(content)
        touched(tmp_path / "s0_image")
        assert len(Sources(interface).differences(before)) == 1
        (tmp_path / "s0_image").write_bytes(kept)
    monkeypatch.setattr(_sources, "_contents", None)
    again = Sources(interface)
    interface.folder = tmp_path
    monkeypatch.setattr(again, "_state", lambda index: before[index]["state"])
    assert again.differences(before) == []  # nothing was read


def with_files(network: miscnn.NeuralNetwork, folder: Path) -> miscnn.NeuralNetwork:
    interface: Any = network.preprocessor.data_io.interface  # type: ignore[union-attr]
    interface.source_files = Interface(folder).source_files
    return network


def test_a_training_on_other_data_is_refused(
    tmp_path: Path, new_network: MakeNetwork, caplog: pytest.LogCaptureFixture
) -> None:
    written(tmp_path / "data")
    options: dict[str, Any] = {"verbose": 0, "checkpoint_path": tmp_path / "ck"}

    def train(epochs: int, folder: str = "data", **more: Any) -> Any:
        network = with_files(new_network(schedule=None, ema=None), tmp_path / folder)
        return network.evaluate(["s0"], ["s1"], epochs, 1, **options, **more)

    train(1)
    (tmp_path / "data").rename(tmp_path / "moved")
    for path in (tmp_path / "moved").iterdir():
        touched(path)
    assert train(2, "moved").epochs == 2  # the same data, elsewhere
    assert "nothing is trained" not in caplog.text
    assert train(2, "moved").epochs == 2
    assert "holds 2 epochs, 2 were asked for: it returns all of them; nothing is trained" in (
        caplog.text
    )
    (tmp_path / "moved" / "s2_label").write_bytes(b"of nobody here")
    train(2, "moved")
    (tmp_path / "moved" / "s1_label").write_bytes(b"corrected")  # it only validates
    told = r"ck holds a training on other data: the files of 1 subject\(s\) have changed since "
    with pytest.raises(ConfigurationError, match=told + r"\(s1\)\. Begin anew with resume=False"):
        train(2, "moved")
    assert train(1, "moved", resume=False).epochs == 1
    assert train(1, "moved").epochs == 1
