"""What a training logged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from miscnn._files import atomic_path, write_text


class History:
    """The values of losses and metrics per epoch.

    Parameters
    ----------
    history : mapping of str to sequence of float
        One value per epoch; names that begin with ``val_`` belong to the validation.

    Attributes
    ----------
    history : dict of str to list of float
    epochs : int
    """

    def __init__(self, history: Mapping[str, Sequence[float]]) -> None:
        self.history = {name: [float(v) for v in values] for name, values in history.items()}

    @property
    def epochs(self) -> int:
        """Number of epochs."""
        return max((len(values) for values in self.history.values()), default=0)

    def to_tsv(self, path: str | Path) -> None:
        """Write a table: a header with ``epoch`` and the names, then one row per epoch from 1."""
        names = list(self.history)
        rows = ["\t".join(["epoch", *names])]
        for epoch in range(self.epochs):
            values = (self.history[name] for name in names)
            row = (repr(v[epoch]) if epoch < len(v) else "nan" for v in values)
            rows.append("\t".join([str(epoch + 1), *row]))
        write_text(path, "\n".join(rows) + "\n")

    def plot(self, path: str | Path) -> None:
        """Draw the loss, and beside it all other values, over the epochs (PNG or SVG)."""
        from matplotlib.figure import Figure
        from matplotlib.ticker import MaxNLocator

        plain = [name for name in self.history if not name.startswith("val_")]
        losses = [name for name in plain if name == "loss"]
        others = [name for name in plain if name not in ("loss", "learning_rate")]
        figure = Figure(figsize=(10, 4), dpi=120, layout="constrained")
        axes = figure.subplots(1, 2 if others else 1, squeeze=False)[0]
        epochs = range(1, self.epochs + 1)
        marker = "." if self.epochs < _FEW_EPOCHS else None
        for axis, names in zip(axes, (losses, others), strict=False):
            for number, name in enumerate(names):
                colour = _COLOURS[number % len(_COLOURS)]
                label = name.replace("_", " ")
                series = self.history[name]
                axis.plot(epochs[: len(series)], series, marker=marker, color=colour, label=label)
                validation = self.history.get(f"val_{name}")
                if validation:
                    axis.plot(
                        epochs[: len(validation)],
                        validation,
                        color=colour,
                        marker=marker,
                        linestyle="--",
                        label=f"{label}, validation",
                    )
            axis.set_xlabel("epoch")
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.spines[["top", "right"]].set_visible(False)
            axis.grid(alpha=0.3)
            axis.legend(frameon=False, fontsize="small")
        axes[0].set_ylabel("loss")
        with atomic_path(path) as temporary:
            figure.savefig(temporary)

    def __repr__(self) -> str:
        last = ", ".join(f"{k} {v[-1]:.4g}" for k, v in self.history.items() if v)
        return f"History({self.epochs} epochs; at the end: {last})"


# A line through fewer points than this is drawn with the points.
_FEW_EPOCHS = 30

# Okabe and Ito's colours, which colour-blind readers tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
