"""The service of the examples: what it answers, what it refuses, and that nothing is left."""

from __future__ import annotations

import errno
import gzip
import importlib.util
import io
import json
import logging
import stat
import struct
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import DICOMInterface, NIfTIInterface
from miscnn.datasets._unpack import ArchiveTooLargeError, unpack
from miscnn.exceptions import MissingFileError
from miscnn.neural_network.architecture import UNetStandard
from miscnn.processing.subfunctions import Normalization, Resampling

from .data_loading.dicom_series import PATIENT, PATIENT_ID, write_series

pytest.importorskip("pydicom")
pytest.importorskip("highdicom")
testclient = pytest.importorskip("fastapi.testclient")

AFFINE = np.diag([-1.5, -1.5, 3.0, 1.0])
NAMES = ["background", "Leber-Ä", "tumour"]


def load_example() -> ModuleType:
    path = Path(__file__).parents[1] / "examples" / "serve.py"
    spec = importlib.util.spec_from_file_location("example_serve", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


serve = load_example()


def volume(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-200, 300, (16, 18, 7)).astype(np.int16)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was not trained, with values learned for preparation."""
    folder = tmp_path_factory.mktemp("bundle")
    for number in range(2):
        (folder / f"data/{number}").mkdir(parents=True)
        image = nib.Nifti1Image(volume(number), AFFINE)
        nib.save(image, folder / f"data/{number}/imaging.nii.gz")
        labels = (volume(number) > 100).astype(np.uint8)
        nib.save(nib.Nifti1Image(labels, AFFINE), folder / f"data/{number}/segmentation.nii.gz")
    interface = NIfTIInterface(channels=1, classes=3, class_names=NAMES)
    data_io = miscnn.DataIO(interface, folder / "data", folder / "out", folder / "batches")
    recipe = miscnn.Preprocessor(
        data_io,
        1,
        [Resampling((1.5, 1.5, 2.0)), Normalization("z-score", statistics="dataset")],
        data_aug=None,
        patch_shape=(8, 8, 8),
        seed=0,
    )
    model = miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=4, depth=1), seed=1)
    model.train(data_io.get_indiceslist(), epochs=1, iterations=2, verbose=0)
    model.save(folder / "bundle")
    return folder / "bundle"


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Any:
    return miscnn.load(bundle)


@pytest.fixture
def new_client(
    bundle: Path, loaded: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """What starts the service with some limits; afterwards nothing must be left on the disk."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setattr(miscnn, "load", lambda folder: loaded)
    clients: list[Any] = []

    def start(**limits: Any) -> Any:
        clients.append(testclient.TestClient(serve.create_app(bundle, serve.Limits(**limits))))
        return clients[-1].__enter__()

    yield start
    for client in clients:
        desk = client.app.state.desk
        until_empty(desk)
        assert (len(desk.visits), list(desk.root.iterdir())) == (0, [])
        client.__exit__(None, None, None)
    left = [path.name for path in (tmp_path / "temporary").iterdir()]
    # TensorFlow writes sources of compiled functions there until the process ends.
    assert [name for name in left if not name.startswith("__autograph")] == []


@pytest.fixture
def client(new_client: Callable[..., Any]) -> Any:
    return new_client()


def until_empty(desk: Any) -> None:
    deadline = time.monotonic() + 10
    while desk.visits and time.monotonic() < deadline:
        time.sleep(0.02)


def nifti(array: np.ndarray | None = None, affine: np.ndarray = AFFINE) -> bytes:
    return nib.Nifti1Image(volume() if array is None else array, affine).to_bytes()


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def series(folder: Path, **overrides: Any) -> dict[str, bytes]:
    paths = write_series(folder, volume(), AFFINE, **overrides)
    return {f"{PATIENT}/{folder.name}/{path.name}": path.read_bytes() for path in paths}


def post(client: Any, content: bytes, query: str = "", form: bool = False) -> Any:
    if form:
        files = {"image": (f"{PATIENT}.nii.gz", content, "application/octet-stream")}
        return client.post(f"/predict{query}", files=files)
    return client.post(f"/predict{query}", content=content)


def expected(loaded: Any, folder: Path, affine: np.ndarray = AFFINE) -> np.ndarray:
    """What the network says of the image in memory, with its grid."""
    geometry = miscnn.data_loading.geometry.Geometry(volume().shape, affine)
    sample = miscnn.Sample("a", volume(), 1, 3, geometry)
    (labels,) = loaded.predict([sample], return_output=True, verbose=0)
    assert len(np.unique(labels)) > 1
    return labels


def millilitres(labels: np.ndarray) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=3) * 1.5 * 1.5 * 3.0 / 1000
    return dict(zip(NAMES[1:], counts[1:].tolist(), strict=True))


