"""Parts as tables: ``{type = "Resampling", new_spacing = [3, 1, 1]}``, and back.

A part in a document is complete: it has every argument of its constructor. What the document
leaves out has the constructor's default.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError
from miscnn.pipeline._keras_parts import keras_classes
from miscnn.pipeline._kinds import KERAS, LOSSES, Family, Kind, Names
from miscnn.pipeline._problems import REFUSALS, Place, Problems, nearest, told, unknown_key
from miscnn.pipeline._signatures import OPEN, REQUIRED, Argument, Arguments
from miscnn.pipeline._types import NOTHING, PART, MismatchError, as_arguments, fitted, literals

Table = dict[str, Any]


def is_part(value: Any) -> bool:
    """Tell whether a value is the table of a part."""
    return isinstance(value, Mapping) and isinstance(value.get(PART), str)


def described_part(part: Any) -> Table:
    """Return the table of a part that was made in Python.

    Raises
    ------
    ConfigurationError
        If it cannot say how it was made.
    """
    if not hasattr(part, "get_config"):
        raise ConfigurationError(
            f"{part!r} cannot be written down: it has no get_config(); name its class"
        )
    return {PART: type(part).__name__, **_plain(part.get_config())}


def _plain(value: Any) -> Any:
    """Turn parts inside of what ``get_config`` returned into tables, too."""
    if isinstance(value, Configurable):
        return described_part(value)
    if isinstance(value, Mapping):
        if set(value) >= {"class", "config"}:
            return {PART: value["class"].rpartition(":")[2], **_plain(value["config"])}
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


class Parts:
    """Checks and completes the tables of parts, and makes the parts.

    Parameters
    ----------
    names : Names
    problems : Problems
        Gets everything that is wrong.
    """

    def __init__(self, names: Names, problems: Problems) -> None:
        self.names = names
        self.problems = problems

    # ------------------------------------------------------------------ checking

    def part(self, value: Any, family: Family | None, place: Place) -> Table | None:
        """Return the complete table of a part; None for none, and where something is wrong."""
        if value is None or value == NOTHING:
            return None
        if not isinstance(value, str | Mapping):
            try:
                value = described_part(value)
            except ConfigurationError:
                self.problems.add(place, f"= {told(value)}: {_wanted(family)}")
                return None
        table: Mapping[str, Any] = {PART: value} if isinstance(value, str) else value
        name = table.get(PART)
        if not isinstance(name, str):
            self.problems.add(place, f'is a table without "{PART}"; {_wanted(family)}')
            return None
        at = place if isinstance(value, str) else (*place, PART)
        if family is not None and family.others and name.lower().startswith(KERAS):
            return self._of_keras(table, family, place, at)
        kind = self.names.find(name, family)
        if kind is None:
            known = self.names.known(family)
            guess = nearest(name, self.names.spellings(family))
            words = family.words if family is not None else ()
            allowed = ", ".join([*words, *sorted(known)])
            self.problems.add(at, f"= {told(name)}: expected one of {allowed}{guess}")
            return None
        given = {key: item for key, item in table.items() if key != PART}
        before = len(self.problems.found)
        complete = self.arguments(given, kind.arguments(), place, f" by {kind.name}")
        result = {PART: kind.name, **complete}
        if len(self.problems.found) == before and not kind.heavy:
            self._try(kind, result, given, place)
        return result

    def parts(self, value: Any, family: Family, place: Place) -> list[Table]:
        """Return the complete tables of a list of parts."""
        if value is None or value == NOTHING:
            return []
        if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
            each = _wanted(family).removeprefix("expected ")
            names = self._allowed(value, family)
            self.problems.add(place, f"= {told(value)}: expected a list, each {each}{names}")
            return []
        tables = [self.part(item, family, (*place, k)) for k, item in enumerate(value)]
        return [table for table in tables if table is not None]

    def _allowed(self, value: Any, family: Family) -> str:
        """Return which names there are, and which was meant by a text."""
        names = sorted(self.names.known(family))
        guess = nearest(value, self.names.spellings(family)) if isinstance(value, str) else ""
        if isinstance(value, str) and self.names.find(value, family) is not None:
            return f", such as [{value!r}]"
        return f"; known are {', '.join(names)}{guess}"

    def arguments(
        self, given: Mapping[str, Any], known: Arguments, place: Place, whose: str = ""
    ) -> Table:
        """Return all arguments: those given, checked, and the defaults of the others."""
        for key in given:
            if key not in known:
                self.problems.add((*place, str(key)), unknown_key(str(key), known, whose))
        complete = {}
        for name, argument in known.items():
            if name in given:
                complete[name] = self.value(given[name], argument, (*place, name))
            elif argument.default is REQUIRED:
                where = f" {whose.strip()}" if whose else ""
                self.problems.add((*place, name), f"is missing; it is needed{where}", place)
            elif argument.default is not OPEN:
                complete[name] = _plain(argument.default)
        return complete

    def value(self, value: Any, argument: Argument, place: Place) -> Any:
        """Return one value as the document holds it, parts inside of it completed."""
        try:
            return fitted(self._inner(value, place), argument.hint)
        except MismatchError as mismatch:
            texts = [known for known in literals(argument.hint) if isinstance(known, str)]
            guess = nearest(value, texts) if isinstance(value, str) else ""
            self.problems.add(place, f"= {told(value)}: {mismatch}{guess}")
            return None

    def of_anything(self, value: Any, place: Place) -> Any:
        """Return a value that is no part, and may be a table with the key of one."""
        try:
            return fitted(value, Any)
        except MismatchError as mismatch:
            self.problems.add(place, f"= {told(value)}: {mismatch}")
            return None

    def _inner(self, value: Any, place: Place) -> Any:
        if is_part(value) or isinstance(value, Configurable):
            table = self.part(value, None, place)
            return {PART: "?"} if table is None else table
        if isinstance(value, Mapping):
            return {key: self._inner(item, (*place, str(key))) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._inner(item, (*place, k)) for k, item in enumerate(value)]
        return value

    def _of_keras(
        self, table: Mapping[str, Any], family: Family, place: Place, at: Place
    ) -> Table | None:
        """Take the arguments of a part of Keras' own as they are: it is made with the network."""
        name = str(table[PART])[len(KERAS) :]
        packages = ("losses",) if family is LOSSES else ("losses", "metrics")
        known = keras_classes(*packages)
        if known and name not in known:
            told_names = ", ".join(KERAS + n for n in known)
            guess = nearest(KERAS + name, [KERAS + n for n in known])
            self.problems.add(at, f"= {told(table[PART])}: expected one of {told_names}{guess}")
            return None
        complete = {PART: KERAS + name}
        for key, value in table.items():
            if key != PART:
                complete[str(key)] = self.value(value, Argument(str(key)), (*place, str(key)))
        return complete

    def _try(self, kind: Kind, table: Table, given: Mapping[str, Any], place: Place) -> None:
        """Let the constructor say what it thinks of the arguments."""
        try:
            self.make(table)
        except REFUSALS as error:
            # A text that is refused is quoted, where its argument may not be named.
            quoted = [k for k, v in given.items() if isinstance(v, str) and repr(v) in str(error)]
            if quoted and not any(re.search(rf"\b{re.escape(k)}\b", str(error)) for k in given):
                self.problems.add(place, f": {error}", (*place, quoted[0]))
            else:
                self.problems.refused(place, str(error))

    # ------------------------------------------------------------------ making

    def make(self, table: Mapping[str, Any] | None) -> Any:
        """Make the part of a complete table; None for none.

        Raises
        ------
        ConfigurationError, TypeError, ValueError
            What the constructor raises.
        """
        if table is None:
            return None
        name = str(table[PART])
        if name.startswith(KERAS):
            return _made_by_keras(name[len(KERAS) :], table)
        kind = self.names.find(name, None) or self._anywhere(name)
        arguments = kind.arguments()
        return kind.load()(
            **{
                key: _tuples(as_arguments(self._made(value), arguments[key].hint))
                for key, value in table.items()
                if key != PART
            }
        )

    def _anywhere(self, name: str) -> Kind:
        from miscnn.pipeline._kinds import INTERFACES, SPLITTERS

        for family in (SPLITTERS, INTERFACES):
            kind = self.names.find(name, family)
            if kind is not None:
                return kind
        raise ConfigurationError(f"there is no class {name!r}")

    def _made(self, value: Any) -> Any:
        if is_part(value):
            return self.make(value)
        if isinstance(value, Mapping):
            return {key: self._made(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self._made(item) for item in value]
        return value


def _tuples(value: Any) -> Any:
    """Make tuples of lists, as Python users write them."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value


def _made_by_keras(name: str, table: Mapping[str, Any]) -> Any:
    from miscnn._keras import keras

    config = {key: value for key, value in table.items() if key != PART}
    for home in (keras.losses, keras.metrics):
        kind = getattr(home, name, None)
        if isinstance(kind, type):
            return kind(**config)
    raise ConfigurationError(f"{KERAS}{name}: Keras has no loss and no metric of this name")


def _wanted(family: Family | None) -> str:
    what = "part" if family is None else family.name
    return f'expected the name of a {what}, or a table {{{PART} = "…", …}}'
