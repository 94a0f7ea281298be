"""Preparing and taking back large images in the memory of a few layers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Prints how much the highest memory (VmHWM, KiB) rises while a volume is prepared, and while its
# prediction is taken back. The volume is a mapped file, as that of a NIfTI file would be.
_PROGRAM = """
import itertools, json, sys
import numpy as np
from miscnn._scratch import Scratch, blocks_of, boxes_of, release, trim
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.processing.blocks import Block
from miscnn.processing.chain import run_chain, split_chain
from miscnn.processing.preparation import measure_tail
from miscnn.processing.subfunctions import (
    CropToForeground, Normalization, Orientation, Padding, Resampling, TransformHU, Windowing,
)
from miscnn.processing.subfunctions import _blockwise
from miscnn.processing.way_back import way_back

_blockwise._SLAB = 4 << 20  # smaller than the smaller volume, as that of a real one is

def highest():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def rise(action):
    trim()  # what was freed before must not hide what is taken now
    open("/proc/self/clear_refs", "w").write("5")
    before = highest()
    result = action()
    return highest() - before, result

def run(path, shape, chain, limit):
    image = np.memmap(path, np.int16, "w+", shape=shape, order="F")
    rng = np.random.default_rng(0)
    for block in blocks_of(image):
        block[...] = rng.integers(-1000, 1000, block.shape, dtype=np.int16)
    image[:20] = image[-20:] = -1024
    release(image)
    head, tail = split_chain(chain)
    sample = Sample("a", image, geometry=Geometry(shape[:3]))
    sample.scratch = Scratch(sys.argv[1], limit=limit)
    def forward():
        prepared, steps = run_chain(sample, head, training=False)
        return prepared, steps, measure_tail(prepared, tail, head)
    there, (prepared, steps, _) = rise(forward)
    grid = prepared.spatial_shape
    edges = [list(itertools.pairwise([*range(0, n, 24), n])) for n in grid]
    def blocks():
        for box in itertools.product(edges[2], edges[0], edges[1]):
            (z, x, y) = box
            values = np.full((x[1] - x[0], y[1] - y[0], z[1] - z[0], 3), 1 / 3, np.float32)
            yield Block((x[0], y[0], z[0]), values)
    def back():
        covered = tuple(slice(0, n) for n in grid)
        total = 0
        for slab in way_back(
            sample, head, steps, blocks(), covered, 3, probabilities=False, slabs=True
        ):
            total += slab.values.shape[2]
        assert total == shape[2]
    return there, rise(back)[0]

chain = eval(sys.argv[3])
path = sys.argv[1] + "/volume"
run(path, (64, 64, 40, 1), chain, 1 << 16)  # what is loaded or set up once
shape = (192, 192, int(sys.argv[2]), 1)
print(json.dumps(run(path, shape, chain, 1 << 20)))
"""

_CHAINS = {
    "resampled": "[Resampling((1.3, 1.3, 1.1)), CropToForeground(-1000.0), "
    "Windowing(quantiles=(0.1, 0.99)), Normalization()]",
    "turned": "[TransformHU(), Orientation('SPL'), CropToForeground(), "
    "Padding(72, shape_must_be_divisible_by=24), "
    "Windowing(quantiles=(0.1, 0.99)), Normalization('minmax', foreground=0.0)]",
}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the memory")
@pytest.mark.parametrize("name", _CHAINS)
def test_memory_does_not_grow_with_the_number_of_slices(name: str, tmp_path: Path) -> None:
    found = []
    for slices in (120, 400):
        arguments = [str(tmp_path), str(slices), _CHAINS[name]]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found.append(json.loads(done.stdout))
    (there, back), (there_more, back_more) = found
    assert there_more <= 1.1 * there + 4 * 1024, found
    assert back_more <= 1.1 * back + 4 * 1024, found
