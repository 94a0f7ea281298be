"""What every augmentation does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError


@dataclass(frozen=True)
class PatchGrid:
    """What the axes of a patch mean.

    Attributes
    ----------
    spacing : tuple of float
        Voxel size in mm, per axis of the patch.
    slice_axis : int or None
        Axis of the patch across the slices; None in 2D.
    regular : bool
        Whether neighbours along the slice axis are neighbours in the scan. In a stack of slices
        drawn at random they are not: there is nothing to interpolate between them.
    """

    spacing: tuple[float, ...]
    slice_axis: int | None = None
    regular: bool = True


class Augmentation(Configurable, ABC):
    """A random change of image and labels during training.

    Drawing the parameters and applying them are two methods, so that what was done to a
    patch can be written down, repeated and tested.

    Contract
    --------
    - :meth:`sample_parameters` draws from the generator it is handed and from nothing else,
      and returns a mapping (JSON values or arrays); an empty mapping means: leave the patch
      as it is.
    - :meth:`apply` is deterministic, changes nothing in place, uses one spatial map for image
      and labels, and returns arrays of the shape it was asked for. Labels stay integers, no
      voxel loses its label.

    Attributes
    ----------
    hounsfield : bool
        Whether the augmentation works on Hounsfield units. If so it is run before windows and
        normalisation, otherwise on the image as the network sees it.
    """

    hounsfield: bool = False

    def batch_probability(self, dimensions: int) -> float:
        """Return how often a batch of 2D or 3D patches is augmented at all."""
        return 1.0

    def sample_slices(
        self, rng: np.random.Generator, available: NDArray[np.float64], wanted: int
    ) -> NDArray[np.float64]:
        """Draw where the slices of a volume lie that random slices are then chosen from.

        Called only where slices are sampled (``slices_per_volume`` of the preprocessor).

        Parameters
        ----------
        rng : numpy.random.Generator
        available : ndarray
            Ascending positions of the slices that may be chosen, in slices.
        wanted : int
            How many will be chosen.

        Returns
        -------
        ndarray
            Ascending positions from the first to the last available, not empty. A position
            between two slices stands for their linear interpolation.
        """
        return available

    def margin(
        self, patch_shape: Sequence[int], parameters: Mapping[str, Any] | None = None
    ) -> tuple[int, ...]:
        """Return how many voxels of context beyond each face of the patch are wanted.

        The image handed to :meth:`apply` may be larger than the patch by up to twice this
        much per axis; the patch is its centre.

        Parameters
        ----------
        patch_shape : sequence of int
            Spatial shape of the patch, without margin.
        parameters : mapping, optional
            What :meth:`sample_parameters` drew: then the margin that these want. Without, the
            largest that may be drawn, as far as it is known without a grid. Who draws first
            reads less: most patches want no margin at all.
        """
        return (0,) * len(patch_shape)

    @abstractmethod
    def sample_parameters(
        self,
        rng: np.random.Generator,
        patch_shape: Sequence[int],
        channels: int,
        grid: PatchGrid | None = None,
    ) -> dict[str, Any]:
        """Draw what happens to one patch.

        Parameters
        ----------
        rng : numpy.random.Generator
        patch_shape : sequence of int
            Spatial shape of the patch, without margin.
        channels : int
            Number of image channels.
        grid : PatchGrid, optional
            What the axes mean. Without, voxels are taken for cubes of 1 mm.
        """

    @abstractmethod
    def apply(
        self,
        image: NDArray[np.float32],
        segmentation: NDArray[Any],
        parameters: Mapping[str, Any],
        patch_shape: Sequence[int],
    ) -> tuple[NDArray[np.float32], NDArray[Any]]:
        """Apply drawn parameters.

        Parameters
        ----------
        image : ndarray
            ``(…, c)`` float32: the patch with its margin.
        segmentation : ndarray
            Unsigned integer labels of the same spatial shape, without channel axis.
        parameters : mapping
            From :meth:`sample_parameters`.
        patch_shape : sequence of int
            Spatial shape of what is returned: the centre of the input, also if that has more
            margin than was wanted.

        Returns
        -------
        image, segmentation : ndarray
            Of shape ``(*patch_shape, c)`` float32 and ``patch_shape``. They may be views of
            the input where nothing had to be changed.
        """


def center_crop(array: NDArray[Any], patch_shape: Sequence[int]) -> NDArray[Any]:
    """Return the centre of the first ``len(patch_shape)`` axes of an array, as a view.

    Parameters
    ----------
    array : array
    patch_shape : sequence of int
        Voxels along each of these axes.
    """
    box = tuple(
        slice((size - want) // 2, (size - want) // 2 + want)
        for size, want in zip(array.shape, patch_shape, strict=False)
    )
    return array[box]


def check_arrays(
    image: NDArray[np.float32], segmentation: NDArray[Any], shape: tuple[int, ...]
) -> None:
    """Raise ConfigurationError if image and segmentation do not fit each other or the patch."""
    if image.ndim != len(shape) + 1 or segmentation.shape != image.shape[:-1]:
        raise ConfigurationError(
            f"for a patch of shape {shape} the image must have {len(shape)} spatial axes and a "
            "channel axis, and the segmentation the same spatial shape and no channel axis; "
            f"received {image.shape} and {segmentation.shape}"
        )
    if any(size < want for size, want in zip(segmentation.shape, shape, strict=True)):
        raise ConfigurationError(
            f"the input of shape {segmentation.shape} is smaller than the patch {shape}; "
            "pad it first"
        )
