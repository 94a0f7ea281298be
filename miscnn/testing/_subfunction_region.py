"""Whether the way back of a subfunction keeps to what it says and to what it is handed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.neural_network._roi import is_empty, mapped
from miscnn.processing.subfunctions.base import Subfunction, speaks_for

WayBack = Callable[[], NDArray[np.generic]]


def kept_on_itself(way: WayBack, expected: NDArray[np.generic]) -> str | None:
    """Say what promise is broken by the way back of one that has not seen the sample."""
    reason = "takes predictions back otherwise"
    try:
        found = way()
    except Exception as error:  # whatever comes of an attribute that is not there
        reason = f"cannot take predictions back ({error!r})"
    else:
        if found.shape == expected.shape and np.array_equal(found, expected):
            return None
    return (
        f"made again from its JSON, and without having seen the sample, it {reason}; what "
        "postprocessing() needs to know of a sample goes into sample.extended, not onto self: one "
        "subject is prepared while another is taken back"
    )


def looks_beyond(
    part: Subfunction,
    view: Sample,
    before: Geometry,
    after: Geometry,
    prediction: NDArray[np.generic],
    rng: np.random.Generator,
) -> str | None:
    """Say what promise is broken where a way back that follows the geometry does not."""
    if not speaks_for(part, "follows_geometry", "preprocessing", "postprocessing"):
        return None
    probable = prediction.ndim > after.ndim
    expected = part.postprocessing(view, prediction, probable)
    ends = [np.sort(rng.choice(n + 1, 2, replace=False)) for n in before.shape]
    box = tuple(slice(int(a), int(b)) for a, b in ends)
    needed = mapped(box, before, after)
    if is_empty(needed):
        needed = (slice(0, 0),) * after.ndim
    only = np.zeros_like(prediction)
    if probable:
        only[..., 0] = 1
    only[needed] = prediction[needed]
    found = part.postprocessing(view, only, probable)
    if np.allclose(found[box], expected[box], atol=1e-5):
        return None
    return (
        "it says that its way back follows the geometry, but the prediction of a box changed with "
        f"what lies outside of it: of the box {box} with voxels outside of {needed} on the grid "
        "that preprocessing() returned; leave follows_geometry False"
    )
