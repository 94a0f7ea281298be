"""The arguments of constructors: names, types and defaults, without calling any of them.

Where the module of a class imports Keras, its *source* is read instead of the module: a document
is checked within a fraction of a second, and on machines where no network is ever built.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import miscnn

REQUIRED: Any = type("Required", (), {"__repr__": lambda self: "REQUIRED"})()
"""The default of an argument that must be given."""

OPEN: Any = type("Open", (), {"__repr__": lambda self: "OPEN"})()
"""The default of an argument that is left out where it is not given: the class decides."""

_PACKAGE = Path(miscnn.__file__).parent
_NAMES = {
    "Any": Any,
    "Callable": Callable,
    "Iterable": Iterable,
    "Literal": Literal,
    "Mapping": Mapping,
    "Path": Path,
    "Sequence": Sequence,
}


@dataclass(frozen=True)
class Argument:
    """An argument of a constructor.

    Attributes
    ----------
    name : str
    hint : type
        What ``typing`` makes of its annotation; Any where that is not known.
    default : object
        :data:`REQUIRED`, :data:`OPEN`, or the value.
    """

    name: str
    hint: Any = Any
    default: Any = REQUIRED

    def with_default(self, default: Any) -> Argument:
        """Return the same argument with another default."""
        return replace(self, default=default)


Arguments = dict[str, Argument]


def arguments_of(function: Callable[..., Any]) -> Arguments:
    """Return the arguments of a function or class that is imported."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    target = function.__init__ if inspect.isclass(function) else function
    try:
        hints = typing.get_type_hints(target)
    except (NameError, TypeError, AttributeError):  # names that only type checkers import
        module = vars(inspect.getmodule(target) or object())
        texts = getattr(target, "__annotations__", {})
        hints = {name: _evaluated(str(text), module) for name, text in texts.items()}
    return {
        p.name: Argument(
            p.name,
            hints.get(p.name, Any),
            REQUIRED if p.default is inspect.Parameter.empty else p.default,
        )
        for p in inspect.signature(function).parameters.values()
        if p.kind in kinds
    }


def arguments_in_source(module: str, name: str, method: str = "__init__") -> Arguments:
    """Return the arguments of a class, or of a method of it, from the source of its module.

    What a constructor hands on to its base class by ``**kwargs`` is there as well, with the
    default :data:`OPEN`.
    """
    try:
        return dict(_in_source(module, name, method))
    except (OSError, KeyError):  # installed without sources
        cls = getattr(importlib.import_module(module), name)
        return arguments_of(cls if method == "__init__" else getattr(cls, method))


@functools.cache
def _in_source(module: str, name: str, method: str) -> Mapping[str, Argument]:
    found: Arguments = {}
    first = True
    for source, node in _resolution_order(module, name):
        function = next(
            (n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == method), None
        )
        if function is None:
            continue
        for argument in _of_function(function, source):
            later = argument if first else argument.with_default(OPEN)
            found.setdefault(argument.name, later)
        first = False
        if function.args.kwarg is None:
            break
    return found


def classes_in_source(module: str) -> dict[str, str]:
    """Return the public classes that a module has or imports, and the modules they are in."""
    source = _source(module)
    exported = source.exported
    return {
        name: home.module
        for name in exported
        if (home := _home(source, name)) is not None and _class(home, name) is not None
    }


@dataclass(frozen=True)
class _Source:
    module: str
    tree: ast.Module

    @property
    def imports(self) -> dict[str, tuple[str, str]]:
        """Names and where they come from: module and name there."""
        return {
            alias.asname or alias.name: (node.module or "", alias.name)
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom)
            for alias in node.names
        }

    @property
    def exported(self) -> list[str]:
        value = self.assigned("__all__")
        if value is not None:
            return [str(name) for name in ast.literal_eval(value)]
        return [
            node.name
            for node in self.tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        ]

    def assigned(self, name: str) -> ast.expr | None:
        """Return what is assigned to a name of the module."""
        for node in self.tree.body:
            if isinstance(node, ast.Assign):
                targets = node.targets
            elif isinstance(node, ast.AnnAssign):
                targets = [node.target]
            else:
                continue
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return node.value
        return None


