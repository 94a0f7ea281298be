"""Several augmentations, one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ConfigurationError
from miscnn.processing.augmentation._ranges import check_probability
from miscnn.processing.augmentation.base import Augmentation, PatchGrid, center_crop


class Compose(Augmentation):
    """Apply augmentations in their order.

    Parameters
    ----------
    augmentations : sequence of Augmentation
    probability : float
        How often a patch is augmented at all.

    Notes
    -----
    Each augmentation works on the patch and the margin that those after it want. Parameters
    are therefore drawn from the last to the first. What is the share of augmented batches of a
    part by itself is the share of augmented patches here, each part drawn on its own.

    Examples
    --------
    >>> from miscnn.processing.augmentation import GeneralAugmentation
    >>> chain = Compose([GeneralAugmentation(rotation=10), GeneralAugmentation(rotation=20)])
    >>> chain.margin((32, 32), {})
    (0, 0)
    """

    def __init__(self, augmentations: Sequence[Augmentation], probability: float = 1.0) -> None:
        self.augmentations = tuple(augmentations)
        self.probability = probability
        check_probability("probability", probability)
        for part in self.augmentations:
            if not isinstance(part, Augmentation):
                raise ConfigurationError(
                    f"augmentations must be a sequence of Augmentation objects; received {part!r}"
                )
        kinds = {part.hounsfield for part in self.augmentations}
        if len(kinds) > 1:
            raise ConfigurationError(
                "augmentations must all work on Hounsfield units or all on prepared images: "
                f"{', '.join(f'{type(p).__name__} ({p.hounsfield})' for p in self.augmentations)} "
                "(hounsfield) cannot run at the same place of the chain"
            )
        self.hounsfield = kinds == {True}

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return the sum of the margins; see :meth:`Augmentation.margin`."""
        if parameters is None:
            shape = tuple(patch_shape)
            for part in reversed(self.augmentations):
                shape = _grown(shape, part.margin(shape))
        else:
            shape = tuple(parameters["input_shape"]) if parameters else tuple(patch_shape)
        return tuple((n - m) // 2 for n, m in zip(shape, patch_shape, strict=True))

    def sample_slices(
        self, rng: np.random.Generator, available: NDArray[np.float64], wanted: int
    ) -> NDArray[np.float64]:
        """Hand the slices from part to part; see :meth:`Augmentation.sample_slices`."""
        for part in self.augmentations:
            if rng.random() < self.probability * part.batch_probability(3):
                available = part.sample_slices(rng, available, wanted)
        return available

    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw for every augmentation; see :meth:`Augmentation.sample_parameters`.

        ``steps`` has an item for each augmentation that does something: its position, its
        parameters, and the shape of what it returns. ``input_shape`` is the patch with all
        margins.
        """
        if rng.random() >= self.probability:
            return {}
        shape = tuple(patch_shape)
        steps: list[dict[str, Any]] = []
        for position, part in reversed(list(enumerate(self.augmentations))):
            share = part.batch_probability(len(shape))
            if share < 1 and rng.random() >= share:
                continue
            drawn = part.sample_parameters(rng, shape, channels, grid)
            if drawn:
                step = {"augmentation": position, "parameters": drawn, "patch_shape": list(shape)}
                steps.insert(0, step)
                shape = _grown(shape, part.margin(shape, drawn))
        return {"steps": steps, "input_shape": list(shape)} if steps else {}

    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters; see :meth:`Augmentation.apply`.

        Where the input has less margin than was asked for, it is continued by its border voxels.
        """
        if parameters:
            first = parameters["steps"][0]["patch_shape"]
            image = _at_least(image, patch_shape, first)
            segmentation = _at_least(segmentation, patch_shape, first)
        for step in parameters.get("steps", ()):
            part = self.augmentations[step["augmentation"]]
            image, segmentation = part.apply(
                image, segmentation, step["parameters"], step["patch_shape"]
            )
        return center_crop(image, patch_shape), center_crop(segmentation, patch_shape)


def _grown(shape: Sequence[int], margin: Sequence[int]) -> tuple[int, ...]:
    return tuple(n + 2 * m for n, m in zip(shape, margin, strict=True))


def _at_least(
    array: NDArray[Any], patch_shape: Sequence[int], shape: Sequence[int]
) -> NDArray[Any]:
    """Continue an array to a shape so that :func:`center_crop` finds the same patch."""
    width = [(0, 0)] * array.ndim
    for axis, (patch, want) in enumerate(zip(patch_shape, shape, strict=True)):
        size = array.shape[axis]
        if size < want:
            before = (want - patch) // 2 - (size - patch) // 2
            width[axis] = (before, want - size - before)
    return np.pad(array, width, mode="edge") if any(map(any, width)) else array
