"""What the headers of the first images tell of a data set."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from miscnn.data_loading.formats.image_file import ImageFile
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.exceptions import MiscnnError

_MOST_HEADERS = 15


def seen_in_image(
    interface: DataInterface, indices: Sequence[str], told: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the channels, the dimensions and the colours of most of the first images.

    One odd image among many is a subject's problem, which ``verify`` tells of.

    Parameters
    ----------
    interface : DataInterface
        Only formats of one file for each image are looked at.
    indices : sequence of str
    told : mapping
        Arguments that are known already and stay as they are.
    """
    if not isinstance(interface, FileInterface):
        return {}
    parameters = inspect.signature(type(interface)).parameters
    wanted = {
        name
        for name in ("channels", "three_dim", "img_type")
        if name in parameters and told.get(name) is None
    }
    votes: Counter[tuple[tuple[str, Any], ...]] = Counter()
    for index in indices if wanted else ():
        try:
            file = interface.open_file(interface.source_files(index)[0], index)
            seen = _seen(file, pictures="img_type" in parameters)
        except (MiscnnError, OSError):
            continue  # verify tells of it
        votes[tuple(seen.items())] += 1
        if votes.total() == _MOST_HEADERS:
            break
    found = dict(votes.most_common(1)[0][0]) if votes else {}
    return {name: value for name, value in found.items() if name in wanted}


def _seen(file: ImageFile, pictures: bool) -> dict[str, Any]:
    shape = file.shape
    if pictures:
        coloured = str(file.details().get("mode", "")).startswith("RGB")
        return {**({"img_type": "rgb"} if coloured else {}), "three_dim": len(shape) > 2}
    seen: dict[str, Any] = {}
    further = [n for n in shape[3:] if n != 1]
    if len(further) == 1:
        seen["channels"] = further[0]
    if len(shape) < 3 or (len(shape) == 3 and shape[2] == 1):
        seen["three_dim"] = False
    return seen
