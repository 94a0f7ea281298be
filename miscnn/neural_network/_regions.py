"""What a recipe with regions changes in a network: its loss and its scores."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.metrics import DiceScore, MeanDice, PooledScore, class_wise_dice


def multilabel_loss(loss: Any) -> Any:
    """Return a loss for regions that overlap, each with a probability of its own.

    A loss of the user's own, or of Keras', is taken as it is: its truth has a 1 for each region.

    Raises
    ------
    ConfigurationError
        If the loss is known to be one for exclusive classes.
    """
    if hasattr(loss, "with_options"):
        return loss.with_options(multilabel=True)
    kind = loss if inspect.isfunction(loss) else type(loss)
    of_1x = kind.__module__.startswith("miscnn.")
    if of_1x or "categorical" in kind.__name__.lower():
        raise ConfigurationError(
            f"the loss {kind.__name__} is for classes of which each voxel has exactly one, but the "
            "preprocessor has regions; take one of miscnn.neural_network.losses, such as "
            "DiceCrossEntropy() (its cross-entropy becomes binary), or leave loss out"
        )
    return loss


def default_scores(
    outputs: int, regions: Sequence[str] | None, ignore_unlabelled: bool
) -> list[DiceScore | MeanDice]:
    """Return the scores of a network that was given none: Dice per class or region, and mean."""
    overlap = regions is not None
    options: Any = {
        "include_background": overlap,
        "ignore_unlabelled": ignore_unlabelled,
        "multilabel": overlap,
    }
    return [*class_wise_dice(outputs, regions, **options), MeanDice(outputs, **options)]


def check_scores(metrics: Sequence[Any], multilabel: bool) -> None:
    """Raise ConfigurationError if a score of classes is to be taken of regions, or vice versa."""
    for metric in metrics:
        if isinstance(metric, PooledScore) and metric.multilabel != multilabel:
            told = "has regions" if multilabel else "has none"
            raise ConfigurationError(
                f"the score {metric.name} has multilabel={metric.multilabel}, but the preprocessor "
                f"{told}; make it with multilabel={multilabel} (class_index is then the number of "
                f"the {'region' if multilabel else 'class'}, from 0), or leave metrics out"
            )
