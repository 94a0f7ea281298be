"""The documentation: complete, linked, and all of it in the navigation."""

from __future__ import annotations

import importlib.util
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

griffe = pytest.importorskip("griffe", reason="pip install 'miscnn[docs]'")

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
WRITTEN = sorted(
    [
        *DOCS.rglob("*.md"),
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "CHANGELOG.md",
        *(ROOT / "examples").glob("*.md"),
        *(ROOT / "benchmarks").glob("*.md"),
    ]
)
_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)|^\[[^\]]+\]:\s+(\S+)", re.MULTILINE)
# Pages that are made while the site is built, and files that are pages of the site.
_MADE = {"docs/reference/api/index.md"}


def _load(name: str) -> Any:
    if name not in sys.modules:
        path = DOCS / "_hooks" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        spec.loader.exec_module(module)
    return sys.modules[name]


public_names = _load("public_names")


def _all_names() -> Iterator[Any]:
    for page in public_names.contents():
        yield from (name for name in page.names if name.old_name_of is None)


NAMES = list(_all_names())


# ---------------------------------------------------------------------- docstrings


def _callables(target: Any) -> Iterator[Any]:
    """The thing itself, and of a class what it defines publicly."""
    yield target
    if target.kind.value == "class":
        for name, member in target.members.items():
            function = not member.is_alias and member.kind.value == "function"
            if function and not name.startswith("_"):
                yield member


def _has_docstring(target: Any) -> bool:
    if target.docstring is not None and target.docstring.value.strip():
        return True
    parent = target.parent
    if parent is None or parent.kind.value != "class":
        return False
    # An overriding method may leave its words to the method that it overrides.
    return any(_has_docstring(base.members[target.name]) for base in parent.mro()
               if target.name in base.members)  # fmt: skip


def _documented(target: Any) -> set[str]:
    if target.docstring is None:
        return set()
    return {
        name.strip().lstrip("*")
        for section in target.docstring.parse("numpy", warnings=False)
        if section.kind.value in ("parameters", "other parameters", "attributes")
        for entry in section.value
        for name in entry.name.split(",")
    }


def _undocumented(target: Any) -> list[str]:
    if target.kind.value == "class":
        function = target.all_members.get("__init__")
        known = set().union(*(_documented(each) for each in (target, *target.mro())))
    else:
        function, known = target, _documented(target)
    if function is None or function.kind.value != "function":
        return []
    variadic = (griffe.ParameterKind.var_positional, griffe.ParameterKind.var_keyword)
    return [
        parameter.name
        for parameter in function.parameters
        if parameter.name not in {"self", "cls", *known} and parameter.kind not in variadic
    ]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_every_public_name_says_what_it_is(name: Any) -> None:
    silent = [each.path for each in _callables(name.target) if not _has_docstring(each)]
    assert not silent, f"without a docstring: {silent}"
    assert re.search(r"\w", name.summary), f"{name.path} has no line that says what it is"


@pytest.mark.parametrize("name", NAMES, ids=lambda name: name.path)
def test_every_argument_of_a_public_name_is_documented(name: Any) -> None:
    if name.target.kind.value in ("class", "function"):
        missing = _undocumented(name.target)
        assert not missing, f"{name.target.path} ({name.target.filepath}) does not tell {missing}"


def test_docstrings_are_read_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    # What the build of the site would complain of: arguments that are not in the signature, or that
    # have no type.
    with caplog.at_level(logging.WARNING, "griffe"):
        for name in NAMES:
            for target in _callables(name.target):
                if target.docstring is not None:
                    target.docstring.parse("numpy")
    assert not [record.getMessage() for record in caplog.records if record.levelno >= 30]


# ---------------------------------------------------------------------- the pages of the API


def test_each_package_has_a_page() -> None:
    shown = {name.target.path for name in NAMES}
    shown |= {name.target.path for page in public_names.contents() for name in page.names}

    def packages(module: Any) -> Iterator[Any]:
        if not any(part.startswith("_") for part in module.path.split(".")):
            yield module
            for below in module.modules.values():
                if not below.is_alias and below.is_init_module:
                    yield from packages(below)

    for package in packages(public_names.package()):
        if package.exports is None:
            continue
        for name in public_names.names_of(package.path):
            assert name.target.path in shown, f"{name.path} is on no page of the reference"


def test_all_that_a_package_offers_is_shown() -> None:
    for page in public_names.contents():
        module = importlib.import_module(page.page.module)
        offered = {name for name in getattr(module, "__all__", ()) if not name.startswith("__")}
        elsewhere = {each.name for every in public_names.contents() for each in every.names}
        assert offered <= elsewhere, f"{page.page.module}: {sorted(offered - elsewhere)}"


def test_what_is_shown_can_be_imported() -> None:
    for name in NAMES:
        module, _, last = name.path.rpartition(".")
        assert hasattr(importlib.import_module(module), last), name.path


# ---------------------------------------------------------------------- navigation and links


class _Loader(yaml.SafeLoader):
    """Reads mkdocs.yml without the tags that name Python objects."""


_Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: None)


def _navigation() -> list[str]:
    found: list[str] = []

    def collect(entry: Any) -> None:
        if isinstance(entry, str):
            found.append(entry)
        else:
            for below in entry.values() if isinstance(entry, dict) else entry:
                collect(below)

    settings = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)
    collect(settings["nav"])
    return found


def test_every_page_is_in_the_navigation_once() -> None:
    navigation = _navigation()
    assert len(set(navigation)) == len(navigation)
    pages = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}
    made = {"contributing.md", "changelog.md", "reference/api/"}
    assert pages - set(navigation) == set()
    assert set(navigation) - pages == made


def _text(path: Path) -> str:
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """What headings are called, on the code host and in the site alike."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ +(.+?) *#*$", _text(path), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-")
        found |= {slug, re.sub(r"-+", "-", slug)}
    return found


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(path: Path) -> None:
    lost = []
    for found in _LINK.finditer(_text(path)):
        link = found[1] or found[2]
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (path.parent / place).resolve() if place else path
        if target.is_relative_to(ROOT) and target.relative_to(ROOT).as_posix() in _MADE:
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert not lost


def test_links_stay_within_the_project() -> None:
    for path in WRITTEN:
        for found in _LINK.finditer(_text(path)):
            link = found[1] or found[2]
            if not re.match(r"[a-z]+:|#", link):
                assert (path.parent / link).resolve().is_relative_to(ROOT), f"{path}: {link}"
