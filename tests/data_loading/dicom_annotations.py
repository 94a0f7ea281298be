"""Segmentations as others than this library write them, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.uid import generate_uid


def made_elsewhere(path: Path) -> Path:
    """Let a file that this library wrote come from somebody else."""
    dataset = pydicom.dcmread(path)
    dataset.Manufacturer = dataset.ManufacturerModelName = "ACME contouring"
    dataset.save_as(path)
    return path


def write_masks(path: Path, images: Sequence[Path], masks: dict[str, NDArray[np.bool_]]) -> Path:
    """Write a DICOM-SEG with highdicom, one frame for each slice, empty ones left out.

    Parameters
    ----------
    path : Path
    images : sequence of Path
        The slices.
    masks : dict of str to ndarray
        Shape (columns, rows, slices) each, in the order of ``images``.
    """
    tissue = highdicom.sr.CodedConcept("85756007", "SCT", "Tissue")
    descriptions = [
        highdicom.seg.SegmentDescription(n, name, tissue, tissue, algorithm_type="MANUAL")
        for n, name in enumerate(masks, start=1)
    ]
    pixels = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1)
    highdicom.seg.Segmentation(
        source_images=[pydicom.dcmread(image) for image in images],
        pixel_array=pixels.astype(np.uint8),
        segmentation_type="BINARY",
        segment_descriptions=descriptions,
        series_instance_uid=generate_uid(),
        series_number=9,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="ACME contouring",
        manufacturer_model_name="ACME contouring",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)
    return path
