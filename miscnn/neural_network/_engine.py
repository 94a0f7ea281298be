"""One subject through one network or several: from the image to final parts on its grid."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import serialize
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import GridMismatchError
from miscnn.neural_network._ahead import closing
from miscnn.neural_network._mirroring import Network
from miscnn.neural_network._roi import (
    Box,
    RegionOfInterest,
    as_box,
    foreground_box,
    intersection,
    is_empty,
    needed,
    whole,
)
from miscnn.neural_network.inference import predict_blocks
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.processing.argmax import argmax_labels
from miscnn.processing.blocks import Block
from miscnn.processing.chain import Step, split_chain
from miscnn.processing.preparation import PreparedSamples, measure_tail
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions.base import Subfunction
from miscnn.processing.way_back import moving_axis

Decode = Callable[[NDArray[Any]], NDArray[Any]]
Shared = dict[str, tuple[Sample, Sequence[Step], Sequence[Subfunction]]]
"""Images after the expensive part of a chain, its way back, and the subfunctions that they have
been through, by a description of the chain."""


class Engine(Protocol):
    """What predicts one subject after the other.

    Attributes
    ----------
    channels : int
        Number of classes, or of regions.
    regions : Regions or None
    labels_follow : bool
        Whether the label map is what :func:`decoder` makes of the probabilities on the image's
        grid. If not, each is asked for by itself.
    """

    @property
    def channels(self) -> int: ...
    @property
    def regions(self) -> Regions | None: ...
    @property
    def labels_follow(self) -> bool: ...

    def prepare(self, sample: Sample, shared: Shared | None = None) -> Any:
        """Return what :meth:`blocks` needs; may run in another thread than that.

        ``shared`` holds what others have prepared of this sample, and gets what is prepared.
        """

    def blocks(self, prepared: Any, *, probabilities: bool, slabs: bool = False) -> Iterator[Block]:
        """Yield final parts of the label map, or of the probabilities, on the image's grid.

        What is left out is background. ``slabs``: whole planes, ascending along the last axis,
        nothing left out.
        """


def decoder(regions: Regions | None) -> Decode:
    """Return what makes a label map of probabilities."""
    return argmax_labels if regions is None else regions.decode


@dataclass(frozen=True)
class Prepared:
    """A subject that is ready for a network.

    Attributes
    ----------
    sample : Sample
        As it was read.
    image : Sample
        After the expensive part of the chain.
    recipe : Preprocessor
        Its subfunctions are this subject's: what a user's keeps of one is not another's.
    steps, measures
        From :meth:`Preprocessor.prepare_prediction`.
    region : tuple of slice
        The part of the prepared grid that is predicted.
    """

    sample: Sample
    image: Sample
    recipe: Preprocessor
    steps: Sequence[Step]
    measures: Sequence[Mapping[str, Any]]
    region: Box


class NetworkEngine:
    """One network.

    Parameters
    ----------
    network : callable
        Predicts batches.
    recipe : Preprocessor
        With what the network has learned; is used by nobody else (:func:`own_recipe`).
    multiple : sequence of int
        What the network's input must be a multiple of.
    settings : PredictionSettings
    roi : sequence of pairs of int, optional
        The part of the *image* that is to be predicted.
    """

    def __init__(
        self,
        network: Network,
        recipe: Preprocessor,
        multiple: Sequence[int],
        settings: PredictionSettings,
        roi: RegionOfInterest | None = None,
    ) -> None:
        settings.check_axes(recipe.network_axes)
        self.network = network
        self.recipe = recipe
        self.multiple = multiple
        self.settings = settings
        self.roi = roi

    @property
    def channels(self) -> int:
        """Number of classes or regions."""
        return self.recipe.outputs

    @property
    def regions(self) -> Regions | None:
        """The recipe's regions."""
        return self.recipe.regions

    @property
    def labels_follow(self) -> bool:
        """Whether no subfunction asks for a label map on the way back."""
        head, _ = split_chain(self.recipe.subfunctions)
        return all(
            s.restores_probabilities
            for s in head
            if type(s).postprocessing is not Subfunction.postprocessing
        )

    def prepare(self, sample: Sample, shared: Shared | None = None) -> Prepared:
        """Run the subfunctions, and find out which part of the image is to be predicted.

        Networks whose recipes differ at the pointwise end only, such as those of folds, share the
        expensive part.
        """
        recipe, shared = _for_one_subject(self.recipe), {} if shared is None else shared
        head, tail = split_chain(recipe.subfunctions)
        key = json.dumps([recipe.slice_axis, *map(serialize, head)], sort_keys=True)
        if key in shared:
            recipe.check_fitted(recipe.subfunctions)
            image, steps, been = shared[key]
            head = list(been)
            recipe.subfunctions = [*head, *tail]
            measures = measure_tail(image, tail, head)
        else:
            image, steps, measures = recipe.prepare_prediction(sample)
            shared[key] = image, steps, head
        region = whole(image.geometry.shape)
        if self.roi is not None:
            box = as_box(self.roi, sample.geometry.shape, sample.index)
            region = needed(box, head, steps, image.geometry)
        if self.settings.foreground is not None and not is_empty(region):
            region = intersection(region, foreground_box(image.image, self.settings.foreground))
        return Prepared(sample, image, recipe, steps, measures, region)

    def blocks(
        self, prepared: Prepared, *, probabilities: bool, slabs: bool = False
    ) -> Iterator[Block]:
        """Predict, and take the parts that are final back to the image."""
        shape = prepared.sample.geometry.shape
        if is_empty(prepared.region):
            if slabs:
                yield from background_planes(shape, self.channels, probabilities, self.regions)
            return
        recipe = prepared.recipe
        head, _ = split_chain(recipe.subfunctions)
        finished = predict_blocks(
            self.network,
            recipe,
            prepared.image,
            prepared.measures,
            self.multiple,
            settings=self.settings,
            region=prepared.region,
            axis=moving_axis(prepared.sample, head, prepared.steps),
        )
        # Whatever ends this early or goes wrong in here, the threads of the prediction end.
        with closing(finished):
            yield from recipe.way_back(
                prepared.sample,
                prepared.steps,
                finished,
                prepared.region,
                probabilities=probabilities,
                slabs=slabs,
            )


