from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from click.testing import CliRunner, Result

import miscnn
from miscnn._cli_data import _LAYOUTS
from miscnn._cli_values import Setting
from miscnn.cli import main
from miscnn.data_loading.layouts._finding import LAYOUTS


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(2)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for index in "abc":
        image = rng.normal(0, 100, (6, 5, 4)).astype(np.float32)
        labels = (image > 0).astype(np.uint8) + (image > 80)
        nib.save(nib.Nifti1Image(image, np.eye(4)), tmp_path / f"images/{index}.nii.gz")
        nib.save(
            nib.Nifti1Image(labels.astype(np.uint8), np.eye(4)),
            tmp_path / f"labels/{index}.nii.gz",
        )
    return tmp_path


def test_a_sound_data_set_exits_with_0(data: Path) -> None:
    result = run("verify", data)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Layout: images images/*.nii.gz, segmentations labels/*.nii.gz; format NIfTI",
        "Classes: 3, from the labels found (or say --classes N)",
        "3 subjects: 3 good",
    ]


def test_errors_are_listed_and_exit_with_1(data: Path) -> None:
    (data / "images/b.nii.gz").write_text("no image at all")
    (data / "labels/c.nii.gz").unlink()
    result = run("verify", data)
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit)
    assert "3 subjects: 1 good, 2 with errors" in result.stdout
    assert "images/b.nii.gz cannot be read" in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_options(data: Path) -> None:
    result = run("verify", data, "--classes", "2", "--jobs", "2")
    assert result.exit_code == 1
    assert "label 2 lies outside 0 … 1 (classes=2); set classes=3" in " ".join(
        result.stdout.split()
    )
    result = run("verify", data, "--image", "images/*", "--format", "nifti")
    assert result.exit_code == 0
    assert "no segmentations" in result.stdout
    result = run("verify", data, "--image", "images/*.nii", "--segmentation", "labels/*.nii.gz")
    assert "3 subjects: 3 good" in result.stdout
    result = run("verify", data, "--image", "images/*.nii.gz", "--image", "labels/*.nii")
    assert "3 subjects: 3 good" in result.stdout  # two channels of one grid
    assert run("verify", data, "--channels", "2").exit_code == 1


def test_json_is_all_there_is_on_standard_output(data: Path) -> None:
    (data / "images/b.nii.gz").write_bytes(b"")
    result = run("verify", data, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert document["bad"] == ["b"]
    assert document["classes"] == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "does not exist"),
        (["."], "found no known layout"),
        ([".", "--image", "*.nii.gz"], "no subject in"),
        ([".", "--layout", "folders"], "folders"),
        ([".", "--label-values", "0,x"], "such as 0,255"),
        ([".", "--label-values", "0:0,1"], "such as 0,255"),
        ([".", "--segmentation", "*.nii.gz"], "needs --image"),
        ([".", "--classes", "0"], "--classes"),
        ([".", "--jobs", "0"], "expected 1 or more, or -1"),
        ([".", "--set", "path=x"], "the path is DIR"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("verify", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output


def test_errors_of_the_library_are_one_line(data: Path) -> None:
    result = run("verify", data, "--image", "images/a.nii.gz")
    assert result.exit_code == 2
    assert "Error: the pattern 'images/a.nii.gz'" in result.stderr
    assert "Traceback" not in result.output


def test_stored_label_values_are_declared_or_found(data: Path) -> None:
    for index in "abc":
        path = data / f"labels/{index}.nii.gz"
        labels = np.asanyarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(np.where(labels > 0, 255, 0).astype(np.uint8), np.eye(4)), path)
    result = run("verify", data)
    assert result.exit_code == 0
    assert "Classes: 2, stored as 0, 255 (or say --label-values)" in result.stdout
    result = run("verify", data, "--label-values", "0,255")
    assert result.exit_code == 0
    assert "Classes: 2, stored as 0, 255\n" in result.stdout
    assert run("verify", data, "--label-values", "0:0,255:1").exit_code == 0
    assert run("verify", data, "--label-values", "0:0,255:0", "--classes", "1").exit_code == 0
    result = run("verify", data, "--label-values", "0,1")
    assert result.exit_code == 1
    assert "the segmentation holds 255; label_values declares 0, 1 only" in " ".join(
        result.stdout.split()
    )
    result = run("verify", data, "--classes", "2", "--ignore-label", "255")
    assert result.exit_code == 0
    assert "ignore_label" in result.stdout
    assert result.stdout.count("marks voxels without annotation") == 1


def test_the_value_that_is_ignored_is_no_class(data: Path) -> None:
    arguments = ("--label-values", "0:0,2:1,1:255", "--ignore-label", "255")
    result = run("verify", data, *arguments)
    assert result.exit_code == 0
    assert "Classes: 2, stored as 0, 2\n" in result.stdout
    result = run("verify", data, "--label-values", "0,1", "--ignore-label", "1", "--classes", "2")
    assert result.exit_code == 2


def test_labels_that_need_a_meaning_are_findings(data: Path) -> None:
    """Opening the data set in Python is refused; here it is what is to be found out."""
    for index in "abc":
        path = data / f"labels/{index}.nii.gz"
        labels = np.asanyarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image((labels * 4).astype(np.uint8), np.eye(4)), path)
    result = run("verify", data)
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "for example classes=3, label_values=[0, 4, 8]" in text
    assert run("verify", data, "--label-values", "0,4,8").exit_code == 0
    result = run("inspect", data)  # counts them as they are
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines() if " of 3 " in line] == [
        "0", "4", "8"
    ]  # fmt: skip


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_other_formats(ending: str, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(0)
    for folder, kind in (("images", np.int16), ("labels", np.uint8)):
        (tmp_path / folder).mkdir()
        for index in "ab":
            array = rng.integers(0, 3, (4, 5, 6)).astype(kind)
            sitk.WriteImage(
                sitk.GetImageFromArray(array), str(tmp_path / folder / f"{index}{ending}")
            )
    result = run("verify", tmp_path)
    assert result.exit_code == 0, result.output
    assert f"images/*{ending}" in result.stdout
    assert "2 subjects: 2 good" in result.stdout
    (tmp_path / f"images/b{ending}").write_bytes(b"NRRD0004\nnonsense")
    assert run("verify", tmp_path).exit_code == 1
    assert run("verify", tmp_path, "--format", "NIfTI").exit_code == 2


def test_other_arguments_are_set_by_name(data: Path) -> None:
    assert run("verify", data, "--set", "pattern=[ab]").stdout.endswith("2 subjects: 2 good\n")
    names = 'class_names=["air", "fat", "bone"]'
    result = run("verify", data, "--set", "classes=3", "--set", names)
    assert result.exit_code == 0
    assert "Classes: 3\n" in result.stdout
    result = run("verify", data, "--set", "nonsense=1")
    assert result.exit_code == 2
    assert "does not know nonsense" in result.stderr
    assert run("verify", data, "--set", "pattern").exit_code == 2
    result = run("verify", data, "--set", "classes=many")
    assert result.exit_code == 2
    assert "--set classes='many': is the value of this kind?" in result.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"files": 3}', {"files": 3}),
        ("{'files': 3}", {"files": 3}),
        ("[CT, MR]", ["CT", "MR"]),
        ("[T1 post, T2*]", ["T1 post", "T2*"]),
        ("['CT', 'MR']", ["CT", "MR"]),
        ("(1, 2)", [1, 2]),
        ("True", True),
        ("'CT'", "CT"),
        ("[0.5, 0.5]", [0.5, 0.5]),
        ("3", 3),
        ("CT", "CT"),
        ("[ab]", "[ab]"),
        ("[ab, ]", "[ab, ]"),
        ("(12)", "(12)"),
        ("1_2", "1_2"),
        ("{1, 2}", "{1, 2}"),
        ("[a, [b]]", "[a, [b]]"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_values_that_are_set(text: str, value: object) -> None:
    assert Setting().convert(f"x={text}", None, None) == ("x", value)


def test_layouts_are_listed_and_spelled_in_any_way(data: Path) -> None:
    assert _LAYOUTS == LAYOUTS
    told = " ".join(run("verify", "--help").output.split())
    assert f"several could be: {', '.join(LAYOUTS)}." in told
    assert run("verify", data, "--layout", "Folders").exit_code == 0
    result = run("verify", data, "--layout", "kits")
    assert result.exit_code == 2
    assert "known are 'miscnn', 'subjects'" in result.stderr


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((0, 1, 3), "--label-values=0,1,3"),
        ((-1, 0, 4), "--label-values=-1:0,0:0,4:1"),
        ((0, 1, 255), "--ignore-label=255"),
        (tuple(range(0, 116, 2)), f"--label-values={','.join(map(str, range(0, 116, 2)))}"),
    ],
)
def test_what_labels_with_gaps_need_is_told(values: tuple[int, ...], told: str, data: Path) -> None:
    for index in "abc":
        array = np.zeros((6, 5, 4), np.int16)
        array.flat[: len(values)] = values
        nib.save(nib.Nifti1Image(array, np.eye(4)), data / f"labels/{index}.nii.gz")
    for command in ("verify", "inspect"):
        shown = run(command, data).stdout
        assert "Classes: not known" in shown
        assert told in shown.split()
    result = run("verify", data, told)
    assert result.exit_code == 0
    assert "not known" not in result.stdout


@pytest.mark.realdata
def test_dicom(real_data: Path) -> None:
    folder = real_data / "sarcoma_dicom"
    result = run("verify", folder)
    assert result.exit_code == 2
    assert "Say which one is meant: series='CT'" in result.stderr
    result = run("verify", folder, "--set", "series=CT")
    assert result.exit_code == 0
    assert "2 subjects: 2 good" in result.stdout
    result = run("verify", real_data / "dicom_seg", "--layout", "dicom")
    assert result.exit_code == 1
    assert "2 of 2 series fit" in result.stdout
    assert result.stdout.count("23x38x3") == 1  # one reason, told once
    assert result.stderr == ""


def test_pictures_with_masks_of_255(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for folder, top in (("images", 256), ("labels", 2)):
        (tmp_path / folder).mkdir()
        for index in "ab":
            array = rng.integers(0, top, (8, 9)) * (255 if top == 2 else 1)
            image_module.fromarray(array.astype(np.uint8)).save(tmp_path / folder / f"{index}.png")
    result = run("verify", tmp_path)
    assert result.exit_code == 0, result.output
    assert "Classes: 2, stored as 0, 255" in result.stdout


def test_version_and_help() -> None:
    assert miscnn.__version__ in run("--version").output
    assert "verify" in run("-h").output
    assert "--segmentation" in run("verify", "--help").output


def test_help_is_quick_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, miscnn.cli; from click.testing import CliRunner; "
        "CliRunner().invoke(miscnn.cli.main, ['--help']); "
        "print(*[m for m in ('numpy', 'nibabel', 'tensorflow', 'scipy') if m in sys.modules])"
    )
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        times.append(time.perf_counter() - start)
        assert done.stdout.decode().strip() == ""
    assert min(times) < 1.0  # 0.1 s on an idle machine


def test_the_package_runs_as_a_module(data: Path) -> None:
    command = [sys.executable, "-m", "miscnn"]
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"miscnn, version {miscnn.__version__}\n"
    done = subprocess.run([*command, "--nonsense"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Usage: python -m miscnn ")
