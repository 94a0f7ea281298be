"""Classes that overlap: unions of labels, each predicted for itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError

THRESHOLD = 0.5
"""A voxel belongs to a region if its probability is above this."""

UNLABELLED = -1.0
"""Target of voxels that nobody has annotated. (0 for all regions is the background.)"""


class Regions(Configurable):
    """Which labels make up each region, and how regions become a label map again.

    Segmentations stay label maps: each voxel has one label. A network with regions has one
    sigmoid output per region in place of one softmax output per class.

    Parameters
    ----------
    regions : mapping of str to int or sequence of int, or sequence of pairs
        The labels of each region. The order counts: where regions overlap in a prediction, later
        ones are painted over earlier ones. So larger regions come first.
    class_order : sequence of int, optional
        The label that each region is painted with (nnU-Net's ``regions_class_order``). Default:
        that label of the region which no later region holds, if there is just one.

    Attributes
    ----------
    names : tuple of str
    labels : tuple of tuple of int
        The labels of each region.

    Raises
    ------
    ConfigurationError
        If the background or a negative label is in a region, a name or a set of labels is there
        twice, or a label would not become itself again when it is encoded and decoded.

    References
    ----------
    Isensee et al. 2020, nnU-Net for Brain Tumor Segmentation, arXiv 2011.00848; the threshold and
    the order of painting are those of nnU-Net's code.

    Examples
    --------
    >>> brats = Regions({"whole tumour": (1, 2, 3), "tumour core": (2, 3), "enhancing": (3,)})
    >>> brats.class_order
    (1, 2, 3)
    >>> brats.encode(np.array([0, 1, 3])).astype(int).tolist()
    [[0, 0, 0], [1, 0, 0], [1, 1, 1]]
    >>> brats.decode(np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.1]])).tolist()
    [1, 2]
    """

    def __init__(
        self,
        regions: Mapping[str, int | Sequence[int]] | Sequence[tuple[str, Sequence[int]]],
        class_order: Sequence[int] | None = None,
    ) -> None:
        pairs = list(regions.items() if isinstance(regions, Mapping) else regions)
        # Pairs, not a mapping: the order is part of what is compared when a run is resumed.
        self.regions = tuple((str(name), _labels(name, labels)) for name, labels in pairs)
        self.names = tuple(name for name, _ in self.regions)
        self.labels = tuple(labels for _, labels in self.regions)
        if not self.regions:
            raise ConfigurationError('regions is empty; name at least one, {"tumour": (1, 2)}')
        for what, values in (("name", self.names), ("set of labels", self.labels)):
            twice = [value for value in dict.fromkeys(values) if list(values).count(value) > 1]
            if twice:
                raise ConfigurationError(f"regions has the same {what} twice: {twice[0]!r}")
        self.class_order = self._derived() if class_order is None else tuple(map(int, class_order))
        self._check_order()

    def __len__(self) -> int:
        """Number of regions."""
        return len(self.regions)

    def check(self, classes: int) -> None:
        """Raise ConfigurationError if the regions do not cover the labels 1 … classes − 1."""
        held = {label for labels in self.labels for label in labels}
        unknown = sorted(held - set(range(classes)))
        if unknown:
            raise ConfigurationError(
                f"regions holds the label(s) {unknown}, but the data set has {classes} classes: "
                f"the labels 0 … {classes - 1}"
            )
        missing = sorted(set(range(1, classes)) - held)
        if missing:
            raise ConfigurationError(
                f"the label(s) {missing} are in no region and would never be predicted; add them "
                "to one, or make one class of several with MergedLabels"
            )

    def encode(self, labels: NDArray[Any], ignore_label: int | None = None) -> NDArray[np.float32]:
        """Return ``(…, regions)`` float32: 1 where a voxel belongs to a region, else 0.

        Voxels of ``ignore_label`` are −1 for all regions. Labels may be floats that are whole.

        Raises
        ------
        ConfigurationError
            If a label is negative, beyond all labels there are, or no whole number.
        """
        labels = np.asarray(labels)
        known = max(label for of_region in self.labels for label in of_region)
        table = np.zeros((max(known, ignore_label or 0) + 1, len(self)), dtype=np.float32)
        for region, of_region in enumerate(self.labels):
            table[list(of_region), region] = 1.0
        if ignore_label is not None:
            table[ignore_label] = UNLABELLED
        _check_labels(labels, len(table))
        encoded: NDArray[np.float32] = np.take(table, labels.astype(np.intp, copy=False), axis=0)
        return encoded

    def decode(self, probabilities: NDArray[Any]) -> NDArray[Any]:
        """Return the label map of probabilities ``(…, regions)``, in the smallest unsigned type."""
        if probabilities.shape[-1] != len(self):
            raise ConfigurationError(
                f"{probabilities.shape[-1]} channels cannot be decoded into the {len(self)} "
                f"regions {', '.join(self.names)}; hand in one probability per region"
            )
        return self.paint(probabilities[..., region] for region in range(len(self)))

    def paint(self, shares: Iterable[NDArray[Any]]) -> NDArray[Any]:
        """Return the label map of one array of probabilities after the other, region by region.

        As :meth:`decode`, without holding all of them at once.
        """
        result: NDArray[Any] | None = None
        for label, share in zip(self.class_order, shares, strict=True):
            if result is None:
                result = np.zeros(share.shape, dtype=np.min_scalar_type(max(self.class_order)))
            np.copyto(result, result.dtype.type(label), where=share > THRESHOLD)
        assert result is not None  # there is at least one region
        return result

    def masks(self, labels: NDArray[Any]) -> Iterable[NDArray[np.bool_]]:
        """Yield where a label map belongs to each region."""
        return (np.isin(labels, of_region) for of_region in self.labels)

    def _derived(self) -> tuple[int, ...]:
        order = []
        for number, (name, labels) in enumerate(self.regions):
            later = {label for of_region in self.labels[number + 1 :] for label in of_region}
            own = [label for label in labels if label not in later]
            if len(own) != 1:
                found = f"holds the labels {own}, which" if own else "holds no label that"
                raise ConfigurationError(
                    f"the region {name!r} {found} no later region holds, so that it is open what "
                    "it is painted with. Put larger regions before those they contain, or give "
                    "class_order, one label per region"
                )
            order.append(own[0])
        return tuple(order)

    def _check_order(self) -> None:
        if len(self.class_order) != len(self):
            raise ConfigurationError(
                f"class_order {self.class_order} has {len(self.class_order)} labels for "
                f"{len(self)} regions; give one label per region"
            )
        held = np.array(sorted({label for labels in self.labels for label in labels}))
        if not set(self.class_order) <= set(held.tolist()):
            raise ConfigurationError(
                f"class_order {self.class_order} holds a label that is in no region; they hold "
                f"{held.tolist()}"
            )
        decoded = self.decode(self.encode(held))
        for label, became in zip(held.tolist(), decoded.tolist(), strict=True):
            if label != became:
                raise ConfigurationError(
                    f"with class_order {self.class_order} a voxel of label {label} would be "
                    f"predicted as {became}: regions are painted one over the other, the last on "
                    "top. Put larger regions first, and give each the label that it alone adds"
                )


def as_regions(
    value: Regions | Mapping[str, int | Sequence[int]] | None,
) -> Regions | None:
    """Return regions that were given as such, or as a mapping of names to labels.

    Parameters
    ----------
    value : Regions, mapping or None
    """
    if value is None or isinstance(value, Regions):
        return value
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            'regions must be a mapping such as {"whole": (1, 2), "core": (2,)}, Regions or None, '
            f"got {value!r}"
        )
    return Regions(value)


def _check_labels(labels: NDArray[Any], end: int) -> None:
    """Raise ConfigurationError for what would be taken for another label, or for none."""
    if not labels.size:
        return
    low, high = labels.min(), labels.max()
    if not (low >= 0 and high < end):  # NaN is neither
        raise ConfigurationError(
            f"a segmentation holds values from {low} to {high}, but regions and ignore label know "
            f"the labels 0 … {end - 1} only; map other values to classes with label_values of the "
            "data interface"
        )
    if labels.dtype.kind == "f" and (labels != np.trunc(labels)).any():
        raise ConfigurationError(
            "a segmentation holds fractions, but labels are whole numbers; interpolate label maps "
            "with order 0, or as Resampling does"
        )


def _labels(name: str, labels: int | Sequence[int]) -> tuple[int, ...]:
    given = [labels] if isinstance(labels, (int, np.integer)) else list(labels)
    if not given or not all(isinstance(n, (int, np.integer)) and n > 0 for n in given):
        raise ConfigurationError(
            f"the region {name!r} has the labels {labels!r}; expected one or more whole numbers "
            "from 1 on (0 is the background: it is in no region)"
        )
    return tuple(sorted({int(n) for n in given}))
