"""Share of a training step spent waiting for data, by augmentation and number of loader threads.

A network is really trained by ``fit`` on 3D patches of prepared volumes: those of the CT phantom,
or NIfTI files (``--data``, a folder with ``images`` and ``labels``). Two shares are measured:

- waiting: the time that the training loop is blocked in getting the next batch, of the time of
  all steps; the first batch of the epoch, for which nothing could be made ahead, included;
- lost: the time of the steps with the loader beyond that of as many steps on one constant batch.
  It also counts what the loader's threads take away from the network on the same processor.

``fit`` runs as in the library, but for the wait: the batch is taken from the iterator that Keras
has made before the compiled step is called, not within. With 0 and 1 threads Keras makes batches
in the same way, in one thread of tf.data's beside the step. One epoch goes before the measured one.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import miscnn
from miscnn._keras import compile_ahead, keras
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.datasets.phantom import write_dataset
from miscnn.neural_network.architecture import NNUNet, UNetStandard
from miscnn.neural_network.losses import DiceCrossEntropy
from miscnn.processing.augmentation import CTAugmentation, GeneralAugmentation
from miscnn.processing.data_generator import DataGenerator
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing

AUGMENTATIONS: dict[str, Callable[[], Any]] = {"general": GeneralAugmentation, "CT": CTAugmentation}
WARM_UP = 3


class Constant(keras.utils.PyDataset):  # type: ignore[misc]  # Keras has no types
    """The same batch again and again."""

    def __init__(self, batch: Any, steps: int) -> None:
        super().__init__(workers=1)
        self.batch, self.steps = batch, steps

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, number: int) -> Any:
        return self.batch


class Clock:
    """Times a model's training steps: how long each waited for its batch, how long it took."""

    def __init__(self, model: Any) -> None:
        self.waits: list[float] = []
        self.steps: list[float] = []
        model.make_train_function()
        step = model.train_function

        def timed(iterator: Any) -> Any:
            begin = time.perf_counter()
            batch = next(iterator)
            waited = time.perf_counter()
            logs = step(iter([batch]))
            float(logs["loss"])  # a GPU has finished only then
            self.waits.append(waited - begin)
            self.steps.append(time.perf_counter() - waited)
            return logs

        model.train_function = timed

    def forget(self) -> None:
        self.waits.clear()
        self.steps.clear()


def recipe(options: argparse.Namespace, folder: Path, augmentation: Any) -> miscnn.Preprocessor:
    if options.data is None:
        interface = NIfTIInterface(channels=1, classes=3)
        data = folder / "data"
        if not data.exists():
            write_dataset(data, options.subjects, in_plane=256)
    else:
        data = options.data
        interface = NIfTIInterface(
            channels=1, classes=2, image="images/*.nii.gz", segmentation="labels/*.nii.gz"
        )
    data_io = miscnn.DataIO(interface, data, folder / "predictions", folder / "batches")
    return miscnn.Preprocessor(
        data_io,
        batch_size=options.batch,
        subfunctions=[
            Resampling(tuple(options.spacing)),
            Windowing("soft tissue"),
            Normalization("z-score", statistics="dataset", subset=5),
        ],
        data_aug=augmentation,
        patch_shape=options.patch,
        seed=0,
    )


def network(options: argparse.Namespace, classes: int) -> Any:
    architecture: Any = UNetStandard(n_filters=options.features)
    if options.network == "nnunet":
        architecture = NNUNet(
            patch_shape=tuple(options.patch),
            spacing=tuple(options.spacing),
            base_features=options.features,
        )
    keras.utils.set_random_seed(0)
    model = architecture.create_model_3D((None, None, None, 1), classes)
    optimizer = keras.optimizers.SGD(0.01, 0.99, nesterov=True)
    model.compile(optimizer, DiceCrossEntropy(), jit_compile=compile_ahead())
    return model


def measured(model: Any, clock: Clock, make: Callable[[int], Any], steps: int) -> dict[str, float]:
    """Train for a warm-up epoch and one that is measured, in one process."""
    model.fit(make(WARM_UP), verbose=0, shuffle=False)
    clock.forget()
    begin = time.perf_counter()
    model.fit(make(steps), verbose=0, shuffle=False)
    whole = time.perf_counter() - begin
    wait, work = sum(clock.waits), sum(clock.steps)
    return {
        "step": work / steps,
        "wait": wait / steps,
        "first wait": clock.waits[0],
        "waiting": wait / (wait + work),
        "fit": whole,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with images/ and labels/")
    parser.add_argument("--subjects", type=int, default=6, help="of the phantom")
    parser.add_argument("--network", choices=("nnunet", "unet"), default="nnunet")
    parser.add_argument("--features", type=int, default=32)
    parser.add_argument("--patch", type=int, nargs=3, default=[64, 64, 64])
    parser.add_argument("--spacing", type=float, nargs=3, default=[1.6, 1.6, 3.2], help="mm")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--threads", type=int, nargs="+", default=[0, 1, 2, 4])
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    rows: dict[str, dict[str, float]] = {}
    print(
        f"{'augmentation':12} threads  constant      step      wait   waiting      lost", flush=True
    )
    with tempfile.TemporaryDirectory() as name:
        for augmentation, make in AUGMENTATIONS.items():
            preprocessor = recipe(options, Path(name), make())
            indices = preprocessor.data.get_indiceslist()
            preprocessor.fit(indices)
            preprocessor.prepare(indices)
            model = network(options, preprocessor.classes)
            batch = DataGenerator(indices, preprocessor)[0]
            clock = Clock(model)

            def constant(steps: int, batch: Any = batch) -> Constant:
                return Constant(batch, steps)

            for threads in options.threads:

                def loader(
                    steps: int,
                    threads: int = threads,
                    indices: list[str] = indices,
                    preprocessor: miscnn.Preprocessor = preprocessor,
                ) -> DataGenerator:
                    return DataGenerator(indices, preprocessor, iterations=steps, workers=threads)

                # In turns: what else the machine does meets both. Below 0: no loss to be seen.
                alone = measured(model, clock, constant, options.steps)
                row = measured(model, clock, loader, options.steps)
                row["constant step"] = alone["step"]
                row["lost"] = 1 - alone["step"] / (row["step"] + row["wait"])
                rows[f"{augmentation}, {threads} threads"] = row
                print(
                    f"{augmentation:12} {threads:7} {1e3 * alone['step']:6.0f} ms "
                    f"{1e3 * row['step']:6.0f} ms "
                    f"{1e3 * row['wait']:6.1f} ms {row['waiting']:9.2%} {row['lost']:9.2%}",
                    flush=True,
                )
    if options.json is not None:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
