"""What is known of how a data set is laid out."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.data_loading.layouts._formats import interface_class

# What no longer holds once the argument on the left is given.
_REPLACED = {
    "image": ("channels", "segmentation", "listing", "pattern"),
    "segmentation": ("listing", "pattern"),
    "listing": ("channels", "image", "segmentation", "pattern"),
    "classes": ("class_names", "label_values", "ignore_label"),
    "label_values": ("class_names",),
}


@dataclass(frozen=True)
class Layout:
    """How a data set is laid out.

    Attributes
    ----------
    name : str
        ``"miscnn"``, ``"subjects"`` (a folder for each), ``"folders"`` (images and labels apart),
        ``"pairs"``, ``"images"`` (no segmentations), ``"nnunet"``, ``"msd"``, ``"bids"``,
        ``"listing"``, ``"dicom"`` or ``"patterns"`` (of the user's).
    description : str
        The same in words.
    image : tuple of str
        Pattern of the image, or of each channel; empty if the files are listed.
    segmentation : str or None
        Pattern of the segmentation.
    format : str
        ``"NIfTI"``, ``"ITK"`` (NRRD, MetaImage and others), ``"image"`` (PNG, TIFF and others),
        ``"NumPy"`` or ``"DICOM"``.
    further : dict
        Further arguments for the interface: ``classes``, ``class_names``, ``label_values``,
        ``listing`` and so on, as far as the data set tells them.
    regions : dict
        Name to classes of each region that a ``dataset.json`` of nnU-Net's declares; empty if
        classes do not overlap.
    regions_class_order : tuple of int
        The class that is written for each region, in this order, as nnU-Net has it.
    """

    name: str
    description: str
    image: tuple[str, ...] = ()
    segmentation: str | None = None
    format: str = "NIfTI"
    further: Mapping[str, Any] = field(default_factory=dict, hash=False)
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict, hash=False)
    regions_class_order: tuple[int, ...] = ()

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments for the interface of the :attr:`format`."""
        if not self.image:
            return dict(self.further)
        image = self.image[0] if len(self.image) == 1 else self.image
        channels = {} if len(self.image) == 1 else {"channels": len(self.image)}
        return {**channels, "image": image, "segmentation": self.segmentation, **self.further}

    def interface(self, **arguments: Any) -> DataInterface:
        """Make the interface; ``arguments`` such as ``classes`` are added or take precedence."""
        own = self.arguments
        for name, value in arguments.items():
            # the number that is declared replaces nothing that is declared with it
            if name != "classes" or value != self.further.get("classes"):
                for replaced in _REPLACED.get(name, ()):
                    own.pop(replaced, None)
        cls = interface_class(self.format)
        known = inspect.signature(cls).parameters
        own = {name: value for name, value in own.items() if name in known or value is not None}
        interface: DataInterface = cls(**{**own, **arguments})
        return interface

    def choice(self) -> str:
        """Return the arguments of ``open_dataset`` that choose this layout among others."""
        if self.image:
            image: Any = self.image[0] if len(self.image) == 1 else list(self.image)
            labels = f", segmentation={self.segmentation!r}" if self.segmentation else ""
            pattern = self.further.get("pattern")
            return f"image={image!r}{labels}" + (f", pattern={pattern!r}" if pattern else "")
        return f"layout={self.name!r}, format={self.format!r}"
