"""The table of models in docs/reference/models.md: what each network weighs, how long it takes.

Every network of ``miscnn.neural_network.architecture`` as it is made without arguments, in 2D and
in 3D, on one input size for all; those that fit themselves to a recipe (nnU-Net's) are fitted to
that input. Each model runs in a process of its own, so that the peak memory is its own:

- parameters;
- step: median time of a training step (forward, Dice + cross-entropy, backward, Adam) after the
  warm-up;
- prediction: median time of ``predict_on_batch`` on the same images;
- memory: growth of the peak (VmHWM) from the imports to the last training step.

``--write`` puts the table between the marks in docs/reference/models.md; it wants all models.
"""

from __future__ import annotations

import argparse
import inspect
import json
import statistics
import time
from pathlib import Path

from _timing import in_own_process, limit_tensorflow, peak_memory, random_batch, timed, write

from miscnn._keras import compile_ahead, keras
from miscnn.neural_network import architecture
from miscnn.neural_network.losses import DiceCrossEntropy

INPUTS = {2: (2, 256, 256), 3: (1, 64, 64, 64)}  # the batch, then the spatial axes
LABELS = 3
PAGE = Path(__file__).parents[1] / "docs" / "reference" / "models.md"
BEGIN, END = "<!-- table -->", "<!-- /table -->"
HEADER = (
    "| network | parameters, million | training step, s | prediction, s | memory, GB |\n"
    "|---|---|---|---|---|"
)


def networks() -> list[str]:
    """Return the names of all networks that the library has."""
    found = {name: getattr(architecture, name) for name in architecture.__all__}
    return [name for name, kind in found.items() if not inspect.isabstract(kind)]


def measure(name: str, dimensions: int, options: argparse.Namespace) -> dict[str, float]:
    """Measure one network in this process."""
    limit_tensorflow(options.threads)
    images, targets = random_batch(INPUTS[dimensions], LABELS)
    keras.utils.set_random_seed(0)
    before = peak_memory()
    begin = time.perf_counter()
    network = getattr(architecture, name)().adapted_to(images.shape[1:-1], None)
    create = network.create_model_2D if dimensions == 2 else network.create_model_3D
    model = create((None,) * dimensions + (1,), LABELS)
    model.compile("adam", DiceCrossEntropy(), jit_compile=compile_ahead())
    model.train_on_batch(images, targets)
    first = time.perf_counter() - begin
    runs = options.repeats, options.warm_up
    steps = timed(lambda: model.train_on_batch(images, targets), *runs)
    memory = peak_memory() - before
    model.predict_on_batch(images)  # traces
    predictions = timed(lambda: model.predict_on_batch(images), *runs)
    return {
        "parameters": model.count_params(),
        "first": first,
        "step": statistics.median(steps),
        "prediction": statistics.median(predictions),
        "memory": memory,
    }


def table(rows: dict[str, dict[str, float]], options: argparse.Namespace) -> str:
    """Return the table in Markdown, one for each number of dimensions."""
    parts = []
    for dimensions in options.dimensions:
        batch, *sizes = INPUTS[dimensions]
        noun = "patch" if batch == 1 else "patches"
        parts.append(
            f"{dimensions}D, {batch} {noun} of {' x '.join(map(str, sizes))}, one channel, "
            f"{LABELS} classes, {options.threads} threads:\n\n{HEADER}"
        )
        for name in options.models:
            row = rows[f"{name} {dimensions}D"]
            parts[-1] += (
                f"\n| `{name}` | {row['parameters'] / 1e6:.3g} | {row['step']:.2f} "
                f"| {row['prediction']:.2f} | {row['memory']:.2f} |"
            )
    return "\n\n".join(parts)


def put(text: str, page: Path) -> None:
    """Replace what stands between the marks of a page."""
    head, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no place for the table: expected {BEGIN} and {END}")
    page.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def arguments() -> argparse.Namespace:
    known = networks()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=known, default=known, metavar="NAME")
    parser.add_argument("--dimensions", nargs="+", type=int, choices=INPUTS, default=list(INPUTS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warm-up", type=int, default=1, help="steps after the first, uncounted")
    parser.add_argument("--repeats", type=int, default=3, help="counted steps")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--write", action="store_true", help=f"write the table to {PAGE.name}")
    parser.add_argument("--only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    everything = set(options.models) == set(known) and set(options.dimensions) == set(INPUTS)
    if options.write and not everything:
        parser.error("--write wants all models: leave --models and --dimensions out")
    return options


def main() -> None:
    options = arguments()
    if options.only:
        print(json.dumps(measure(options.models[0], options.dimensions[0], options)))
        return
    begin = time.perf_counter()
    runs = [f"--{k}={getattr(options, k.replace('-', '_'))}" for k in ("repeats", "warm-up")]
    rows: dict[str, dict[str, float]] = {}
    print(f"{'':24} parameters first step     step  prediction   memory")
    for dimensions in options.dimensions:
        for name in options.models:
            row = in_own_process(
                __file__,
                *("--only", "--models", name, "--dimensions", str(dimensions)),
                *("--threads", str(options.threads), *runs),
                threads=options.threads,
            )
            rows[f"{name} {dimensions}D"] = row
            print(
                f"{name:21} {dimensions}D {row['parameters']:10,} {row['first']:8.1f} s "
                f"{row['step']:6.2f} s {row['prediction']:9.2f} s {row['memory']:5.2f} GB",
                flush=True,
            )
            write(options.json, rows)  # what was measured stays if the rest is stopped
    print(f"{(time.perf_counter() - begin) / 60:.1f} minutes\n\n{table(rows, options)}")
    if options.write:
        put(table(rows, options), PAGE)


if __name__ == "__main__":
    main()
