"""Read thousands of files whose headers were damaged at random, and see that nothing worse than
an error of the library's own comes of it.

    python tests/data_loading/fuzz_headers.py --cases 10000 --seed 0

Every format has small valid files. A case damages one of them: bits, numbers that are small,
large or nonsense in place of others, pieces cut out, doubled or exchanged, the end cut off. It
is then read as a data set is: its grid from the header, its voxels, the checks of both. The
process that does so may allocate 1 GiB more than it has and is ended after 5 s in one case, so
that code which does not return is noticed too. Every case can be made again from its format,
the seed and its number.
"""

from __future__ import annotations

import argparse
import faulthandler
import gzip
import json
import logging
import re
import resource
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.nifti import NIfTIInterface
from miscnn.exceptions import MiscnnError

MEMORY = 1 << 30  # bytes
SECONDS = 5
SHAPE = (6, 5, 4)
AFFINE = np.array([[-0.8, 0, 0, 12], [0, 0.9, 0, -7], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])
_NUMBERS = (0, 1, -1, 127, 255, 256, 30000, 32767, -32768, 65535, 2**31 - 1, -(2**31), 2**32 - 1)
_FLOATS = (0.0, -0.0, 1e-40, -1.0, 1e38, np.inf, -np.inf, np.nan, 1e300)
_WORDS = (b"30000 30000 30000", b"0", b"-1", b"nan", b"1e400", b"9" * 40, b"inf", b"", b"2 2 2 2")

Seed = tuple[str, bytes]  # name of the file to damage, and what it holds


class Format:
    """Small valid files of one format, and what reads them.

    Attributes
    ----------
    header : int
        Number of bytes at the beginning that are damaged most of the time.
    """

    def __init__(
        self,
        make: Callable[[Path], list[Path]],
        interface: Callable[[], DataInterface],
        header: int,
        after: Callable[[bytes, np.random.Generator], bytes] = lambda data, _: data,
    ) -> None:
        self.make = make
        self.interface = interface
        self.header = header
        self.after = after


def _volume() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16)


def _nifti(folder: Path) -> list[Path]:
    import nibabel as nib

    paths = [folder / "a.nii", folder / "b.nii.gz"]
    for path in paths:
        nib.save(nib.Nifti1Image(_volume(), AFFINE), path)
    wide = nib.Nifti2Image(_volume().astype(np.float32), AFFINE)
    nib.save(wide, folder / "c.nii")
    return [*paths, folder / "c.nii"]


def _nrrd(folder: Path) -> list[Path]:
    import SimpleITK as sitk  # noqa: N813 - as everybody does

    image = sitk.GetImageFromArray(_volume())
    image.SetSpacing((0.8, 0.9, 2.5))
    paths = [folder / "a.nrrd", folder / "b.nrrd"]
    for path, compressed in zip(paths, (False, True), strict=True):
        sitk.WriteImage(image, str(path), compressed)
    sitk.WriteImage(image, str(folder / "c.mha"), True)
    return [*paths, folder / "c.mha"]


def _png(folder: Path) -> list[Path]:
    from PIL import Image

    pixels = np.abs(_volume()[..., 0]).astype(np.uint8)
    pictures = {
        "a.png": Image.fromarray(pixels),
        "b.png": Image.fromarray(pixels.astype(np.uint16) * 200),
        "c.png": Image.fromarray(pixels).convert("P"),
        "d.tif": Image.fromarray(pixels),
        "e.bmp": Image.fromarray(pixels),
        "f.jpg": Image.fromarray(pixels),
    }
    for name, picture in pictures.items():
        picture.save(folder / name)
    return [folder / name for name in pictures]


def _dicom(folder: Path) -> list[Path]:
    from dicom_series import write_series  # beside this file

    return list(write_series(folder / "a", _volume(), AFFINE))


def _images() -> DataInterface:
    from miscnn.data_loading.interfaces.image import ImageInterface

    return ImageInterface(image="*.png")


def _itk() -> DataInterface:
    from miscnn.data_loading.interfaces.itk import ITKInterface

    return ITKInterface(image="*.nrrd")


def _dicom_interface() -> DataInterface:
    from miscnn.data_loading.interfaces.dicom import DICOMInterface

    return DICOMInterface()


def _mend_png(data: bytes, rng: np.random.Generator) -> bytes:
    """Give the chunks of a PNG right check sums again, so that what they say is looked at."""
    if not data.startswith(b"\x89PNG") or rng.random() < 0.3:
        return data
    out, position = bytearray(data[:8]), 8
    while position + 12 <= len(data):
        size = struct.unpack(">I", data[position : position + 4])[0]
        body = data[position + 4 : position + 8 + size]
        if len(body) < size + 4:
            break
        out += data[position : position + 4] + body + struct.pack(">I", zlib.crc32(body))
        position += 12 + size
    return bytes(out + data[position:])


FORMATS = {
    "nifti": Format(_nifti, lambda: NIfTIInterface(image="*.nii"), 600),
    "nrrd": Format(_nrrd, _itk, 400),
    "png": Format(_png, _images, 120, _mend_png),
    "dicom": Format(_dicom, _dicom_interface, 1200),
}


def damage(data: bytes, header: int, rng: np.random.Generator) -> bytes:
    """Return the bytes of a file with one to four damages."""
    packed = data.startswith(b"\x1f\x8b") and rng.random() < 0.7
    result = bytearray(gzip.decompress(data) if packed else data)
    for _ in range(int(rng.integers(1, 5))):
        end = min(header, len(result)) if rng.random() < 0.9 else len(result)
        if end < 2:
            break
        _damage_once(result, int(rng.integers(0, end)), rng)
    return gzip.compress(bytes(result), 1, mtime=0) if packed else bytes(result)


