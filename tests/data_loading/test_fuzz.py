"""Files with damaged headers are read, or refused by an error of the library's own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

_SCRIPT = Path(__file__).with_name("fuzz_headers.py")


@pytest.mark.parametrize("name", ["nifti", "nrrd", "png", "dicom"])
def test_some_damaged_headers(name: str) -> None:
    _run("--cases", "300", "--seed", "1", "--formats", name)


@pytest.mark.slow
def test_ten_thousand_damaged_headers() -> None:
    _run("--cases", "10000", "--seed", "0")


def _run(*options: str) -> None:
    command = [sys.executable, str(_SCRIPT), *options]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout, ended.stderr
    for name, result in json.loads(ended.stdout).items():
        if name != "seconds":
            assert result["failures"] == []
            assert min(result["read"], result["refused"]) > 0  # not all of one kind
