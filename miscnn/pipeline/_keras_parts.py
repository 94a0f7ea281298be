"""The names of Keras' own parts, read from its files: importing it takes seconds."""

from __future__ import annotations

import ast
import functools
import importlib.util
from pathlib import Path

_BASES = frozenset({"Loss", "Metric", "Optimizer", "LossScaleOptimizer"})


@functools.cache
def keras_classes(*packages: str) -> tuple[str, ...]:
    """Return the classes that ``keras.losses``, say, has; nothing where they are not found."""
    spec = importlib.util.find_spec("keras")
    if spec is None or spec.origin is None:
        return ()
    names: set[str] = set()
    for package in packages:
        file = Path(spec.origin).parent / package / "__init__.py"
        try:
            tree = ast.parse(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, SyntaxError):
            return ()
        for node in tree.body:
            if isinstance(node, ast.ImportFrom):
                names |= {alias.asname or alias.name for alias in node.names}
    return tuple(sorted(n for n in names - _BASES if n[0].isupper()))