@functools.cache
def _source(module: str) -> _Source:
    """Read a module of the library, without importing it."""
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return _Source(module, ast.parse(file.read_text(encoding="utf-8")))


def _home(source: _Source, name: str) -> _Source | None:
    """Return the module that a name comes from; None if it is not of the library."""
    while name in source.imports:
        module, there = source.imports[name]
        if module.split(".")[0] != "miscnn" or there != name:
            return None
        source = _source(module)
    return source


def _class(source: _Source, name: str) -> ast.ClassDef | None:
    nodes = (n for n in source.tree.body if isinstance(n, ast.ClassDef))
    return next((n for n in nodes if n.name == name), None)


def _resolution_order(module: str, name: str) -> Iterator[tuple[_Source, ast.ClassDef]]:
    """Yield a class and its bases in the library, depth first; a common base comes last."""
    order: dict[tuple[str, str], tuple[_Source, ast.ClassDef]] = {}

    def visit(source: _Source, name: str) -> None:
        home = _home(source, name)
        node = None if home is None else _class(home, name)
        if home is None or node is None:
            return
        order.pop((home.module, name), None)
        order[home.module, name] = home, node
        for base in node.bases:
            if isinstance(base, ast.Name):
                visit(home, base.id)
            elif isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name):
                package, module = home.imports.get(base.value.id, ("", ""))
                if package.split(".")[0] == "miscnn":
                    visit(_source(f"{package}.{module}"), base.attr)

    source = _source(module)
    visit(source, name)
    if not order:
        raise KeyError(name)
    yield from order.values()


def _of_function(function: ast.FunctionDef, source: _Source) -> Iterator[Argument]:
    places = function.args
    positional = [*places.posonlyargs, *places.args][1:]  # not self
    missing: list[ast.expr | None] = [None] * len(positional)
    defaults = [*missing, *places.defaults][-len(positional) :] if positional else []
    pairs = [*zip(positional, defaults, strict=True)]
    pairs += zip(places.kwonlyargs, places.kw_defaults, strict=True)
    for argument, default in pairs:
        hint = Any
        if argument.annotation is not None:
            hint = _evaluated(ast.unparse(argument.annotation), _Aliases(source))
        value = REQUIRED if default is None else _constant(default, source)
        yield Argument(argument.arg, hint, value)


def _constant(node: ast.expr, source: _Source) -> Any:
    if isinstance(node, ast.Name):
        home = _home(source, node.id)
        value = None if home is None else home.assigned(node.id)
        return OPEN if home is None or value is None else _constant(value, home)
    try:
        return ast.literal_eval(node)
    except ValueError:
        return OPEN


class _Aliases(dict[str, Any]):
    """Names of types that are assigned in a module of the library; Any for all others."""

    def __init__(self, source: _Source) -> None:
        super().__init__()
        self._source = source

    def __missing__(self, name: str) -> Any:
        home = _home(self._source, name)
        value = None if home is None else home.assigned(name)
        if home is None or value is None:
            return Any
        return _evaluated(ast.unparse(value), _Aliases(home))


class _Names(dict[str, Any]):
    def __init__(self, others: Mapping[str, Any]) -> None:
        super().__init__({**_NAMES, "int": int, "float": float, "str": str, "bool": bool})
        self.update({"tuple": tuple, "list": list, "dict": dict})
        self._others = others

    def __missing__(self, name: str) -> Any:
        try:
            return self._others[name]
        except KeyError:
            return Any


def _evaluated(annotation: str, names: Mapping[str, Any]) -> Any:
    """Return the type that an annotation of the library's own says; Any if that fails."""
    try:
        return eval(annotation, {"__builtins__": {}}, _Names(names))  # the library's own source
    except (TypeError, AttributeError, SyntaxError, NameError):
        return Any
