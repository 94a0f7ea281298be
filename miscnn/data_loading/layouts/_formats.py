"""Which interface reads which files."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from miscnn.data_loading._patterns import visible_names
from miscnn.exceptions import ConfigurationError

_INTERFACES = "miscnn.data_loading.interfaces"


@dataclass(frozen=True)
class Format:
    """A family of files that one interface reads.

    Attributes
    ----------
    name : str
    endings : tuple of str
        Of the files that stand for a subject; ``.raw`` beside ``.mhd`` is none of them.
    module, interface : str
        Where the interface is, imported on first use.
    """

    name: str
    endings: tuple[str, ...]
    module: str
    interface: str

    def files(self, folder: Path) -> dict[str, str]:
        """Return the names of the files of this format in a folder, by their stems."""
        found: dict[str, str] = {}
        for name in visible_names(folder):
            stem = self.stem(name)
            if stem and stem not in found and not (folder / name).is_dir():
                found[stem] = name
        return found

    def stem(self, name: str) -> str | None:
        """Return a name without its ending; None if it is of another format."""
        endings = sorted(self.endings, key=len, reverse=True)
        return next((name.removesuffix(e) for e in endings if name.endswith(e)), None)

    def ending(self, folder: Path) -> str:
        """Return the commonest ending of the files of this format in a folder."""
        counts = Counter(name[len(stem) :] for stem, name in self.files(folder).items())
        order = {ending: -i for i, ending in enumerate(self.endings)}
        return max(counts, key=lambda e: (counts[e], order[e])) if counts else self.endings[0]


FORMATS = (
    Format("NIfTI", (".nii.gz", ".nii"), f"{_INTERFACES}.nifti", "NIfTIInterface"),
    Format(
        "ITK",
        (".nrrd", ".nhdr", ".mha", ".mhd", ".gipl", ".gipl.gz", ".hdr"),
        f"{_INTERFACES}.itk",
        "ITKInterface",
    ),
    Format(
        "image",
        (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg"),
        f"{_INTERFACES}.image",
        "ImageInterface",
    ),
    Format("NumPy", (".npy", ".npz"), f"{_INTERFACES}.numpy_files", "NumPyInterface"),
)
DICOM = Format("DICOM", (".dcm", ".ima"), f"{_INTERFACES}.dicom", "DICOMInterface")
_ALL = {form.name.lower(): form for form in (*FORMATS, DICOM)}


def find_format(name: str) -> Format:
    """Return the format of this name.

    Raises
    ------
    ConfigurationError
        If there is none.
    """
    if not isinstance(name, str) or name.lower() not in _ALL:
        known = ", ".join(repr(form.name) for form in _ALL.values())
        raise ConfigurationError(f"format={name!r} is not known; known are {known}")
    return _ALL[name.lower()]


def format_of(name: str) -> Format | None:
    """Return the format that a file's name tells, or None."""
    return next((f for f in _ALL.values() if f.stem(name.lower()) is not None), None)


def interface_class(name: str) -> Any:
    """Return the interface of a format, which is imported now."""
    form = find_format(name)
    return getattr(importlib.import_module(form.module), form.interface)
