"""How a network predicts: what of it may be chosen after the training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, Self, get_args

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError
from miscnn.processing.merging import WindowWeight

Combine = Literal["probabilities", "logits"]
"""What is averaged over windows and mirrored images."""


class PredictionSettings(Configurable):
    """How windows lie, how often each is predicted, and how it is all put together.

    Parameters
    ----------
    overlap : float or sequence of int, optional
        Least overlap of neighbouring windows: a share of the window, 0 … below 1, the same along
        all axes, or voxels per axis. Default: that of the recipe (``patchwise_overlap``; half of
        the window where it says nothing). More overlap is slower, and seldom better.
    window_weight : {"gaussian", "constant"}
        How overlapping windows are weighted.
    mirror_axes : sequence of int
        Test-time augmentation: axes of the network's *input* (0, 1 and, for networks in 3D, 2)
        that are mirrored. All combinations are predicted and averaged, 2 ** n of them: the time
        grows as much. Only where the training mirrored the same axes: a mirrored body has its
        liver on the left.
    foreground : float or "auto", optional
        Lay windows over the box of the voxels above this value only (in any channel, after those
        subfunctions that run on the whole image: HU, where windowing is done on patches).
        "auto": above the smallest value of the channel, such as the zeros around a brain. What
        lies outside of the box is background.
    batch_size : int, optional
        Number of windows that the network predicts at once. Default: that of the recipe.
    combine : {"probabilities", "logits"}
        Mean of what: of probabilities, or of logits (for exclusive classes the normalised
        geometric mean of probabilities, for regions that of the odds). It is about the mirrored
        outputs of a network; of overlapping windows always the probabilities are averaged.

    Raises
    ------
    ConfigurationError
        If a value is none of these.
    """

    def __init__(
        self,
        overlap: float | Sequence[int] | None = None,
        window_weight: WindowWeight = "gaussian",
        mirror_axes: Sequence[int] = (),
        foreground: float | Literal["auto"] | None = None,
        batch_size: int | None = None,
        combine: Combine = "probabilities",
    ) -> None:
        _check_overlap(overlap)
        for name, value, known in (
            ("window_weight", window_weight, get_args(WindowWeight)),
            ("combine", combine, get_args(Combine)),
        ):
            if value not in known:
                raise ConfigurationError(
                    f"{name} must be {' or '.join(map(repr, known))}, got {value!r}"
                )
        axes = [mirror_axes] if isinstance(mirror_axes, int) else list(mirror_axes)
        if any(axis not in (0, 1, 2) for axis in axes) or len(set(axes)) != len(axes):
            raise ConfigurationError(
                f"mirror_axes is {mirror_axes!r}; expected different axes of the network's input, "
                "0 … 2, such as (0, 1)"
            )
        if foreground is not None and foreground != "auto" and not _is_finite(foreground):
            raise ConfigurationError(
                f'foreground is {foreground!r}; expected a number, "auto" or None'
            )
        if batch_size is not None and (
            not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size < 1
        ):
            raise ConfigurationError(f"batch_size must be at least 1, got {batch_size!r}")
        self.overlap = overlap
        self.window_weight: WindowWeight = window_weight
        self.mirror_axes = tuple(axes)
        self.foreground = foreground
        self.batch_size = batch_size
        self.combine: Combine = combine

    def replace(self, **changes: Any) -> Self:
        """Return settings that differ in some values."""
        arguments = {name: getattr(self, name) for name in self.get_config()}
        return type(self)(**{**arguments, **changes})

    def check_axes(self, axes: int) -> None:
        """Raise ConfigurationError if a network with so many spatial axes cannot do it."""
        beyond = [axis for axis in self.mirror_axes if axis >= axes]
        if beyond:
            raise ConfigurationError(
                f"mirror_axes is {self.mirror_axes}, but the network sees {axes} spatial axes: "
                f"0 … {axes - 1}"
            )


def _check_overlap(overlap: Any) -> None:
    if overlap is None:
        return
    if isinstance(overlap, Sequence) and not isinstance(overlap, str):
        if overlap and all(
            isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in overlap
        ):
            return
    elif _is_finite(overlap) and 0 <= overlap < 1:
        return
    raise ConfigurationError(
        f"overlap is {overlap!r}; expected a share of the window, 0 <= overlap < 1 (such as 0.5), "
        "or whole voxels for each axis, such as (48, 48, 48)"
    )


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
