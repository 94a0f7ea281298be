"""Windows on the intensity scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.processing.subfunctions._arguments import check_pair, is_number
from miscnn.processing.subfunctions._quantiles import quantiles
from miscnn.processing.subfunctions.base import PointwiseSubfunction

# Level and width in HU; sources in the docstring of Windowing.
_NAMED: Mapping[str, tuple[float, float]] = {
    "lung": (-600, 1500),
    "liver": (30, 150),
    "soft tissue": (50, 400),
    "bone": (400, 1800),
    "kidney": (112.5, 383),
    "mediastinum": (50, 350),
    "brain": (40, 80),
}


class Windowing(PointwiseSubfunction):
    """Cut intensities to a window, as a radiologist looks at a CT.

    The window is said in exactly one way: ``name``, ``level`` and ``width``, ``bounds``,
    ``quantiles`` or ``percentiles``.

    Parameters
    ----------
    name : str, optional
        A window in HU, given as level/width: "lung" -600/1500, "liver" 30/150, "soft tissue"
        50/400, "bone" 400/1800, "mediastinum" 50/350, "brain" 40/80 (radiopaedia.org, article
        "Windowing (CT)"), "kidney" 112.5/383 (-79 … 304 HU, the 0.5th to 99.5th percentile
        of kidney and tumour voxels of KiTS19, used in its MIScnn example).
    level, width : float, optional
        Centre and width in HU.
    bounds : pair of float, optional
        Lower and upper bound in HU.
    quantiles : pair of float, optional
        Quantiles ``0 <= low < high <= 1`` of all voxels of each volume, channel by channel.
        (0.60, 0.99) is the window of Klönne et al., Scientific Reports 2020
        (doi:10.1038/s41598-020-67544-y): half of a body CT is air and table, so that these
        lie near soft tissue and contrast-filled vessels.
    percentiles : pair of float, optional
        The same in percent: (60, 99).
    scale : pair of float, optional
        Map the window linearly onto this range. Default: intensities are cut only.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.array([[[-1000], [-45], [30], [2000]]], np.int16)
    >>> Windowing("liver").transform(image, {}).ravel().tolist()
    [-45.0, -45.0, 30.0, 105.0]
    >>> Windowing(bounds=(-45, 105), scale=(0, 1)).transform(image, {}).ravel().tolist()
    [0.0, 0.0, 0.5, 1.0]
    """

    takes_stored_type = True

    def __init__(
        self,
        name: str | None = None,
        level: float | None = None,
        width: float | None = None,
        bounds: Sequence[float] | None = None,
        quantiles: Sequence[float] | None = None,
        percentiles: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
    ) -> None:
        ways = {
            "name": name is not None,
            "level and width": level is not None or width is not None,
            "bounds": bounds is not None,
            "quantiles": quantiles is not None,
            "percentiles": percentiles is not None,
        }
        said = [way for way, given in ways.items() if given]
        if len(said) != 1:
            raise ConfigurationError(
                f"say the window in exactly one way ({', '.join(ways)}); "
                f"got {' and '.join(said) or 'none'}"
            )
        if name is not None:
            _named_window(name)
        if said == ["level and width"]:
            _check_level(level, width)
        if bounds is not None:
            check_pair("bounds", bounds, "HU")
        if quantiles is not None:
            _check_shares("quantiles", quantiles, 1)
        if percentiles is not None:
            _check_shares("percentiles", percentiles, 100)
        if scale is not None:
            check_pair("scale", scale, "the range that the window is mapped onto")
        self.name = name
        self.level = level
        self.width = width
        self.bounds = bounds
        self.quantiles = quantiles
        self.percentiles = percentiles
        self.scale = scale

    @property
    def measures_image(self) -> bool:
        """Whether the window follows the volume."""
        return self._shares() is not None

    def measure(self, sample: Sample) -> dict[str, Any]:
        """Return the bounds per channel where the window follows the volume.

        Raises
        ------
        SampleError
            If both quantiles are the same intensity.
        """
        shares = self._shares()
        if shares is None:
            return {}
        channels = range(sample.image.shape[-1])
        found = [quantiles(sample.image[..., channel], shares) for channel in channels]
        for channel, (low, high) in enumerate(found):
            # Compared as float32, which the image becomes. NaN fails the comparison as well.
            if not np.float32(low) < np.float32(high):
                raise SampleError(
                    sample.index,
                    f"the quantiles {shares[0]:g} and {shares[1]:g} of channel {channel} are "
                    f"{low:g} and {high:g}: the window is empty. Most of the volume may be "
                    "padding (crop it with CropToForeground first), or not a number; or take a "
                    "lower first quantile, or a fixed window (bounds=, level= and width=)",
                )
        return {"lower": [float(low) for low, _ in found], "upper": [float(h) for _, h in found]}

    def transform(self, image: NDArray[Any], measures: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the image cut to the window, on the scale asked for."""
        fixed = self._fixed_bounds()
        lower, upper = fixed if fixed is not None else (measures["lower"], measures["upper"])
        low, high = np.asarray(lower, dtype=np.float32), np.asarray(upper, dtype=np.float32)
        result = image.astype(np.float32)
        np.clip(result, low, high, out=result)
        if self.scale is not None:
            start, stop = float(self.scale[0]), float(self.scale[1])
            result -= low
            result *= np.asarray((stop - start) / (high - low), dtype=np.float32)
            result += np.float32(start)
            np.clip(result, np.float32(start), np.float32(stop), out=result)
        return result

    def _shares(self) -> tuple[float, float] | None:
        if self.quantiles is not None:
            return float(self.quantiles[0]), float(self.quantiles[1])
        if self.percentiles is not None:
            return float(self.percentiles[0]) / 100.0, float(self.percentiles[1]) / 100.0
        return None

    def _fixed_bounds(self) -> tuple[float, float] | None:
        if self.bounds is not None:
            return float(self.bounds[0]), float(self.bounds[1])
        if self.name is not None:
            level, width = _named_window(self.name)
        elif self.level is not None and self.width is not None:
            level, width = self.level, self.width
        else:
            return None
        return level - width / 2.0, level + width / 2.0


def _named_window(name: Any) -> tuple[float, float]:
    key = name.lower().replace("_", " ").replace("-", " ") if isinstance(name, str) else name
    if not isinstance(key, str) or key not in _NAMED:
        raise ConfigurationError(
            f"there is no window named {name!r}; use one of {', '.join(_NAMED)}, or say it as "
            "level= and width=, bounds= or quantiles="
        )
    return _NAMED[key]


def _check_level(level: Any, width: Any) -> None:
    if not is_number(level) or not is_number(width) or width <= 0:
        raise ConfigurationError(
            "level and width go together: two finite numbers in HU, the width above 0; "
            f"got level={level!r}, width={width!r}"
        )


def _check_shares(name: str, value: Any, whole: int) -> None:
    low, high = check_pair(name, value, f"of all voxels, 0 … {whole}")
    if low < 0 or high > whole:
        hint = "; percentiles= takes percent" if whole == 1 else ""
        raise ConfigurationError(f"{name} lie between 0 and {whole}, got {value!r}{hint}")
