"""Roles such as ``:class:`Sample``` in docstrings, as links to the pages of the reference."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import griffe
from public_names import contents

_ROLE = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`([~!]?)([^`<>]+)`")


@cache
def _pages() -> Mapping[str, str]:
    """Where each name is shown, by its last part and by its own path; modules by their path."""
    found = {}
    for page in contents():
        found[page.page.module] = page.page.module
        for name in page.names:
            if name.old_name_of is None:
                found.setdefault(name.name, name.path)
                found[name.target.path] = name.path
    return found


def without_roles(text: str) -> str:
    """Replace the roles: by a link if the name has a place in the reference, else by code."""

    def replaced(role: re.Match[str]) -> str:
        shortened, name = role.groups()
        shown = name.rpartition(".")[2] if shortened == "~" else name
        pages = _pages()
        path = pages.get(name) or pages.get(name.rpartition(".")[2] if "." in name else name)
        return f"[`{shown}`][{path}]" if path else f"`{shown}`"

    return _ROLE.sub(replaced, text)


class Roles(griffe.Extension):
    """Does so in every docstring that is shown."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of an object that was just read."""
        if obj.docstring is not None and not obj.is_alias:
            obj.docstring.value = without_roles(obj.docstring.value)
