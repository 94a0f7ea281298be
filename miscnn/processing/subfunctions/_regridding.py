"""What Resampling and Resize have in common."""

from __future__ import annotations

import functools
from abc import abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.parts import Parts
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions._arguments import check_choice, check_prediction, is_number
from miscnn.processing.subfunctions._blockwise import as_float, empty_like
from miscnn.processing.subfunctions._interpolate import (
    GridMap,
    resample_channels,
    resample_labels,
    take_nearest,
)
from miscnn.processing.subfunctions._rolling import mapped, mapped_labels
from miscnn.processing.subfunctions._tiles import resample_argmax, resample_probabilities
from miscnn.processing.subfunctions.base import Subfunction

# Probabilities are interpolated linearly: they stay between 0 and 1 and sum to 1.
_PROBABILITY_ORDER = 1


class Regridding(Subfunction):
    """Brings image and segmentation onto another number of voxels over the same extent.

    A subclass says in :meth:`target_shape` how many voxels, from the geometry alone; the way
    back therefore needs nothing but the geometry.
    """

    follows_geometry = True
    takes_stored_type = True

    def __init__(
        self,
        order_img: int,
        order_seg: int,
        antialias: bool,
        clip: bool,
        anisotropy_threshold: float | None,
        order_coarse: int,
    ) -> None:
        check_choice("order_img", order_img, (0, 1, 3))
        check_choice("order_seg", order_seg, (0, 1))
        check_choice("order_coarse", order_coarse, (0, 1, 3))
        if anisotropy_threshold is not None and not (
            is_number(anisotropy_threshold) and anisotropy_threshold >= 1
        ):
            raise ConfigurationError(
                "anisotropy_threshold is a ratio of spacings >= 1, or None to treat all axes "
                f"alike; got {anisotropy_threshold!r}"
            )
        self.order_img = order_img
        self.order_seg = order_seg
        self.antialias = antialias
        self.clip = clip
        self.anisotropy_threshold = anisotropy_threshold
        self.order_coarse = order_coarse

    @abstractmethod
    def target_shape(self, sample: Sample) -> tuple[int, ...]:
        """Return the number of voxels per spatial axis, from the sample's geometry."""

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Interpolate image and segmentation; the geometry keeps its extent."""
        before = sample.geometry
        after = before.resized(self.target_shape(sample))
        result = sample.copy()
        result.geometry = after
        if after.shape == before.shape:
            result.image = as_float(sample)
            return result
        image_map = self._map(before, after, self.order_img)
        result.image = resample_channels(
            sample.image,
            image_map,
            clip=self.clip and self.order_img == 3,
            empty=functools.partial(empty_like, sample),
        )
        if sample.segmentation is not None:
            labels = self._labels(sample.segmentation[..., 0], before, after)
            result.segmentation = labels[..., np.newaxis]
        return result

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        """Take a prediction back to the grid of the sample.

        Probabilities are interpolated linearly, class by class; label maps as segmentations
        are. On equal shapes the prediction is returned as it is.
        """
        before = sample.geometry
        after = before.resized(self.target_shape(sample))
        check_prediction(sample.index, prediction, after.shape, activation_output)
        if after.shape == before.shape:
            return prediction
        if activation_output:
            return resample_probabilities(prediction, self._map(before, after, back=True))
        return self._labels(prediction, before, after, back=True)

    def postprocessing_argmax(
        self, sample: Sample, probabilities: NDArray[Any], regions: Regions | None = None
    ) -> NDArray[Any]:
        """Take probabilities back and return the label map, in the memory of two classes.

        The same as the argmax of :meth:`postprocessing` with ``activation_output`` (or, of
        probabilities of regions, their decoding), without ever holding the probabilities of all
        classes on the grid of the sample.
        """
        before = sample.geometry
        after = before.resized(self.target_shape(sample))
        check_prediction(sample.index, probabilities, after.shape, activation_output=True)
        if after.shape == before.shape:
            as_labels = argmax_labels if regions is None else regions.decode
            return as_labels(probabilities)
        return resample_argmax(probabilities, self._map(before, after, back=True), regions)

    def postprocessing_blocks(self, sample: Sample, parts: Parts) -> Parts | None:
        """Take probabilities back block by block; None for label maps."""
        before = sample.geometry
        after = before.resized(self.target_shape(sample))
        if after.shape == before.shape:
            return parts
        if parts.background is None:
            return None
        return mapped(sample, parts, self._map(before, after, back=True))

    def postprocessing_argmax_blocks(
        self, sample: Sample, parts: Parts, regions: Regions | None = None
    ) -> Parts | None:
        """Take probabilities back block by block, and return label maps of them."""
        before = sample.geometry
        after = before.resized(self.target_shape(sample))
        if after.shape == before.shape:
            return None
        return mapped_labels(sample, parts, self._map(before, after, back=True), regions)

    def _labels(
        self, labels: NDArray[Any], before: Geometry, after: Geometry, back: bool = False
    ) -> NDArray[Any]:
        if self.order_seg == 0:
            return take_nearest(labels, before.shape if back else after.shape)
        return resample_labels(labels, self._map(before, after, self.order_seg, back))

    def _map(
        self,
        before: Geometry,
        after: Geometry,
        order: int = _PROBABILITY_ORDER,
        back: bool = False,
    ) -> GridMap:
        orders = [order] * before.ndim
        coarse = self._coarse_axis(before)
        if coarse is None:
            coarse = self._coarse_axis(after)
        if coarse is not None:
            orders[coarse] = min(order, self.order_coarse)
        source, target = (after, before) if back else (before, after)
        # Order 0 is asked for where values must stay what they are: no mean is taken then.
        return GridMap.between(source.shape, target.shape, orders, self.antialias and order > 0)

    def _coarse_axis(self, geometry: Geometry) -> int | None:
        """Return the one axis that is much coarser than the finest, if there is just one."""
        if self.anisotropy_threshold is None:
            return None
        limit = self.anisotropy_threshold * min(geometry.spacing)
        coarse = [axis for axis, spacing in enumerate(geometry.spacing) if spacing > limit]
        return coarse[0] if len(coarse) == 1 else None
