"""Helpers to make NIfTI files, sound and broken ones."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

AFFINE = np.array([[-0.9, 0, 0, 100], [0, 0.9, 0, -80], [0, 0, 3, 20], [0, 0, 0, 1.0]])


def _save(path: Path, array: Any, affine: Any = AFFINE, qform: int = 1, sform: int = 1) -> Path:
    array = np.asarray(array)
    image = nib.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_qform(affine, qform)
    image.set_sform(affine, sform)
    image.header.set_xyzt_units("mm", "sec")
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image, path)
    return path


def _patch(path: Path, offset: int, form: str, *values: float) -> None:
    """Overwrite bytes of an uncompressed or compressed NIfTI file."""
    packed = path.name.endswith(".gz")
    content = bytearray(gzip.decompress(path.read_bytes()) if packed else path.read_bytes())
    struct.pack_into("<" + form, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)) if packed else bytes(content))


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """``save(path, array, affine, qform, sform)`` writes a NIfTI file with nibabel."""
    return _save


@pytest.fixture(scope="session")
def patch() -> Callable[..., None]:
    """``patch(path, offset, format, *values)`` changes bytes of a NIfTI file."""
    return _patch


@pytest.fixture
def subject(
    tmp_path: Path, rng: np.random.Generator, save: Callable[..., Path]
) -> Callable[..., Path]:
    """``subject(index, image, labels)`` writes one subject in MIScnn's layout under ``data``."""

    def make(
        index: str = "a",
        image: Any = None,
        labels: Any = None,
        affine: Any = AFFINE,
        label_affine: Any = None,
    ) -> Path:
        folder = tmp_path / "data" / index
        image = rng.normal(0, 300, (7, 6, 5)).astype(np.int16) if image is None else image
        labels = (image > 100).astype(np.uint8) if labels is None else labels
        save(folder / "imaging.nii.gz", image, affine)
        save(
            folder / "segmentation.nii.gz", labels, affine if label_affine is None else label_affine
        )
        return folder

    return make
