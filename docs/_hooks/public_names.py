"""The public names of the library, read from its source without importing it.

A page of the reference is made for each entry of `PAGES`, and `tests/test_docs.py` holds the
docstrings of the same names to what they promise.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import griffe

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Page:
    """A page of the reference: a package or module, and modules that are shown with it.

    Of a module ``"package.module:first,second"`` only these names are shown.
    """

    module: str
    title: str
    modules: tuple[str, ...] = ()
    see: str = ""

    @property
    def uri(self) -> str:
        """Where the page lies below ``docs``."""
        return f"reference/api/{self.module.removeprefix('miscnn.').replace('.', '-')}.md"


# Packages with ``__all__`` say themselves what is public. The three large ones have none: there the
# modules that users import from are named here, and what is named in none of them is internal.
PAGES = (
    Page("miscnn", "miscnn"),
    Page(
        "miscnn.data_loading",
        "Data",
        (
            "miscnn.data_loading.geometry",
            "miscnn.data_loading.verification",
            "miscnn.data_loading.inspection",
            "miscnn.data_loading.montage:montage",
            "miscnn.data_loading.label_mapping:LabelMapping",
            "miscnn.data_loading.layouts",
        ),
    ),
    Page("miscnn.data_loading.interfaces", "Data interfaces"),
    Page(
        "miscnn.processing",
        "Processing",
        ("miscnn.processing.data_generator", "miscnn.processing.regions"),
    ),
    Page("miscnn.processing.subfunctions", "Subfunctions"),
    Page(
        "miscnn.processing.augmentation",
        "Augmentation",
        ("miscnn.processing.augmentation.base:Augmentation,PatchGrid,center_crop",),
    ),
    Page("miscnn.processing.postprocessing", "Post-processing"),
    Page(
        "miscnn.neural_network",
        "Networks in use",
        (
            "miscnn.neural_network.history",
            "miscnn.neural_network.prediction_settings",
            "miscnn.neural_network.mean_ensemble",
            "miscnn.neural_network.ensemble",
            "miscnn.neural_network.bundle",
            "miscnn.neural_network.model_card:ModelCard",
            "miscnn.neural_network.transfer",
            "miscnn.neural_network.optimizers",
            "miscnn.neural_network.deep_supervision",
            "miscnn.neural_network.export",
        ),
    ),
    Page(
        "miscnn.neural_network.architecture",
        "Architectures",
        (
            "miscnn.neural_network.architecture.unet",
            "miscnn.neural_network.architecture.blocks:Blocks",
        ),
        see="[arguments, sources and costs](../models.md)",
    ),
    Page(
        "miscnn.neural_network.losses",
        "Losses",
        see="[formulas, absent classes and common arguments](../losses.md)",
    ),
    Page("miscnn.neural_network.metrics", "Metrics of training"),
    Page("miscnn.neural_network.schedules", "Schedules"),
    Page("miscnn.neural_network.callbacks", "Callbacks"),
    Page("miscnn.evaluation", "Evaluation"),
    Page(
        "miscnn.evaluation.scores",
        "Score functions",
        see="[the definitions](../scores.md)",
    ),
    Page("miscnn.evaluation.splits", "Splits"),
    Page("miscnn.evaluation.figures", "Figures", ("miscnn.evaluation.visualizer",)),
    Page(
        "miscnn.datasets",
        "Data sets",
        ("miscnn.datasets.phantom", "miscnn.datasets.demo"),
    ),
    Page("miscnn.pipeline", "Pipelines"),
    Page("miscnn.testing", "Checks for your own parts"),
    Page("miscnn.exceptions", "Exceptions"),
)


@dataclass(frozen=True)
class Name:
    """A public name: where it is imported from, and what it stands for."""

    path: str
    target: griffe.Object
    old_name_of: str | None = None

    @property
    def name(self) -> str:
        """Its last part."""
        return self.path.rpartition(".")[2]

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, as one line."""
        return _first_paragraph(self.target)


@dataclass
class Contents:
    """What a page of the reference shows."""

    page: Page
    names: list[Name] = field(default_factory=list)


@cache
def package() -> griffe.Module:
    """The whole library, parsed."""
    loaded = griffe.load("miscnn", search_paths=[str(ROOT)], docstring_parser="numpy")
    assert isinstance(loaded, griffe.Module)
    return loaded


def module_of(path: str) -> griffe.Module:
    """One module or package of the library."""
    _, _, below = path.partition(".")
    found = package()[below] if below else package()
    assert isinstance(found, griffe.Module)
    return found


def first_paragraph(path: str) -> str:
    """What the docstring of a module says first, as one line."""
    return _first_paragraph(module_of(path))


def _first_paragraph(thing: griffe.Object) -> str:
    text = thing.docstring.value if thing.docstring else ""
    return " ".join(text.strip().split("\n\n")[0].split())


def public_members(module: griffe.Module) -> list[str]:
    """Names in ``__all__``, else what is defined in the module itself and not private."""
    if module.exports is not None:
        return sorted(str(name) for name in module.exports)
    return sorted(
        name
        for name, member in module.members.items()
        if not name.startswith("_") and not member.is_alias and member.kind.value != "module"
    )


def names_of(path: str) -> Iterator[Name]:
    """The public names of a module, with what they stand for."""
    path, _, chosen = path.partition(":")
    module = module_of(path)
    for name in chosen.split(",") if chosen else public_members(module):
        member = module.members.get(name)
        if member is None or name.startswith("__"):
            continue  # made by a table at run time, or the version
        try:
            target = member.final_target if isinstance(member, griffe.Alias) else member
        except griffe.AliasResolutionError:
            raise LookupError(f"{path} offers {name}, which is nowhere to be found") from None
        where = f"{path}.{name}"
        if isinstance(target, griffe.Module):
            # A function that has the name of its module, such as ``cross_validation``.
            if name not in target.members:
                continue
            where, target = f"{where}.{name}", target[name]
        yield Name(where, target, _old_name(target))


def _old_name(target: griffe.Object) -> str | None:
    """What an old name such as ``Data_IO = DataIO`` stands for."""
    if not isinstance(target, griffe.Attribute) or target.annotation is not None:
        return None
    value = target.value
    if not isinstance(value, griffe.ExprName) or target.parent is None:
        return None
    stands_for = target.parent.members.get(value.name)
    kinds = (griffe.Class, griffe.Function, griffe.Alias)
    return value.name if isinstance(stands_for, kinds) else None


@cache
def contents() -> tuple[Contents, ...]:
    """All pages. A thing that several modules offer is shown where it is met first."""
    shown: set[str] = set()
    pages = []
    for page in PAGES:
        made = Contents(page)
        for path in (page.module, *page.modules):
            for name in names_of(path):
                key = name.path if name.old_name_of else name.target.path
                if key not in shown:
                    shown.add(key)
                    made.names.append(name)
        pages.append(made)
    return tuple(pages)
