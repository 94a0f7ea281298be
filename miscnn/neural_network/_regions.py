"""What a recipe with regions changes in a network: its loss and its scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from miscnn._configurable import from_json
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.losses.base import refuse_exclusive
from miscnn.neural_network.metrics import DiceScore, MeanDice, PooledScore, class_wise_dice
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.regions import Regions

_PIPELINE = "pipeline.json"  # of a bundle, beside its network


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
    refuse_exclusive(loss)
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


def other_outputs(source: Any, recipe: Preprocessor) -> str | None:
    """Tell in words how the outputs of a network differ from those of a recipe.

    Parameters
    ----------
    source : NeuralNetwork, keras.Model or path
        Of a model, or a ``.keras`` file that is in no bundle, it is not known what its outputs
        stand for.
    recipe : Preprocessor

    Returns
    -------
    str or None
        None if they stand for the same labels, or that is not known.
    """
    if hasattr(source, "preprocessor"):
        there = source.preprocessor.regions
    else:
        if not isinstance(source, str | Path):
            return None
        folder = Path(source) if Path(source).is_dir() else Path(source).parent
        pipeline = folder / _PIPELINE
        if not pipeline.is_file():
            return None
        document = json.loads(pipeline.read_text(encoding="utf-8"))
        there = from_json(document.get("preprocessor", {}).get("regions"))
    here = recipe.regions
    if (there and there.labels) == (here and here.labels):
        return None
    return (
        f"the outputs of the source stand for {_told(there)}, those of this network for "
        f"{_told(here)}: its last layer has learned something else"
    )


def _told(regions: Regions | None) -> str:
    if regions is None:
        return "classes"
    return "the regions " + ", ".join(f"{name!r} {labels}" for name, labels in regions.regions)
