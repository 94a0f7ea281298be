"""Images that are mapped, and results that are written, without holding them in memory."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from miscnn import DataIO, _gzip
from miscnn._scratch import Scratch
from miscnn.data_loading._checks import non_finite
from miscnn.data_loading.formats.nifti_write import header_from_geometry, result_header, write_nifti
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces import (
    DICOMInterface,
    DictionaryInterface,
    ImageInterface,
    ITKInterface,
    NIfTIInterface,
    NumPyInterface,
)
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, LabelError, UnreadableFileError

from .dicom_series import write_series

Save = Callable[..., Path]
SHAPE = (7, 6, 5)
ENDINGS = (".nii", ".nii.gz")


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """Even the smallest arrays go into files."""
    return Scratch(tmp_path, limit=0)


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many pieces, whose ends fit to no axis."""
    monkeypatch.setattr("miscnn.data_loading.formats.nifti_voxels._PIECE", 23)
    monkeypatch.setattr("miscnn.data_loading.formats.nifti_write.BLOCK", 100)


def write(path: Path, voxels: Any, scale: tuple[float, float] = (1, 0), order: str = "<") -> Path:
    """Write stored numbers with a scaling, in either byte order."""
    header = nib.Nifti1Header(endianness=order)
    header.set_data_shape(voxels.shape)
    header.set_data_dtype(voxels.dtype)
    header["scl_slope"], header["scl_inter"] = scale
    header["vox_offset"], header["magic"] = 352, b"n+1"
    header.set_sform(np.eye(4), 1)
    content = header.binaryblock + bytes(4)
    content += np.asarray(voxels, voxels.dtype.newbyteorder(order)).tobytes("F")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def both(folder: Path, scratch: Scratch, **arguments: Any) -> tuple[Any, Any, Any]:
    """Return an image as it is loaded and as it is mapped, and the details."""
    interface = NIfTIInterface(image="*.nii.gz", **arguments)
    interface.initialize(folder)
    loaded, details = interface.load_image("a")
    mapped, others = interface.map_image("a", scratch)
    assert details.keys() == others.keys()
    np.testing.assert_array_equal(details["affine"], others["affine"])
    assert loaded.dtype == mapped.dtype
    np.testing.assert_array_equal(loaded, mapped)
    assert isinstance(base_of(mapped), np.memmap)
    return loaded, mapped, details


def base_of(array: Any) -> Any:
    while not isinstance(array, np.memmap) and array.base is not None:
        array = array.base
    return array


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "i8", "f4", "f8"])
@pytest.mark.parametrize("scale", [(1, 0), (2, -1000), (0.1, 0.5), (0, 0), (float("nan"), 3)])
def test_mapped_is_loaded(
    ending: str, order: str, dtype: str, scale: Any, tmp_path: Path, scratch: Scratch, rng: Any
) -> None:
    stored = rng.integers(0, 100, SHAPE).astype(dtype)
    write(tmp_path / f"a{ending}", stored, scale, order)
    loaded, mapped, _ = both(tmp_path, scratch)
    slope, inter = scale if scale[0] and scale[0] == scale[0] else (1, 0)
    np.testing.assert_allclose(loaded, stored.astype(float) * slope + inter, rtol=1e-6)
    as_it_is = ending == ".nii" and (slope, inter) == (1, 0) and (order == "<" or dtype == "u1")
    assert (base_of(mapped).filename is not None) is as_it_is  # the file itself, or scratch
    assert mapped.flags.writeable is not as_it_is


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(7, 6), (7, 6, 1), (7, 6, 5, 1), (7, 6, 5, 1, 1)])
def test_axes_of_length_one(ending: str, shape: Any, tmp_path: Path, scratch: Scratch) -> None:
    write(tmp_path / f"a{ending}", np.arange(np.prod(shape), dtype="i2").reshape(shape))
    assert both(tmp_path, scratch)[0].shape == (*shape, 1)[:3]
    if len(shape) < 4:
        assert both(tmp_path, scratch, three_dim=False)[0].shape == (7, 6)


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("shape", [(7, 6, 5, 3), (7, 6, 5, 1, 3)])
def test_channels_in_one_file(ending: str, shape: Any, tmp_path: Path, scratch: Scratch) -> None:
    stored = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    write(tmp_path / f"a{ending}", stored)
    loaded, _, _ = both(tmp_path, scratch, channels=3)
    np.testing.assert_array_equal(loaded, stored.reshape(7, 6, 5, 3))


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("fields", ["RGB", "RGBA"])
@pytest.mark.parametrize("scale", [(1, 0), (0.5, 1)])
def test_colours(
    ending: str, fields: str, scale: Any, tmp_path: Path, scratch: Scratch, rng: Any
) -> None:
    values = rng.integers(0, 255, (*SHAPE, len(fields))).astype("u1")
    stored = np.zeros(SHAPE, [(name, "u1") for name in fields])
    for k, name in enumerate(fields):
        stored[name] = values[..., k]
    header = nib.Nifti1Header()
    header.set_data_dtype(stored.dtype)
    write(tmp_path / f"a{ending}", stored, scale)
    loaded, _, _ = both(tmp_path, scratch, channels=len(fields))
    np.testing.assert_allclose(loaded, values * scale[0] + scale[1])


