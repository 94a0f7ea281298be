"""Scores shown during training, and the losses and scores of MIScnn 1.x as functions.

The scores here are those of the *batches* of an epoch: they tell how training goes. How good a
model is on whole volumes, in mm and with its spread, is told by :mod:`miscnn.evaluation`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any, ClassVar, TypeVar

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network._functional import (
    dice_coefficient,
    dice_coefficient_loss,
    dice_crossentropy,
    dice_soft,
    dice_soft_loss,
    tversky_crossentropy,
    tversky_loss,
)
from miscnn.neural_network._functional_focal import (
    asym_unified_focal_loss,
    asymmetric_focal_loss,
    asymmetric_focal_tversky_loss,
    categorical_focal_loss,
    combo_loss,
    dice_weighted,
    focal_tversky_loss,
    identify_axis,
    sym_unified_focal_loss,
    symmetric_focal_loss,
    symmetric_focal_tversky_loss,
)

__all__ = [
    "DiceScore",
    "JaccardScore",
    "MeanDice",
    "PrecisionScore",
    "SensitivityScore",
    "asym_unified_focal_loss",
    "asymmetric_focal_loss",
    "asymmetric_focal_tversky_loss",
    "categorical_focal_loss",
    "class_wise",
    "class_wise_dice",
    "combo_loss",
    "dice_coefficient",
    "dice_coefficient_loss",
    "dice_crossentropy",
    "dice_soft",
    "dice_soft_loss",
    "dice_weighted",
    "focal_tversky_loss",
    "identify_axis",
    "sym_unified_focal_loss",
    "symmetric_focal_loss",
    "symmetric_focal_tversky_loss",
    "tversky_crossentropy",
    "tversky_loss",
]

_CARRY = float(2**20)


class PooledScore(keras.metrics.Metric):  # type: ignore[misc]  # Keras has no types
    """A ratio of numbers of voxels of the label maps (argmax), pooled over an epoch's batches.

    Of regions that overlap (``multilabel``) of the voxels whose probability is above ½.

    Counts stand in two float32 numbers each, as ``high · 2^20 + low``, since one alone stops
    counting single voxels at 2^24. Both are whole numbers and plain sums over batches, so those
    of several replicas may be added up (Keras' aggregation "sum"): then ``low`` exceeds 2^20,
    which :meth:`result` does not mind, and remains exact for 16 replicas.
    """

    def __init__(
        self,
        classes: Sequence[int],
        name: str,
        absent_value: float,
        ignore_unlabelled: bool,
        multilabel: bool,
    ) -> None:
        super().__init__(name=name, dtype="float32")
        self.absent_value = float(absent_value)
        self.ignore_unlabelled = bool(ignore_unlabelled)
        self.multilabel = bool(multilabel)
        self._classes = tuple(classes)
        shape = (3, len(self._classes))  # overlap; voxels of the truth; of the prediction
        self._low = self.add_variable(shape, initializer="zeros", name="low")
        self._high = self.add_variable(shape, initializer="zeros", name="high")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Count a batch.

        Parameters
        ----------
        y_true, y_pred : tensor
            One-hot truth and probabilities, ``(batch, x, y[, z], classes)``.
        """
        if sample_weight is not None:
            raise ConfigurationError(
                f"{self.name} counts voxels and takes no sample weights; hand it to "
                "compile(metrics=…), not to weighted_metrics"
            )
        y_true, y_pred = reductions.checked(y_true, y_pred)
        if not self.multilabel:
            reductions.check_classes(y_pred, f"{self.name}, a score of label maps,")
        if max(self._classes) >= y_pred.shape[-1]:
            raise ConfigurationError(
                f"{self.name} scores class {max(self._classes)}, but the network predicts the "
                f"classes 0 to {y_pred.shape[-1] - 1}"
            )
        counting = None
        if self.ignore_unlabelled:
            counting = reductions.labelled(y_true, self.multilabel)[..., 0]
        found = _above_half if self.multilabel else _winners
        counts = _counts(y_true, found(y_pred, self._classes), self._classes, counting)
        carried = ops.floor(counts / _CARRY)
        low = self._low + ops.sum(counts - carried * _CARRY, axis=0)
        overflow = ops.floor(low / _CARRY)
        self._low.assign(low - overflow * _CARRY)
        self._high.assign(self._high + ops.sum(carried, axis=0) + overflow)

    def result(self) -> Any:
        """Return the mean of the scores of the classes, a scalar."""
        # Added up word by word: so differences of large counts lose no voxel.
        low = self._ratio(*ops.unstack(ops.convert_to_tensor(self._low), axis=0))
        high = self._ratio(*ops.unstack(ops.convert_to_tensor(self._high), axis=0))
        part, whole, present = (h * _CARRY + w for h, w in zip(high, low, strict=True))
        scores = part / ops.maximum(whole, 1.0)
        return ops.mean(ops.where(present > 0, scores, self.absent_value))

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        """Return numerator, denominator, and what is 0 if the class is nowhere.

        Sums and differences of the counts, with whole factors.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {
            "name": self.name,
            "absent_value": self.absent_value,
            "ignore_unlabelled": self.ignore_unlabelled,
            "multilabel": self.multilabel,
        }


def _counts(y_true: Any, found: Sequence[Any], classes: Sequence[int], counting: Any) -> Any:
    """Return voxels of overlap, truth and prediction: ``(batch, 3, classes)``.

    ``found`` is 1 where a class was predicted, ``counting`` where voxels count; None: everywhere.
    """
    counts = []
    for label, predicted in zip(classes, found, strict=True):
        if counting is not None:
            predicted = predicted * counting
        true = ops.cast(y_true[..., label] > 0.5, "float32")
        space = tuple(range(1, len(true.shape)))
        sums = [ops.sum(values, axis=space) for values in (true * predicted, true, predicted)]
        counts.append(ops.stack(sums, axis=-1))
    return ops.stack(counts, axis=-1)


def _above_half(y_pred: Any, classes: Sequence[int]) -> list[Any]:
    """Return 1 where a region was predicted, for each of them."""
    return [ops.cast(y_pred[..., label] > 0.5, "float32") for label in classes]


def _winners(y_pred: Any, classes: Sequence[int]) -> list[Any]:
    """Return 1 where a class is the most probable one, for each of them.

    A class wins a voxel if it beats all before it and none after it beats it, which is argmax.
    Comparing whole channels takes a quarter of the time that argmax over a short last axis
    takes on the CPU, and what several scores have in common is computed once.
    """
    channels = [y_pred[..., label] for label in range(y_pred.shape[-1])]
    before = list(accumulate(channels, ops.maximum))
    after = list(accumulate(reversed(channels), ops.maximum))[::-1]
    found = []
    for label in classes:
        wins = ops.ones_like(channels[label], dtype="bool")
        if label > 0:
            wins = ops.logical_and(wins, channels[label] > before[label - 1])
        if label + 1 < len(channels):
            wins = ops.logical_and(wins, channels[label] >= after[label + 1])
        found.append(ops.cast(wins, "float32"))
    return found


class _ClassScore(PooledScore):
    """A score of one class.

    Parameters
    ----------
    class_index : int
        0 is the background.
    name : str, optional
        Name in the logs. Default: ``<score>_class_<class_index>``.
    absent_value : float
        The score if the class occurs neither in the truth nor in the prediction. If it occurs in
        one of them only the score is 0.
    ignore_unlabelled : bool
        Whether predictions count nowhere in voxels whose truth is 0 for all classes.
    multilabel : bool
        Whether the channels are regions that may overlap, of which ``class_index`` is one. Voxels
        that do not count are then those whose truth is below 0.
    """

    prefix: ClassVar[str]

    def __init__(
        self,
        class_index: int,
        name: str | None = None,
        absent_value: float = 1.0,
        ignore_unlabelled: bool = False,
        multilabel: bool = False,
    ) -> None:
        if class_index < 0:
            raise ConfigurationError(f"class_index is {class_index}; expected 0 or more")
        name = name or f"{self.prefix}_class_{class_index}"
        super().__init__((class_index,), name, absent_value, ignore_unlabelled, multilabel)
        self.class_index = class_index

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "class_index": self.class_index}


def _dice(overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
    voxels = truth + prediction
    return 2.0 * overlap, voxels, voxels


@keras.saving.register_keras_serializable(package="miscnn")
class DiceScore(_ClassScore):
    """Dice of one class: 2 TP / (2 TP + FP + FN) of all voxels of an epoch's batches.

    Parameters
    ----------
    class_index : int
        0 is the background.
    name : str, optional
        Name in the logs. Default: ``dice_class_<class_index>``.
    absent_value : float
        The score if the class occurs neither in the truth nor in the prediction.
    ignore_unlabelled : bool
        Whether predictions count nowhere in voxels whose truth is 0 for all classes.
    multilabel : bool
        Whether the channels are regions that may overlap, of which ``class_index`` is one. Voxels
        that do not count are then those whose truth is below 0.
    """

    prefix = "dice"

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        return _dice(overlap, truth, prediction)


@keras.saving.register_keras_serializable(package="miscnn")
class JaccardScore(_ClassScore):
    """Jaccard index of one class: TP / (TP + FP + FN) of all voxels of an epoch's batches.

    Arguments as of :class:`DiceScore`; the default name is ``jaccard_class_<class_index>``.
    """

    prefix = "jaccard"

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        union = truth + prediction - overlap
        return overlap, union, union


@keras.saving.register_keras_serializable(package="miscnn")
class SensitivityScore(_ClassScore):
    """Sensitivity (recall) of one class: TP / (TP + FN) of all voxels of an epoch's batches.

    Arguments as of :class:`DiceScore`; the default name is ``sensitivity_class_<class_index>``.
    0 if the class is predicted and nowhere in the truth.
    """

    prefix = "sensitivity"

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        return overlap, truth, truth + prediction


@keras.saving.register_keras_serializable(package="miscnn")
class PrecisionScore(_ClassScore):
    """Precision of one class: TP / (TP + FP) of all voxels of an epoch's batches.

    Arguments as of :class:`DiceScore`; the default name is ``precision_class_<class_index>``.
    0 if the class is in the truth and nowhere predicted.
    """

    prefix = "precision"

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        return overlap, prediction, truth + prediction


@keras.saving.register_keras_serializable(package="miscnn")
class MeanDice(PooledScore):
    """Mean of the :class:`DiceScore` of all classes, without the background by default.

    Parameters
    ----------
    n_classes : int
        Number of classes, background included.
    include_background : bool
        Whether class 0 counts.
    name : str
        Under which it is logged.
    absent_value : float
        What a class counts that occurs neither in the truth nor in the prediction.
    ignore_unlabelled : bool
        Whether predictions count nowhere in voxels whose truth is 0 for all classes.
    multilabel : bool
        As of :class:`DiceScore`; there is no background then (``include_background=True``).
    """

    def __init__(
        self,
        n_classes: int,
        include_background: bool = False,
        name: str = "mean_dice",
        absent_value: float = 1.0,
        ignore_unlabelled: bool = False,
        multilabel: bool = False,
    ) -> None:
        classes = range(0 if include_background else 1, n_classes)
        if not classes:
            raise ConfigurationError(
                f"n_classes is {n_classes}, which leaves no class to score; count the "
                "background as a class"
            )
        super().__init__(classes, name, absent_value, ignore_unlabelled, multilabel)
        self.n_classes = n_classes
        self.include_background = include_background

    def _ratio(self, overlap: Any, truth: Any, prediction: Any) -> tuple[Any, Any, Any]:
        return _dice(overlap, truth, prediction)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {"n_classes": self.n_classes, "include_background": self.include_background}
        return {**super().get_config(), **own}


_Score = TypeVar("_Score", bound=_ClassScore)


def class_wise(
    score: type[_Score],
    n_classes: int,
    names: Sequence[str] | None = None,
    include_background: bool = False,
    **options: Any,
) -> list[_Score]:
    """Return a score for each class.

    Parameters
    ----------
    score : type
        :class:`DiceScore`, :class:`JaccardScore`, :class:`SensitivityScore` or
        :class:`PrecisionScore`.
    n_classes : int
        Number of classes, background included.
    names : sequence of str, optional
        Names of all classes, background first; the scores are called ``<score>_<name>``.
    include_background : bool
        Whether class 0 is scored too.
    **options
        Other arguments of the scores, ``ignore_unlabelled`` for one.

    Examples
    --------
    >>> [score.name for score in class_wise(JaccardScore, 3)]
    ['jaccard_class_1', 'jaccard_class_2']
    """
    if names is not None and len(names) != n_classes:
        raise ConfigurationError(
            f"{len(names)} names for {n_classes} classes: {tuple(names)}; name each class, the "
            "background first"
        )
    return [
        score(index, name=None if names is None else f"{score.prefix}_{names[index]}", **options)
        for index in range(0 if include_background else 1, n_classes)
    ]


def class_wise_dice(
    n_classes: int,
    names: Sequence[str] | None = None,
    include_background: bool = False,
    **options: Any,
) -> list[DiceScore]:
    """Return a :class:`DiceScore` for each class; see :func:`class_wise`.

    Parameters
    ----------
    n_classes : int
        Number of classes, background included.
    names : sequence of str, optional
        Of all classes, background first.
    include_background : bool
        Whether class 0 has a score.
    **options : Any
        Further arguments of :class:`DiceScore`.

    Examples
    --------
    >>> [score.name for score in class_wise_dice(3, ("background", "kidney", "tumour"))]
    ['dice_kidney', 'dice_tumour']
    """
    return class_wise(DiceScore, n_classes, names, include_background, **options)
