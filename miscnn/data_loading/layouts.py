"""Finding out how a folder of NIfTI files is laid out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn.data_loading.interfaces.nifti import NIfTIInterface
from miscnn.exceptions import MissingFileError

_LABEL_FOLDERS = ("labels", "segmentations", "masks", "label", "mask")
_FOLDERS = {
    "images": _LABEL_FOLDERS,
    "imagesTr": ("labelsTr",),
    "image": _LABEL_FOLDERS,
    "imagesTs": ("labelsTs",),
}
_SUFFIXES = ("label", "labels", "seg", "segmentation", "mask")
_CHANNEL = re.compile(r"(?P<index>.+)_(?P<channel>[0-9]{4})")


@dataclass(frozen=True)
class Layout:
    """How a data set is laid out.

    Attributes
    ----------
    name : str
        ``"miscnn"``, ``"folders"`` (images and labels apart), ``"pairs"`` or ``"images"``.
    description : str
        The same in words.
    image : tuple of str
        Pattern of the image, or of each channel.
    segmentation : str or None
        Pattern of the segmentation.
    """

    name: str
    description: str
    image: tuple[str, ...]
    segmentation: str | None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for :class:`~miscnn.data_loading.interfaces.NIfTIInterface`."""
        image = self.image[0] if len(self.image) == 1 else self.image
        channels = {} if len(self.image) == 1 else {"channels": len(self.image)}
        return {**channels, "image": image, "segmentation": self.segmentation}

    def interface(self, **arguments: Any) -> NIfTIInterface:
        """Make the interface; ``arguments`` such as ``classes`` are added or take precedence."""
        return NIfTIInterface(**{**self.arguments, **arguments})


def find_layout(path: str | Path) -> Layout:
    """Find out how a folder is laid out.

    Known are: MIScnn and KiTS (``<index>/imaging.nii.gz`` and ``segmentation.nii.gz``); a folder
    of images beside a folder of labels (``images``/``labels``, ``imagesTr``/``labelsTr``; channel
    numbers ``_0000`` are recognised); a flat folder, in which ``X_label``, ``X_seg`` or
    ``X_mask`` is the segmentation of ``X``.

    Raises
    ------
    MissingFileError
        If the folder does not exist, or holds none of these.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise MissingFileError(f"there is no folder {str(path)!r}")
    layout = _subjects(folder) or _folders(folder) or _flat(folder)
    if layout is None:
        seen = ", ".join(_visible(folder)[:8]) or "nothing"
        raise MissingFileError(
            f"found no known layout of NIfTI files in {folder} (it holds {seen}); known are "
            "<index>/imaging.nii.gz with segmentation.nii.gz, images/ with labels/, and a flat "
            "folder of .nii.gz files. Name the files by patterns, such as image='scans/*_ct.nii.gz'"
        )
    return layout


def _subjects(folder: Path) -> Layout | None:
    for name in _visible(folder):
        stems = set(_stems(folder / name))
        if stems & {"imaging", "segmentation"}:
            return Layout(
                "miscnn",
                "MIScnn folders: <index>/imaging.nii.gz with segmentation.nii.gz",
                ("{index}/imaging.nii.gz",),
                "{index}/segmentation.nii.gz",
            )
    return None


def _folders(folder: Path) -> Layout | None:
    images = next((name for name in _FOLDERS if any(_stems(folder / name))), None)
    if images is None:
        return None
    labels = next((name for name in _FOLDERS[images] if any(_stems(folder / name))), None)
    labelled = set(_stems(folder / labels)) if labels else set()
    names = _channels(list(_stems(folder / images)), labelled)
    patterns = tuple(f"{images}/{name}" for name in names)
    shown = " and ".join(patterns)
    if labels is None:
        return Layout("images", f"images {shown}, no segmentations", patterns, None)
    pattern = f"{labels}/*.nii.gz"
    return Layout("folders", f"images {shown}, segmentations {pattern}", patterns, pattern)


def _flat(folder: Path) -> Layout | None:
    stems = set(_stems(folder))
    if not stems:
        return None
    for suffix in _SUFFIXES:
        if any(f"{stem}_{suffix}" in stems for stem in stems):
            pattern = f"*_{suffix}.nii.gz"
            text = f"a flat folder: images *.nii.gz, segmentations {pattern}"
            return Layout("pairs", text, ("*.nii.gz",), pattern)
    patterns = tuple(_channels(sorted(stems)))
    text = f"a flat folder: images {' and '.join(patterns)}, no segmentations"
    return Layout("images", text, patterns, None)


def _channels(stems: list[str], labelled: Set[str] = frozenset()) -> list[str]:
    """Return one pattern per channel if all names end in channel numbers, else one pattern."""
    matches = [_CHANNEL.fullmatch(stem) for stem in stems]
    numbers = sorted({match["channel"] for match in matches if match})
    if not all(matches) or labelled & set(stems) or not _complete(matches, numbers):
        return ["*.nii.gz"]
    return [f"*_{number}.nii.gz" for number in numbers]


def _complete(matches: list[re.Match[str] | None], numbers: list[str]) -> bool:
    """Tell whether the numbers count channels: 0000, 0001 … rather than subjects."""
    return numbers == [f"{i:04d}" for i in range(len(numbers))] and (
        len(numbers) == 1 or len(matches) > len(numbers)
    )


def _stems(folder: Path) -> Iterator[str]:
    """Yield the names of the NIfTI files in a folder without their endings."""
    for name in _visible(folder):
        for ending in NIfTIInterface.endings:
            if name.endswith(ending):
                yield name.removesuffix(ending)
                break


def _visible(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