@pytest.mark.parametrize("ending", ENDINGS)
def test_several_files_are_stacked(ending: str, tmp_path: Path, scratch: Scratch, rng: Any) -> None:
    for k, dtype in enumerate(("i2", "f4", "u1")):
        write(tmp_path / str(k) / f"a{ending}", rng.integers(0, 99, SHAPE).astype(dtype))
    interface = NIfTIInterface(3, image=[f"{k}/*.nii" for k in range(3)])
    interface.initialize(tmp_path)
    loaded, mapped = interface.load_image("a")[0], interface.map_image("a", scratch)[0]
    assert (loaded.dtype, mapped.shape) == (mapped.dtype, (*SHAPE, 3))
    np.testing.assert_array_equal(loaded, mapped)


def test_a_sample_is_mapped(tmp_path: Path, scratch: Scratch, save: Save) -> None:
    values = np.arange(210, dtype=np.float32).reshape(SHAPE)
    save(tmp_path / "a.nii", values)
    for interface in (NIfTIInterface(image="*.nii", classes=3), None):
        inner = interface or MergedLabels(NIfTIInterface(image="*.nii", classes=3), ((0,), (1, 2)))
        data_io = DataIO(inner, tmp_path)
        sample = data_io.sample_loader("a", load_seg=False, scratch=scratch)
        assert sample.scratch is scratch
        assert np.shares_memory(sample.image, base_of(sample.image))
        assert isinstance(base_of(sample.image), np.memmap)
        np.testing.assert_array_equal(sample.image[..., 0], values)
        assert data_io.sample_loader("a", load_seg=False).scratch is None


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "<f8"])
def test_arrays_of_numpy(order: Any, dtype: str, tmp_path: Path, scratch: Scratch) -> None:
    values = np.arange(420).reshape((*SHAPE, 2)).astype(dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    interface = NumPyInterface(2, image="*.npy")
    interface.initialize(tmp_path)
    loaded, mapped = interface.load_image("a")[0], interface.map_image("a", scratch)[0]
    np.testing.assert_array_equal(mapped, values)
    assert (loaded.dtype, loaded.shape) == (mapped.dtype, mapped.shape)
    assert isinstance(base_of(mapped), np.memmap) is (dtype != ">i2")
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-1])
    with pytest.raises(UnreadableFileError):
        interface.map_image("a", scratch)


