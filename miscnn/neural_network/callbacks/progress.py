"""What a training shows while it runs."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from tqdm.auto import tqdm

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.callbacks.live import in_notebook
from miscnn.neural_network.callbacks.logs import learning_rate_of

_INTERVAL = 0.1  # seconds between two updates at least
_LOG_INTERVAL = 10.0  # where each update is another line: in files
_LEAST_BAR = 8  # columns
_FORMAT = "{desc}|{bar}| "
# Where a terminal does not say how many it has: tqdm would show nothing.
_COLUMNS_OF_SILENT_TERMINALS = 80


def _columns() -> int | None:
    """Return how wide the bar is; None if the terminal says it."""
    try:
        silent = os.get_terminal_size(sys.stderr.fileno()).columns == 0
    except (AttributeError, OSError, ValueError):  # no terminal
        silent = False
    return _COLUMNS_OF_SILENT_TERMINALS if silent else None


class ProgressBar(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """One bar for a whole training.

    It runs over the epochs, and moves within each, or over the minutes of a time budget. After
    each epoch it shows the loss, the mean Dice and the learning rate; where there is a
    validation, as ``training/validation``; and the last Dice of whole volumes. What does not fit
    into the terminal is left out, from the end.

    Parameters
    ----------
    epochs : int, optional
        Number of epochs in all.
    minutes : float, optional
        Duration of the training; the bar then runs over the minutes.
    description : str
        What stands before the bar, such as ``"fold 2/5"``.
    initial : int
        Number of epochs that were done before, of a training that goes on.
    elapsed : callable, optional
        Returns the seconds of the time budget that are used up. Default: those since the end of
        the first batch.

    Notes
    -----
    Keras says nothing to callbacks when a training breaks off by an error or by the user. Close
    the bar then: use it as a context manager around ``fit``, or call :meth:`close` in the end.
    """

    def __init__(
        self,
        epochs: int | None = None,
        minutes: float | None = None,
        description: str = "training",
        initial: int = 0,
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        super().__init__()
        if epochs is None and minutes is None:
            raise ConfigurationError("a progress bar needs epochs or minutes, got neither")
        self._epochs = epochs
        self._minutes = minutes
        self._description = description
        self._initial = initial
        self._elapsed = self._since_first_batch if elapsed is None else elapsed
        self._begin()

    def _begin(self) -> None:
        self._bar: Any = None
        self._done = self._initial
        self._within = 0.0  # share of the epoch that runs
        self._start: float | None = None
        self._epoch_start = 0.0
        self._epoch_seconds = 0.0
        self._shown_at = -math.inf
        self._values: list[str] = []

    # ------------------------------------------------------------------ what Keras calls

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Show an empty bar."""
        self.close()
        self._begin()
        total = self._epochs if self._minutes is None else self._minutes
        columns = _columns()
        self._bar = tqdm(
            total=total,
            initial=self._position(),
            desc=self._head(False),
            bar_format=f"{_FORMAT}starting",
            dynamic_ncols=columns is None,
            ncols=columns,
            # An average: epochs differ from their parts, by the validation at the end.
            smoothing=0.0,
        )
        in_place = sys.stderr.isatty() or in_notebook()
        self._interval = _INTERVAL if in_place else _LOG_INTERVAL
        self._shown_at = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Note when an epoch begins."""
        self._epoch_start = time.monotonic()
        self._show_sometimes()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count a batch."""
        if self._start is None:
            self._start = time.monotonic()
        steps = (self.params or {}).get("steps")
        self._within = min(1.0, (batch + 1) / steps) if steps else 0.0
        self._show_sometimes()

    def on_test_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        """Let the clock go on."""
        self._show_sometimes()  # the clock goes on

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Count an epoch, and show its values."""
        self._done += 1
        self._within = 0.0
        self._epoch_seconds = time.monotonic() - self._epoch_start
        self._values = _described(logs or {}, learning_rate_of(self.model), self._values)
        self._show_sometimes()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Close the bar."""
        self._close("" if self._is_complete() else "stopped early")

    # ------------------------------------------------------------------ the end

    def close(self) -> None:
        """Leave a last line; after the end of a training this does nothing."""
        self._close("interrupted")

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close(self, remark: str) -> None:
        if self._bar is None:
            return
        bar, self._bar = self._bar, None
        self._set(bar, remark, final=True)
        bar.close()  # which draws it

    def _is_complete(self) -> bool:
        if self._epochs is not None and self._done >= self._epochs:
            return True
        if self._minutes is None:
            return False
        # A budget ends with the epoch whose end lies nearest.
        return self._elapsed() + self._epoch_seconds / 2.0 >= 60.0 * self._minutes

    # ------------------------------------------------------------------ drawing

    def _since_first_batch(self) -> float:
        return 0.0 if self._start is None else time.monotonic() - self._start

    def _position(self) -> float:
        if self._minutes is not None:
            return min(self._minutes, self._elapsed() / 60.0)
        position = self._done + self._within
        return position if self._epochs is None else min(float(self._epochs), position)

    def _show_sometimes(self) -> None:
        if self._bar is not None and time.monotonic() - self._shown_at >= self._interval:
            self._show()

    def _show(self) -> None:
        self._shown_at = time.monotonic()
        self._set(self._bar)
        self._bar.refresh()

    def _set(self, bar: Any, remark: str = "", final: bool = False) -> None:
        bar.n = bar.total if final and not remark else self._position()
        bar.set_description_str(self._head(final), refresh=False)
        columns = bar.format_dict["ncols"]
        room = None if columns is None else columns - len(bar.desc) - _LEAST_BAR - len("|| ")
        parts = [self._times(bar, final), *filter(None, [remark]), *self._values]
        # Not as tqdm's postfix, before which it puts a comma.
        bar.bar_format = _FORMAT + _fitting(parts, room).replace("{", "{{").replace("}", "}}")

    def _head(self, final: bool) -> str:
        if self._minutes is None:
            running = 0 if final or self._within == 0.0 else 1
            return f"{self._description} {self._done + running}/{self._epochs}"
        if final:
            return f"{self._description} {self._done} epoch{'' if self._done == 1 else 's'}"
        return f"{self._description} epoch {self._done + 1}"

    def _times(self, bar: Any, final: bool) -> str:
        state = bar.format_dict
        elapsed = tqdm.format_interval(state["elapsed"])
        if self._minutes is not None:
            return f"{self._elapsed() / 60.0:.1f} of {self._minutes:g} min"
        if final:
            return str(elapsed)
        moved = bar.n - self._initial
        if moved <= 0:
            return f"{elapsed}<?"
        left = state["elapsed"] * (state["total"] - bar.n) / moved
        return f"{elapsed}<{tqdm.format_interval(left)}"


