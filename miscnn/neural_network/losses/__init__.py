"""Losses for segmentation.

All take ``y_true`` one-hot and ``y_pred`` probabilities (not logits), both
``(batch, x, y[, z], classes)``, and give one value per sample, which Keras averages (weighted
by ``sample_weight``, one weight per sample). Values do not grow with the number of classes:
they are *means* over the classes (MIScnn 1.x took ``n_classes - sum``; its functions are kept
in :mod:`miscnn.neural_network.metrics`). Sums are taken in float32 under any dtype policy.

Common arguments
----------------
class_weights : sequence of float, optional
    One weight per class, background first. Region losses take the weighted mean over the
    classes, cross-entropy the mean over the voxels weighted by the weight of the true class;
    so only the ratios of the weights count. (Keras' own ``class_weight`` refuses
    segmentation targets.)
reduction_axes : {"sample", "batch"}
    Whether sums run over the voxels of each sample, or over those of the whole batch as if
    it were one sample (then ``sample_weight`` counts by its mean only). "batch" is gentler to
    classes that many patches do not contain.
include_background : bool
    Whether class 0 counts in the mean over the classes. In a sum of two losses this holds
    for the region loss only; cross-entropy always sees every voxel.
smooth : float
    Added to numerator and denominator.

Absent classes
--------------
A class that is absent from the truth costs ``1 - smooth / (e + smooth)``, where ``e`` is the
(weighted) sum of the probabilities given to it - of their squares for Tanimoto. So it costs
nothing only if it is predicted nowhere, and almost 1 once ``e`` is well above ``smooth``; a
larger ``smooth`` or ``reduction_axes="batch"`` softens this. So do two options of Tanimoto:
with ``complement`` it costs about half of that, and with ``volume_weighting`` it has no ratio of
its own and costs about ``e / (v + e)``, where ``v`` is the volume of the smallest class that is
present.
"""

from __future__ import annotations

from miscnn.neural_network.losses.base import ReductionAxes, RegionLoss, SegmentationLoss
from miscnn.neural_network.losses.crossentropy import CrossEntropy
from miscnn.neural_network.losses.dice import Dice, DiceCrossEntropy
from miscnn.neural_network.losses.tanimoto import Tanimoto, TanimotoCrossEntropy
from miscnn.neural_network.losses.tversky import Tversky, TverskyCrossEntropy

__all__ = [
    "CrossEntropy",
    "Dice",
    "DiceCrossEntropy",
    "ReductionAxes",
    "RegionLoss",
    "SegmentationLoss",
    "Tanimoto",
    "TanimotoCrossEntropy",
    "Tversky",
    "TverskyCrossEntropy",
]
