"""Files that data sets of known layouts are made of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def describe(folder: Path, **content: Any) -> None:
    (folder / "dataset.json").write_text(json.dumps(content))


def labels(*values: int) -> np.ndarray:
    array = np.zeros((3, 4, 5), np.uint8)
    array[0, 0, : len(values)] = values
    return array
