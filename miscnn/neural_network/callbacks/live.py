"""Curves that grow while a training runs in a notebook."""

from __future__ import annotations

import importlib
import io
import sys
import time
from collections.abc import Callable, Mapping

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.callbacks.logs import EpochLog
from miscnn.neural_network.history import History

__all__ = ["LiveFigure", "in_notebook"]

_DPI = 80


class LiveFigure(EpochLog):
    """Redraws the curves of :meth:`History.plot` after each epoch, in place, in a notebook.

    Elsewhere (a script, a terminal) it does nothing.

    Parameters
    ----------
    share : float
        Share of the time that drawing may take, above 0 to 1. Where epochs are shorter than that
        allows, some are left out; the last one is always drawn.
    display : callable, optional
        Shows a picture (PNG, bytes) and returns a function that replaces it by another. Default:
        IPython's display.
    """

    def __init__(
        self,
        share: float = 0.1,
        display: Callable[[bytes], Callable[[bytes], None]] | None = None,
    ) -> None:
        super().__init__()
        if not 0.0 < share <= 1.0:
            raise ConfigurationError(f"share is {share}; expected a part of the time, up to 1")
        self._share = share
        self._display = display
        self._update: Callable[[bytes], None] | None = None
        self._pause_until = 0.0
        self._outdated = False

    def on_train_begin(self, logs: Mapping[str, float] | None = None) -> None:
        """Begin a new figure."""
        self._update = None  # below the cell that trains
        self._pause_until = 0.0
        if self._display is None and in_notebook():
            self._display = _display_in_notebook

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        """Take the values of an epoch; draw, if the last drawing is long enough ago."""
        super().on_epoch_end(epoch, logs)
        self._outdated = True
        if time.monotonic() >= self._pause_until:
            self._draw()

    def on_train_end(self, logs: Mapping[str, float] | None = None) -> None:
        """Draw what has not been drawn yet."""
        if self._outdated:
            self._draw()

    def _draw(self) -> None:
        if self._display is None:
            return
        start = time.monotonic()
        picture = _picture(self.history)
        if self._update is None:
            self._update = self._display(picture)
        else:
            self._update(picture)
        self._outdated = False
        end = time.monotonic()
        self._pause_until = end + (end - start) * (1.0 / self._share - 1.0)


def in_notebook() -> bool:
    """Tell whether this runs in the kernel of a notebook. IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return False
    return getattr(ipython.get_ipython(), "kernel", None) is not None


def _picture(history: History) -> bytes:
    file = io.BytesIO()
    history.plot().savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def _display_in_notebook(picture: bytes) -> Callable[[bytes], None]:
    # It is there, this being its kernel; the library does not need it otherwise.
    ipython = importlib.import_module("IPython.display")
    handle = ipython.display(ipython.Image(picture, format="png"), display_id=True)

    def update(other: bytes) -> None:
        handle.update(ipython.Image(other, format="png"))

    return update
