"""A small segmentation service: one bundle, HTTP in, a segmentation out.

    pip install fastapi uvicorn python-multipart
    python examples/serve.py bundle/
    curl -F image=@case.nii.gz -o segmentation.nii.gz http://127.0.0.1:8000/predict

It takes NIfTI, NRRD, MHA, or a zip of one DICOM series, and predicts one image at a time. There is
no authentication and no encryption: docs/how-to/serving.md says what has to stand in front of it.
Research software, no medical device.
"""

from __future__ import annotations

import argparse
import asyncio
import errno
import gzip
import json
import logging
import math
import re
import shutil
import tempfile
import time
import zlib
from collections.abc import AsyncIterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any, Literal

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import miscnn
from miscnn._scratch import Scratch, ScratchError
from miscnn.data_loading.dicom.series import find_series
from miscnn.data_loading.interfaces import DICOMInterface
from miscnn.data_loading.new_subjects import find_subjects
from miscnn.datasets._unpack import ArchiveTooLargeError, unpack
from miscnn.exceptions import DownloadError, MiscnnError, SampleError
from miscnn.neural_network import bundle as bundles
from miscnn.processing.subfunctions import Resampling

_LOG = logging.getLogger("miscnn.serve")
_MB = 1 << 20
_LABELS = ("channels", "classes", "three_dim", "ignore_label", "label_values", "class_names")
_OPTIONS = ("format", "outputs", "series")  # the parameters of /predict
_CASE = "case"  # what every upload is called: names of files may be names of patients
# Archives have no business in an archive of DICOM files.
_ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!")
_FULL = "there is no room on the disk of this server"
_PATH = re.compile(r"(?<![\w.])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\"]+[/\\])+")

Result = tuple[Path, dict[str, float | None]]  # file, and millilitres of each class
Format = Literal["dicom-seg", "rtstruct", "nifti"]


@dataclass(frozen=True)
class Limits:
    """What one request may cost: options of the command line."""

    max_mb: float = 512.0  # body
    max_unpacked_mb: float = 4096.0  # members of an archive; voxels, 4 bytes each
    max_files: int = 10_000  # members of an archive
    waiting: int = 4  # requests that wait while one is predicted
    upload_seconds: float = 300.0
    seconds: float = 1800.0  # waiting and predicting


class Refusal(Exception):  # noqa: N818 - no error of this program's
    """Why there is no segmentation: a status of HTTP, one line, and more for programs."""

    def __init__(self, status: int, reason: str, headers: Any = None, **more: Any) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers, self.more = status, reason, headers, more


def create_app(bundle: str | Path, limits: Limits | None = None) -> FastAPI:
    """Return the service for one bundle; the network is loaded when it starts."""
    limits = limits or Limits()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with tempfile.TemporaryDirectory(prefix="miscnn-serve-") as root:
            desk = app.state.desk = Desk(Path(root), limits, miscnn.load(bundle))
            app.state.info = dict(bundles.describe(bundle))
            app.state.info.pop("folder", None)
            yield
            desk.worker.shutdown(cancel_futures=True)

    app = FastAPI(title="miscnn", docs_url=None, redoc_url=None, lifespan=lifespan)

    @app.exception_handler(Exception)
    @app.exception_handler(HTTPException)  # also those of the framework itself
    @app.exception_handler(RequestValidationError)
    @app.exception_handler(Refusal)
    async def refuse(request: Request, error: Exception) -> Response:
        no = refusal(error, limits)
        return JSONResponse({"error": no.reason, **no.more}, no.status, no.headers)

    @app.get("/health")
    async def health() -> dict[str, Any]:
        return {"status": "ok", "requests": len(app.state.desk.visits)}

    @app.get("/info")
    async def info() -> Any:
        return app.state.info

    @app.post("/predict")
    async def predict(
        request: Request,
        format: Format | None = None,
        outputs: Literal["labels", "volumes"] = "labels",
        series: int | None = None,
    ) -> Response:
        visit: Visit = app.state.desk.enter(request)
        try:
            await visit.receive(request)
            path, volumes = await visit.segmented(request, format, series)
        except BaseException:
            visit.leave()
            raise
        headers = {"X-Volumes-ml": json.dumps(volumes), "Cache-Control": "no-store"}
        if outputs == "volumes":
            visit.leave()
            return JSONResponse({"volumes_ml": volumes}, headers=headers)
        return Answer(visit, path, headers)

    return app


