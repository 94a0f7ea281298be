"""Downloads from a local server that breaks off, lies and moves."""

from __future__ import annotations

import errno
import gzip
import hashlib
import http.server
import io
import json
import logging
import re
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.datasets import _download, _sources, _unpack, fetch_chaos, fetch_kits19, fetch_msd
from miscnn.datasets._sources import Archive
from miscnn.exceptions import ConfigurationError, DownloadError


class Server:
    """Files by path, and how the server misbehaves."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.ranges = True
        self.cut = 0  # so many answers break off in the middle
        self.status: list[int] = []  # of the next answers
        self.etag = '"1"'
        self.modified = ""
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.asked.append((handler.path, asked))
        content = self.files.get(handler.path)
        status = self.status.pop(0) if self.status else 404 if content is None else 200
        if status != 200 or content is None:
            handler.send_error(status)
            return
        begin = 0
        same = handler.headers.get("If-Range") in (None, self.etag, self.modified)
        if asked and self.ranges and same:
            begin = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if begin >= len(content):
                handler.send_response(416)
                handler.send_header("Content-Range", f"bytes */{len(content)}")
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            handler.send_response(206)
            last = len(content) - 1
            handler.send_header("Content-Range", f"bytes {begin}-{last}/{len(content)}")
        else:
            handler.send_response(200)
        rest = content[begin:]
        handler.send_header("Content-Length", str(len(rest)))
        if self.etag:
            handler.send_header("ETag", self.etag)
        if self.modified:
            handler.send_header("Last-Modified", self.modified)
        handler.end_headers()
        if self.cut:
            self.cut -= 1
            rest = rest[: len(rest) // 2]
        handler.wfile.write(rest)


@pytest.fixture
def server() -> Iterator[Server]:
    ours = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            ours.answer(self)

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        ours.url = f"http://127.0.0.1:{httpd.server_address[1]}"
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield ours
        httpd.shutdown()
        thread.join()


def volume(value: int = 0) -> bytes:
    array = np.zeros((4, 5, 6), np.uint8)
    array[1, 2, :value] = np.arange(1, value + 1)
    return gzip.compress(nib.Nifti1Image(array, np.eye(4)).to_bytes(), mtime=0)


def tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def hippocampus(server: Server, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small archive with the layout of MSD's, on the server."""
    top = "Task04_Hippocampus"
    cases = [f"hippocampus_{i:03d}" for i in (1, 2, 10)]
    listed = [{"image": f"./imagesTr/{c}.nii.gz", "label": f"./labelsTr/{c}.nii.gz"} for c in cases]
    description = {
        "modality": {"0": "MRI"},
        "labels": {"0": "background", "1": "Anterior", "2": "Posterior"},
        "training": listed,
        "test": [],
    }
    content = tar(
        {
            f"{top}/dataset.json": json.dumps(description).encode(),
            f"{top}/._dataset.json": b"resource fork",
            **{f"{top}/imagesTr/{c}.nii.gz": volume() for c in cases},
            **{f"{top}/imagesTr/._{c}.nii.gz": b"resource fork" for c in cases},
            **{f"{top}/labelsTr/{c}.nii.gz": volume(2) for c in cases},
        }
    )
    server.files[f"/{top}.tar"] = content
    checksum = f"md5:{hashlib.md5(content).hexdigest()}"
    names = {n: Archive(f"{n}.tar", checksum if n == top else "md5:0") for n in _sources.MSD}
    monkeypatch.setattr(_sources, "MSD", names)
    return content


def fetch(server: Server, folder: Path, **arguments: object) -> object:
    return fetch_msd("hippocampus", folder, mirror=server.url, progress=False, **arguments)


