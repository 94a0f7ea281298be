"""What pydicom and highdicom say of a patient's header is heard nowhere, in any thread."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from miscnn.data_loading.dicom._pixels import read_codings, read_frames
from miscnn.data_loading.dicom._quiet import quiet
from miscnn.data_loading.dicom.series import find_series, read
from miscnn.data_loading.dicom.volume import DicomVolume
from miscnn.data_loading.dicom.write_segments import write_segments
from miscnn.data_loading.dicom.write_structures import write_structures

from .dicom_series import write_series

LPS = np.diag([-0.8, -0.9, 2.5, 1.0])
WRITERS = [write_segments, write_structures]
# What is no UID, date or code, and thus is quoted.
SECRET = "Zaphod.1952.0311"


def odd_series(folder: Path) -> DicomVolume:
    with pydicom.config.disable_value_validation():
        write_series(
            folder,
            np.zeros((9, 8, 4), np.int16),
            LPS,
            PatientBirthDate=SECRET,
            StudyDate=SECRET,
            PatientSex=SECRET + " and longer than is allowed",
            StudyID=SECRET * 2,
            StudyInstanceUID=SECRET + "S",
            SeriesInstanceUID=SECRET + "T",
            FrameOfReferenceUID=SECRET + "F",
            SOPInstanceUID=lambda k: f"{SECRET}.{k}",
        )
    with quiet():
        (series,) = find_series(folder)
    return series.open()


@contextmanager
def listening() -> Iterator[list[str]]:
    """Collect whatever is logged or warned of, by anybody, at any level."""
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"{record.name}: {record.getMessage()}")

    ear = Ear()
    names = [None, *(n for n in logging.root.manager.loggerDict if "dicom" in n)]
    before = {name: logging.getLogger(name).level for name in names}
    for name in names:
        logging.getLogger(name).setLevel(logging.DEBUG)
    logging.root.addHandler(ear)
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield heard
        heard += [str(one.message) for one in warned]
    finally:
        logging.root.removeHandler(ear)
        for name, level in before.items():
            logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("empty", [True, False])
def test_nothing_is_said_while_writing(tmp_path: Path, write: Any, empty: bool) -> None:
    volume = odd_series(tmp_path / "series")
    labels = np.zeros(volume.shape, np.uint8)
    labels[2:5, 3:6, 1:3] = not empty
    write(tmp_path / "warm.dcm", labels, volume)  # libraries are imported
    volume = odd_series(tmp_path / "other")  # values that were looked at are remembered
    with listening() as heard:
        write(tmp_path / "r.dcm", labels, volume)
    assert heard == []
    with quiet():
        written = pydicom.dcmread(tmp_path / "r.dcm")
        assert written.StudyInstanceUID == SECRET + "S"
        assert written.FrameOfReferenceUID == SECRET + "F"


def test_nothing_is_said_while_reading(tmp_path: Path) -> None:
    odd_series(tmp_path)
    with listening() as heard:
        (series,) = find_series(tmp_path)
        read(series.open())
    assert heard == []


def test_children_of_loggers_are_silent_too() -> None:
    with listening() as heard:
        with quiet():
            logging.getLogger("pydicom.pixels.utils").warning("a")
            logging.getLogger("highdicom.base").info("b")
            pydicom.misc.warn_and_log("c")
        logging.getLogger("highdicom.base").info("d")
        pydicom.misc.warn_and_log("e")
    assert heard == ["highdicom.base: d", "pydicom: e", "e"]


def test_other_threads_are_heard() -> None:
    inside, done = threading.Event(), threading.Event()

    def silent() -> None:
        with quiet():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=silent)
    thread.start()
    inside.wait(10)
    with listening() as heard:
        pydicom.misc.warn_and_log("told")
    done.set()
    thread.join(10)
    assert heard == ["pydicom: told", "told"]


def test_loggers_that_come_later_are_silent() -> None:
    """While another thread is silent already."""
    inside, done = threading.Event(), threading.Event()

    def silent() -> None:
        with quiet():
            inside.set()
            done.wait(10)

    thread = threading.Thread(target=silent)
    thread.start()
    inside.wait(10)
    late = logging.getLogger("highdicom.imported_later")
    with listening() as heard, quiet():
        late.warning("quoted")
    done.set()
    thread.join(10)
    assert heard == []
    assert late.filters == []


def test_silence_leaves_nothing_behind() -> None:
    """Two threads that are silent in turn, and a third that changes the filters meanwhile."""
    filters = list(warnings.filters)
    replaced = pydicom.misc.warnings
    steps = [threading.Event() for _ in range(3)]

    def first() -> None:
        with quiet():
            steps[0].set()
            steps[1].wait(10)

    def second() -> None:
        steps[0].wait(10)
        with quiet():
            steps[1].set()
            steps[2].wait(10)

    threads = [threading.Thread(target=target) for target in (first, second)]
    for thread in threads:
        thread.start()
    steps[1].wait(10)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        steps[2].set()
        for thread in threads:
            thread.join(10)
    assert warnings.filters == filters
    assert pydicom.misc.warnings is replaced is warnings
    assert logging.getLogger("pydicom").filters == []


def test_frames_are_handed_on_without_silence(tmp_path: Path) -> None:
    """What is done with a frame is not silenced, and an abandoned reader silences nothing."""
    write_series(tmp_path, np.zeros((3, 4, 5), np.int16), LPS)
    volume = find_series(tmp_path)[0].open()
    planes = read_frames(volume.frames, read_codings(volume.frames, "a"), "a")
    next(planes)
    with listening() as heard:
        pydicom.misc.warn_and_log("told")
    assert heard == ["pydicom: told", "told"]
    assert pydicom.misc.warnings is warnings


def test_modes_of_validation_are_restored_after_threads(tmp_path: Path) -> None:
    volume = odd_series(tmp_path / "series")
    labels = np.zeros(volume.shape, np.uint8)
    modes = pydicom.config.settings.writing_validation_mode

    def write(number: int) -> None:
        for _ in range(3):
            write_structures(tmp_path / f"{number}.dcm", labels, volume)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert pydicom.config.settings.writing_validation_mode == modes