def test_health_and_info(client: Any) -> None:
    assert client.get("/health").json() == {"status": "ok", "requests": 0}
    info = client.get("/info")
    assert info.status_code == 200
    assert isinstance(info.json(), dict)


@pytest.mark.parametrize("form", [False, True])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_nifti_comes_back_on_its_grid(
    client: Any, loaded: Any, tmp_path: Path, form: bool, pack: Callable[[bytes], bytes]
) -> None:
    affine = np.array([[0, 1.5, 0, 7], [-1.5, 0, 0, -3], [0, 0, 3, 11], [0, 0, 0, 1]])
    answer = post(client, pack(nifti(affine=affine)), form=form)
    assert answer.status_code == 200, answer.text
    assert 'filename="segmentation.nii' in answer.headers["content-disposition"]
    path = tmp_path / ("a.nii.gz" if answer.content[:2] == b"\x1f\x8b" else "a.nii")
    path.write_bytes(answer.content)
    found = nib.load(path)
    wanted = expected(loaded, tmp_path, affine)
    np.testing.assert_array_equal(np.asarray(found.dataobj), wanted)
    np.testing.assert_array_equal(found.affine, affine)
    volumes = json.loads(answer.headers["x-volumes-ml"])
    assert volumes == pytest.approx(millilitres(wanted), abs=1e-3)


def test_volumes_alone(client: Any, loaded: Any, tmp_path: Path) -> None:
    answer = post(client, nifti(), "?outputs=volumes")
    wanted = millilitres(expected(loaded, tmp_path))
    assert answer.json() == {"volumes_ml": pytest.approx(wanted, abs=1e-3)}


def test_nrrd_and_mha(client: Any, loaded: Any, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(volume().T)
    image.SetSpacing((1.5, 1.5, 3.0))
    wanted = expected(loaded, tmp_path)
    for ending in (".nrrd", ".mha"):
        sitk.WriteImage(image, tmp_path / f"a{ending}", useCompression=True)
        answer = post(client, (tmp_path / f"a{ending}").read_bytes())
        assert answer.status_code == 200, answer.text
        (tmp_path / f"b{ending}").write_bytes(answer.content)
        found = sitk.GetArrayFromImage(sitk.ReadImage(tmp_path / f"b{ending}")).T
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("format", ["", "dicom-seg", "rtstruct", "nifti"])
def test_a_zip_of_dicom(client: Any, loaded: Any, tmp_path: Path, format: str) -> None:
    files = series(tmp_path / "data" / "case", SeriesNumber=7)
    content = zipped({**files, f"{PATIENT}/readme.txt": b"no image"})
    answer = post(client, content, f"?format={format}" if format else "", form=True)
    assert answer.status_code == 200, answer.text
    wanted = expected(loaded, tmp_path)
    if format == "nifti":
        (tmp_path / "a.nii.gz").write_bytes(answer.content)
        found = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj)
    else:
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "case.dcm").write_bytes(answer.content)
        interface = DICOMInterface(classes=3, class_names=NAMES, output=format or "dicom-seg")
        data_io = miscnn.DataIO(interface, tmp_path / "data")
        found = data_io.load_prediction("case", tmp_path / "out")
    if format == "rtstruct":  # outlines
        assert (found == wanted).mean() > 0.9
    else:
        np.testing.assert_array_equal(found, wanted)
    volumes = json.loads(answer.headers["x-volumes-ml"])
    assert volumes == pytest.approx(millilitres(wanted), abs=1e-3)
    for name in (PATIENT, PATIENT_ID, *PATIENT.split("^")):
        assert name not in str(answer.headers)