@dataclass(frozen=True)
class Desk:
    """Takes uploads in and has them predicted one by one."""

    root: Path
    limits: Limits
    model: Any
    worker: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1))
    visits: set[Visit] = field(default_factory=set)

    def enter(self, request: Request) -> Visit:
        """Refuse before anything is read what is unknown, too large by its account, or too much."""
        if unknown := sorted(request.query_params.keys() - set(_OPTIONS)):
            told = ", ".join(map(repr, unknown))[:200]
            raise Refusal(422, f"no parameter {told}; expected some of {', '.join(_OPTIONS)}")
        size = request.headers.get("content-length", "0")
        if not size.isdecimal() or int(size) > self.limits.max_mb * _MB:
            raise Refusal(413, f"more than {self.limits.max_mb:g} MB")
        if len(self.visits) > self.limits.waiting:
            raise Refusal(503, "busy; try again later", {"Retry-After": "30"})
        return Visit(self)


class Visit:
    """One request: its folder, and its place in the queue."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.folder = Path(tempfile.mkdtemp(dir=desk.root))
        self._busy: Future[Result] | None = None
        desk.visits.add(self)

    def leave(self) -> None:
        """Remove the folder and make room for others, when the worker needs it no longer."""
        busy, self._busy = self._busy, None
        if busy is not None and not busy.done() and not busy.cancel():
            busy.add_done_callback(lambda _: self.leave())  # called by the worker
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.desk.visits.discard(self)

    async def receive(self, request: Request) -> None:
        """Write the body, or the one file of a form, to the folder; count while it comes."""
        limit = self.desk.limits
        if request.headers.get("content-encoding", "identity") != "identity":
            raise Refusal(415, "bodies with a Content-Encoding are not taken")
        kind, options = parse_options_header(request.headers.get("content-type", ""))
        total = 0
        try:
            async with asyncio.timeout(limit.upload_seconds):
                with (self.folder / "upload").open("wb") as file:
                    form = Form(options, file) if kind == b"multipart/form-data" else None
                    async for chunk in request.stream():
                        if (total := total + len(chunk)) > limit.max_mb * _MB:
                            raise Refusal(413, f"more than {limit.max_mb:g} MB")
                        form.write(chunk) if form else file.write(chunk)
        except TimeoutError:
            raise Refusal(408, "the upload took too long") from None
        except (FormParserError, ClientDisconnect):
            raise Refusal(400, "the upload broke off, or is a form that cannot be read") from None
        except OSError:
            raise Refusal(507, _FULL) from None
        if form and form.marks != ["part", "end"]:
            raise Refusal(400, "the form does not hold one whole file")

    async def segmented(self, request: Request, *options: Any) -> Result:
        """Wait for the worker, as long as the client does and the limit allows."""
        desk = self.desk
        self._busy = desk.worker.submit(segment, desk.model, self.folder, desk.limits, *options)
        waiting = asyncio.wrap_future(self._busy)
        end = time.monotonic() + desk.limits.seconds
        while True:
            await asyncio.wait([waiting], timeout=min(1.0, desk.limits.seconds))
            if waiting.done():
                return waiting.result()
            if time.monotonic() > end:
                raise Refusal(504, f"not ready after {desk.limits.seconds:g} s")
            if await request.is_disconnected():
                raise Refusal(499, "the client has gone")


class Answer(FileResponse):
    """A file that is removed with its folder when it is sent, or cannot be sent."""

    def __init__(self, visit: Visit, path: Path, headers: dict[str, str]) -> None:
        super().__init__(path, 200, headers, filename=path.name.replace(_CASE, "segmentation", 1))
        self.visit = visit

    async def __call__(self, *arguments: Any) -> None:
        try:
            await super().__call__(*arguments)
        finally:
            self.visit.leave()


class Form:
    """The one file of a form; names of fields and files are not looked at."""

    def __init__(self, options: dict[bytes, bytes], file: IO[bytes]) -> None:
        self.marks: list[str] = []
        events: Any = {
            "on_part_begin": partial(self.marks.append, "part"),
            "on_part_data": lambda data, start, end: file.write(data[start:end]),
            "on_end": partial(self.marks.append, "end"),
        }
        self.write = MultipartParser(options.get(b"boundary", b""), events).write


def segment(
    model: Any, folder: Path, limits: Limits, format: Format | None, series: int | None
) -> Result:
    """Return the file of the segmentation, and the volume of each class in ml."""
    try:
        image = recognised(folder, limits)
        if format not in (None, "nifti") and not image.is_dir():
            raise Refusal(422, f"format={format} is for DICOM; answers have the image's format")
        data_io, index = opened(model, image, format, series, limits)
        sample = data_io.sample_loader(index, load_seg=False, scratch=Scratch(folder))
        options = {"outputs": ("labels", "volumes"), "scratch_path": folder, "verbose": 0}
        (found,) = model.predict([sample], return_output=True, **options)
        sample.add_prediction(found["labels"])
        path = data_io.save_prediction(sample, folder / "result")
        if path is None:
            raise Refusal(422, "this network does not write one file for an image")
        return path, {name: ml and round(ml, 3) for *_, name, _, ml in found["volumes"]}
    except Exception as error:
        raise refusal(error, limits) from None


def refusal(error: Exception, limits: Limits) -> Refusal:
    """Say what went wrong without names: of members of archives, or of folders of the server."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, HTTPException):
        return Refusal(error.status_code, error.detail, error.headers)
    if isinstance(error, RequestValidationError):
        return Refusal(422, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors()))
    if isinstance(error, ArchiveTooLargeError):
        return Refusal(413, f"more than {limits.max_unpacked_mb:g} MB or {limits.max_files} files")
    if isinstance(error, DownloadError):
        return Refusal(400, "the archive is damaged or encrypted, or holds links or odd names")
    if isinstance(error, MemoryError):
        return Refusal(413, "the image does not fit into the memory of this server")
    if isinstance(error, ScratchError) or getattr(error, "errno", None) == errno.ENOSPC:
        return Refusal(507, _FULL)
    if isinstance(error, MiscnnError):
        text = " ".join(str(getattr(error, "reason", error)).split())
        return Refusal(422, _PATH.sub("", text)[:1000])
    _LOG.error("prediction failed: %s", type(error).__name__)  # its text may hold anything
    return Refusal(500, "the prediction failed")


