"""MS-D Net (depth 100, width 1): ours against a plain chain of Keras layers.

The chain is what the definition says: mirror the stack of all maps, convolve it with a
dilation, normalise, activate, concatenate. Each variant runs in a process of its own, so that
the peak memory is its own: time before the first training step has ended (building, tracing
and the step), median time of the further steps, growth of the peak memory since the imports.
A further process checks that both give the same outputs and gradients.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_own_process, peak_memory, random_batch, timed, write

from miscnn._keras import keras, ops
from miscnn.neural_network.architecture.msdnet import MSDNet
from miscnn.neural_network.architecture.normalization import InstanceNormalization

CASES = {
    "2D 4x128x128": (4, 128, 128),
    "2D 28x128x128": (28, 128, 128),
    "3D 16x128x128": (1, 16, 128, 128),
}
_PER_MAP = 14.0  # the chain's memory per element of all its inputs, in bytes; measured at 4x128x128


@keras.saving.register_keras_serializable(package="benchmarks")
class MirrorPad(keras.layers.Layer):
    """Mirror all spatial axes."""

    def __init__(self, by: int) -> None:
        super().__init__()
        self.by = by

    def call(self, inputs: Any) -> Any:
        spatial = ((self.by, self.by),) * (len(inputs.shape) - 2)
        return ops.pad(inputs, ((0, 0), *spatial, (0, 0)), mode="reflect")


def chain(net: MSDNet, dimensions: int) -> Any:
    """Build the network as a chain of layers."""
    convolution = getattr(keras.layers, f"Conv{dimensions}D")
    inputs = x = keras.Input((None,) * dimensions + (1,))
    for i in range(net.depth):
        dilation = net.dilations[i % len(net.dilations)]
        y = MirrorPad(dilation)(x)
        y = convolution(1, 3, dilation_rate=dilation, use_bias=False, name=f"conv_{i}")(y)
        y = InstanceNormalization(name=f"norm_{i}")(y)
        y = keras.layers.LeakyReLU(negative_slope=0.01)(y)
        x = keras.layers.Concatenate()([x, y])
    return keras.Model(inputs, convolution(2, 1, activation="softmax", name="head")(x))


def build(variant: str, dimensions: int, depth: int) -> Any:
    net = MSDNet(1, depth)
    if variant == "chain":
        return chain(net, dimensions)
    create = net.create_model_2D if dimensions == 2 else net.create_model_3D
    return create((None,) * dimensions + (1,), 2)


def measure(variant: str, shape: tuple[int, ...], depth: int, repeats: int) -> dict[str, float]:
    images, targets = random_batch(shape, 2)
    keras.utils.set_random_seed(0)
    before = peak_memory()
    begin = time.perf_counter()
    model = build(variant, len(shape) - 1, depth)
    model.compile("adam", "categorical_crossentropy", jit_compile=False)
    model.train_on_batch(images, targets)
    first = time.perf_counter() - begin
    times = timed(lambda: model.train_on_batch(images, targets), repeats, warm_up=0)
    return {"first": first, "step": statistics.median(times), "memory": peak_memory() - before}


def compare(depth: int) -> dict[str, float]:
    """Return the largest differences of outputs and gradients, relative to the largest value."""
    import tensorflow as tf

    worst = {}
    for dimensions, shape in ((2, (1, 32, 40)), (3, (1, 12, 16, 16))):
        keras.utils.set_random_seed(0)
        ours, plain = build("ours", dimensions, depth), build("chain", dimensions, depth)
        layer = ours.get_layer("mixed_scale")
        layer.head_kernel.assign(np.random.default_rng(1).normal(size=layer.head_kernel.shape))
        for i in range(depth):
            plain.get_layer(f"conv_{i}").set_weights([ops.convert_to_numpy(layer.kernel(i))])
        head = ops.convert_to_numpy(layer.head_kernel)
        plain.get_layer("head").kernel.assign(head.reshape((1,) * dimensions + head.shape))
        images, targets = map(tf.constant, random_batch(shape, 2))
        outputs, found = [], []
        for model, kernels in (
            (ours, [layer.kernels, layer.head_kernel]),
            (plain, [plain.get_layer(f"conv_{i}").kernel for i in range(depth)]),
        ):
            with tf.GradientTape() as tape:
                output = model(images)
                loss = tf.reduce_mean(tf.square(output - targets))
            values = tape.gradient(loss, [kernel.value for kernel in kernels])
            outputs.append(output.numpy())
            found.append([value.numpy().ravel() for value in values])
        own, expected = found[0][0], np.concatenate(found[1])
        worst[f"{dimensions}D outputs"] = float(np.abs(outputs[0] - outputs[1]).max())
        worst[f"{dimensions}D gradients"] = float(
            np.abs(own - expected).max() / np.abs(expected).max()
        )
    return worst


def free_memory() -> float:
    """Return the memory that is free, in GB; infinite where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return float("inf")
    return next(int(s.split()[1]) for s in lines if s.startswith("MemAvailable")) * 1024 / 1e9


def needed(shape: tuple[int, ...], depth: int) -> float:
    """Estimate the memory that the chain needs, in GB."""
    return _PER_MAP * float(np.prod(shape)) * depth * (depth + 1) / 2 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--skip-chain", action="store_true", help="measure ours only")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--only", choices=("ours", "chain", "compare"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "compare":
        print(json.dumps(compare(options.depth)))
        return
    if options.only:
        shape = CASES[options.cases[0]]
        print(json.dumps(measure(options.only, shape, options.depth, options.repeats)))
        return

    common = ["--depth", str(options.depth), "--repeats", str(options.repeats)]
    rows: dict[str, Any] = {}
    print(f"{'MS-D Net, depth ' + str(options.depth):24} first step     step   memory")
    for case in options.cases:
        rows[case] = {}
        for variant in ("ours", "chain"):
            if variant == "chain":
                if options.skip_chain:
                    continue
                need, free = needed(CASES[case], options.depth), free_memory()
                if need > free:
                    print(f"{case:17} chain  skipped: needs about {need:.0f} GB of {free:.0f} GB")
                    continue
            row = in_own_process(__file__, "--only", variant, "--cases", case, *common)
            rows[case][variant] = row
            print(
                f"{case:17} {variant:6} {row['first']:8.1f} s {row['step']:7.2f} s "
                f"{row['memory']:5.2f} GB",
                flush=True,
            )
        if len(rows[case]) == 2:
            ratios = {k: rows[case]["chain"][k] / v for k, v in rows[case]["ours"].items()}
            rows[case]["chain / ours"] = ratios
            print(
                f"{case:17} ratio  {ratios['first']:8.1f}   {ratios['step']:7.1f}   "
                f"{ratios['memory']:5.1f}"
            )
    # Rounding grows with depth through the normalisations; a third suffices to see an error.
    rows["differences"] = in_own_process(
        __file__, "--only", "compare", "--depth", str(options.depth // 3)
    )
    for name, value in rows["differences"].items():
        print(f"largest difference, {name}: {value:.1e}")
    write(options.json, rows)
    if max(rows["differences"].values()) > 1e-4:
        raise SystemExit("ours and the chain differ by more than 1e-4")


if __name__ == "__main__":
    main()