def test_several_series_are_listed_and_one_can_be_chosen(client: Any, tmp_path: Path) -> None:
    files = {
        **series(tmp_path / "a", SeriesNumber=3, SeriesDescription=PATIENT),
        **series(tmp_path / "b", SeriesNumber=12),
    }
    answer = post(client, zipped(files))
    assert answer.status_code == 422
    assert answer.json()["series"] == [3, 12]
    assert "2 of 2 series fit" in answer.json()["error"]
    check_discretion(answer, tmp_path)
    answer = post(client, zipped(files), "?series=12&outputs=volumes")
    assert answer.status_code == 200, answer.text
    answer = post(client, zipped(files), "?series=4")
    assert (answer.status_code, answer.json()["series"]) == (422, [3, 12])


def test_a_series_that_there_is_not_is_not_recommended(client: Any, tmp_path: Path) -> None:
    content = zipped(series(tmp_path / "a", SeriesNumber=2, SeriesDescription=PATIENT))
    answer = post(client, content, "?series=3")
    assert (answer.status_code, answer.json()["series"]) == (422, [2])
    error = answer.json()["error"]
    assert "none of 1 series fit for series=3: [1] number 2, " in error
    assert error.endswith(". Choose by ?series=NUMBER")
    check_discretion(answer, tmp_path)
    assert post(client, content, "?series=2&outputs=volumes").status_code == 200


def test_series_of_one_number_cannot_be_chosen(client: Any, tmp_path: Path) -> None:
    files = {**series(tmp_path / "a", SeriesNumber=3), **series(tmp_path / "b", SeriesNumber=3)}
    assert post(client, zipped(files)).json()["series"] == [3]
    answer = post(client, zipped(files), "?series=3")
    assert (answer.status_code, answer.json()["series"]) == (422, [])
    assert answer.json()["error"].endswith(". Send the files of one series alone")


def test_what_is_wrong_with_a_chosen_series_is_told(client: Any, tmp_path: Path) -> None:
    """It is no question of the choice, though there are others."""
    first, second = series(tmp_path / "a", SeriesNumber=3), series(tmp_path / "b", SeriesNumber=4)
    del first[sorted(first)[3]]
    answer = post(client, zipped({**first, **second}), "?series=3")
    assert (answer.status_code, set(answer.json())) == (422, {"error"})
    assert "Choose by" not in answer.text


def check_discretion(answer: Any, tmp_path: Path) -> None:
    """No name of a patient, and no folder of the server, in one line."""
    text = answer.text
    for secret in (PATIENT, PATIENT_ID, "Mustermann", str(tmp_path), "/tmp", "\\n"):
        assert secret not in text
    assert set(answer.json()) <= {"error", "series"}


def link(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(zipped({f"{PATIENT}.dcm": b"secret" * 30}))
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + place] |= 1
    return bytes(content)


def claims(content: bytes, *values: float, place: int = 42, kind: str = "h") -> bytes:
    """Overwrite a part of a NIfTI header: the numbers of voxels, if no other is named."""
    header = bytearray(content)
    struct.pack_into(f"<{len(values)}{kind}", header, place, *values)
    return bytes(header)