def recognised(folder: Path, limits: Limits) -> Path:
    """Name the upload by what it holds; return the file, or the folder of an unpacked archive."""
    upload, target = folder / "upload", folder / "image"
    if not upload.stat().st_size:
        raise Refusal(400, "the upload is empty")
    with upload.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        most = int(limits.max_unpacked_mb * _MB)
        unpack(upload, target, flatten, most_bytes=most, most_members=limits.max_files)
        return target
    ending = ""
    if head.startswith(b"\x1f\x8b"):
        ending, head = ".gz", inflated(upload, limits)
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        ending = ".nii" + ending
    elif head.startswith(b"NRRD000") and not ending:
        ending = ".nrrd"
    elif re.match(rb"(ObjectType|NDims|Comment)[ \t]*=", head) and not ending:
        ending = ".mha"
    elif head[128:132] == b"DICM" and not ending:
        (target / _CASE).mkdir(parents=True)
        upload.rename(target / _CASE / "0.dcm")
        return target
    else:
        raise Refusal(415, "neither NIfTI, NRRD, MHA nor a zip of DICOM files")
    return upload.rename(folder / (_CASE + ending))


def inflated(path: Path, limits: Limits) -> bytes:
    """Return the beginning of what is compressed, if all of it is no larger than allowed."""
    head, total = b"", 0
    try:
        with gzip.open(path) as file:
            while block := file.read(_MB):
                head, total = head or block[:512], total + len(block)
                if total > limits.max_unpacked_mb * _MB:
                    raise Refusal(413, f"more than {limits.max_unpacked_mb:g} MB unpacked")
    except (OSError, EOFError, zlib.error):
        raise Refusal(422, "the file is damaged: it cannot be inflated") from None
    return head


