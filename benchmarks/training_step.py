"""One training step of a 3D nnU-Net: ours on TensorFlow against PyTorch.

The same topology (that of nnU-Net for the patch), two images of 64^3 voxels with one channel and
three classes, Dice + cross-entropy, SGD with Nesterov momentum, the same number of threads.
The peer is the network that nnU-Net itself trains (``PlainConvUNet``). Each framework runs in a
process of its own, the two in turns for some rounds, so that a drift of the machine meets both.
Reported: time before the first step has ended (building, tracing and the step), median time of
the steps after the warm-up, growth of the peak memory (VmHWM) since the imports.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _timing import (
    in_own_process,
    limit_tensorflow,
    peak_memory,
    random_batch,
    timed,
    write,
)

CHANNELS, LABELS = 1, 3
LEARNING_RATE, MOMENTUM = 1e-2, 0.99
SMOOTH = 1e-5
FRAMEWORKS = ("ours", "pytorch")

Step = Callable[[], float]
"""Does one training step and returns the loss before it."""


def batch(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return images and one-hot truth, channels last."""
    return random_batch((options.batch, *(options.patch,) * 3), LABELS)


def network(options: argparse.Namespace) -> Any:
    # Not imported above: the peer's process shall know nothing of Keras and TensorFlow.
    from miscnn.neural_network.architecture.nnunet import NNUNet

    return NNUNet(
        patch_shape=(options.patch,) * 3,
        base_features=options.features,
        deep_supervision=options.deep_supervision,
    )


def ours(options: argparse.Namespace) -> tuple[Step, int]:
    """Return the step and the number of parameters."""
    from miscnn._keras import compile_ahead, keras
    from miscnn.neural_network.losses import DiceCrossEntropy

    keras.utils.set_random_seed(0)
    model = network(options).create_model_3D((None, None, None, CHANNELS), LABELS)
    optimizer = keras.optimizers.SGD(LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
    loss = DiceCrossEntropy(smooth=SMOOTH, reduction_axes=options.reduction_axes)
    model.compile(optimizer, loss, jit_compile=compile_ahead())
    images, targets = batch(options)
    return lambda: float(model.train_on_batch(images, targets)), model.count_params()


def pytorch(options: argparse.Namespace) -> tuple[Step, int]:
    """Return the step and the number of parameters."""
    import torch
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    torch.manual_seed(0)
    strides, kernels, widths = json.loads(options.stages)
    model = PlainConvUNet(
        CHANNELS,
        len(strides),
        widths,
        torch.nn.Conv3d,
        kernels,
        strides,
        2,
        LABELS,
        2,
        conv_bias=True,
        norm_op=torch.nn.InstanceNorm3d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=torch.nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
        deep_supervision=options.deep_supervision,
    )
    model.apply(model.initialize)
    parameters = sum(p.numel() for p in model.parameters())
    # Heads without a loss: all but the finest, or the coarsest one, which nnU-Net weights with 0.
    idle = model.decoder.seg_layers[: 1 if options.deep_supervision else -1]
    parameters -= sum(p.numel() for p in idle.parameters())
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=MOMENTUM, nesterov=True)
    images, targets = (torch.from_numpy(np.moveaxis(a, -1, 1).copy()) for a in batch(options))
    axes = (2, 3, 4) if options.reduction_axes == "sample" else (0, 2, 3, 4)

    def single(logits: Any, truth: Any) -> Any:
        probabilities = torch.softmax(logits, 1)
        true = (probabilities * truth).sum(axes)
        dice = (2 * true + SMOOTH) / (probabilities.sum(axes) + truth.sum(axes) + SMOOTH)
        return torch.nn.functional.cross_entropy(logits, truth) + 1 - dice.mean()

    def total(outputs: Any) -> Any:
        if not options.deep_supervision:
            return single(outputs, targets)
        halves = [0.5**level for level in range(len(outputs) - 1)]
        losses = []
        for output in outputs[:-1]:
            sizes = zip(targets.shape[2:], output.shape[2:], strict=True)
            steps = [full // coarse for full, coarse in sizes]
            x, y, z = (slice(step // 2, None, step) for step in steps)
            losses.append(single(output, targets[:, :, x, y, z]))
        return sum(h * loss for h, loss in zip(halves, losses, strict=True)) / sum(halves)

    def step() -> float:
        optimizer.zero_grad(set_to_none=True)
        loss = total(model(images))
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step, parameters


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one framework in this process."""
    if options.only == "ours":
        limit_tensorflow(options.threads)
        import miscnn.neural_network.losses  # noqa: F401 - no import may count as work
    else:
        import dynamic_network_architectures.architectures.unet  # noqa: F401
        import torch

        torch.set_num_threads(options.threads)
    before = peak_memory()
    begin = time.perf_counter()
    step, parameters = {"ours": ours, "pytorch": pytorch}[options.only](options)
    losses = [step()]
    first = time.perf_counter() - begin
    times = timed(lambda: losses.append(step()), options.repeats, options.warm_up)
    return {
        "first": first,
        "steps": times,
        "memory": peak_memory() - before,
        "parameters": parameters,
        "losses": losses,
    }


def summary(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "first": statistics.median(run["first"] for run in runs),
        "step": statistics.median(seconds for run in runs for seconds in run["steps"]),
        "memory": statistics.median(run["memory"] for run in runs),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patch", type=int, default=64, help="voxels per axis")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--features", type=int, default=32, help="feature maps of the first stage")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--deep-supervision", action="store_true")
    parser.add_argument("--reduction-axes", choices=("sample", "batch"), default="sample")
    parser.add_argument("--rounds", type=int, default=3, help="processes per framework")
    parser.add_argument("--warm-up", type=int, default=1, help="steps after the first, uncounted")
    parser.add_argument("--repeats", type=int, default=5, help="counted steps per process")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--only", choices=FRAMEWORKS, help=argparse.SUPPRESS)
    parser.add_argument("--stages", help=argparse.SUPPRESS)  # strides, kernels, widths; JSON
    return parser.parse_args()


def main() -> None:
    options = arguments()
    if options.only:
        print(json.dumps(measure(options)))
        return
    plan = network(options)
    stages = json.dumps([*plan.topology(3), plan.features(3)])
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in FRAMEWORKS}
    for _ in range(options.rounds):
        for name in FRAMEWORKS:
            only = ("--only", name, "--stages", stages, *sys.argv[1:])
            runs[name].append(in_own_process(__file__, *only, threads=options.threads))
    counts = {name: runs[name][0]["parameters"] for name in FRAMEWORKS}
    if len(set(counts.values())) > 1:
        raise SystemExit(f"the networks are not the same: parameters {counts}")

    rows = {name: summary(runs[name]) for name in FRAMEWORKS}
    rows["ours / pytorch"] = {k: v / rows["pytorch"][k] for k, v in rows["ours"].items()}
    print(
        f"3D nnU-Net, {counts['ours'] / 1e6:.1f} million parameters, batch {options.batch}, "
        f"{options.patch}^3, {options.threads} threads"
        + (", deep supervision" if options.deep_supervision else "")
    )
    print("               first step     step   memory")
    for name in FRAMEWORKS:
        row = rows[name]
        print(f"{name:14} {row['first']:8.2f} s {row['step']:6.2f} s {row['memory']:5.2f} GB")
    first, step, memory = rows["ours / pytorch"].values()
    print(f"{'ours / pytorch':14} {first:8.2f}   {step:6.3f}   {memory:5.2f}")
    write(options.json, rows)


if __name__ == "__main__":
    main()
