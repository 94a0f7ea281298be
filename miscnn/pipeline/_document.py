"""Checking a document and completing it; everything that is wrong is found at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from miscnn.pipeline import _sections as sections
from miscnn.pipeline._keras_parts import keras_classes
from miscnn.pipeline._kinds import (
    ARCHITECTURES,
    AUGMENTATIONS,
    INTERFACES,
    LOSSES,
    METRICS,
    SCHEDULES,
    SPLITTERS,
    STEPS,
    SUBFUNCTIONS,
    Names,
)
from miscnn.pipeline._parts import Parts, Table
from miscnn.pipeline._paths import SAVED_FOLDS
from miscnn.pipeline._problems import REFUSALS, Place, Problems, nearest, told, unknown_key
from miscnn.pipeline._ranges import check_ranges
from miscnn.pipeline._signatures import Arguments
from miscnn.pipeline._types import NOTHING, PART, as_arguments

_RANDOM = "random"
_FOLDS_FILE = ".json"
_NEED_VALIDATION = ("restore_best", "early_stopping", "validate_volumes")


class Document:
    """Makes a complete document of what a user has written.

    Parameters
    ----------
    names : Names
    problems : Problems
        Gets everything that is wrong.
    """

    def __init__(self, names: Names, problems: Problems) -> None:
        self.parts = Parts(names, problems)
        self.problems = problems

    def complete(self, given: Mapping[str, Any]) -> Table:
        """Return the document with every section and every default.

        A value that is wrong is noted as a problem, and is None in what is returned.
        """
        known = (sections.MODULES, *sections.SECTIONS)
        for key in given:
            if key not in known:
                self.problems.add((str(key),), unknown_key(str(key), known))
        makers: dict[str, Callable[[Table, Place], Table]] = {
            "data": self._data,
            "preprocessor": self._preprocessor,
            "network": self._network,
            "training": self._training,
            "evaluation": self._evaluation,
            "prediction": self._prediction,
            "bundle": self._bundle,
        }
        result: Table = {sections.MODULES: list(given.get(sections.MODULES) or [])}
        for name in sections.SECTIONS:
            place = (name,)
            if name == "postprocessing":
                result[name] = self._postprocessing(given.get(name), place)
                continue
            if name == "evaluation" and given.get(name, NOTHING) == NOTHING:
                continue
            if name in ("data", "preprocessor") and name not in given:
                self.problems.add((), f"the section [{name}] is missing")
                continue
            table = given.get(name)
            table = {} if table is None else table  # one that is named in YAML and is empty
            if not isinstance(table, Mapping):
                self.problems.add(place, f"= {told(table)}: expected a section (a table)")
                continue
            result[name] = makers[name](dict(table), place)
            check_ranges(result[name], name, self.problems)
            self._check_paths(result[name], place)
        return result

    # ------------------------------------------------------------------ sections

    def _data(self, given: Table, place: Place) -> Table:
        known = sections.data_arguments()
        own = {"interface": given.pop("interface", None)}
        result = self.parts.arguments(given, known, place)
        interface = self.parts.part(own["interface"], INTERFACES, (*place, "interface"))
        result["interface"] = interface
        if interface is not None:
            kept = ("path", "output_path", "batch_path", "subjects")
            for key in given:
                if key in known and key not in kept:
                    self.problems.add(
                        (*place, key), "is an argument of the interface; write it in its table"
                    )
            result = {key: result.get(key) for key in (*kept, "interface")}
        return result

    def _preprocessor(self, given: Table, place: Place) -> Table:
        arguments = sections.preprocessor_arguments()
        chain = given.pop("subfunctions", None)
        default = arguments["augmentation"].default
        augmentation = given.pop("augmentation", default)
        if isinstance(augmentation, Mapping):
            augmentation = _of_default(augmentation, default)
        regions = given.get("regions")
        if isinstance(regions, Mapping) and PART not in regions:
            # A mapping, whose order counts: not a part.
            given["regions"] = dict(regions)
        rest = _without(arguments, "subfunctions", "augmentation")
        before = len(self.problems.found)
        result = self.parts.arguments(given, rest, place)
        result["augmentation"] = self.parts.part(
            augmentation, AUGMENTATIONS, (*place, "augmentation")
        )
        result["subfunctions"] = self.parts.parts(chain, SUBFUNCTIONS, (*place, "subfunctions"))
        if len(self.problems.found) == before:
            self._attempt(lambda: self.preprocessor(result), place)
        return result

    def _network(self, given: Table, place: Place) -> Table:
        arguments = sections.network_arguments()
        families = {"architecture": ARCHITECTURES, "loss": LOSSES, "schedule": SCHEDULES}
        apart = {name: given.pop(name, arguments[name].default) for name in families}
        metrics = given.pop("metrics", None)
        optimizer = given.pop("optimizer", arguments["optimizer"].default)
        rest = _without(arguments, *families, "metrics", "optimizer")
        result: Table = {}
        for name, family in families.items():
            apart[name] = _of_default(apart[name], arguments[name].default)
            result[name] = self.parts.part(apart[name], family, (*place, name))
        there = (*place, "metrics")
        nothing = metrics is None or metrics == NOTHING
        result["metrics"] = None if nothing else self.parts.parts(metrics, METRICS, there)
        result.update(self.parts.arguments(given, rest, place))
        result["optimizer"] = self._optimizer(optimizer, (*place, "optimizer"))
        return result

    def _optimizer(self, given: Any, place: Place) -> Any:
        """Return an optimizer of Keras': its name in small letters, or a table with its class."""
        optimizer = self.parts.of_anything(given, place)
        if not isinstance(optimizer, str) and not (
            isinstance(optimizer, Mapping) and isinstance(optimizer.get(PART), str)
        ):
            self.problems.add(
                place,
                f"= {told(optimizer)}: expected a name such as 'adam', 'adamw' or 'sgd', or a "
                f'table {{{PART} = "Adam", …}} with the arguments of an optimizer of Keras\'',
            )
            return None
        by_name = isinstance(optimizer, str)
        name = optimizer if isinstance(optimizer, str) else str(optimizer[PART])
        classes = keras_classes("optimizers")
        known = [kind.lower() for kind in classes] if by_name else list(classes)
        if known and name not in known and (by_name or name.lower() != name):
            self.problems.add(
                place if by_name else (*place, PART),
                f"= {told(name)}: expected one of {', '.join(known)}{nearest(name, known)}",
            )
        return optimizer

    def _training(self, given: Table, place: Place) -> Table:
        result = self.parts.arguments(given, sections.training_arguments(), place)
        validation = result.get("validation")
        if isinstance(validation, int | float) and not 0 <= validation < 1:
            self.problems.add(
                (*place, "validation"),
                f"= {validation}: expected a share of the subjects, from 0 to below 1, or a list "
                "of subjects",
            )
        for name in _NEED_VALIDATION:
            if result.get(name) and not validation:
                self.problems.add(
                    (*place, name),
                    f"= {told(result[name])}: needs subjects to validate on; set validation = 0.2 "
                    "as well",
                )
        return result

    def _evaluation(self, given: Table, place: Place) -> Table:
        method = given.get("method", sections.CROSS_VALIDATION)
        if method not in sections.METHODS:
            self.problems.add(
                (*place, "method"),
                f"= {told(method)}: expected one of {', '.join(sections.METHODS)}",
            )
            method = sections.CROSS_VALIDATION
            given = {key: value for key, value in given.items() if key != "method"}
        known = sections.evaluation_arguments(method)
        for key in list(given):
            elsewhere = [m for m in sections.METHODS if key in sections.evaluation_arguments(m)]
            if key not in known and elsewhere:
                self.problems.add(
                    (*place, key), f"is for method = {' or '.join(map(repr, elsewhere))} only"
                )
                del given[key]
        splitter = given.pop("splitter", None)
        scoring = given.pop("scoring", None)
        result = self.parts.arguments(given, _without(known, "splitter", "scoring"), place)
        result["scoring"] = self._scoring(scoring, (*place, "scoring"))
        if result.get("n_jobs") == 0:
            self.problems.add((*place, "n_jobs"), "= 0: expected a number of processes, or -1")
        if "splitter" in known:
            result["splitter"] = self._splitter(splitter, given, result, (*place, "splitter"))
        return result

    def _scoring(self, given: Any, place: Place) -> Table | None:
        if given in (None, NOTHING):
            return None
        if not isinstance(given, Mapping):
            self.problems.add(place, f"= {told(given)}: expected a table of options for scores")
            return None
        values = {key: None if value == NOTHING else value for key, value in given.items()}
        made: list[Table] = []
        self._attempt(lambda: made.append(sections.scoring(values).get_config()), place)
        return made[0] if made else None

    def _splitter(self, value: Any, given: Table, result: Table, place: Place) -> Table | None:
        """Let the number of folds be that of the splitter, wherever it was said."""
        if value in (None, NOTHING, _RANDOM):
            return None
        table = {PART: value} if isinstance(value, str) else value
        if isinstance(value, str) and value.endswith(_FOLDS_FILE):
            table = {PART: SAVED_FOLDS, "path": value}
        if isinstance(table, Mapping) and isinstance(table.get(PART), str):
            kind = self.parts.names.find(table[PART], SPLITTERS)
            counts = kind is not None and "n_splits" in kind.arguments()
            if counts and "n_splits" not in table:
                folds = result["folds"]
                # Too few are told of the folds; the splitter would tell it again.
                table = {**table, "n_splits": 2 if folds is None or folds < 2 else folds}
                return self.parts.part(table, SPLITTERS, place)
            if counts and "folds" not in given:
                result["folds"] = table["n_splits"]
            if counts and table["n_splits"] != result["folds"]:
                self.problems.add(
                    place, f"has n_splits = {table['n_splits']}, but folds = {result['folds']}"
                )
        return self.parts.part(table, SPLITTERS, place)

    def _prediction(self, given: Table, place: Place) -> Table:
        before = len(self.problems.found)
        result = self.parts.arguments(given, sections.prediction_arguments(), place)
        if len(self.problems.found) == before:
            self._attempt(lambda: self.prediction(result), place)
        return result

    def _postprocessing(self, given: Any, place: Place) -> list[Table]:
        if isinstance(given, Mapping):
            name = "[[postprocessing]]"
            self.problems.add(place, f"is one table; expected a list of steps, {name} each")
            return []
        return self.parts.parts(given, STEPS, place)

    def _bundle(self, given: Table, place: Place) -> Table:
        return self.parts.arguments(given, sections.bundle_arguments(), place)

    def _check_paths(self, table: Table, place: Place) -> None:
        for name in ("path", *sections.WRITTEN.get(str(place[0]), ())):
            if table.get(name) == "":
                self.problems.add((*place, name), 'is empty; expected a path ("." is this folder)')
        folder = table.get("folder")
        if place == ("bundle",) and folder and {*Path(folder).parts} <= {".", ".."}:
            self.problems.add(
                (*place, "folder"),
                f"= {told(folder)}: a bundle needs a folder of its own, such as 'bundle'",
            )

    def _attempt(self, make: Callable[[], object], place: Place) -> None:
        try:
            make()
        except REFUSALS as error:
            self.problems.refused(place, str(error))

    # ------------------------------------------------------------------ making

    def preprocessor(self, table: Mapping[str, Any], data_io: Any = None) -> Any:
        """Make the preprocessor of a complete section."""
        from miscnn.processing.preprocessor import Preprocessor

        arguments = _called(table, sections.preprocessor_arguments())
        arguments["subfunctions"] = [self.parts.make(t) for t in table["subfunctions"]]
        arguments["data_aug"] = self.parts.make(table["augmentation"])
        del arguments["augmentation"]
        if isinstance(table.get("regions"), Mapping) and PART in table["regions"]:
            arguments["regions"] = self.parts.make(table["regions"])
        return Preprocessor(data_io, **arguments)

    def card(self, table: Mapping[str, Any]) -> Table:
        """Return what is said on the model card, of a complete section."""
        found = _called(table, sections.bundle_arguments())
        return {key: value for key, value in found.items() if key != "folder"}

    def training(self, table: Mapping[str, Any]) -> Table:
        """Return the arguments of a complete section."""
        return _called(table, sections.training_arguments())

    def prediction(self, table: Mapping[str, Any]) -> Any:
        """Make the settings of a complete section."""
        from miscnn.neural_network.prediction_settings import PredictionSettings

        return PredictionSettings(**_called(table, sections.prediction_arguments()))


def _of_default(value: Any, default: str) -> Any:
    """Return a part that may be left out, or only its class may be: then it is the default's."""
    if value in (None, NOTHING):
        return default
    if isinstance(value, Mapping) and PART not in value:
        return {PART: default, **value}
    return value


def _called(table: Mapping[str, Any], arguments: Arguments) -> Table:
    return {key: as_arguments(value, arguments[key].hint) for key, value in table.items()}


def _without(arguments: Arguments, *names: str) -> Arguments:
    return {name: argument for name, argument in arguments.items() if name not in names}