HOSTILE: dict[str, tuple[int, Callable[[], bytes]]] = {
    "slip": (400, lambda: zipped({"../../evil.dcm": b"x"})),
    "slip of windows": (400, lambda: zipped({"..\\evil.dcm": b"x"})),
    "absolute": (400, lambda: zipped({f"/tmp/{PATIENT}.dcm": b"x"})),
    "drive": (400, lambda: zipped({"C:\\evil.dcm": b"x"})),
    "link": (400, lambda: link(f"{PATIENT}.dcm")),
    "encrypted": (400, encrypted),
    "nested": (400, lambda: zipped({"a.dcm": zipped({f"{PATIENT}.dcm": b"x"})})),
    "nested gzip": (400, lambda: zipped({"a": gzip.compress(b"x", mtime=0)})),
    "truncated zip": (400, lambda: zipped({f"{PATIENT}.dcm": bytes(range(256)) * 40})[:-30]),
    "damaged member": (400, lambda: damaged(zipped({"a": bytes(range(256)) * 40}))),
    "file and folder of one name": (400, lambda: zipped({"a": b"x", "a/b": b"x"})),
    "empty": (400, lambda: b""),
    "empty zip": (422, lambda: zipped({})),
    "zip of no DICOM": (422, lambda: zipped({f"{PATIENT}.txt": b"x" * 1000})),
    "zip of broken DICOM": (422, lambda: zipped({f"{PATIENT}": bytes(128) + b"DICM" + b"x" * 50})),
    "bomb": (413, lambda: zipped({"a.dcm": bytes(9 << 20)})),
    "bomb of several": (413, lambda: zipped({f"{k}.dcm": bytes(1 << 20) for k in range(9)})),
    "too many members": (413, lambda: zipped({f"{k}/": b"" for k in range(40)})),
    "bomb of gzip": (413, lambda: gzip.compress(nifti() + bytes(9 << 20))),
    "claims": (422, lambda: claims(nifti(), 30000, 30000, 30000)),
    "claims, compressed": (422, lambda: gzip.compress(claims(nifti(), 30000, 30000, 30000))),
    "grid of the network": (413, lambda: nifti(affine=np.diag([900.0, 900.0, 900.0, 1.0]))),
    "truncated": (422, lambda: nifti()[:-100]),
    "truncated gzip": (422, lambda: gzip.compress(nifti())[:-100]),
    "damaged gzip": (422, lambda: damaged(gzip.compress(nifti()))),
    "channels": (422, lambda: nifti(np.stack([volume()] * 3, axis=-1))),
    "not finite": (422, lambda: nifti(np.full((16, 18, 7), np.nan, np.float32))),
    "grid": (422, lambda: claims(nifti(), *[0.0] * 12, place=280, kind="f")),
    "NRRD elsewhere": (422, lambda: b"NRRD0005\ntype: uint8\ndata file: /etc/passwd\n\n"),
    "MHA elsewhere": (422, lambda: b"ObjectType = Image\nNDims = 3\nElementDataFile = ../x\n"),
    "picture": (415, lambda: b"\x89PNG\r\n\x1a\n" + bytes(1000)),
    "text": (415, lambda: f"{PATIENT} " .encode() * 100),
    "gzip of text": (415, lambda: gzip.compress(PATIENT.encode())),
    "tar": (415, lambda: bytes(257) + b"ustar\x0000" + bytes(1000)),
}  # fmt: skip


def damaged(content: bytes) -> bytes:
    middle = len(content) // 2
    return (
        content[:middle]
        + bytes(byte ^ 255 for byte in content[middle : middle + 40])
        + content[middle + 40 :]
    )


@pytest.mark.parametrize(
    ("what", "form"),
    [(what, False) for what in HOSTILE] + [(what, True) for what in ("slip", "bomb", "picture")],
)
def test_hostile_uploads_are_refused(
    new_client: Callable[..., Any],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    what: str,
    form: bool,
) -> None:
    client = new_client(max_mb=1, max_unpacked_mb=8, max_files=32)
    status, make = HOSTILE[what]
    with caplog.at_level(logging.DEBUG):
        answer = post(client, make(), form=form)
    assert answer.status_code == status, answer.text
    check_discretion(answer, tmp_path)
    assert "Mustermann" not in caplog.text
    assert not any(p.name.startswith("evil") for p in tmp_path.rglob("*"))
    assert client.get("/health").json()["requests"] == 0


