"""What a network was trained on, in numbers: from headers, without a name of a subject."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.exceptions import MiscnnError

__all__ = ["fingerprint_of"]

_log = logging.getLogger("miscnn.neural_network.fingerprint")

_MOST_HEADERS = 200


def fingerprint_of(data_io: DataIO, indices: Sequence[str]) -> dict[str, Any]:
    """Describe subjects by the headers of their images.

    Only headers are read, of up to 200 subjects, evenly spread. Formats without headers are read.

    Parameters
    ----------
    data_io : DataIO
    indices : sequence of str
        The training subjects.

    Returns
    -------
    dict
        ``subjects`` (how many), ``headers_read`` (of how many), ``format``, ``channels``,
        ``three_dim``; per array axis ``shape`` (voxels) and ``spacing`` (mm), and for volumes
        ``slices`` and ``slice_thickness`` (mm): each with ``min``, ``median``, ``max``, or None if
        no header could be read. No names, dates or paths.
    """
    indices = list(dict.fromkeys(indices))
    interface = data_io.interface
    step = max(1, -(-len(indices) // _MOST_HEADERS))
    grids = []
    for index in indices[::step]:
        try:
            grids.append(data_io.geometry(index))
        except (MiscnnError, OSError, KeyError):
            continue  # the subject is told of by verify; here the others count
    if len(grids) < len(indices[::step]):
        _log.warning(
            "the headers of %d of %d training subjects cannot be read any more: the fingerprint "
            "of the data set is made without them", len(indices[::step]) - len(grids),
            len(indices[::step]),
        )  # fmt: skip
    return {
        "subjects": len(indices),
        "headers_read": len(grids),
        "format": _format(interface),
        "channels": interface.channels,
        "three_dim": interface.three_dim,
        **_measures(grids, interface.three_dim),
    }


def _format(interface: DataInterface) -> str:
    while isinstance(interface, MergedLabels):
        interface = interface.interface
    return type(interface).__name__.removesuffix("Interface")


def _measures(grids: Sequence[Geometry], three_dim: bool) -> dict[str, Any]:
    names = ["shape", "spacing", *(["slices", "slice_thickness"] if three_dim else [])]
    if not grids:
        return dict.fromkeys(names)
    values: dict[str, list[Any]] = {
        "shape": [grid.shape for grid in grids],
        "spacing": [grid.spacing for grid in grids],
        "slices": [grid.n_slices for grid in grids],
        "slice_thickness": [grid.slice_thickness for grid in grids],
    }
    return {name: _range(values[name]) for name in names}


def _range(values: Sequence[Any]) -> dict[str, Any]:
    array = np.asarray(values, dtype=np.float64)
    # Six digits: a spacing is not known better, and a hundred decimals would tell one scan.
    return {
        name: np.round(function(array, axis=0), 6).tolist()
        for name, function in (("min", np.min), ("median", np.median), ("max", np.max))
    }
