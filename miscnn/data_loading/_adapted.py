"""The interface of a trained network, made anew for other files."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.interfaces.dicom import DICOMInterface
from miscnn.data_loading.interfaces.files import FileInterface
from miscnn.data_loading.interfaces.image import ImageInterface
from miscnn.data_loading.interfaces.memory import DictionaryInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.data_loading.interfaces.nifti_slices import NIfTISliceInterface
from miscnn.data_loading.layouts._formats import FORMATS, format_of, interface_class
from miscnn.exceptions import ConfigurationError

# What says where the files lie; that of other files is another one.
_WHERE = ("image", "segmentation", "pattern", "listing")
_SHARED = ("channels", "classes", "three_dim", "ignore_label", "label_values", "class_names")
_SLICED = ("NIfTI", "image")


def innermost(interface: DataInterface) -> DataInterface:
    """Return what reads the files of an interface that merges labels."""
    while isinstance(interface, MergedLabels):
        interface = interface.interface
    return interface


def unused(interface: DataInterface) -> DataInterface:
    """Return an interface of the same settings that looks at no folder yet."""
    if isinstance(interface, MergedLabels):  # the one inside may be of a class of the user's
        return MergedLabels(unused(interface.interface), interface.groups)
    return type(interface).from_config(interface.get_config())


def finds_files(interface: DataInterface) -> bool:
    """Tell whether other files can be named to interfaces of this kind, or other formats read."""
    known = (FileInterface, NIfTISliceInterface, DICOMInterface, DictionaryInterface)
    return isinstance(innermost(interface), known)


def own_format(interface: DataInterface) -> str | None:
    """Return the name of the format that an interface reads; None for data in memory."""
    inner = innermost(interface)
    if isinstance(inner, NIfTISliceInterface):
        return "NIfTI"
    names = (*(form.name for form in FORMATS), "DICOM")
    return next((name for name in names if isinstance(inner, interface_class(name))), None)


def format_for(path: Path, interface: DataInterface) -> str | None:
    """Return the name of the format by which a file is to be read; None if it is not known.

    The name is empty for files that a class of the user's reads.
    """
    inner = innermost(interface)
    name = path.name.lower()
    if isinstance(inner, FileInterface) and name.endswith(tuple(inner.endings)):
        return own_format(interface) or ""
    form = format_of(name)
    return None if form is None else form.name


def stem_of(path: Path, interface: DataInterface) -> str:
    """Return the name of a file without its ending."""
    inner = innermost(interface)
    endings = [ending for form in FORMATS for ending in form.endings]
    endings += inner.endings if isinstance(inner, FileInterface) else ()
    name = path.name
    for ending in sorted(endings, key=len, reverse=True):
        if name.lower().endswith(ending) and len(name) > len(ending):
            return name[: len(name) - len(ending)]
    return path.stem


def adapted(interface: DataInterface, form: str, **where: Any) -> DataInterface:
    """Make an interface of another format, or for other files, with the same labels.

    Parameters
    ----------
    interface : DataInterface
        That of the network.
    form : str
        The format's name, see :func:`format_for`.
    **where
        ``image``, ``segmentation``, ``pattern`` or ``listing``.

    Raises
    ------
    ConfigurationError
        If the interface, a class of the user's, reads other files only.
    """
    if isinstance(interface, MergedLabels):
        return MergedLabels(adapted(interface.interface, form, **where), interface.groups)
    if own_format(interface) == form or not form:
        return _same_class(interface, where)
    if not type(interface).__module__.startswith("miscnn."):
        raise ConfigurationError(
            f"the network was trained on files that {type(interface).__name__} reads, which may "
            f"change what it reads; convert the {form} files to its format"
        )
    if isinstance(interface, NIfTISliceInterface) and form not in _SLICED:
        raise ConfigurationError(
            f"the network takes slices of NIfTI volumes, but the files are {form}; convert them "
            "to NIfTI"
        )
    if form == "DICOM" and interface.channels > 1:
        raise ConfigurationError(
            f"the network takes {interface.channels} channels, and it cannot be told which DICOM "
            "series they are; hand in samples: DataIO(DICOMInterface(channels="
            f"{interface.channels}, series=['T1', 'T2']), folder).sample_loader(index, "
            "load_seg=False)"
        )
    cls = interface_class(form)
    settings = {name: getattr(interface, name) for name in _SHARED}
    if cls is ImageInterface:
        settings["img_type"] = {1: "grayscale", 3: "rgb"}.get(interface.channels, "multichannel")
    made: DataInterface = cls(**settings, **_known(cls, where))
    return made


def _same_class(interface: DataInterface, where: dict[str, Any]) -> DataInterface:
    cls = type(interface)
    missing = sorted(set(where) - set(_known(cls, where)))
    if missing:
        raise ConfigurationError(
            f"{cls.__name__}, which the network was trained with, takes no argument "
            f"{' nor '.join(missing)}, so that files cannot be named to it; hand in a folder in "
            f"its layout ({interface.expected_files()})"
        )
    config = interface.get_config()
    config.update({name: None for name in _WHERE if name in config})
    return cls.from_config({**config, **where})


def _known(cls: type, where: dict[str, Any]) -> dict[str, Any]:
    """Return what a class takes; for DICOM, folders and nothing else say where files lie."""
    parameters = inspect.signature(cls).parameters
    return {name: value for name, value in where.items() if name in parameters}
