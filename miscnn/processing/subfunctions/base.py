"""What every subfunction does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable, to_json
from miscnn.data_loading.sample import Sample
from miscnn.processing.parts import Parts
from miscnn.processing.subfunctions._blockwise import transformed


class Subfunction(Configurable, ABC):
    """One operation on a whole sample, and its way back for predictions.

    Contract
    --------
    - :meth:`preprocessing` returns a new sample (start from ``sample.copy()`` and replace
      arrays); returning None means that the handed copy was changed in place. Whatever
      the way back needs goes into ``sample.extended`` (JSON values): every subfunction
      finds a dictionary of its own there, empty on the way in, as it left it on the way
      back.
    - When the grid changes, ``sample.geometry`` changes with it.
    - :meth:`postprocessing` takes a prediction on the grid that :meth:`preprocessing`
      returned back to the grid it was given. ``sample`` is the sample as it was *before*
      :meth:`preprocessing`, with arrays possibly left out, and ``extended`` filled.
    - A subfunction whose way back works on label maps only (it maps label values, say) sets
      ``restores_probabilities`` to False; the argmax is then taken before it.
    - A subfunction that learns from the training set sets ``needs_fit`` to True, implements
      :meth:`fit`, ``get_state`` and ``set_state``, and raises NotFittedError when used before.
    - A prediction of a large image comes block by block. :meth:`postprocessing_blocks` takes it
      back without the whole of it being held; a subfunction that does not implement it is given
      the whole prediction, in a scratch file. One whose way back only moves voxels, so that it
      makes no difference whether labels are made of probabilities before or after it, says so by
      ``moves_voxels``.
    - Of a region of interest no more is predicted than its way back needs. A subfunction whose
      way back brings the prediction to where the geometry says that it lies, and looks at no
      voxel farther away than the next one, says so by ``follows_geometry``; of one with a way
      back of its own that does not, everything is predicted.
    - In the prediction of large images, one that gets along with an image as it is stored (int16,
      a file that is mapped into memory) sets ``takes_stored_type``. It is then handed a
      sample that has a ``scratch``; ``sample.empty`` makes arrays that may be as large as an
      image. It must not write into the image that it is handed. Others find float32 there, unless
      they are the first of the chain, in an array that they may change.
    - One subfunction takes several subjects through at the same time: what the way back needs to
      know of one does not go onto ``self``.
    - ``keeps_hounsfield`` tells whether an image in Hounsfield units is still one afterwards.
      Augmentation that works on them is run before the first subfunction of which it is not.
    """

    needs_fit: bool = False
    keeps_hounsfield: bool = True
    restores_probabilities: bool = True
    moves_voxels: bool = False
    follows_geometry: bool = False
    takes_stored_type: bool = False

    @abstractmethod
    def preprocessing(self, sample: Sample, training: bool = True) -> Sample | None:
        """Apply the operation to image and, where there is one, segmentation."""

    def postprocessing(
        self, sample: Sample, prediction: NDArray[Any], activation_output: bool = False
    ) -> NDArray[Any]:
        """Take a prediction back.

        Parameters
        ----------
        prediction : ndarray
            Label map without channel axis, or probabilities ``(…, classes)`` if
            ``activation_output``.
        """
        return prediction

    def postprocessing_blocks(self, sample: Sample, parts: Parts) -> Parts | None:
        """Take a prediction back block by block: the same as :meth:`postprocessing`.

        Parameters
        ----------
        parts : Parts
            Label maps or probabilities on the grid that :meth:`preprocessing` returned. The
            blocks come one by one and are to be passed on so: write a generator.

        Returns
        -------
        Parts or None
            None if there is no such way; then :meth:`postprocessing` is asked.
        """
        return None

    def fit(self, samples: Sequence[Sample], rng: np.random.Generator) -> Subfunction:
        """Learn from training samples, as they are when they reach this subfunction.

        Parameters
        ----------
        samples : sequence of Sample
            All training samples; each is read and prepared when it is asked for, so a
            subfunction that needs only some should ask only for some.
        rng : numpy.random.Generator
        """
        return self


def speaks_for(subfunction: Subfunction, name: str, *methods: str) -> bool:
    """Tell whether what a class says of itself still holds for a subclass of it.

    It does not where a subclass has changed one of the methods and not said it again.

    Parameters
    ----------
    name : str
        A method, or an attribute that must be true.
    methods : str
        What it speaks of.
    """
    classes = type(subfunction).__mro__

    def place(member: str) -> int:
        return next((k for k, cls in enumerate(classes) if member in vars(cls)), len(classes))

    said = bool(getattr(subfunction, name, False))
    return said and all(place(name) <= place(method) for method in methods)


class PointwiseSubfunction(Subfunction):
    """A subfunction that maps each voxel's intensity by itself and leaves the grid alone.

    It is split in two, so that what is measured on the whole image can be applied to a part
    of it: :meth:`measure` returns the numbers, :meth:`transform` uses them.
    """

    # Windows and normalisation; even clipping takes values away that a shift could bring back.
    keeps_hounsfield = False

    @property
    def measures_image(self) -> bool:
        """Whether :meth:`measure` looks at the image; if not, a pass over it is saved."""
        return type(self).measure is not PointwiseSubfunction.measure

    def measure(self, sample: Sample) -> Mapping[str, Any]:
        """Return what :meth:`transform` needs to know of the whole image, as JSON values."""
        return {}

    @abstractmethod
    def transform(self, image: NDArray[Any], measures: Mapping[str, Any]) -> NDArray[np.float32]:
        """Map the intensities of an image ``(…, c)`` or of any part of it."""

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Measure the image and map it; the segmentation stays as it is."""
        measures = dict(self.measure(sample))
        result = sample.copy()
        result.extended = {"measures": to_json(measures)}
        result.image = transformed(sample, lambda part: self.transform(part, measures))
        return result
