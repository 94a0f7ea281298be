"""From stored values to Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, SampleError
from miscnn.processing.subfunctions._arguments import check_pair, is_number
from miscnn.processing.subfunctions._blockwise import transformed
from miscnn.processing.subfunctions.base import Subfunction

# Nothing is thinner than nothing: the CT scale is commonly stored from here on.
_LOWEST_HU = -1024.0


class TransformHU(Subfunction):
    """Turn the values stored in a CT file into Hounsfield units, ``stored · slope + intercept``.

    Readers of NIfTI, NRRD and most of DICOM apply slope and intercept themselves, so that the
    image is in HU already; what remains to be done then is the scanner's padding. This is for
    files whose reader does not: raw arrays, PNG exports.

    Parameters
    ----------
    normalize : bool
        Also map ``minmaxBound`` onto 0 … 1 and cut what lies beyond. (MIScnn 1.x did so by
        default; here the result of a transformation to HU is HU.)
    slope, intercept : float, optional
        Default: ``sample.details["slope"]`` and ``["intercept"]`` where the interface knows them
        (and has not applied them), else 1 and 0.
    clipScan_value : float or None
        Stored values up to this one are padding around the scanner's field of view and become
        -1024 HU, and no voxel falls below -1024 HU. None switches both off.
    minmaxBound : pair of float
        Range in HU for ``normalize``.

    Notes
    -----
    Works on the whole sample, because the details are known there only. The sample returned
    holds HU and has no slope and intercept in its details any more.

    Examples
    --------
    >>> import numpy as np
    >>> from miscnn.data_loading.sample import Sample
    >>> image = np.array([[-2000, 0], [1064, 2024]], np.int16)
    >>> sample = Sample("case", image, three_dim=False, details={"slope": 1, "intercept": -1024})
    >>> TransformHU().preprocessing(sample).image.ravel().tolist()
    [-1024.0, -1024.0, 40.0, 1000.0]
    """

    takes_stored_type = True

    def __init__(
        self,
        normalize: bool = False,
        slope: float | None = None,
        intercept: float | None = None,
        clipScan_value: float | None = -2000,  # noqa: N803  # the name in MIScnn 1.x
        minmaxBound: Sequence[float] = (-1000, 400),  # noqa: N803
    ) -> None:
        for name, value in (
            ("slope", slope),
            ("intercept", intercept),
            ("clipScan_value", clipScan_value),
        ):
            if value is not None and not is_number(value):
                raise ConfigurationError(f"{name} is a finite number or None, got {value!r}")
        if slope == 0:
            raise ConfigurationError("slope=0 would make every voxel the same; CT files have 1")
        check_pair("minmaxBound", minmaxBound, "HU")
        self.normalize = normalize
        self.slope = slope
        self.intercept = intercept
        self.clipScan_value = clipScan_value
        self.minmaxBound = minmaxBound
        self.keeps_hounsfield = not normalize

    def preprocessing(self, sample: Sample, training: bool = True) -> Sample:
        """Return the sample in HU."""
        slope = self._value("slope", self.slope, sample, 1.0)
        intercept = self._value("intercept", self.intercept, sample, 0.0)
        if slope == 0:
            raise SampleError(
                sample.index,
                "its details say slope 0, which would make every voxel the same; mend the "
                "header or hand slope= to TransformHU",
            )
        result = sample.copy()
        result.image = transformed(sample, lambda part: self._hu(part, slope, intercept))
        result.details = {
            key: value for key, value in sample.details.items() if key not in ("slope", "intercept")
        }
        return result

    def _value(self, name: str, argument: float | None, sample: Sample, default: float) -> float:
        if argument is not None:
            return float(argument)
        found = sample.details.get(name)
        if found is None:
            return default
        if not is_number(found):
            raise SampleError(
                sample.index,
                f"its details say {name}={found!r}, expected a finite number; mend the header "
                f"or hand {name}= to TransformHU",
            )
        return float(found)

    def _hu(self, stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float32]:
        result = stored.astype(np.float32)
        result *= np.float32(slope)
        result += np.float32(intercept)
        if self.clipScan_value is not None:
            np.maximum(result, np.float32(_LOWEST_HU), out=result)
            result[stored <= self.clipScan_value] = _LOWEST_HU
        if self.normalize:
            low, high = (np.float32(bound) for bound in self.minmaxBound)
            np.clip(result, low, high, out=result)
            result -= low
            result /= high - low
        return result
