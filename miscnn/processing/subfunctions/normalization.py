"""Normalisation of intensities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._scratch import blocks_of
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, NotFittedError, SampleError
from miscnn.processing.subfunctions._arguments import check_choice, check_pair, is_count, is_number
from miscnn.processing.subfunctions._blockwise import plane_slabs
from miscnn.processing.subfunctions._statistics import Moments
from miscnn.processing.subfunctions.base import PointwiseSubfunction

_GREY = (0.0, 255.0)
_STATISTICS = ("mean", "std", "minimum", "maximum")


class Normalization(PointwiseSubfunction):
    """Bring intensities to a common scale.

    Parameters
    ----------
    mode : {"z-score", "minmax", "grayscale"}
        Subtract the mean and divide by the standard deviation; map minimum … maximum onto
        ``range``; map them onto 0 … 255, rounded.
    statistics : {"sample", "dataset"}
        Of each sample by itself, or of the training samples together, learned by :meth:`fit`
        and saved with the model. In a CT, whose numbers have a meaning, "dataset" keeps it.
    per_channel : bool
        Statistics of each channel by itself, or of all together.
    foreground : None, "nonzero" or float
        Which voxels the statistics are taken over: all; those other than zero; those above a
        number; in any channel. *All* voxels are transformed.
    subset : int, optional
        With ``statistics="dataset"``: learn from this many training samples, drawn at random
        without repetition (Klönne et al., Scientific Reports 2020,
        doi:10.1038/s41598-020-67544-y, section "Preprocessing"). Default: from all.
    range : pair of float
        Target range of "minmax".
    smooth : float
        Added to the divisor, in units of the image, so that noise in nearly constant images
        is not blown up.

    Notes
    -----
    A constant image becomes 0 ("z-score") or the lower end of the range. "minmax" and
    "grayscale" cut what lies beyond the measured range (background where ``foreground`` is set,
    new samples under "dataset"), so that the range holds for every voxel. The standard
    deviation is that of the voxels pooled over all samples, divided by n.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.sample import Sample
    >>> samples = [Sample(str(i), np.full((2, 2, 2), i, np.int16)) for i in (1, 3)]
    >>> z_score = Normalization("z-score", statistics="dataset")
    >>> fitted = z_score.fit(samples, np.random.default_rng(0))
    >>> z_score.get_state()["mean"], z_score.get_state()["std"]
    ([2.0], [1.0])
    """

    takes_stored_type = True

    def __init__(
        self,
        mode: str = "z-score",
        statistics: str = "sample",
        per_channel: bool = True,
        foreground: str | float | None = None,
        subset: int | None = None,
        range: Sequence[float] = (0, 1),
        smooth: float = 0.0,
    ) -> None:
        check_choice("mode", mode, ("z-score", "minmax", "grayscale"))
        check_choice("statistics", statistics, ("sample", "dataset"))
        check_pair("range", range, "the range that minmax maps onto")
        if not (foreground is None or foreground == "nonzero" or is_number(foreground)):
            raise ConfigurationError(
                'foreground is None (all voxels), "nonzero", or a number that foreground lies '
                f"above; got {foreground!r}"
            )
        if subset is not None and not is_count(subset):
            raise ConfigurationError(
                f"subset is a number of samples >= 1, or None for all; got {subset!r}"
            )
        if subset is not None and statistics != "dataset":
            raise ConfigurationError(
                f'subset={subset} is for statistics="dataset"; with statistics="{statistics}" '
                "nothing is learned from other samples"
            )
        if not is_number(smooth) or smooth < 0:
            raise ConfigurationError(f"smooth is a number >= 0, got {smooth!r}")
        self.mode = mode
        self.statistics = statistics
        self.per_channel = per_channel
        self.foreground = foreground
        self.subset = subset
        self.range = range
        self.smooth = smooth
        self.needs_fit = statistics == "dataset"
        self._learned: dict[str, Any] = {}

    def fit(self, samples: Sequence[Sample], rng: np.random.Generator) -> Normalization:
        """Learn the statistics of the training samples, or of a random subset of them.

        Only the samples drawn are asked for, one at a time, in their order.
        """
        if not self.needs_fit:
            return self
        number = len(samples)
        if not number:
            raise ConfigurationError(
                "Normalization cannot learn from an empty list; hand fit() the training samples"
            )
        chosen = list(np.arange(number))
        if self.subset is not None and self.subset < number:
            chosen = sorted(rng.choice(number, size=self.subset, replace=False))
        moments: Moments | None = None
        names = []
        for position in chosen:
            sample = samples[int(position)]
            names.append(sample.index)
            if moments is None:
                moments = Moments(self._columns(sample))
            elif len(moments.mean) != self._columns(sample):
                raise SampleError(
                    sample.index,
                    f"has {self._columns(sample)} channel(s), the samples before it had "
                    f"{len(moments.mean)}; all samples need the same channels",
                )
            self._add(moments, sample)
        assert moments is not None  # there is at least one sample
        self._learned = {**_as_lists(moments), "indices": names, "voxels": moments.count}
        return self

    def get_state(self) -> dict[str, Any]:
        """Return what was learned.

        Returns
        -------
        dict
            ``mean``, ``std``, ``minimum`` and ``maximum`` per channel; ``indices``, the names of
            the samples they are from; ``voxels``, the number of voxels per channel. Empty
            before :meth:`fit`.
        """
        return dict(self._learned)

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`get_state` returned."""
        if not state:
            self._learned = {}
            return
        if not self.needs_fit:
            super().set_state(state)
        missing = [key for key in (*_STATISTICS, "indices", "voxels") if key not in state]
        if missing:
            raise ConfigurationError(
                f"the state of Normalization lacks {', '.join(missing)}; hand in what "
                "get_state() returned"
            )
        self._learned = {
            **{key: [float(value) for value in state[key]] for key in _STATISTICS},
            "indices": list(state["indices"]),
            "voxels": int(state["voxels"]),
        }

    @property
    def measures_image(self) -> bool:
        """Whether the statistics are those of each sample."""
        return not self.needs_fit

    def measure(self, sample: Sample) -> dict[str, Any]:
        """Return the statistics that hold for a sample, per channel.

        Raises
        ------
        NotFittedError
            If they are to be learned and :meth:`fit` was not called.
        SampleError
            If the image holds NaN or infinity, or no foreground.
        """
        if self.needs_fit:
            return self._known()
        moments = Moments(self._columns(sample))
        self._add(moments, sample)
        return self._relevant(_as_lists(moments))

    def transform(self, image: NDArray[Any], measures: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the image on the common scale."""
        known = self._known() if self.needs_fit else measures
        if self.mode == "z-score":
            return self._scaled(image, known["mean"], known["std"])
        low, high = np.asarray(known["minimum"]), np.asarray(known["maximum"])
        start, stop = map(float, self.range) if self.mode == "minmax" else _GREY
        result = self._scaled(image, low, high - low)
        result *= np.float32(stop - start)
        result += np.float32(start)
        np.clip(result, np.float32(start), np.float32(stop), out=result)
        return np.rint(result, out=result) if self.mode == "grayscale" else result

    def _scaled(self, image: NDArray[Any], centre: Any, width: Any) -> NDArray[np.float32]:
        """Return ``(image - centre) / width``, 0 where the width is 0."""
        centre, width = np.asarray(centre, dtype=np.float64), np.asarray(width, dtype=np.float64)
        safe = width > np.finfo(np.float32).tiny
        factor = np.where(safe, 1.0 / np.where(safe, width + self.smooth, 1.0), 0.0)
        # In two parts, so that float32 loses nothing of a centre that is far from zero.
        coarse = centre.astype(np.float32)
        result = image.astype(np.float32)
        result -= coarse
        result -= (centre - coarse).astype(np.float32)
        result *= factor.astype(np.float32)
        return result

    def _known(self) -> dict[str, Any]:
        if not self._learned:
            raise NotFittedError(
                'Normalization with statistics="dataset" has learned nothing yet: train the '
                "model, call fit(training_samples, rng), or load a saved model"
            )
        return self._relevant(self._learned)

    def _relevant(self, found: Mapping[str, Any]) -> dict[str, Any]:
        keys = ("mean", "std") if self.mode == "z-score" else ("minimum", "maximum")
        return {key: found[key] for key in keys}

    def _columns(self, sample: Sample) -> int:
        return int(sample.image.shape[-1]) if self.per_channel else 1

    def _add(self, moments: Moments, sample: Sample) -> None:
        before = moments.count
        everything = self.foreground == "nonzero" and not _any_nonzero(sample.image)
        for slab in plane_slabs(sample.image):
            # Nothing but zeros: a constant image like any other.
            mask = None if everything else self._mask(slab)
            moments.add_image(slab, mask, self.per_channel)
        if moments.count == before:
            raise SampleError(
                sample.index,
                f"has no voxel above foreground={self.foreground} to take statistics over; "
                f"its values run from {sample.image.min():g} to {sample.image.max():g}",
            )
        if not (np.isfinite(moments.minimum).all() and np.isfinite(moments.maximum).all()):
            raise SampleError(
                sample.index,
                "holds NaN or infinite values, which no statistics can be taken of; "
                "DataIO.verify() lists such samples",
            )

    def _mask(self, image: NDArray[Any]) -> NDArray[np.bool_] | None:
        if self.foreground is None:
            return None
        if self.foreground == "nonzero":
            return np.asarray((image != 0).any(axis=-1))
        return np.asarray((image > self.foreground).any(axis=-1))


def _any_nonzero(image: NDArray[Any]) -> bool:
    return any(bool(block.any()) for block in blocks_of(image))


def _as_lists(moments: Moments) -> dict[str, list[float]]:
    return {name: getattr(moments, name).tolist() for name in _STATISTICS}
