"""What a training logged."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from miscnn._files import write_text
from miscnn._text import html_table
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network._history_figure import draw

__all__ = ["Best", "History"]

_FORMATS = (".png", ".svg", ".pdf")
_LOWER_IS_BETTER = ("loss", "distance", "hausdorff", "error", "seconds")


class Best(NamedTuple):
    """The best value of a metric.

    Attributes
    ----------
    epoch : int
        Counted from 1; the first one that reached the value.
    value : float
    """

    epoch: int
    value: float


class History(Mapping[str, list[float]]):
    """The values of losses and metrics per epoch.

    It is a mapping: ``history["val_loss"][-1]`` is the loss of the validation after the last
    epoch, ``len(history)`` the number of names; the number of epochs is :attr:`epochs`.

    Parameters
    ----------
    history : mapping of str to sequence of float
        One value per epoch; NaN or None where an epoch has none. Names that begin with ``val_``
        belong to the validation, with ``val_volume_`` to that of whole volumes.

    Attributes
    ----------
    history : dict of str to list of float
    epochs : int

    Examples
    --------
    >>> history = History({"loss": [0.5, 0.25, 0.2], "val_loss": [0.6, 0.4, 0.5]})
    >>> history.best("val_loss")
    Best(epoch=2, value=0.4)
    """

    def __init__(self, history: Mapping[str, Sequence[float | None]]) -> None:
        self.history = {
            name: [math.nan if v is None else float(v) for v in values]
            for name, values in history.items()
        }

    def __getitem__(self, name: str) -> list[float]:
        return self.history[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.history)

    def __len__(self) -> int:
        return len(self.history)

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return max((len(values) for values in self.history.values()), default=0)

    def best(self, metric: str = "val_loss", mode: Literal["auto", "min", "max"] = "auto") -> Best:
        """Return the best epoch of a metric, and its value there.

        Parameters
        ----------
        metric : str
            One of the names.
        mode : {"auto", "min", "max"}
            Whether low or high values are good; "auto" takes low for losses, distances and
            errors, by their name, and high for all others.

        Returns
        -------
        Best
            ``(epoch, value)``; epochs count from 1.

        Raises
        ------
        ConfigurationError
            If there is no such metric, or it has no finite value.
        """
        if metric not in self.history:
            near = difflib.get_close_matches(metric, self.history, n=1)
            hint = f"; do you mean {near[0]!r}?" if near else ""
            raise ConfigurationError(
                f"metric {metric!r} was not logged{hint} There are: {', '.join(self) or 'none'}"
            )
        if mode not in ("auto", "min", "max"):
            raise ConfigurationError(f'mode must be "auto", "min" or "max", got {mode!r}')
        values = self.history[metric]
        finite = [epoch for epoch, value in enumerate(values) if math.isfinite(value)]
        if not finite:
            raise ConfigurationError(f"metric {metric!r} has no finite value in any epoch")
        low = mode == "min" or (mode == "auto" and _low_is_good(metric))
        choose = min if low else max
        epoch = choose(finite, key=lambda epoch: values[epoch])
        return Best(epoch + 1, values[epoch])

    def to_tsv(self, path: str | Path) -> None:
        """Write a table: a header with ``epoch`` and the names, then one row per epoch from 1."""
        names = list(self.history)
        rows = ["\t".join(["epoch", *names])]
        for epoch in range(self.epochs):
            values = (self.history[name] for name in names)
            row = (repr(v[epoch]) if epoch < len(v) else "nan" for v in values)
            rows.append("\t".join([str(epoch + 1), *row]))
        write_text(path, "\n".join(rows) + "\n")

    @classmethod
    def from_tsv(cls, path: str | Path) -> History:
        """Read what :meth:`to_tsv` wrote.

        Raises
        ------
        MissingFileError
            If there is no such file.
        ConfigurationError
            If it is no such table; with the line.
        """
        path = Path(path)
        if not path.is_file():
            raise MissingFileError(f"{path} does not exist: expected a table of History.to_tsv()")
        header, *lines = path.read_text(encoding="utf-8").splitlines() or [""]
        first, *names = header.split("\t")
        if first != "epoch" or len(set(names)) < len(names):
            raise ConfigurationError(
                f"{path}, line 1: expected 'epoch' and different names, divided by tabs, "
                f"got {header[:80]!r}"
            )
        columns: list[list[float]] = [[] for _ in names]
        for number, line in enumerate(lines, 1):
            epoch, *cells = line.split("\t")
            try:
                values = [float(cell) for cell in cells]
            except ValueError:
                values = []
            if epoch != str(number) or len(values) != len(names):
                raise ConfigurationError(
                    f"{path}, line {number + 1}: expected epoch {number} and {len(names)} "
                    f"numbers, divided by tabs, got {line[:80]!r}"
                )
            for column, value in zip(columns, values, strict=True):
                column.append(value)
        return cls(dict(zip(names, columns, strict=True)))

    def plot(self, path: str | Path | None = None) -> Any:
        """Draw losses, scores and learning rate over the epochs, side by side.

        Where there is a validation, its lines are strong and those of the training pale. The
        validation of whole volumes is drawn as points, joined over the epochs without one.

        Parameters
        ----------
        path : path, optional
            PNG, SVG or PDF to write; replaced if there is one.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ConfigurationError
            If the file has another ending.
        """
        if path is not None and Path(path).suffix.lower() not in _FORMATS:
            raise ConfigurationError(
                f"{path} is no name for a figure: expected the ending {', '.join(_FORMATS)}"
            )
        figure = draw(self.history, self.epochs)
        if path is not None:
            from miscnn._style import save

            save(figure, path)
        return figure

    def __repr__(self) -> str:
        last = ", ".join(f"{k} {v[-1]:.4g}" for k, v in self.history.items() if v)
        return f"History({self.epochs} epochs; at the end: {last})"

    def _repr_html_(self) -> str:
        """Return a table for notebooks: last and best value of each metric."""
        rows = []
        for name, values in self.history.items():
            last = f"{values[-1]:.4g}" if values else ""
            best = epoch = ""
            if name not in ("learning_rate", "seconds") and any(map(math.isfinite, values)):
                found = self.best(name)
                best, epoch = f"{found.value:.4g}", str(found.epoch)
            rows.append((name, last, best, epoch))
        count = f"{self.epochs} epoch{'' if self.epochs == 1 else 's'}"
        return html_table(("", "last", "best", "in epoch"), rows, count)


def _low_is_good(metric: str) -> bool:
    return any(word in metric for word in _LOWER_IS_BETTER)
