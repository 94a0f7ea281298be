"""Predict one made-up volume and print the peak memory beyond the network's own.

The network is a convolution of one voxel: what is measured is everything but the network. Called by
``prediction.py``, in a process of its own: ``SLICES CLASSES FOLDER``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import nibabel as nib
import numpy as np
from _timing import peak_memory

import miscnn
from miscnn._gzip import compressing
from miscnn._keras import keras
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.neural_network.architecture.base import Architecture

PLANE = (512, 512)
WINDOW = (96, 96, 96)

Shape = tuple[int | None, ...]


class Pointwise(Architecture):
    def create_model_3D(self, input_shape: Shape, n_labels: int = 2) -> object:  # noqa: N802
        image = keras.Input(input_shape)
        return keras.Model(image, keras.layers.Conv3D(n_labels, 1, activation="softmax")(image))

    def create_model_2D(self, input_shape: Shape, n_labels: int = 2) -> object:  # noqa: N802
        raise NotImplementedError


def write_volume(path: Path, slices: int) -> None:
    """Write a compressed volume of int16 slice by slice: this process never held it."""
    header = nib.Nifti1Header()
    header.set_data_shape((*PLANE, slices))
    header.set_data_dtype(np.int16)
    header.set_sform(np.diag([0.8, 0.8, 1.0, 1.0]), code=1)
    header["pixdim"][1:4] = (0.8, 0.8, 1.0)
    header["magic"], header["vox_offset"] = header.single_magic, header.single_vox_offset
    rng = np.random.default_rng(0)
    with path.open("wb") as raw, compressing(raw) as stream:
        stream.write(header.binaryblock + bytes(4))
        for _ in range(slices):
            plane = rng.integers(-20, 20, PLANE, dtype=np.int16) * np.int16(50)
            stream.write(plane.tobytes(order="F"))


def main() -> None:
    slices, classes, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    path = folder / f"case_{slices}.nii.gz"
    write_volume(path, slices)
    recipe = miscnn.Preprocessor(
        miscnn.DataIO(NIfTIInterface(channels=1, classes=classes)),
        batch_size=1,
        data_aug=None,
        patch_shape=WINDOW,
    )
    model = miscnn.NeuralNetwork(recipe, Pointwise())
    for _ in range(2):  # what the network takes by itself
        model._predictor()(np.zeros((1, *WINDOW, 1), dtype=np.float32))
    before = peak_memory()
    begin = time.perf_counter()
    model.predict(path, output_path=folder / "predictions", verbose=0)
    seconds = time.perf_counter() - begin
    written = nib.load(folder / "predictions" / path.name).shape
    assert written == (*PLANE, slices)
    print(json.dumps({"beyond_gib": (peak_memory() - before) * 1e9 / 2**30, "seconds": seconds}))


if __name__ == "__main__":
    main()
