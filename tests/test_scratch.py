"""Arrays in scratch files."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn import _scratch
from miscnn._scratch import Scratch, ScratchError, blocks_of, boxes_of, release
from miscnn.exceptions import MiscnnError, MissingFileError

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux")


def resident() -> int:
    """Memory of this process in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_small_arrays_are_ordinary_and_large_ones_are_mapped(tmp_path: Path) -> None:
    with Scratch(tmp_path, limit=1000) as scratch:
        small = scratch.empty((10, 25), np.float32)
        large = scratch.empty((10, 26), np.float32)
    assert type(small) is np.ndarray
    assert isinstance(large, np.memmap)
    large[...] = np.arange(260).reshape(10, 26)
    assert large.sum() == 260 * 259 / 2


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_is_the_one_asked_for(tmp_path: Path, order: Any) -> None:
    for limit in (0, 1 << 20):
        array = Scratch(tmp_path, limit).empty((3, 4, 5), np.int16, order)
        assert array.flags[f"{order}_CONTIGUOUS"]
        assert (array.shape, array.dtype) == ((3, 4, 5), np.int16)


def test_an_array_without_voxels_needs_no_file(tmp_path: Path) -> None:
    assert Scratch(tmp_path, limit=0).empty((0, 4), np.uint8).shape == (0, 4)


@pytest.mark.skipif(os.name != "posix", reason="Windows deletes files when they are closed")
def test_no_file_is_ever_seen_in_the_folder(tmp_path: Path) -> None:
    array = Scratch(tmp_path, limit=0).empty((1000,), np.float64)
    assert list(tmp_path.iterdir()) == []
    array[:] = 3
    assert array.mean() == 3


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_a_process_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    program = (
        "import os, sys, numpy as np; from miscnn._scratch import Scratch;"
        "a = Scratch(sys.argv[1], limit=0).empty((1 << 20,), np.uint8); a[:] = 1;"
        "os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -9
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere.*scratch_path="):
        Scratch(tmp_path / "nowhere")


def test_a_full_disk_is_an_error_that_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ScratchError, match=r"no room for .* GB.*scratch_path=") as caught:
        Scratch(tmp_path, limit=0).empty((1 << 50,), np.uint8)
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value, MiscnnError)
    assert isinstance(caught.value, OSError)

    def no_space(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", no_space, raising=False)
    with pytest.raises(ScratchError, match=r"no room for 0\.00 GB"):
        Scratch(tmp_path, limit=0).empty((10,), np.uint8)


def test_where_space_cannot_be_set_aside_the_file_grows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*arguments: Any) -> None:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(os, "posix_fallocate", unknown, raising=False)
    array = Scratch(tmp_path, limit=0).empty((10,), np.uint8)
    array[:] = 7
    assert array.tolist() == [7] * 10
    with pytest.raises(ScratchError, match="no room"):
        Scratch(tmp_path, limit=0).empty((1 << 50,), np.uint8)


def test_a_folder_in_memory_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_scratch.tempfile, "gettempdir", lambda: "/tmp")
    monkeypatch.setattr(_scratch, "_in_memory", lambda folder: str(folder) == "/tmp")
    assert str(_scratch._default_folder()) == "/var/tmp"
    monkeypatch.setattr(_scratch, "_in_memory", lambda folder: False)
    assert str(_scratch._default_folder()) == "/tmp"


@linux
def test_the_file_system_in_memory_is_known() -> None:
    assert _scratch._in_memory(Path("/dev/shm")) is Path("/dev/shm").is_mount()
    assert not _scratch._in_memory(Path("/proc"))


@linux
def test_release_lets_go_of_memory_and_keeps_values(tmp_path: Path) -> None:
    array = Scratch(tmp_path, limit=0).empty((64, 1 << 20), np.uint8)
    before = resident()
    array[...] = np.arange(64, dtype=np.uint8)[:, None]
    assert resident() > before + 50_000
    release(array[16:])
    assert resident() < before + 30_000
    release(array)
    assert resident() < before + 10_000
    np.testing.assert_array_equal(array[:, 5], np.arange(64))
    np.testing.assert_array_equal(array[:, -1], np.arange(64))


def test_release_leaves_all_other_arrays_alone(tmp_path: Path) -> None:
    ordinary = np.arange(10)
    release(ordinary)
    release(ordinary[::-2])
    release(np.empty((0, 3)))
    np.full((4, 5), 3, np.uint8).tofile(tmp_path / "file")
    private = np.memmap(tmp_path / "file", np.uint8, "c", shape=(4, 5))
    private[:] = 9  # the file keeps its 3
    release(private)
    release(np.asarray(private)[1:])
    assert (private == 9).all()
    read = np.memmap(tmp_path / "file", np.uint8, "r", shape=(4, 5))
    release(read[2:, ::-1])
    assert (read == 3).all()


@given(
    shape=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    axis=st.none() | st.integers(0, 3),
    limit=st.integers(1, 400),
    data=st.data(),
)
def test_boxes_cover_an_array_once(
    shape: list[int], axis: int | None, limit: int, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(shape))))
    array = np.zeros(shape, np.int16).transpose(order)
    axis = None if axis is None else axis % len(shape)
    for box in boxes_of(array, axis, limit):
        array[box] += 1
        assert array[box].size > 0
        if axis is None:
            assert array[box].nbytes <= max(limit, 2)
    assert (array == 1).all()


def test_boxes_are_pieces_of_memory() -> None:
    turned = np.zeros((8, 16, 4), np.uint8, order="F")
    boxes = list(boxes_of(turned, limit=128))
    assert boxes == [(slice(0, 8), slice(0, 16), slice(k, k + 1)) for k in range(4)]
    assert [box[1] for box in boxes_of(turned, axis=1, limit=256)] == [slice(0, 8), slice(8, 16)]


def test_what_is_written_into_blocks_is_in_the_array(tmp_path: Path) -> None:
    array = Scratch(tmp_path, limit=0).empty((5, 6, 7), np.int32)
    for number, block in enumerate(blocks_of(array, limit=200)):
        block[...] = number
    assert array[0, 0, 0] == 0
    assert array.max() == number > 3