def test_too_large_by_its_own_account_is_not_read(new_client: Callable[..., Any]) -> None:
    client = new_client(max_mb=1000 / (1 << 20))
    asked: list[int] = []

    def body() -> Iterator[bytes]:
        for _ in range(100):
            asked.append(1)
            yield bytes(100)

    answer = client.post("/predict", content=body(), headers={"Content-Length": "1001"})
    assert answer.status_code == 413
    assert client.post("/predict", content=bytes(1001)).status_code == 413
    # Without an account, or with a false one: counted.
    assert client.post("/predict", content=body()).status_code == 413
    answer = client.post("/predict", content=body(), headers={"Content-Length": "10"})
    assert answer.status_code == 413
    answer = client.post("/predict", content=b"x", headers={"Content-Length": "-5"})
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("content", "header", "status"),
    [
        (b"", {"Content-Type": "multipart/form-data"}, 400),
        (b"--b\r\nnonsense", {"Content-Type": "multipart/form-data; boundary=b"}, 400),
        (b"no form", {"Content-Type": "multipart/form-data; boundary=b"}, 400),
        (gzip.compress(b"x", mtime=0), {"Content-Encoding": "gzip"}, 415),
    ],
)
def test_bodies_that_are_none(
    client: Any, content: bytes, header: dict[str, str], status: int
) -> None:
    assert client.post("/predict", content=content, headers=header).status_code == status


def test_a_form_holds_one_whole_file(client: Any) -> None:
    files = [("image", ("a.nii", nifti())), ("image", ("b.nii", nifti()))]
    assert client.post("/predict", files=files).status_code == 400
    whole = b'--b\r\nContent-Disposition: form-data; name="i"\r\n\r\n' + nifti() + b"\r\n--b--\r\n"
    header = {"Content-Type": "multipart/form-data; boundary=b"}
    for content, status in ((whole, 200), (whole[:-20], 400)):
        answer = client.post("/predict?outputs=volumes", content=content, headers=header)
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("?format=png", "format: Input should be 'dicom-seg', 'rtstruct' or 'nifti'"),
        ("?outputs=all", "outputs: Input should be 'labels' or 'volumes'"),
        ("?series=x", "series: Input should be a valid integer"),
        ("?output=volumes", "no parameter 'output'; expected some of format, outputs, series"),
        ("?a%0Ab=1&Format=nifti", r"no parameter 'Format', 'a\nb'; expected"),
    ],
)
def test_options_that_there_are_not(client: Any, query: str, told: str) -> None:
    answer = post(client, nifti(), query)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert told in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_several_wrong_options_are_all_told(client: Any) -> None:
    error = post(client, nifti(), "?format=png&series=x").json()["error"]
    assert error.startswith("format: ")
    assert "; series: " in error


def test_refusals_of_the_framework_have_the_same_form(
    new_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = new_client()
    answer = client.get("/nowhere")
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    answer = client.get("/predict")
    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})
    assert answer.headers["allow"] == "POST"
    # Mistakes outside of the prediction; the test client would hand them on.
    quiet = testclient.TestClient(client.app, raise_server_exceptions=False)
    for error, status in ((OSError(errno.ENOSPC, PATIENT), 507), (RuntimeError(PATIENT), 500)):
        monkeypatch.setattr(tempfile, "mkdtemp", lambda error=error, **_: throw(error))
        answer = quiet.post("/predict", content=nifti())
        assert (answer.status_code, list(answer.json())) == (status, ["error"])
        assert PATIENT not in answer.text


def throw(error: Exception) -> None:
    raise error


def test_a_format_of_dicom_for_what_is_none(client: Any) -> None:
    answer = post(client, nifti(), "?format=rtstruct")
    assert (answer.status_code, "DICOM" in answer.text) == (422, True)


class Slow:
    """A network that takes its time."""

    def __init__(self, network: Any) -> None:
        self.preprocessor, self._network = network.preprocessor, network
        self.began, self.go_on = threading.Event(), threading.Event()

    def predict(self, *arguments: Any, **options: Any) -> Any:
        self.began.set()
        assert self.go_on.wait(20)
        return self._network.predict(*arguments, **options)


@pytest.fixture
def slow(loaded: Any, monkeypatch: pytest.MonkeyPatch, new_client: Callable[..., Any]) -> Slow:
    network = Slow(loaded)
    monkeypatch.setattr(miscnn, "load", lambda folder: network)
    return network


