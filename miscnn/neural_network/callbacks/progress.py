"""What a training shows."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from miscnn._keras import keras


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """One progress bar for a whole training, over its epochs."""

    def __init__(self, epochs: int) -> None:
        super().__init__()
        self._epochs = epochs
        self._bar: Any = None

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:
        self._bar = tqdm(total=self._epochs, desc="training", unit="epoch", dynamic_ncols=True)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        shown = {k: v for k, v in (logs or {}).items() if k in _SHOWN}
        self._bar.set_postfix({k.replace("_", " "): f"{v:.3f}" for k, v in shown.items()})
        self._bar.update()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        self._bar.close()


_SHOWN = ("loss", "mean_dice", "val_loss", "val_mean_dice")