def _damage_once(data: bytearray, at: int, rng: np.random.Generator) -> None:
    kind = rng.integers(0, 8)
    length = int(rng.integers(1, 17))
    if kind == 0:
        data[at] ^= 1 << int(rng.integers(0, 8))
    elif kind == 1:
        data[at : at + length] = rng.integers(0, 256, length).astype(np.uint8).tobytes()
    elif kind == 2:
        number = int(rng.choice(_NUMBERS))
        size = int(rng.choice([2, 4, 8]))
        order = "little" if rng.random() < 0.7 else "big"
        bits = number % (1 << 8 * size)
        data[at : at + size] = bits.to_bytes(size, order)
    elif kind == 3:
        code = str(rng.choice(["<f", "<d", ">f", ">d"]))
        with np.errstate(over="ignore"):
            number = np.array(rng.choice(_FLOATS)).astype(code)
        data[at : at + number.nbytes] = number.tobytes()
    elif kind == 4:
        words = list(re.finditer(rb"-?[0-9]+(\.[0-9]+)?", bytes(data[:2000])))
        if words:
            word = words[int(rng.integers(0, len(words)))]
            data[word.start() : word.end()] = _WORDS[int(rng.integers(0, len(_WORDS)))]
    elif kind == 5:
        del data[at : at + length]
    elif kind == 6:
        data[at:at] = data[at : at + length] * int(rng.integers(1, 4))
    else:
        del data[int(rng.integers(0, len(data))) :]


def run(name: str, seed: int, numbers: range, log: Path) -> None:
    """Read damaged files in this process; write the number of each case before it begins."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    form = FORMATS[name]
    with tempfile.TemporaryDirectory() as temporary, log.open("w") as out:
        folder = Path(temporary)
        seeds = [(path, path.read_bytes()) for path in form.make(folder)]
        for path, _ in seeds:
            path.unlink()
        _read(form, *seeds[0], folder, seeds)  # what is imported on first use
        limit = _status("VmSize") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for number in numbers:
            rng = np.random.default_rng([seed, number])
            path, data = seeds[int(rng.integers(0, len(seeds)))]
            damaged = form.after(damage(data, form.header, rng), rng)
            print(number, path.name, end=" ", file=out, flush=True)
            faulthandler.dump_traceback_later(SECONDS, exit=True, file=sys.stderr)
            begin = time.perf_counter()
            result = _read(form, path, damaged, folder, seeds)
            faulthandler.cancel_dump_traceback_later()
            print(result, round(time.perf_counter() - begin, 3), file=out, flush=True)


def _read(
    form: Format, path: Path, data: bytes, folder: Path, seeds: list[tuple[Path, bytes]]
) -> str:
    """Return "read", "refused", or what went wrong."""
    written = [(path, data)]
    if path.parent != folder:  # the others belong to the same subject
        written += [(other, whole) for other, whole in seeds if other != path]
    for file, content in written:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
    try:
        data_io = DataIO(form.interface(), folder)
        for index in data_io.get_indiceslist():
            data_io.geometry(index)
            data_io.sample_loader(index, load_seg=False)
        return "read" if data_io.indices_list else "unseen"
    except MiscnnError as error:
        if isinstance(error.__cause__, MemoryError):
            return "MEMORY"
        text = str(error)
        return "refused" if text else "SILENT"
    except BaseException as error:  # whatever it is, it is what is looked for
        return f"RAISED {type(error).__name__}: {str(error)[:80]!r}"
    finally:
        for file, _ in written:
            file.unlink(missing_ok=True)


def _status(name: str) -> int:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if name in x)
    return int(line.split()[1]) * 1024


def fuzz(name: str, cases: int, seed: int) -> dict[str, int | list[str]]:
    """Read damaged files of a format in processes of their own; go on after each that ends."""
    counts = {"read": 0, "refused": 0, "unseen": 0}
    failures: list[str] = []
    begin, slowest = 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        while begin < cases:
            command = [sys.executable, __file__, "--worker", name, "--seed", str(seed)]
            command += ["--from", str(begin), "--cases", str(cases), "--log", str(log)]
            ended = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = log.read_text().splitlines() if log.exists() else []
            for line in lines:
                number, file, *rest = line.split(" ")
                begin = int(number) + 1
                if rest and rest[0] in counts:
                    counts[rest[0]] += 1
                    slowest = max(slowest, float(rest[-1]))
                else:
                    what = " ".join(rest) or f"the process ended: {ended.stderr[-400:]}"
                    failures.append(f"{name} {number} ({file}): {what}")
            if not lines:
                raise RuntimeError(ended.stderr)
            log.unlink()
    return {**counts, "slowest_ms": round(1000 * slowest), "failures": failures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, default=10_000, help="over all formats")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--from", dest="first", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--worker", choices=FORMATS, help=argparse.SUPPRESS)
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        run(options.worker, options.seed, range(options.first, options.cases), options.log)
        return
    begin = time.perf_counter()
    share = -(-options.cases // len(options.formats))
    results = {name: fuzz(name, share, options.seed) for name in options.formats}
    sys.stdout.write(
        json.dumps({**results, "seconds": round(time.perf_counter() - begin)}, indent=1) + "\n"
    )
    sys.exit(any(result["failures"] for result in results.values()))


if __name__ == "__main__":
    main()