def test_other_formats_are_loaded(tmp_path: Path, scratch: Scratch) -> None:
    np.save(tmp_path / "a.npy", np.ones(SHAPE))
    data_io = DataIO(NumPyInterface(image="*.npy"), tmp_path)
    assert data_io.sample_loader("a", False, scratch=scratch).image.sum() == 210
    memory = DataIO(DictionaryInterface({"a": np.ones(SHAPE)}))
    assert memory.sample_loader("a", False, scratch=scratch).image.sum() == 210


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("scale", [(1, 0), (2, 1)])
def test_damaged_files_are_refused_alike(
    ending: str, scale: Any, tmp_path: Path, scratch: Scratch, rng: Any
) -> None:
    stored = rng.integers(0, 9999, (20, 20, 20)).astype("i2")
    path = write(tmp_path / f"a{ending}", stored, scale)
    content = path.read_bytes()
    interface = NIfTIInterface(image="*.nii")
    interface.initialize(tmp_path)
    changed = bytearray(content)
    changed[len(content) // 2] ^= 255
    broken = [content[: len(content) // 2], content[:400], content[:100], b"", content[:-1]]
    broken += [bytes(changed)] if ending == ".nii.gz" else []  # the checksum tells
    for data in broken:
        path.write_bytes(data)
        messages = []
        for read in (interface.load_image, lambda i: interface.map_image(i, scratch)):
            with pytest.raises(UnreadableFileError) as error:
                read("a")
            messages.append(str(error.value))
        assert messages[0] == messages[1]


def test_a_header_that_claims_too_much_reserves_nothing(tmp_path: Path, scratch: Scratch) -> None:
    for ending in ENDINGS:
        path = write(tmp_path / f"a{ending}", np.zeros(SHAPE, "i2"))
        packed = path.name.endswith(".gz")
        content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
        content[42:48] = np.array([30000] * 3, "<i2").tobytes()
        path.write_bytes(gzip.compress(content) if packed else content)
        interface = NIfTIInterface(image="*.nii")
        interface.initialize(tmp_path)
        with pytest.raises(UnreadableFileError, match="promises shape"):
            interface.map_image("a", scratch)
        path.unlink()


@example((2, 2, 2), [(4, np.nan), (1, np.inf)], "F", 4)  # blocks that are not in C's order
@given(
    shape=st.tuples(*[st.integers(1, 6)] * 3),
    places=st.lists(st.tuples(st.integers(0, 215), st.sampled_from([np.nan, np.inf, -np.inf]))),
    order=st.sampled_from("CF"),
    limit=st.integers(1, 300),
)
def test_values_that_are_not_finite(
    shape: tuple[int, ...], places: list[Any], order: Any, limit: int
) -> None:
    image = np.zeros((*shape, 1), np.float32, order)
    for place, value in places:
        image[np.unravel_index(place % image.size, image.shape)] = value
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("miscnn._scratch.boxes_of.__defaults__", (None, limit))
        found = non_finite(image)
    odd = np.argwhere(~np.isfinite(image[..., 0]))
    assert found == ((len(odd), tuple(odd[0].tolist())) if len(odd) else None)


class TestWriting:
    """Results that lie in scratch files."""

    def sample(self, scratch: Scratch | None, values: Any, **details: Any) -> Sample:
        geometry = Geometry.from_spacing(SHAPE, (1, 1, 3))
        sample = Sample("a", np.zeros(SHAPE, np.int16), 1, 3, geometry, details)
        sample.scratch = scratch
        if scratch is not None:
            held = scratch.empty(values.shape, values.dtype, "F")
            held[:] = values
            values = held
        sample.prediction = values
        return sample

    def written(self, scratch: Scratch | None, values: Any, data_io: DataIO, out: Path) -> bytes:
        sample = self.sample(scratch, values)
        before = sample.prediction.copy()
        path = data_io.save_prediction(sample, out)
        np.testing.assert_array_equal(sample.prediction, before)
        assert not list(out.glob(".writing*"))
        return path.read_bytes()

    @pytest.mark.parametrize("interface", [NIfTIInterface, ITKInterface, NumPyInterface])
    @pytest.mark.parametrize("kind", ["labels", "wide", "floats", "probabilities", "doubles"])
    @pytest.mark.parametrize("mapped", [False, True])
    def test_same_bytes(
        self, interface: Any, kind: str, mapped: bool, tmp_path: Path, scratch: Scratch, rng: Any
    ) -> None:
        values: Any = rng.integers(0, 3, SHAPE).astype(np.uint8)
        values = values.astype({"wide": np.int64, "floats": np.float32}.get(kind, np.uint8))
        if kind in ("probabilities", "doubles"):
            values = rng.random((*SHAPE, 3)).astype("f4" if kind == "probabilities" else "f8")
        data_io = DataIO(interface(classes=3, label_values=[0, 7, 300] if mapped else None))
        plain = self.written(None, values, data_io, tmp_path / "plain")
        others = [self.written(None, values.copy("F"), data_io, tmp_path / "plain")]
        others += [self.written(scratch, values, data_io, tmp_path / "out")]
        if interface is not NumPyInterface:  # whose files tell the order in memory
            assert others == [plain, plain]
        back = DataIO(interface(classes=3, label_values=[0, 7, 300] if mapped else None))
        np.testing.assert_array_equal(
            back.load_prediction("a", tmp_path / "out"), values.astype(np.float32)
        )

    @pytest.mark.parametrize("output", ["dicom-seg", "rtstruct", "nifti"])
    def test_dicom(self, output: str, tmp_path: Path, scratch: Scratch, rng: Any) -> None:
        pytest.importorskip("highdicom")
        image = rng.integers(0, 99, (12, 10, 4)).astype(np.int16)
        write_series(tmp_path / "data" / "a", image, np.diag([-1.0, -1.0, 3.0, 1.0]))
        interface = DICOMInterface(classes=3, output=output, label_values=[0, 5, 9])
        data_io = DataIO(interface, tmp_path / "data", tmp_path / "out")
        sample = data_io.sample_loader("a", load_seg=False, scratch=scratch)
        labels = scratch.empty(sample.spatial_shape, np.uint8, "F")
        labels[:] = 0
        labels[2:8, 3:7, 1:3], labels[2:4, 3:7, :] = 1, 2
        sample.prediction = labels
        data_io.save_prediction(sample)
        np.testing.assert_array_equal(data_io.load_prediction("a"), labels)
        sample.prediction = scratch.empty((*labels.shape, 3), np.float32, "F")
        sample.prediction[:] = rng.random(sample.prediction.shape)
        path = data_io.save_prediction(sample, name="probabilities")
        assert path == tmp_path / "out" / "a_probabilities.nii.gz"
        np.testing.assert_array_equal(nib.load(path).get_fdata(), sample.prediction)

    def test_pictures(self, tmp_path: Path, scratch: Scratch, rng: Any) -> None:
        data_io = DataIO(ImageInterface(classes=3, label_values=[0, 5, 9]))
        sample = Sample("a", np.zeros((7, 6)), 1, 3, three_dim=False)
        sample.scratch = scratch
        sample.prediction = scratch.empty((7, 6), np.uint8, "F")
        sample.prediction[:] = rng.integers(0, 3, (7, 6))
        assert data_io.save_prediction(sample, tmp_path).name == "a.png"
        np.testing.assert_array_equal(data_io.load_prediction("a", tmp_path), sample.prediction)
        sample.prediction = rng.random((7, 6)).astype(np.float32)
        assert data_io.save_prediction(sample, tmp_path, "entropy").name == "a_entropy.tif"
        np.testing.assert_array_equal(
            data_io.load_prediction("a_entropy", tmp_path)[..., 0], sample.prediction
        )

    @pytest.mark.parametrize("ending", ENDINGS)
    @pytest.mark.parametrize("shape", [(7,), (7, 6), (7, 6, 5), (7, 6, 5, 3), (7, 6, 5, 2, 3)])
    @pytest.mark.parametrize("order", "CF")
    def test_another_library_reads_it(
        self, ending: str, shape: Any, order: Any, tmp_path: Path, rng: Any
    ) -> None:
        array = np.asarray(rng.random(shape).astype(np.float32), order=order)
        header = header_from_geometry(Geometry.from_spacing(SHAPE, (1, 1, 3)))
        header = result_header(header, shape, array.dtype)
        write_nifti(tmp_path / f"a{ending}", array, header)
        np.testing.assert_array_equal(nib.load(tmp_path / f"a{ending}").get_fdata(), array)
        if ending == ".nii.gz":
            content = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
            write_nifti(tmp_path / "b.nii", array, header)
            assert content == (tmp_path / "b.nii").read_bytes()
            assert (tmp_path / "a.nii.gz").read_bytes()[4:8] == bytes(4)  # no date

    @pytest.mark.parametrize("odd", [0.5, np.nan, np.inf, -1.0])
    def test_what_is_no_label_is_refused_and_leaves_nothing(
        self, odd: float, tmp_path: Path, scratch: Scratch
    ) -> None:
        values = np.zeros(SHAPE, np.float32)
        values[3, 4, 4] = odd
        data_io = DataIO(NIfTIInterface(classes=3))
        for place in (None, scratch):
            with pytest.raises(LabelError, match="whole numbers from 0 on"):
                data_io.save_prediction(self.sample(place, values), tmp_path / "out")
        mapped = DataIO(NIfTIInterface(classes=3, label_values=[0, 1, 2]))
        with pytest.raises(LabelError):
            mapped.save_prediction(self.sample(scratch, values), tmp_path / "out")
        assert not list(tmp_path.glob("out/*"))

    def test_further_results_have_names(self, tmp_path: Path, rng: Any) -> None:
        entropy = rng.random(SHAPE).astype(np.float32)
        for interface in (NIfTIInterface(classes=3, label_values=[0, 5, 9]), NumPyInterface()):
            data_io = DataIO(interface, output_path=tmp_path)
            sample = self.sample(None, entropy)
            path = data_io.save_prediction(sample, name="entropy")
            assert path.name in ("a_entropy.nii.gz", "a_entropy.npz")
            assert sample.index == "a"
            back = data_io.load_prediction("a_entropy", tmp_path)
            np.testing.assert_array_equal(back[..., 0], entropy)
        assert nib.load(tmp_path / "a_entropy.nii.gz").shape == SHAPE
        labels = self.sample(None, np.ones(SHAPE, np.uint8))
        path = data_io.save_prediction(labels, name="second")
        assert np.load(path)["prediction"].tolist() == np.ones(SHAPE).tolist()
        for name in ("", "a/b", "..\\x", 3):
            with pytest.raises(ConfigurationError, match="expected a word without slashes"):
                data_io.save_prediction(labels, name=name)  # type: ignore[arg-type]

    def test_in_memory_and_merged(self, rng: Any) -> None:
        inner = DictionaryInterface(classes=3)
        data_io = DataIO(MergedLabels(inner, ((0,), (1, 2))))
        data_io.save_prediction(self.sample(None, rng.random(SHAPE)), name="entropy")
        assert inner.predictions["a_entropy"].shape == (*SHAPE, 1)


def test_gzip(tmp_path: Path, rng: Any) -> None:
    content = rng.integers(0, 9, 3_000_000).astype(np.uint8)
    path = tmp_path / "x.gz"
    with path.open("wb") as raw, _gzip.compressing(raw) as stream:
        stream.write(content[:1000].reshape(10, 100))
        stream.write(content[1000:].tobytes())
    assert gzip.decompress(path.read_bytes()) == content.tobytes()
    members = path.read_bytes() + gzip.compress(b"more") + bytes(7)
    path.write_bytes(members)
    with path.open("rb") as raw:
        assert b"".join(_gzip.decompressed(raw)) == content.tobytes() + b"more"
    for broken in (members[:9], members[:1000]):
        path.write_bytes(broken)
        with path.open("rb") as raw, pytest.raises(_gzip.ERRORS):
            list(_gzip.decompressed(raw))


@pytest.mark.parametrize("ends", [-2, -1, 0, 1])
def test_gzip_members_that_end_where_a_read_does(ends: int) -> None:
    """Between the two bytes that tell another member, too."""
    content = np.random.default_rng(0).bytes(1 << 20)
    for length in range(len(content) - 200, len(content)):  # not compressed, but wrapped
        first = gzip.compress(content[:length], 0)
        if len(first) == (1 << 20) + ends:
            break
    assert len(first) == (1 << 20) + ends
    archive = first + gzip.compress(b"tail") + b"\0"
    whole = b"".join(_gzip.decompressed(io.BytesIO(archive)))
    assert whole == content[:length] + b"tail"


def test_gzip_of_a_stream_that_gives_few_bytes_at_once() -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(1)

    archive = gzip.compress(b"one") + gzip.compress(b"two")
    assert b"".join(_gzip.decompressed(Slow(archive))) == b"onetwo"


_MEASURED = """
import json, sys
from pathlib import Path
import numpy as np
from miscnn import DataIO
from miscnn._scratch import Scratch, blocks_of
from miscnn.data_loading.interfaces import NIfTIInterface

peaks = []

def measured():  # the peak since the last time, over what is held all the time
    status = dict(l.split(":") for l in open("/proc/self/status"))
    peaks.append(int(status["VmHWM"].split()[0]) - start)
    Path("/proc/self/clear_refs").write_text("5")

folder, ending = Path(sys.argv[1]), sys.argv[2]
data_io = DataIO(NIfTIInterface(classes=3, image="*" + ending, label_values=[0, 5, 9]), folder)
start = 0
measured()
start = peaks.pop()
scratch = Scratch(folder, limit=1 << 20)
sample = data_io.sample_loader("a", load_seg=False, scratch=scratch)
measured()
total = sum(int(block.sum(dtype=np.int64)) for block in blocks_of(sample.image))
measured()
labels = scratch.empty(sample.spatial_shape, np.uint8, "F")
for block in blocks_of(labels):
    block[:] = 1
sample.prediction = labels
data_io.save_prediction(sample, folder / "out")
measured()
values = scratch.empty((*sample.spatial_shape, 2), np.float32, "F")
for block in blocks_of(values):
    block[:] = 0.5
sample.prediction = values
data_io.save_prediction(sample, folder / "out", name="probabilities")
measured()
print(json.dumps([peaks, total]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
@pytest.mark.parametrize("ending", ENDINGS)
def test_peak_memory_does_not_grow_with_slices(ending: str, tmp_path: Path) -> None:
    peaks = []
    for slices in (80, 320):
        folder = tmp_path / str(slices)
        stored = np.zeros((256, 256, slices), np.int16)
        stored[..., 1:] = 3
        write(folder / f"a{ending}", stored)
        command = [sys.executable, "-c", _MEASURED, str(folder), ending]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        found, total = json.loads(ended.stdout)
        assert total == 3 * 256 * 256 * (slices - 1)
        for name, value in (("a", 5), ("a_probabilities", 0.5)):
            written = np.asarray(nib.load(folder / "out" / f"{name}.nii.gz").dataobj[..., -1])
            assert (written == value).all()
        peaks.append(found)
    # the image grows by 31 MB, the labels by 16 MB, the probabilities by 126 MB
    assert all(large - small < 8_000 for small, large in zip(*peaks, strict=True)), peaks