def test_a_task_is_fetched_once_and_opened(
    server: Server, hippocampus: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    found = fetch(server, tmp_path)
    assert found.folder == tmp_path / "Task04_Hippocampus"
    assert found.licence.name == "CC BY-SA 4.0"
    assert "CC BY-SA 4.0" in (found.folder / "LICENSE.txt").read_text()
    assert "CC BY-SA 4.0" in caplog.text
    assert "Antonelli" in caplog.text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["Task04_Hippocampus"]  # nothing else
    data_io = miscnn.open_dataset(found)
    assert data_io.layout.name == "msd"
    assert data_io.indices_list == ["hippocampus_001", "hippocampus_002", "hippocampus_010"]
    assert data_io.interface.class_names == ["background", "Anterior", "Posterior"]
    labels = data_io.sample_loader("hippocampus_010").segmentation
    assert labels[1, 2, :, 0].tolist() == [1, 2, 0, 0, 0, 0]
    assert len(server.asked) == 1
    assert fetch(server, tmp_path) == found
    assert len(server.asked) == 1


def test_an_interrupted_download_goes_on(
    server: Server, hippocampus: bytes, tmp_path: Path
) -> None:
    server.cut = 3
    fetch(server, tmp_path, keep_archive=True)
    assert (tmp_path / "Task04_Hippocampus.tar").read_bytes() == hippocampus
    begins = [int(asked.split("=")[1][:-1]) for _, asked in server.asked if asked]
    n = len(hippocampus)
    assert begins == [n // 2, n // 2 + (n - n // 2) // 2, begins[-1]]  # a half of what was left
    assert len(begins) == 3
    assert begins[-1] > begins[-2]


def test_the_next_call_goes_on_where_the_last_one_gave_up(
    server: Server, hippocampus: bytes, tmp_path: Path
) -> None:
    server.cut = 1
    server.status = [200, 503, 503]
    with pytest.raises(DownloadError, match=rf"{len(hippocampus) // 2} bytes are kept"):
        fetch(server, tmp_path, retries=1)
    assert (tmp_path / "Task04_Hippocampus.tar.part").read_bytes() == (
        hippocampus[: len(hippocampus) // 2]
    )
    server.asked.clear()
    fetch(server, tmp_path)
    assert server.asked == [("/Task04_Hippocampus.tar", f"bytes={len(hippocampus) // 2}-")]
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("change", ["no ranges", "another version", "too long", "complete"])
def test_a_part_that_cannot_be_continued_begins_anew(
    change: str, server: Server, hippocampus: bytes, tmp_path: Path
) -> None:
    server.cut = 1
    server.status = [200, 503]
    with pytest.raises(DownloadError):
        fetch(server, tmp_path, retries=0)
    part = tmp_path / "Task04_Hippocampus.tar.part"
    if change == "no ranges":
        server.ranges = False
    elif change == "another version":  # what is kept is of the old one
        server.etag = '"2"'
        part.write_bytes(b"\1" * part.stat().st_size)
    elif change == "too long":
        part.write_bytes(hippocampus + b"more")
    else:
        part.write_bytes(hippocampus)
    assert fetch(server, tmp_path).folder.is_dir()


def test_a_wrong_checksum_is_refused(server: Server, hippocampus: bytes, tmp_path: Path) -> None:
    broken = bytearray(hippocampus)
    broken[700] ^= 1
    server.files["/Task04_Hippocampus.tar"] = bytes(broken)
    with pytest.raises(DownloadError, match="not the file that was expected"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []
    server.files["/Task04_Hippocampus.tar"] = hippocampus
    assert fetch(server, tmp_path).folder.is_dir()


def test_a_missing_file_is_told_at_once(server: Server, hippocampus: bytes, tmp_path: Path) -> None:
    server.files.clear()
    with pytest.raises(DownloadError, match=r"status 404.*mirror="):
        fetch(server, tmp_path)
    assert len(server.asked) == 1
    with pytest.raises(ConfigurationError, match="https"):
        fetch_msd(4, tmp_path, mirror="file:///etc")
    with pytest.raises(ConfigurationError, match="Task09_Spleen"):
        fetch_msd("hippocampi", tmp_path)


def test_a_folder_of_the_users_is_left_alone(
    server: Server, hippocampus: bytes, tmp_path: Path
) -> None:
    mine = tmp_path / "Task04_Hippocampus" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("x")
    with pytest.raises(DownloadError, match="not downloaded by this function"):
        fetch(server, tmp_path)
    assert server.asked == []
    assert mine.read_text() == "x"


def test_tasks_by_number_and_name() -> None:
    from miscnn.datasets.fetch import _task

    assert [_task(i) for i in (1, 10)] == ["Task01_BrainTumour", "Task10_Colon"]
    assert _task("HepaticVessel") == _task("task08_hepaticvessel") == "Task08_HepaticVessel"
    assert len({archive.checksum for archive in _sources.MSD.values()}) == 10


def test_kits19_keeps_the_checksums_of_the_first_download(server: Server, tmp_path: Path) -> None:
    for case in ("case_00000", "case_00209", "case_00210"):
        server.files[f"/{case}/imaging.nii.gz"] = volume()
        server.files[f"/{case}/segmentation.nii.gz"] = volume(2)
    arguments = {"mirror": server.url + "/", "progress": False}
    found = fetch_kits19(tmp_path, (209, 0, 210), **arguments)
    assert [path for path, _ in server.asked] == [
        "/case_00000/imaging.nii.gz", "/case_00000/segmentation.nii.gz",
        "/case_00209/imaging.nii.gz", "/case_00209/segmentation.nii.gz",
        "/case_00210/imaging.nii.gz",
    ]  # fmt: skip
    data_io = miscnn.open_dataset(found)
    assert data_io.indices_list == ["case_00000", "case_00209", "case_00210"]
    assert (data_io.interface.classes, data_io.layout.name) == (3, "miscnn")
    sums = (found.folder / "SHA256SUMS").read_text().splitlines()
    assert f"{hashlib.sha256(volume()).hexdigest()}  case_00000/imaging.nii.gz" in sums
    assert "no commercial use" in (found.folder / "LICENSE.txt").read_text()

    server.asked.clear()
    fetch_kits19(tmp_path, (0, 209, 210), **arguments)
    assert server.asked == []
    image = found.folder / "case_00000" / "imaging.nii.gz"
    image.write_bytes(b"damaged")
    fetch_kits19(tmp_path, (0,), **arguments)
    assert image.read_bytes() == volume()
    image.unlink()
    server.files["/case_00000/imaging.nii.gz"] = volume(3)
    with pytest.raises(DownloadError, match="earlier download"):
        fetch_kits19(tmp_path, (0,), **arguments)
    assert not image.exists()


def test_a_page_in_place_of_a_volume_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["/case_00000/imaging.nii.gz"] = b"<!DOCTYPE html> sign in"
    with pytest.raises(DownloadError, match="password"):
        fetch_kits19(tmp_path, (0,), mirror=server.url, progress=False)
    assert not list((tmp_path / "kits19").glob("case*/*"))
    for cases in ((300,), (-1,), (), ["1"], [1.5], 3, "1", [True], [None]):
        with pytest.raises(ConfigurationError, match="0 to 299"):
            fetch_kits19(tmp_path, cases)


def test_chaos_is_unpacked(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("Train_Sets/CT/1/DICOM_anon/i0001.dcm", b"\0" * 128 + b"DICM")
        archive.writestr("Train_Sets/CT/1/Ground/liver_GT_000.png", b"x")
    server.files["/CHAOS_Train_Sets.zip"] = buffer.getvalue()
    checksum = f"sha256:{hashlib.sha256(buffer.getvalue()).hexdigest()}"
    monkeypatch.setattr(_sources, "CHAOS", {"training": Archive("CHAOS_Train_Sets.zip", checksum)})
    found = fetch_chaos(tmp_path, mirror=server.url, progress=False)
    assert found.folder == tmp_path / "CHAOS_Train_Sets" / "CT"
    assert (found.folder / "1" / "Ground" / "liver_GT_000.png").read_bytes() == b"x"
    from miscnn.data_loading.layouts import find_layout

    assert find_layout(found).name == "dicom"
    with pytest.raises(ConfigurationError, match="training"):
        fetch_chaos(tmp_path, "train")


def bad_tar(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as archive:
            info = tarfile.TarInfo(name)
            info.type = kind
            info.linkname = link
            archive.addfile(info, io.BytesIO(b""))

    return write


def bad_zip(name: str, mode: int = 0o100644) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, "../../outside")

    return write


@pytest.mark.parametrize(
    "write",
    [
        bad_tar("../outside"), bad_tar("/outside"), bad_tar("a/../../outside"),
        bad_tar("a", tarfile.SYMTYPE, "/etc/passwd"), bad_tar("a", tarfile.LNKTYPE, "../x"),
        bad_tar("a", tarfile.FIFOTYPE), bad_tar("a", tarfile.CHRTYPE), bad_zip("../outside"),
        bad_zip("/outside"), bad_zip("a\\..\\..\\outside"), bad_zip("C:/outside"),
        bad_zip("link", 0o120777), bad_tar(""), bad_tar("T/" + "n" * 300),
        lambda path: path.write_bytes(b"neither"),
        lambda path: path.write_bytes(b""),
    ],
)  # fmt: skip
def test_hostile_archives_are_refused(write: Callable[[Path], None], tmp_path: Path) -> None:
    archive = tmp_path / "in" / "archive"
    archive.parent.mkdir()
    write(archive)
    with pytest.raises(DownloadError, match="archive"):
        _unpack.unpack(archive, tmp_path / "in" / "target", lambda folder: None)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["archive", "in"]


def test_an_archive_that_would_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "archive.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", bytes(4_000_000))
    monkeypatch.setattr(_unpack, "_SMALL", 3_999_999)
    assert archive.stat().st_size * 100 < 4_000_000
    with pytest.raises(DownloadError, match="4000000 bytes"):
        _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    monkeypatch.setattr(_unpack, "_SMALL", 4_000_000)
    _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    assert (tmp_path / "target" / "a").stat().st_size == 4_000_000


def test_a_damaged_archive_leaves_nothing(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar({"a": b"1" * 5000, "b": b"2" * 5000})[:8000])
    with pytest.raises(DownloadError, match=r"archive\.tar"):
        _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    assert [p.name for p in tmp_path.iterdir()] == ["archive.tar"]


def test_a_download_that_does_not_fit_is_told_beforehand(
    server: Server, hippocampus: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 10

    monkeypatch.setattr(_download.shutil, "disk_usage", lambda path: Usage)
    with pytest.raises(DownloadError, match="only 10 are free"):
        fetch(server, tmp_path)


OLD, NEW = b"\x1f\x8bold" * 5000, b"\x1f\x8bnew" * 5000
YESTERDAY, TODAY = "Sat, 21 Nov 2026 07:28:00 GMT", "Sun, 22 Nov 2026 07:28:00 GMT"


@pytest.mark.parametrize(
    ("etags", "dates", "goes_on"),
    [
        (("", ""), ("", ""), False),
        (('W/"1"', 'W/"1"'), ("", ""), False),  # may be the same for different bytes
        (('W/"1"', 'W/"2"'), (YESTERDAY, TODAY), False),
        (('W/"1"', 'W/"1"'), (YESTERDAY, YESTERDAY), True),
        (('"1"', '"1"'), ("", ""), True),
        (('"1"', '"2"'), ("", ""), False),
    ],
)
def test_no_two_versions_of_a_file_are_put_together(
    etags: tuple[str, str],
    dates: tuple[str, str],
    goes_on: bool,
    server: Server,
    tmp_path: Path,
) -> None:
    """Without a published checksum, that of two halves would be kept as the right one."""
    name = "/case_00000/imaging.nii.gz"
    server.files["/case_00000/segmentation.nii.gz"] = volume()
    server.files[name], server.etag, server.modified = OLD, etags[0], dates[0]
    server.cut, server.status = 1, [200, 503]
    arguments: dict[str, Any] = {"mirror": server.url, "progress": False}
    with pytest.raises(DownloadError, match="bytes are kept"):
        fetch_kits19(tmp_path, (0,), retries=0, **arguments)
    server.etag, server.modified = etags[1], dates[1]
    server.files[name] = OLD if goes_on else NEW
    server.asked.clear()
    fetch_kits19(tmp_path, (0,), **arguments)
    assert (tmp_path / "kits19" / name[1:]).read_bytes() == server.files[name]
    sums = (tmp_path / "kits19" / "SHA256SUMS").read_text()
    assert hashlib.sha256(server.files[name]).hexdigest() in sums
    if goes_on:
        assert server.asked[0] == (name, f"bytes={len(OLD) // 2}-")


@pytest.mark.parametrize("when", ["download", "unpacking", "finishing"])
def test_a_full_disk_is_told_at_once_and_nothing_is_lost(
    when: str,
    server: Server,
    hippocampus: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere")

    class Full(io.BytesIO):
        write = full  # type: ignore[assignment]

    original = Path.open

    def opened(path: Path, mode: str = "r", *arguments: Any, **others: Any) -> Any:
        return Full() if mode == "ab" else original(path, mode, *arguments, **others)

    waits: list[float] = []
    with monkeypatch.context() as patch:
        patch.setattr(time, "sleep", waits.append)
        if when == "download":
            patch.setattr(Path, "open", opened)
        elif when == "unpacking":
            patch.setattr(shutil, "copyfileobj", full)
        else:
            patch.setattr("miscnn.datasets.fetch.write_json", full)
        with pytest.raises(DownloadError, match=r"No space left.*make room on the disk"):
            fetch(server, tmp_path)
    assert waits == []
    assert len(server.asked) == 1
    kept = {p.name for p in tmp_path.iterdir()}
    assert kept <= {"Task04_Hippocampus.tar", "Task04_Hippocampus.tar.part.json"}
    assert fetch(server, tmp_path).folder.is_dir()
    assert len(server.asked) == (2 if when == "download" else 1)
    assert [p.name for p in tmp_path.iterdir()] == ["Task04_Hippocampus"]


@pytest.mark.parametrize("when", ["downloading", "unpacking"])
def test_another_process_may_be_quicker(
    when: str,
    server: Server,
    hippocampus: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It puts the folder there while we are at work, and removes the archive."""
    name = "write_json" if when == "unpacking" else "download"
    original = getattr(miscnn.datasets.fetch, name)

    def overtaken(*arguments: Any) -> Any:
        monkeypatch.setattr(miscnn.datasets.fetch, name, original)
        fetch(server, tmp_path)
        if when == "downloading":
            (tmp_path / "Task04_Hippocampus.tar.part").write_bytes(b"ours")
            raise DownloadError("what we wrote into has gone")
        return original(*arguments)

    monkeypatch.setattr(miscnn.datasets.fetch, name, overtaken)
    found = fetch(server, tmp_path)
    assert (found.folder / "SOURCE.json").is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["Task04_Hippocampus"]


@pytest.mark.parametrize("what", ["file", "broken link", "link", "parent"])
def test_where_no_folder_can_be_made(
    what: str, server: Server, hippocampus: bytes, tmp_path: Path
) -> None:
    folder, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    target = folder / "Task04_Hippocampus"
    if what == "parent":
        folder.write_text("mine")
    else:
        folder.mkdir()
    if what == "file":
        target.write_text("mine")
    elif "link" in what:
        target.symlink_to(elsewhere)
    if what == "link":  # to an empty folder on another disk, say
        elsewhere.mkdir()
        assert fetch(server, folder).folder == target
        assert (elsewhere / "dataset.json").is_file()
        assert target.is_symlink()
        return
    advice = {"file": "remove it, or name", "broken link": "link to", "parent": "name a folder in"}
    with pytest.raises(DownloadError, match=advice[what]):
        fetch(server, folder)
    if what == "parent":
        with pytest.raises(DownloadError, match="name a folder in"):
            fetch_kits19(folder, (0,))


@pytest.mark.parametrize("hidden", ["._T", ".DS_Store", "__MACOSX/._T", ".a/b"])
def test_hidden_neighbours_of_the_one_folder_are_left_out(hidden: str, tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar({hidden: b"x", "T/dataset.json": b"{}", "T/.hidden": b""}))
    _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*"))
    assert found == ["archive.tar", "target", "target/.hidden", "target/dataset.json"]


def test_members_that_do_not_fit_together(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar"
    archive.write_bytes(tar({"T/a": b"x", "T/a/b": b"y"}))
    with pytest.raises(DownloadError, match=r"'T/a/b' cannot be written.*remove the archive"):
        _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    assert [p.name for p in tmp_path.iterdir()] == ["archive.tar"]


def test_the_checksum_of_a_compressed_archive_counts(tmp_path: Path) -> None:
    archive = tmp_path / "archive.tar.gz"
    content = bytearray(gzip.compress(tar({"a": bytes(range(256)) * 9}), compresslevel=0))
    content[1500] ^= 1  # in the file, which is stored as it is
    archive.write_bytes(content)
    with pytest.raises(DownloadError, match="CRC check failed"):
        _unpack.unpack(archive, tmp_path / "target", lambda folder: None)
    assert [p.name for p in tmp_path.iterdir()] == ["archive.tar.gz"]


def test_pooch_says_nothing_and_is_left_as_it_was(server: Server, tmp_path: Path) -> None:
    pooch = pytest.importorskip("pooch")
    said: list[str] = []

    class Noting(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            said.append(record.getMessage())

    logger, noting = pooch.get_logger(), Noting()
    logger.addHandler(noting)
    before = (logger.level, logger.disabled, list(logger.filters))
    try:
        logger.info("heard")
        said.clear()
        server.files["/case_00000/imaging.nii.gz"] = volume()
        with pytest.raises(DownloadError, match="status 404"):  # there is no segmentation
            fetch_kits19(tmp_path, (0,), mirror=server.url, progress=False)
        assert said == []
        assert (logger.level, logger.disabled, list(logger.filters)) == before
        logger.info("heard")
        assert said == ["heard"]
    finally:
        logger.removeHandler(noting)