class WholeEngine:
    """A predictor of whole samples, as it is; for networks that are none of this library's.

    Parameters
    ----------
    predict_sample : callable
        ``predict_sample(sample, activation_output)``.
    channels : int
    name : str
        For messages.
    classes : int, optional
        What the sample's ``classes`` are set to.
    """

    labels_follow = False
    regions: Regions | None = None

    def __init__(
        self,
        predict_sample: Callable[[Sample, bool], NDArray[Any]],
        channels: int,
        name: str = "the network",
        classes: int | None = None,
    ) -> None:
        self._predict = predict_sample
        self.channels = channels
        self._name = name
        self._classes = classes

    def prepare(self, sample: Sample, shared: Shared | None = None) -> Sample:
        """Return the sample without a segmentation."""
        view = sample.copy()
        view.segmentation = None
        if self._classes is not None:
            view.classes = self._classes
        return view

    def blocks(
        self, prepared: Sample, *, probabilities: bool, slabs: bool = False
    ) -> Iterator[Block]:
        """Yield everything at once."""
        shape = prepared.spatial_shape
        found = np.asarray(self._predict(prepared, probabilities))
        expected = (*shape, self.channels) if probabilities else shape
        if found.shape != expected:
            raise GridMismatchError(
                prepared.index,
                f"{self._name} predicts the shape {found.shape}, the image asks for {expected}",
            )
        yield Block((0,) * len(shape), found)


def own_recipe(
    recipe: Preprocessor, statistics: Sequence[Mapping[str, Any]] | None
) -> Preprocessor:
    """Return a copy of a recipe that nobody else changes, with what a network has learned."""
    own = copy.copy(recipe)
    own.subfunctions = copy.deepcopy(recipe.subfunctions)
    own._samples = PreparedSamples(own)
    if statistics is not None:
        own.set_statistics(statistics)
    return own


def _for_one_subject(recipe: Preprocessor) -> Preprocessor:
    """Return a recipe with copies of the user's subfunctions.

    One subject is prepared while another is taken back. The library's own keep nothing of either.
    """
    own = copy.copy(recipe)
    own.subfunctions = [
        s if type(s).__module__.startswith("miscnn.") else copy.deepcopy(s)
        for s in recipe.subfunctions
    ]
    return own


def background_planes(
    shape: Sequence[int], channels: int, probabilities: bool, regions: Regions | None
) -> Iterator[Block]:
    """Yield a grid without any foreground, plane by plane along the last axis."""
    plane = (*shape[:-1], 1)
    if probabilities:
        values = np.zeros((*plane, channels), dtype=np.float32)
        if regions is None:
            values[..., 0] = 1
    else:
        values = decoder(regions)(np.zeros((*plane, channels), dtype=np.float32))
    for place in range(shape[-1]):
        yield Block((*(0,) * (len(shape) - 1), place), values)
