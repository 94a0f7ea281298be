"""Cross-entropy, its focal form, and that of the hardest voxels."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _reductions as reductions
from miscnn.neural_network.losses.base import SegmentationLoss, not_negative, share


@keras.saving.register_keras_serializable(package="miscnn")
class CrossEntropy(SegmentationLoss):
    """Categorical cross-entropy: the mean of −log p of the true class over the voxels.

    1e-30 is added to the probabilities, so that value (at most 69.1) and gradient are finite
    for any of them, and a voxel that is wrong with certainty pulls through a softmax as it
    should. Absent classes cost nothing beyond the voxels where they are predicted.

    Parameters
    ----------
    label_smoothing : float
        e in y (1 − e) + e / K for K classes, which takes the place of the truth y.
    include_background : bool
        False is a class weight of 0 for class 0: voxels of the background do not count, so
        nothing keeps the network from predicting an organ there. For sums with other losses.
        Without effect on ``multilabel``.

    Other Parameters
    ----------------
    class_weights, reduction_axes, ignore_unlabelled : various
        As in :mod:`miscnn.neural_network.losses`. Voxels without a label have no true class:
        they never count here.

    References
    ----------
    Label smoothing: Szegedy et al. 2016, arXiv 1512.00567; Müller et al. 2019,
    arXiv 1906.02629.
    """

    def __init__(
        self, *, label_smoothing: float = 0.0, include_background: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.label_smoothing = share("label_smoothing", label_smoothing)
        self.include_background = bool(include_background)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the voxels."""
        return self.crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing)

    def true_class_weights(self, classes: int) -> Any | None:
        """Return the weights of voxels by their true class, ``(classes,)``; None: all alike."""
        if self.include_background:
            return super().true_class_weights(classes)
        given = self.class_weights
        foreground = (1.0,) * (classes - 1) if given is None else given[1:]
        if sum(foreground) == 0:
            raise ConfigurationError(
                f"class_weights {given} with include_background=False leave no class "
                f"with a weight above 0; the network predicts {classes} class(es)"
            )
        return ops.convert_to_tensor((0.0, *foreground), dtype="float32")

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        own = {
            "label_smoothing": self.label_smoothing,
            "include_background": self.include_background,
        }
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="miscnn")
class Focal(CrossEntropy):
    """Focal loss: the mean of −(1 − p)^gamma · log p of the true class over the voxels.

    Parameters
    ----------
    gamma : float
        Voxels that are right already count the less, the larger it is; 0 is cross-entropy.

    Other Parameters
    ----------------
    class_weights : sequence of float, optional
        The α of the paper, one per class. As in all losses here the mean is divided by the
        weights, so only their ratios count.
    label_smoothing : float
        Of the truth: then it is the mean of −Σ_c y_c (1 − p_c)^gamma · log p_c.

    References
    ----------
    Lin et al. 2017, arXiv 1708.02002, eq. 5 (where gamma = 2 did best).
    """

    def __init__(self, gamma: float = 2.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.gamma = not_negative("gamma", gamma)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the voxels."""
        if self.multilabel:
            per_channel = self.binary_crossentropies(
                y_true, y_pred, self.label_smoothing, self.gamma
            )
            return self.channel_mean(per_channel)
        focus = reductions.power(1.0 - y_pred, self.gamma)
        return self.crossentropy(y_true, y_pred, label_smoothing=self.label_smoothing, focus=focus)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="miscnn")
class TopKCrossEntropy(CrossEntropy):
    """Cross-entropy of the hardest voxels: the share ``k`` whose −log p is largest.

    Voxels are ranked within each sample, or within the batch with ``reduction_axes="batch"``.
    With ``class_weights`` they are ranked by the weighted −log p, and the mean is that weighted
    by the weights of those chosen. Voxels without a label, or of a class of weight 0, count in
    no share.

    Parameters
    ----------
    k : float
        Share of the voxels, above 0 and at most 1; rounded to whole voxels, at least one. 1 is
        cross-entropy.

    References
    ----------
    Wu et al. 2016, arXiv 1605.06885 (online bootstrapping); the share of 10 % is nnU-Net's.
    """

    exclusive = True

    def __init__(self, k: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 < k <= 1:
            raise ConfigurationError(f"k is {k!r}; expected a share above 0 and at most 1")
        self.k = float(k)

    def values(self, y_true: Any, y_pred: Any) -> Any:
        """Return the mean over the hardest voxels."""
        reductions.check_classes(y_pred, "cross-entropy")
        weights = self.true_class_weights(y_pred.shape[-1])
        if weights is not None:
            y_true = y_true * weights
        truth = reductions.smoothed(y_true, self.label_smoothing)
        log = ops.log(y_pred + reductions.PROBABILITY_FLOOR)
        rows = (1 if self.over_batch else ops.shape(y_pred)[0], -1)
        # A loss below 0, by a p rounded to above 1, would rank like a voxel that does not count.
        losses = ops.maximum(-ops.sum(truth * log, axis=-1), 0.0)
        return reductions.hardest_mean(
            ops.reshape(losses, rows), ops.reshape(ops.sum(y_true, axis=-1), rows), self.k
        )

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor as JSON values."""
        return {**super().get_config(), "k": self.k}
