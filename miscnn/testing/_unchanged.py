"""Whether what is handed to a part stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn.exceptions import ContractError


class Unchanged:
    """Within it, arrays must keep their values."""

    def __init__(
        self,
        arrays: Mapping[str, NDArray[Any]],
        what: str,
        broken: Callable[[str], ContractError],
    ) -> None:
        self._arrays = arrays
        self._what = what
        self._broken = broken

    def __enter__(self) -> None:
        self._copies = {name: array.copy() for name, array in self._arrays.items()}

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        for name, array in self._arrays.items():
            if not np.array_equal(array, self._copies[name], equal_nan=array.dtype.kind == "f"):
                raise self._broken(
                    f"{self._what} wrote into the {name} handed in; copy before changing values"
                )
