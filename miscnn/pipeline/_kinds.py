"""The classes that a document can name, by family."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from miscnn.pipeline._signatures import (
    Arguments,
    arguments_in_source,
    arguments_of,
    classes_in_source,
)

KERAS = "keras."
"""What the names of Keras' own losses and metrics begin with."""


@dataclass(frozen=True)
class Kind:
    """A class that a document can name.

    Attributes
    ----------
    name : str
        As it is written down.
    module : str
        Where it is imported from.
    heavy : bool
        Whether importing it imports Keras.
    given : type or None
        The class itself, where it is one of the user's own.
    """

    name: str
    module: str
    heavy: bool
    given: type | None = None

    def arguments(self) -> Arguments:
        """Return the arguments of the constructor."""
        if self.given is None and self.heavy:
            return arguments_in_source(self.module, self.name)
        return arguments_of(self.load())

    def load(self) -> Any:
        """Return the class."""
        if self.given is not None:
            return self.given
        return getattr(importlib.import_module(self.module), self.name)


@dataclass(frozen=True)
class Family:
    """Classes of which one can stand at a place.

    Attributes
    ----------
    name : str
        What an error calls one of them.
    module : str
        The package that exports them.
    heavy : bool
        As in :class:`Kind`.
    suffix : str
        What may be left out at the end of a name.
    apart : frozenset of str
        Exported classes that are none of them.
    others : bool
        Whether those of Keras may be named, too: ``keras.Huber``.
    words : tuple of str
        What else may be said in place of a class.
    """

    name: str
    module: str
    heavy: bool = False
    suffix: str = ""
    apart: frozenset[str] = field(default=frozenset())
    others: bool = False
    words: tuple[str, ...] = ()

    def kinds(self) -> dict[str, Kind]:
        """Return the classes by name."""
        found = {}
        for name, module in sorted(classes_in_source(self.module).items()):
            # Bases stand in modules of this name; names with "_" are those of MIScnn 1.x.
            if "_" in name or module.endswith(("base", "_slices")) or name in self.apart:
                continue
            kind = Kind(name, module, self.heavy)
            if self.heavy or not inspect.isabstract(kind.load()):
                found[name] = kind
        return found


SUBFUNCTIONS = Family("subfunction", "miscnn.processing.subfunctions")
AUGMENTATIONS = Family(
    "augmentation",
    "miscnn.processing.augmentation",
    suffix="augmentation",
    apart=frozenset({"PatchGrid"}),
)
ARCHITECTURES = Family("architecture", "miscnn.neural_network.architecture", heavy=True)
LOSSES = Family("loss", "miscnn.neural_network.losses", heavy=True, others=True)
METRICS = Family(
    "metric",
    "miscnn.neural_network.metrics",
    heavy=True,
    apart=frozenset({"PooledScore"}),
    others=True,
)
SCHEDULES = Family(
    "schedule",
    "miscnn.neural_network.schedules",
    suffix="schedule",
    apart=frozenset({"Schedule"}),
)
SPLITTERS = Family(
    "splitter",
    "miscnn.evaluation.splits",
    suffix="kfold",
    apart=frozenset({"Fold", "KnowsGeometry", "Splitter"}),
    words=("random",),
)
STEPS = Family("step", "miscnn.processing.postprocessing", apart=frozenset({"PostProcessing"}))
INTERFACES = Family("data interface", "miscnn.data_loading.interfaces", suffix="interface")

REGIONS = Family("set of regions", "miscnn.processing.regions")

FAMILIES = (
    *(SUBFUNCTIONS, AUGMENTATIONS, ARCHITECTURES, LOSSES, METRICS, SCHEDULES, STEPS, REGIONS),
)
"""Those whose members may stand within others."""


class Names:
    """Finds classes by name: the library's, and those of the user's own modules.

    Parameters
    ----------
    own : mapping of str to type
        The user's classes.
    """

    def __init__(self, own: Mapping[str, type] | None = None) -> None:
        self._own = {
            name: Kind(name, cls.__module__, False, cls) for name, cls in (own or {}).items()
        }
        self._families: dict[str, dict[str, Kind]] = {}

    @property
    def own(self) -> dict[str, type]:
        """The user's classes by name."""
        return {name: kind.load() for name, kind in self._own.items()}

    def known(self, family: Family | None) -> dict[str, Kind]:
        """Return the classes of a family by name; None: of all that may stand in others."""
        if family is None:
            every = {n: k for f in reversed(FAMILIES) for n, k in self.known(f).items()}
            return {**every, **self._own}
        if family.module not in self._families:
            self._families[family.module] = family.kinds()
        return {**self._families[family.module], **self._own}

    def spellings(self, family: Family | None) -> list[str]:
        """Return the names of a family, with and without what may be left out."""
        suffix = family.suffix if family is not None else ""
        names = list(self.known(family))
        short = [name[: -len(suffix)] for name in names if suffix and name.lower().endswith(suffix)]
        words = family.words if family is not None else ()
        return [*names, *(name.lower() for name in short if name), *words]

    def find(self, name: str, family: Family | None) -> Kind | None:
        """Return the class of a name, however it is spelled; None if there is none."""
        known = self.known(family)
        if name in known:
            return known[name]
        suffix = family.suffix if family is not None else ""
        plain = {_plain(n): kind for n, kind in known.items()}
        shortened = {n.removesuffix(suffix): kind for n, kind in plain.items()}
        return {**shortened, **plain}.get(_plain(name))


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
