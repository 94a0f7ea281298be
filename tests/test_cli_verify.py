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
from miscnn.cli import main


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
        "Layout: images images/*.nii.gz, segmentations labels/*.nii.gz",
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
    assert "labels 2 lie outside 0 … 1 (classes=2); set classes=3" in " ".join(
        result.stdout.split()
    )
    result = run("verify", data, "--image", "images/*")
    assert result.exit_code == 0
    assert "no segmentations" in result.stdout
    result = run("verify", data, "--image", "images/*", "--segmentation", "labels/*.nii.gz")
    assert "3 subjects: 3 good" in result.stdout
    result = run("verify", data, "--image", "images/*", "--image", "labels/*")
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
        ([".", "--image", "*.nii.gz"], "fits the patterns"),
        ([".", "--segmentation", "*.nii.gz"], "needs --image"),
        ([".", "--classes", "0"], "--classes"),
    ],
)
def test_usage_errors_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run("verify", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_errors_of_the_library_are_one_line(data: Path) -> None:
    result = run("verify", data, "--image", "images/a.nii.gz")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: the pattern 'images/a.nii.gz'")
    assert "Traceback" not in result.output


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