def flatten(folder: Path) -> None:
    """Give the files of an archive numbers for names: theirs may be names of patients."""
    fresh = Path(tempfile.mkdtemp(dir=folder.parent))
    for number, path in enumerate(sorted(p for p in folder.rglob("*") if p.is_file())):
        with path.open("rb") as file:
            if file.read(8).startswith(_ARCHIVES):
                raise Refusal(400, "there is an archive in the archive")
        path.rename(fresh / f"{number}.dcm")
    for path in folder.iterdir():
        shutil.rmtree(path)
    fresh.rename(folder / _CASE)


def opened(
    model: Any, image: Path, format: Format | None, series: int | None, limits: Limits
) -> tuple[miscnn.DataIO, str]:
    """Return the data set of the one subject, whose size is known from headers alone."""
    interface = model.preprocessor.data.interface
    if image.is_dir():
        config = {name: getattr(interface, name) for name in _LABELS}
        config = interface.get_config() if isinstance(interface, DICOMInterface) else config
        chosen = {} if series is None else {"series": series}
        interface = DICOMInterface(**(config | chosen | {"output": format or "dicom-seg"}))
        data_io = miscnn.DataIO(interface, image)
        subjects: list[Any] = data_io.get_indiceslist()
    else:
        data_io, subjects = find_subjects(image, model.preprocessor.data)
    if len(subjects) != 1:
        raise Refusal(422, f"expected one image, got {len(subjects)}; send one a request")
    index = str(subjects[0])
    try:
        geometry = data_io.geometry(index)
    except SampleError as error:
        there, choice, _ = refusal(error, limits).reason.partition(". Say which")
        if not choice:
            raise
        # Not the one that was just refused, be it that none or that several have this number.
        others = sorted({s.number for s in find_series(image) if s.number not in (None, series)})
        advice = "Choose by ?series=NUMBER" if others else "Send the files of one series alone"
        raise Refusal(422, f"{there}. {advice}", series=others) from None
    grid: Any = SimpleNamespace(geometry=geometry, index=index)
    recipe = [step for step in model.preprocessor.subfunctions if isinstance(step, Resampling)]
    shapes = [geometry.shape, *(step.target_shape(grid) for step in recipe)]
    if max(map(math.prod, shapes)) * interface.channels * 4 > limits.max_unpacked_mb * _MB:
        raise Refusal(413, f"more than {limits.max_unpacked_mb:g} MB of voxels (4 bytes each)")
    return data_io, index


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle")
    parser.add_argument(
        "--host", default="127.0.0.1", help="others: see docs/how-to/serving.md first"
    )
    parser.add_argument("--port", type=int, default=8000)
    for limit in fields(Limits):
        option = "--" + limit.name.replace("_", "-")
        parser.add_argument(option, type=type(limit.default), default=limit.default)
    given = vars(parser.parse_args())
    limits = Limits(**{limit.name: given[limit.name] for limit in fields(Limits)})
    uvicorn.run(create_app(given["bundle"], limits), host=given["host"], port=given["port"])


if __name__ == "__main__":
    main()