def test_busy(slow: Slow, new_client: Callable[..., Any]) -> None:
    client = new_client(waiting=1)
    statuses: list[int] = []

    def ask() -> None:
        statuses.append(post(client, nifti(), "?outputs=volumes").status_code)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    threads[0].start()
    assert slow.began.wait(20)
    threads[1].start()
    deadline = time.monotonic() + 10
    while client.get("/health").json()["requests"] < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    answer = post(client, nifti())
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) > 0
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert statuses == [200, 200]
    assert post(client, nifti(), "?outputs=volumes").status_code == 200


def test_a_prediction_that_takes_too_long(slow: Slow, new_client: Callable[..., Any]) -> None:
    client = new_client(seconds=0.2)
    assert post(client, nifti()).status_code == 504
    # It cannot be stopped: its folder stays until it has ended.
    desk = client.app.state.desk
    assert (len(desk.visits), len(list(desk.root.iterdir()))) == (1, 1)
    assert post(client, nifti()).status_code == 504  # still waiting: gone at once
    assert len(desk.visits) == 1
    slow.go_on.set()


def test_whatever_goes_wrong_inside_is_not_told(
    slow: Slow,
    new_client: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    client = new_client()
    for error, status in ((RuntimeError, 500), (MemoryError, 413)):

        def fail(*arguments: Any, error: type[Exception] = error, **options: Any) -> None:
            raise error(PATIENT)

        monkeypatch.setattr(slow, "predict", fail)
        answer = post(client, nifti())
        assert (answer.status_code, PATIENT in answer.text) == (status, False)
    assert "RuntimeError" in caplog.text
    assert PATIENT not in caplog.text


def test_nothing_is_left_when_the_client_goes(slow: Slow, new_client: Callable[..., Any]) -> None:
    """Before the body is whole, during the prediction, and during the answer."""
    import anyio

    desk = new_client().app.state.desk
    app = serve.create_app("")
    app.state.desk = desk

    async def talk(messages: list[dict[str, Any]], most_sent: int = 99) -> list[dict[str, Any]]:
        sent: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            return messages.pop(0) if len(messages) > 1 else messages[0]

        async def send(message: dict[str, Any]) -> None:
            if len(sent) >= most_sent:
                raise OSError("the client has gone")
            sent.append(message)

        scope = {
            "type": "http", "method": "POST", "path": "/predict", "query_string": b"",
            "headers": [], "asgi": {"version": "3.0", "spec_version": "2.4"},
        }  # fmt: skip
        await app(scope, receive, send)
        return sent

    gone = {"type": "http.disconnect"}
    part = {"type": "http.request", "body": nifti()[:500], "more_body": True}
    rest = {"type": "http.request", "body": nifti()[500:], "more_body": False}
    assert anyio.run(talk, [part, gone])[0]["status"] == 400
    assert not desk.visits
    assert anyio.run(talk, [part, rest, gone])[0]["status"] == 499
    slow.go_on.set()

    async def until_sent() -> None:
        app.state.desk = desk
        with pytest.raises(Exception, match=r"gone|"):
            await talk([part, rest, {"type": "http.request", "body": b"", "more_body": False}], 1)

    until_empty(desk)
    anyio.run(until_sent)


def test_a_table_of_contents_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(3000):
            archive.writestr(f"{number:0250d}" + "/" + "x" * 200, b"")
    for most, text in ((10, "table of contents"), (2999, "more than 2999 files")):
        with pytest.raises(ArchiveTooLargeError, match=text):
            unpack(tmp_path / "a.zip", tmp_path / "out", lambda folder: None, most_members=most)
    unpack(tmp_path / "a.zip", tmp_path / "out", lambda folder: None, most_members=3000)
    assert len(list((tmp_path / "out").iterdir())) == 3000


def test_messages_name_no_folders_of_the_server() -> None:
    error = MissingFileError("no '/srv/miscnn-serve-x/tmp1/case.nii.gz' at\nC:\\srv\\case, 1/2")
    refusal = serve.refusal(error, serve.Limits())
    assert (refusal.status, refusal.reason) == (422, "no 'case.nii.gz' at case, 1/2")
