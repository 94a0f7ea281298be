"""What the site needs beyond the pages in ``docs``: see `on_files`.

The pages are read on the code host too, so their links are ordinary relative paths, also to files
outside of ``docs``. Here such a file becomes a page of the site, and links are turned towards it.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page
from public_names import PAGES, Contents, Name, contents, first_paragraph
from roles import without_roles

ROOT = Path(__file__).resolve().parents[2]

# Files of the repository that have a page of their own, by their path from its root.
ROOT_PAGES = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "examples": "source/examples/README.md",
    "benchmarks": "source/benchmarks/README.md",
}
_FENCE = re.compile(r"^( *)(`{3,}|~{3,}).*?^\1\2[ \t]*$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(\]\()([^)\s]+)(\))|(^\[[^\]]+\]:\s+)(\S+)()", re.MULTILINE)
_LANGUAGES = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".yml": "yaml", ".txt": "text"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API, which are made here, into the navigation."""
    config.nav = _expanded(config.nav)
    return config


def _expanded(entry: Any) -> Any:
    if isinstance(entry, list):
        return [_expanded(each) for each in entry]
    if isinstance(entry, dict):
        return {title: _expanded(each) for title, each in entry.items()}
    if entry == "reference/api/":
        return ["reference/api/index.md", *({page.title: page.uri} for page in PAGES)]
    return entry


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not written by hand."""
    for uri, text in _api_pages():
        files.append(File.generated(config, uri, content=text))
    for source in ("CONTRIBUTING.md", "CHANGELOG.md"):
        files.append(_generated(config, ROOT_PAGES[source], source, InclusionLevel.INCLUDED))
    # What is linked to, and what that links to.
    waiting = list(files.documentation_pages())
    while waiting:
        page = waiting.pop()
        for target in _targets_outside(page.content_string, _repository_path(page)):
            uri = _site_path(target)
            if files.get_file_from_path(uri) is None:
                source = target if (ROOT / target).is_file() else f"{target}/README.md"
                made = _generated(config, uri, source, InclusionLevel.NOT_IN_NAV)
                files.append(made)
                waiting.append(made)
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository towards their pages in the site."""
    return relinked(markdown, _repository_path(page.file), page.file.src_uri)


def relinked(markdown: str, source: str, uri: str) -> str:
    """Change the links of ``source``, a path from the repository's root, for the page ``uri``."""
    here = posixpath.dirname(uri)

    def change(link: str) -> str:
        _, hash_sign, anchor = link.partition("#")
        target = _resolved(link, source)
        if target is None or not (ROOT / target).exists():
            return link  # mkdocs warns of those that lead nowhere
        if source.startswith("docs/") and target.startswith("docs/"):
            return link
        return posixpath.relpath(_site_path(target), here or ".") + hash_sign + anchor

    return _outside_fences(
        markdown,
        lambda text: _LINK.sub(
            lambda found: (
                (found[1] or found[4]) + change(found[2] or found[5]) + (found[3] or found[6] or "")
            ),
            text,
        ),
    )


def links_of(markdown: str) -> Iterator[str]:
    """All link targets of a Markdown text, without those in code."""
    for found in _LINK.finditer(_FENCE.sub("", markdown)):
        yield found[2] or found[5]


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def _resolved(link: str, source: str) -> str | None:
    """The path from the repository's root that a link leads to; None for other links."""
    path = link.partition("#")[0]
    if not path or "://" in path or path.startswith(("mailto:", "/")):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), path))


def _targets_outside(markdown: str, source: str) -> Iterator[str]:
    for link in links_of(markdown):
        target = _resolved(link, source)
        if target is None or target.startswith("docs/"):
            continue
        if (ROOT / target).is_file() or (ROOT / target / "README.md").is_file():
            yield target


def _site_path(target: str) -> str:
    """The page of the site for a path from the repository's root."""
    if target in ROOT_PAGES:
        return ROOT_PAGES[target]
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    return f"source/{target}" if target.endswith(".md") else f"source/{target}.md"


def _repository_path(file: File) -> str:
    """The reverse of `_site_path`."""
    for target, uri in ROOT_PAGES.items():
        if uri == file.src_uri:
            return target if "." in target else f"{target}/README.md"
    if file.src_uri.startswith("source/"):
        return file.src_uri.removeprefix("source/")
    return f"docs/{file.src_uri}"


def _generated(config: MkDocsConfig, uri: str, source: str, inclusion: InclusionLevel) -> File:
    text = (ROOT / source).read_text(encoding="utf-8") if (ROOT / source).is_file() else ""
    if not source.endswith(".md"):
        text = _as_page(source, text)
    return File.generated(config, uri, content=text, inclusion=inclusion)


def _as_page(source: str, text: str) -> str:
    """A file of the repository as a page: a notebook as it reads, any other as code."""
    title = f"---\ntitle: {posixpath.basename(source)}\n---\n\n# `{source}`\n\n"
    if source.endswith(".ipynb"):
        return title + _notebook(text)
    language = _LANGUAGES.get(posixpath.splitext(source)[1], "text")
    return f"{title}````{language}\n{text.rstrip()}\n````\n"


def _notebook(text: str) -> str:
    parts = []
    for cell in json.loads(text)["cells"]:
        content = "".join(cell["source"]).strip()
        if cell["cell_type"] == "markdown":
            # The page has its title already.
            parts.append(re.sub(r"^# ", "## ", content, flags=re.MULTILINE))
        elif cell["cell_type"] == "code" and content:
            parts.append(f"````python\n{content}\n````")
    return "\n\n".join(parts) + "\n"


def _api_pages() -> Iterator[tuple[str, str]]:
    rows = [
        f"| [`{each.page.module}`]({posixpath.basename(each.page.uri)}) | {each.page.title} |"
        f" {_listed(each)} |"
        for each in contents()
    ]
    yield (
        "reference/api/index.md",
        "# Public names\n\n"
        "Everything that may be imported, made from the docstrings. What is not listed here is\n"
        "internal and may change at any time.\n\n"
        "| import from | what | names |\n|---|---|---|\n" + "\n".join(rows) + "\n",
    )
    for each in contents():
        yield each.page.uri, "\n".join(_api_page(each))


def _listed(page: Contents) -> str:
    return ", ".join(f"`{name.name}`" for name in page.names if not name.old_name_of)


def _api_page(page: Contents) -> Iterator[str]:
    module = page.page.module
    yield f"---\ntitle: {page.page.title}\n---\n\n# {page.page.title} {{#{module}}}\n"
    yield f"`{module}`: {without_roles(first_paragraph(module))}\n"
    if page.page.see:
        yield f"See also {page.page.see}.\n"
    current = [name for name in page.names if not name.old_name_of]
    yield "| name | |\n|---|---|"
    for name in current:
        yield f"| [`{name.name}`][{name.path}] | {_cell(without_roles(name.summary))} |"
    yield ""
    for name in current:
        yield f"::: {name.path}\n"
    yield from _old_names([name for name in page.names if name.old_name_of])


def _old_names(names: list[Name]) -> Iterator[str]:
    if names:
        yield "## Names of MIScnn 1.x\n\n| old name | stands for |\n|---|---|"
        for name in names:
            yield f"| `{name.path}` | `{name.old_name_of}` |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
