"""The whole recipe as one document."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from miscnn.exceptions import ConfigurationError
from miscnn.pipeline import _sections as sections
from miscnn.pipeline._document import Document
from miscnn.pipeline._files import overridden, read_document, write_document
from miscnn.pipeline._kinds import Names
from miscnn.pipeline._limits import check_document
from miscnn.pipeline._modules import own_classes
from miscnn.pipeline._paths import moved_path, resolved, with_folds_path, with_paths
from miscnn.pipeline._problems import Problems, Told
from miscnn.pipeline._types import PART

if TYPE_CHECKING:
    from miscnn.data_loading.data_io import DataIO
    from miscnn.evaluation import CrossValidationResult
    from miscnn.neural_network.model import NeuralNetwork
    from miscnn.pipeline._running import PipelineResult
    from miscnn.processing.preprocessor import Preprocessor


class Pipeline:
    """Data, preprocessing, network, training, evaluation, prediction, bundle: one document.

    The same document is a TOML file, a YAML file and a Python dictionary. Its sections hold the
    arguments of the classes of the library under their own names; what is left out has the
    default of the constructor. ``docs/how-to/command-line.md`` describes it.

    Parameters
    ----------
    document : mapping
        Sections by name. A part (a subfunction, say) is the name of its class, a table
        ``{"type": "Resampling", "new_spacing": [3, 1, 1]}``, or the object itself.
    folder : path, optional
        What relative paths in the document are relative to. Default: the working directory.

    Raises
    ------
    PipelineError
        If the document describes no pipeline: with all that is wrong with it.

    Notes
    -----
    Two pipelines are equal if their documents are, with all defaults and resolved paths. Keras
    is imported by :meth:`build` and :meth:`run` only.

    Examples
    --------
    >>> from miscnn.processing.subfunctions import Windowing
    >>> recipe = {"batch_size": 2, "patch_shape": [64, 64, 32], "subfunctions": [Windowing("lung")]}
    >>> pipeline = Pipeline({"data": {"path": "scans"}, "preprocessor": recipe})
    >>> pipeline.to_dict()["preprocessor"]["subfunctions"][0]["name"]
    'lung'
    >>> Pipeline(pipeline.to_dict()) == pipeline
    True
    """

    def __init__(
        self, document: Mapping[str, Any], folder: str | os.PathLike[str] | None = None
    ) -> None:
        self._set(document, folder, Problems())

    def _set(
        self,
        document: Mapping[str, Any],
        folder: str | os.PathLike[str] | None,
        problems: Problems,
    ) -> None:
        self.folder = Path(os.path.abspath(folder or Path()))
        self._problems = problems
        check_document(document)
        own: dict[str, type] = {}
        modules = document.get(sections.MODULES)
        modules = [] if modules is None else modules
        if isinstance(modules, list | tuple) and all(isinstance(m, str) for m in modules):
            try:
                own = own_classes(modules, self.folder)
            except ConfigurationError as error:
                problems.add((sections.MODULES,), f": {error}")
        else:
            problems.add((sections.MODULES,), f"= {modules!r}: expected a list of texts")
            document = {**document, sections.MODULES: []}
        self._maker = Document(Names(own), problems)
        self._document = self._maker.complete(document)
        problems.raise_if_any()

    # ------------------------------------------------------------------ documents

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], overrides: Mapping[str, Any] | None = None
    ) -> Self:
        """Read a TOML or YAML file.

        Parameters
        ----------
        path : path
            Relative paths in it are relative to its folder.
        overrides : mapping, optional
            Values that stand in place of those of the file, by their dotted names:
            ``{"training.epochs": 3}``.

        Raises
        ------
        MissingFileError
            If there is no such file.
        PipelineError
            With file, line, key, value, what was expected and the nearest name, of everything
            that is wrong.
        """
        file = Path(path)
        document, lines = read_document(file)
        document, places = overridden(document, overrides or {})
        made = cls.__new__(cls)
        made._set(document, file.absolute().parent, Problems(file.name, lines, places))
        return made

    def to_file(self, path: str | os.PathLike[str]) -> None:
        """Write the complete document as TOML or YAML; the name tells the format.

        Reading it gives an equal pipeline: relative paths are written relative to the new place.
        """
        file = Path(path)
        folder = file.absolute().parent
        moved = self._document
        if folder != self.folder:
            moved = with_paths(
                moved, self.folder, lambda text: moved_path(text, self.folder, folder)
            )
        write_document(file, moved)

    @classmethod
    def from_dict(
        cls, document: Mapping[str, Any], folder: str | os.PathLike[str] | None = None
    ) -> Self:
        """Make a pipeline of a dictionary; the same as the constructor."""
        return cls(document, folder)

    def to_dict(self) -> dict[str, Any]:
        """Return the complete document; paths are relative to :attr:`folder`, as they were."""
        return copy.deepcopy(self._document)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Pipeline):
            return NotImplemented
        return self._absolute() == other._absolute()

    __hash__ = None  # type: ignore[assignment]  # equality is by value

    def _absolute(self) -> dict[str, Any]:
        return with_paths(self._document, self.folder, self._resolved)

    def _resolved(self, text: str) -> str:
        return str(resolved(text, self.folder))

    # ------------------------------------------------------------------ objects

    @property
    def custom_objects(self) -> dict[str, type]:
        """The classes of the user's own modules, by name."""
        return self._maker.parts.names.own

    def path(self, section: str, key: str, output: str | os.PathLike[str] | None = None) -> Path:
        """Return a path of the document, absolute.

        Parameters
        ----------
        section, key : str
        output : path, optional
            What paths of files that are *written* are relative to. Default: :attr:`folder`.
        """
        written = key in sections.WRITTEN.get(section, ())
        base = Path(os.path.abspath(output)) if output is not None and written else self.folder
        return resolved(str(self._document[section][key]), base)

    def data_io(self, output: str | os.PathLike[str] | None = None) -> DataIO:
        """Open the data set; ``output`` as in :meth:`run`.

        Raises
        ------
        ConfigurationError, MissingFileError
            As :func:`miscnn.open_dataset`, with the file and the line of the section.
        """
        from miscnn.data_loading.data_io import DataIO
        from miscnn.data_loading.layouts import open_dataset

        section = copy.deepcopy(self._document["data"])
        for key in ("subjects", "path", "output_path", "batch_path"):
            del section[key]
        output_path, batch_path = (
            self.path("data", key, output) for key in ("output_path", "batch_path")
        )
        folder = self.path("data", "path")
        with self._told("data"):
            interface = self._maker.parts.make(section.pop("interface"))
            if interface is not None:
                return DataIO(interface, folder, output_path, batch_path)
            return open_dataset(folder, output_path=output_path, batch_path=batch_path, **section)

    def subjects(self, data_io: DataIO) -> list[str]:
        """Return the subjects to work on: those named, or all; each has a segmentation."""
        from miscnn.pipeline._running import subjects_of

        with self._told("data", "subjects"):
            return subjects_of(data_io, self._document["data"]["subjects"])

    def preprocessor(self, data_io: DataIO | None = None) -> Preprocessor:
        """Make the preprocessor."""
        with self._told("preprocessor"):
            made: Preprocessor = self._maker.preprocessor(self._document["preprocessor"], data_io)
            return made

    def build(self, output: str | os.PathLike[str] | None = None) -> NeuralNetwork:
        """Open the data set and make the network, untrained; ``output`` as in :meth:`run`."""
        return self._built(self.data_io(output))

    def _built(self, data_io: DataIO) -> NeuralNetwork:
        from miscnn.neural_network.model import NeuralNetwork
        from miscnn.neural_network.optimizers import OptimizerRecipe
        from miscnn.processing.postprocessing import PostProcessing

        preprocessor = self.preprocessor(data_io)
        arguments = copy.deepcopy(self._document["network"])
        parts = self._maker.parts
        for name in ("architecture", "loss", "schedule"):
            with self._told("network", name):
                arguments[name] = parts.make(arguments[name])
        if arguments["metrics"] is not None:
            with self._told("network", "metrics"):
                arguments["metrics"] = [parts.make(table) for table in arguments["metrics"]]
        if isinstance(arguments["optimizer"], dict):
            options = arguments["optimizer"]
            name = options.pop(PART)
            config = {"learning_rate": arguments["learning_rate"], **options}
            arguments["optimizer"] = {"class_name": name, "config": config}
            with self._told("network", "optimizer"):  # once for its errors alone
                OptimizerRecipe.of(arguments["optimizer"]).make(arguments["learning_rate"])
        steps = [parts.make(table) for table in self._document["postprocessing"]]
        with self._told("network"):
            return NeuralNetwork(
                preprocessor,
                **arguments,
                prediction=self._maker.prediction(self._document["prediction"]),
                postprocessing=PostProcessing(steps) if steps else None,
            )

    # ------------------------------------------------------------------ running

    def run(self, output: str | os.PathLike[str] | None = None, verbose: int = 1) -> PipelineResult:
        """Evaluate if there is a section for it, train on the subjects, save the bundle.

        Interrupted, the same call goes on where it was (``resume`` of ``[evaluation]`` and of
        ``[training]``).

        Parameters
        ----------
        output : path, optional
            What relative paths of what is written are relative to. Default: the file's folder.
        verbose : int
            0 shows no progress bars.
        """
        from miscnn.pipeline._running import PipelineResult, train

        data_io, training, validation = self.check(output)
        section = self._maker.training(self._document["training"])
        model = self._built(data_io)
        evaluation = None
        if "evaluation" in self._document:
            evaluation = self._evaluated(model, self.subjects(data_io), output, verbose)
            model.reset()
        checkpoints = section["checkpoint_path"]
        path = None if checkpoints is None else self.path("training", "checkpoint_path", output)
        with self._running("training"):
            history, trained = train(model, training, validation, section, path, verbose)
        bundle = self.path("bundle", "folder", output)
        scores = None if evaluation is None or not evaluation.scores else evaluation
        with self._running("bundle"):
            model.save(bundle, scores=scores, **self._maker.card(self._document["bundle"]))
        return PipelineResult(
            model, bundle, history, tuple(training), tuple(validation), evaluation, trained
        )

    def check(
        self, output: str | os.PathLike[str] | None = None
    ) -> tuple[DataIO, list[str], list[str]]:
        """Find out what can be known of a run without building the network.

        Returns
        -------
        DataIO
        list of str
            Who would be trained on.
        list of str
            Who would only validate.

        Raises
        ------
        MiscnnError
            If the data set cannot be opened, or something does not fit it.
        """
        from miscnn.evaluation.splits import patients_of
        from miscnn.neural_network.model_card import ModelCard
        from miscnn.pipeline._running import split_off
        from miscnn.pipeline._with_data import check_axes, check_labels

        data_io = self.data_io(output)
        subjects = self.subjects(data_io)
        seed = self._document["preprocessor"]["seed"]
        share = self._document["training"]["validation"]
        with self._told("evaluation", "splitter"):  # it may know which scans are of one patient
            splitter = self._splitter(self._document.get("evaluation", {}))
            patients = patients_of(subjects, splitter, None)
        with self._told("training", "validation"):
            training, validation = split_off(subjects, share, seed, patients)
        self.preprocessor(data_io)
        check_axes(self._document, data_io.interface.three_dim, self._problems.alike())
        with self._told("data"):
            check_labels(data_io, subjects, self._document)
        if "evaluation" in self._document:
            self._checked_splitter(self._document["evaluation"], subjects, data_io)
        with self._told("bundle"):  # what would be refused after hours of training
            card = self._maker.card(self._document["bundle"])
            ModelCard().changed(data_io.interface, **card)
        self._check_bundle_folder(output)
        return data_io, training, validation

    def _checked_splitter(
        self, section: Mapping[str, Any], subjects: list[str], data_io: DataIO
    ) -> Any:
        from miscnn.pipeline._with_data import check_folds

        with self._told("evaluation", "splitter"):
            splitter = self._splitter(section)
        with self._told("evaluation"):
            check_folds(section, subjects, data_io, splitter, section["seed"])
        return splitter

    def _splitter(self, section: Mapping[str, Any]) -> Any:
        return self._maker.parts.make(with_folds_path(section.get("splitter"), self._resolved))

    def _check_bundle_folder(self, output: str | os.PathLike[str] | None) -> None:
        """Raise PipelineError if the bundle's files would lie among those of others."""
        bundle = self.path("bundle", "folder", output)
        others = {"the pipeline's folder": self.folder, "the data": self.path("data", "path")}
        if output is not None:
            others["--output"] = Path(os.path.abspath(output))
        for name, folder in others.items():
            if folder == bundle or bundle in folder.parents:
                problems = self._problems.alike()
                told = f"= {self._document['bundle']['folder']!r}: holds {name} ({folder}); "
                told += "a bundle needs a folder of its own"
                problems.add(("bundle", "folder"), told)
                problems.raise_if_any()

    def evaluate(
        self, output: str | os.PathLike[str] | None = None, verbose: int = 1
    ) -> CrossValidationResult:
        """Run the section ``[evaluation]`` only; arguments as in :meth:`run`.

        Without that section: cross-validation with the defaults.
        """
        data_io = self.data_io(output)
        subjects = self.subjects(data_io)
        return self._evaluated(self._built(data_io), subjects, output, verbose)

    def _evaluated(
        self,
        model: NeuralNetwork,
        subjects: list[str],
        output: str | os.PathLike[str] | None,
        verbose: int,
    ) -> CrossValidationResult:
        from miscnn.pipeline._running import evaluate

        document = self.with_evaluation()._document
        section = document["evaluation"]
        path = resolved(section["evaluation_path"], Path(output or self.folder).absolute())
        splitter = self._checked_splitter(section, subjects, model.preprocessor.data)
        with self._running("evaluation"):
            return evaluate(model, subjects, document, path, splitter, verbose)

    def with_evaluation(self) -> Pipeline:
        """Return this pipeline, with a section ``[evaluation]`` of defaults if it has none."""
        if "evaluation" in self._document:
            return self
        return Pipeline({**self._document, "evaluation": {}}, self.folder)

    def _told(self, *place: str) -> Told:
        return Told(self._problems, place)

    def _running(self, *place: str) -> Told:
        return Told(self._problems, place, building=False)

    def __repr__(self) -> str:
        network = self._document["network"]["architecture"][PART]
        return (
            f"Pipeline({self._document['data']['path']!r}, {network}, folder={str(self.folder)!r})"
        )