def _fitting(parts: list[str], room: int | None) -> str:
    """Join as many parts as fit, from the first; that one is always there."""
    text = parts[0]
    for part in parts[1:]:
        if room is not None and len(text) + 2 + len(part) > room:
            break
        text = f"{text}, {part}"
    return text


def _described(logs: Mapping[str, float], rate: float | None, before: list[str]) -> list[str]:
    """Return the values to show, the most telling first."""
    found = []
    for name, label, digits in (("loss", "loss", 3), ("mean_dice", "Dice", 2)):
        values = [logs[key] for key in (name, f"val_{name}") if key in logs]
        if values:
            shown = "/".join(_number(value, digits) for value in values)
            found.append(f"{label} {shown}")
    volumes = logs.get("val_volume_dice", math.nan)
    if not math.isnan(volumes):
        found.append(f"{_VOLUMES}{volumes:.2f}")
    else:  # they are not validated in every epoch
        found += [part for part in before if part.startswith(_VOLUMES)]
    if rate is not None:
        found.append(f"lr {rate:.0e}".replace("e-0", "e-"))
    return found


_VOLUMES = "volumes "


def _number(value: float, digits: int) -> str:
    """Return a number with the digits, or in short where these would show nothing of a loss."""
    if digits > 2 and (0.0 < abs(value) < 0.001 or abs(value) >= 1000.0):
        return f"{value:.1e}"
    return f"{value:.{digits}f}"
