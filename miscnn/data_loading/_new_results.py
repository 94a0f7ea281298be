"""Files in a folder that are results of a prediction, not images to be predicted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from miscnn.data_loading._adapted import innermost
from miscnn.data_loading._new_files import Files, Found
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.exceptions import MiscnnError

MANIFEST = "predictions.json"
"""What a prediction notes its results in, beside them."""


class Results:
    """Tells results from images by the manifests in a folder and in those of the images.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self._own = results_in(folder)
        self._known = {folder.absolute(): self._own}

    def hold(self, paths: Sequence[Path]) -> bool:
        """Tell whether these files, of one subject, are all results."""
        return bool(paths) and all(map(self._is_result, paths))

    def _is_result(self, path: Path) -> bool:
        path = path.absolute()
        if path.parent not in self._known:
            self._known[path.parent] = results_in(path.parent)
        beside = self._known[path.parent]
        return bool(beside or self._own) and path.resolve() in beside | self._own


def results_in(folder: Path) -> set[Path]:
    """Return the files that a manifest lists as results; none if it cannot be read."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        own = [names for one in document["subjects"].values() for names in one.values()]
        return {(folder / name).resolve() for names in own for name in names}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def without_results(
    folder: Path, found: DataIO | list[Files | Found]
) -> DataIO | list[Files | Found]:
    """Return what was found in a folder, less the subjects that are results themselves."""
    results = Results(folder)
    if isinstance(found, DataIO):
        found.indices_list = [
            i for i in found.indices_list if not results.hold(_images(found.interface, i))
        ]
        return found
    return [
        one
        for one in found
        if not results.hold(
            one.paths if isinstance(one, Files) else _images(one.interface, one.index)
        )
    ]


def _images(interface: DataInterface, index: str) -> Sequence[Path]:
    if isinstance(innermost(interface), DICOMInterface):
        return ()  # its images lie in folders of their own
    try:
        return interface.image_files(index)
    except (MiscnnError, OSError):  # reading it will tell
        return ()
