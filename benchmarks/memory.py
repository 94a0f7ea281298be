"""How the memory of a training step grows with patch, batch and filters: docs/how-to/memory.md.

``UNetStandard`` in a process of its own for each row: growth of the peak (VmHWM) from the imports
to the end of the second training step (Dice + cross-entropy, Adam), float32, on a CPU. ``--write``
puts the table between the marks of that page.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from _timing import in_own_process, limit_tensorflow, peak_memory, random_batch

from miscnn._keras import compile_ahead, keras
from miscnn.neural_network.architecture import UNetStandard
from miscnn.neural_network.losses import DiceCrossEntropy

# The batch, the patch, and the filters of the first level.
CASES = (
    ((1, 32, 32, 32), 32),
    ((1, 48, 48, 48), 32),
    ((1, 64, 64, 64), 32),
    ((1, 96, 96, 96), 32),
    ((2, 64, 64, 64), 32),
    ((4, 64, 64, 64), 32),
    ((1, 64, 64, 64), 16),
    ((1, 64, 64, 64), 8),
    ((1, 128, 128, 16), 32),
    ((2, 256, 256), 32),
    ((2, 512, 512), 32),
    ((8, 256, 256), 32),
)
LABELS = 3
PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "memory.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
HEADER = (
    "| patch | batch | filters | memory, GB | KB per voxel of the batch |\n|---|---|---|---|---|"
)


def measure(shape: tuple[int, ...], filters: int, threads: int) -> dict[str, float]:
    """Measure one case in this process."""
    limit_tensorflow(threads)
    images, targets = random_batch(shape, LABELS)
    keras.utils.set_random_seed(0)
    before = peak_memory()
    network = UNetStandard(n_filters=filters)
    create = network.create_model_2D if len(shape) == 3 else network.create_model_3D
    model = create((None,) * (len(shape) - 1) + (1,), LABELS)
    model.compile("adam", DiceCrossEntropy(), jit_compile=compile_ahead())
    for _ in range(2):
        model.train_on_batch(images, targets)
    return {"memory": peak_memory() - before, "parameters": model.count_params()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--write", action="store_true", help=f"write the table to {PAGE.name}")
    options = parser.parse_args()
    if options.case is not None:
        print(json.dumps(measure(*CASES[options.case], options.threads)))
        return
    lines = [HEADER]
    for number, (shape, filters) in enumerate(CASES):
        row = in_own_process(
            __file__, "--case", str(number), "--threads", str(options.threads),
            threads=options.threads,
        )  # fmt: skip
        batch, *patch = shape
        memory = row["memory"]
        voxels = batch
        for size in patch:
            voxels *= size
        lines.append(
            f"| {' x '.join(map(str, patch))} | {batch} | {filters} | {memory:.2f} "
            f"| {memory * 1e6 / voxels:.1f} |"
        )
        print(lines[-1], flush=True)
    if options.write:
        head, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
        _, end, tail = rest.partition(END)
        if not begin or not end:
            raise SystemExit(f"{PAGE} has no place for the table: expected {BEGIN} and {END}")
        PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{tail}", "utf-8")


if __name__ == "__main__":
    main()
