"""Losses for segmentation.

All take ``y_true`` one-hot and ``y_pred`` probabilities (not logits), both
``(batch, x, y[, z], classes)``, and give one value per sample, which Keras averages (weighted
by ``sample_weight``, one weight per sample). Values do not grow with the number of classes:
they are *means* over the classes (MIScnn 1.x took ``n_classes - sum``; its functions are kept
in :mod:`miscnn.neural_network.metrics`). Sums are taken in float32 under any dtype policy.
Value and gradient are finite for any probabilities from 0 to 1.
A network of one class (sigmoid) has no place for the background: cross-entropies and
``ignore_unlabelled`` refuse it; take two classes and softmax.

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
    Whether class 0 counts in the mean over the classes; for cross-entropy alone, focal and
    top-k, whether voxels count whose true class is 0. In a sum of two losses it holds for the
    region loss only; the cross-entropy in it sees every voxel.
ignore_unlabelled : bool
    Whether voxels whose truth is 0 for all classes are left out of all sums. (So the pipeline
    encodes voxels that carry the data set's ignore label.) A sample with no labelled voxel
    costs 0, and its gradient is 0. By default they are voxels of no class: region losses count
    what is predicted there as false positive. Cross-entropy, focal and top-k never count them.
multilabel : bool
    Whether the channels are regions that may overlap, each with a probability of its own
    (sigmoid), none of them the background; a network sets it for a recipe with ``regions``.
    Region losses take the channels as they are: ``include_background`` has no effect, one
    channel is enough, and ``class_weights`` has a weight per region. Cross-entropies become
    binary, −y log p − (1 − y) log(1 − p), the mean over voxels and regions (in its focal form
    with (1 − p)^gamma and p^gamma). Voxels without a label are those whose truth is below 0:
    0 for all is the background. TopKCrossEntropy and UnifiedFocal need exclusive classes.
label_smoothing : float
    For losses with a cross-entropy: it takes y (1 − e) + e / K in place of y, for K classes.
    The region loss beside it keeps the labels. Voxels without a label stay without.
smooth : float
    Added to numerator and denominator of region losses.

:meth:`SegmentationLoss.with_options` returns a loss with other arguments.

Absent classes
--------------
What a class costs that is absent from the truth, where ``e`` is the sum of the probabilities
given to it, ``q`` the sum of their squares, ``s`` is ``smooth``, and costs are before the mean
over the classes:

=============================  ============================================================
loss                           cost of an absent class
=============================  ============================================================
Dice, Jaccard                  ``1 − s / (e + s)``
Dice(squared=True), Tanimoto   ``1 − s / (q + s)``
Tanimoto(complement=True)      about half of that
Tanimoto(volume_weighting)     no ratio of its own; about ``q / (v + q)``
GeneralisedDice                no ratio of its own; about ``e / (2 v + e)``
Tversky                        ``1 − s / (fp_weight · e + s)``
FocalTversky                   that of Tversky, to the power gamma
CrossEntropy, Focal            nothing of its own; what it takes from the true classes
TopKCrossEntropy               the same, of the hardest voxels
Combo                          Dice, and ``−fp_weight · mean log(1 − p)``
UnifiedFocal                   Tversky to the power 1 − gamma, and nothing of its own
… CrossEntropy                 that of the region loss, and nothing of its own
CompoundLoss                   that of its parts
BoundaryLoss                   0
BoundaryDiceCrossEntropy       that of Dice
SoftClDice                     ``e / (e + 2 s)``, ``e`` of the soft skeleton
DiceClDice                     Dice and SoftClDice, weighted
=============================  ============================================================

``v`` is the volume of the smallest class that is present (if it is much smaller than the
others). A region loss lets an absent class cost nothing only if it is predicted nowhere, and
almost 1 once ``e`` is well above ``smooth``; a larger ``smooth`` or ``reduction_axes="batch"``
softens this.
"""

from __future__ import annotations

from miscnn.neural_network.losses.base import (
    ReductionAxes,
    RegionLoss,
    SegmentationLoss,
    WithCrossEntropy,
)
from miscnn.neural_network.losses.cldice import DiceClDice, SoftClDice
from miscnn.neural_network.losses.compound import CompoundLoss
from miscnn.neural_network.losses.crossentropy import CrossEntropy, Focal, TopKCrossEntropy
from miscnn.neural_network.losses.dice import (
    Combo,
    Dice,
    DiceCrossEntropy,
    GeneralisedDice,
    GeneralizedDice,
)
from miscnn.neural_network.losses.surface import BoundaryDiceCrossEntropy, BoundaryLoss
from miscnn.neural_network.losses.tanimoto import Tanimoto, TanimotoCrossEntropy
from miscnn.neural_network.losses.tversky import (
    FocalTversky,
    FocalTverskyCrossEntropy,
    Jaccard,
    JaccardCrossEntropy,
    Tversky,
    TverskyCrossEntropy,
)
from miscnn.neural_network.losses.unified_focal import UnifiedFocal

__all__ = [
    "BoundaryDiceCrossEntropy",
    "BoundaryLoss",
    "Combo",
    "CompoundLoss",
    "CrossEntropy",
    "Dice",
    "DiceClDice",
    "DiceCrossEntropy",
    "Focal",
    "FocalTversky",
    "FocalTverskyCrossEntropy",
    "GeneralisedDice",
    "GeneralizedDice",
    "Jaccard",
    "JaccardCrossEntropy",
    "ReductionAxes",
    "RegionLoss",
    "SegmentationLoss",
    "SoftClDice",
    "Tanimoto",
    "TanimotoCrossEntropy",
    "TopKCrossEntropy",
    "Tversky",
    "TverskyCrossEntropy",
    "UnifiedFocal",
    "WithCrossEntropy",
]
