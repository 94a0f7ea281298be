"""A trained network with its recipe, as a folder.

The folder holds

- ``model.keras``: the network with its weights;
- ``pipeline.json``: everything else that a prediction needs, and what the model card says;
- ``scores.tsv``: the scores of an evaluation, if they were given;
- ``README.md``: the model card;
- ``SHA256SUMS``: the check sums of all these, written last.

The bundle of several networks holds one such folder for each, and ``ensemble.json``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from miscnn._configurable import deserialize, import_classes
from miscnn._files import write_json, write_text
from miscnn._keras import keras
from miscnn.data_loading.data_io import DataIO
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.exceptions import (
    ConfigurationError,
    DamagedFileError,
    MiscnnError,
    MissingFileError,
)
from miscnn.neural_network import _bundle_files as files
from miscnn.neural_network._bundle_document import (
    HashedNames,
    common_document,
    known_training,
    network_document,
    optional_document,
    stacked_document,
    training_data,
)
from miscnn.neural_network._bundle_files import ENSEMBLE, describe, digest
from miscnn.neural_network._keras_names import check_names
from miscnn.neural_network._score_summary import write_bundle_scores
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.model import NeuralNetwork
from miscnn.neural_network.model_card import ModelCard, card_text
from miscnn.neural_network.optimizers import OptimizerRecipe
from miscnn.neural_network.prediction_settings import PredictionSettings
from miscnn.neural_network.schedules import Schedule
from miscnn.processing.postprocessing import PostProcessing
from miscnn.processing.preprocessor import Preprocessor

if TYPE_CHECKING:
    from miscnn.neural_network.ensemble import StackedEnsemble

__all__ = [
    "ENSEMBLE",
    "describe",
    "digest",
    "load",
    "load_network",
    "remove_folder",
    "save",
    "save_ensemble",
]

_log = logging.getLogger("miscnn.neural_network.bundle")

# What a document that miscnn has not written brings about.
_ODD = (KeyError, TypeError, AttributeError, ValueError, IndexError, OverflowError)


@contextmanager
def _describing(path: Path, what: str) -> Iterator[None]:
    """Call a document damaged if nothing can be made of it."""
    try:
        yield
    except _ODD as error:
        if isinstance(error, MiscnnError):
            raise
        raise DamagedFileError(
            f"{path} does not describe {what}: {type(error).__name__} {error}"
        ) from error


def save(
    model: NeuralNetwork,
    folder: str | Path,
    *,
    scores: Any = None,
    name: str | None = None,
    licence: str | None = None,
    description: str | None = None,
    colours: Mapping[int | str, str] | Sequence[str] | None = None,
) -> None:
    """Write a network's bundle; see :meth:`NeuralNetwork.save`.

    Parameters
    ----------
    model : NeuralNetwork
    folder : path
        Where to; made if absent.
    scores, name, licence, description, colours : optional
        As of :meth:`NeuralNetwork.save`.
    """
    interface = model.preprocessor.data.interface
    card = model.card.changed(interface, name, licence, description, colours)
    model._warn_if_untrained("save")
    document = network_document(model, card)
    with files.new_bundle(Path(folder)) as temporary:
        model.dump(temporary / files.NETWORK)
        _write_documents(temporary, files.PIPELINE, document, scores, known_training(model))


def load(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
    modules: Sequence[str] = (),
    *,
    digest: str | None = None,
) -> NeuralNetwork | StackedEnsemble:
    """Read what :meth:`NeuralNetwork.save` or :meth:`StackedEnsemble.save` wrote.

    It is ready to predict.

    All files are compared with their check sums first. These tell of damage, and of a change of
    single files; whoever can change files can write the list anew as well. Against that, compare
    the ``digest`` with one that was published elsewhere.

    No code is run from the folder, and no module is imported that it names, but for those of Keras
    and miscnn, and those that you name.

    Parameters
    ----------
    folder : path
    custom_objects : mapping of str to class, optional
        Classes of the user's own that the bundle names.
    input_path : path, optional
        Data set to work on; not needed to predict folders and arrays.
    output_path : path
        Where predictions go.
    modules : sequence of str
        Modules (with those below them) of yours that the bundle may have imported, to find its
        classes there: ``("my_package.losses",)``. Importing a module runs its code.
    digest : str, optional
        What :func:`miscnn.neural_network.bundle.digest` must return for the folder.

    Returns
    -------
    NeuralNetwork, StackedEnsemble or MeanEnsemble
        With ``bundle_digest``, the digest of the bundle.

    Raises
    ------
    MissingFileError
        If the folder holds no complete bundle; it names what is missing.
    DamagedFileError
        If files have changed since they were saved; it names them.
    ConfigurationError
        If it was written by another major version or in another format, has another digest, or
        names a class that is not handed in.
    """
    folder = Path(folder)
    names = files.checked(folder, digest)
    found = files.digest(folder)
    how = _Loading(custom_objects, input_path, output_path, modules, names)
    loaded: Any
    loaded = how.ensemble(folder) if ENSEMBLE in names else how.network(folder, "")
    loaded.bundle_digest = found
    return loaded  # type: ignore[no-any-return]


def load_network(
    folder: str | Path,
    custom_objects: Mapping[str, Any] | None = None,
    input_path: str | Path | None = None,
    output_path: str | Path = "predictions",
    modules: Sequence[str] = (),
) -> NeuralNetwork:
    """Read the bundle of one network; arguments and errors as in :func:`load`.

    Parameters
    ----------
    folder, custom_objects, input_path, output_path, modules : optional
        As of :func:`load`.
    """
    loaded = load(folder, custom_objects, input_path, output_path, modules)
    if not isinstance(loaded, NeuralNetwork):
        raise ConfigurationError(
            f"{folder} holds several networks; expected the bundle of one, such as "
            f"{Path(folder) / 'member_0_0'}"
        )
    return loaded


def save_ensemble(
    ensemble: Any,
    folder: str | Path,
    *,
    scores: Any = None,
    name: str | None = None,
    licence: str | None = None,
    description: str | None = None,
    colours: Mapping[int | str, str] | Sequence[str] | None = None,
) -> None:
    """Write each network of an ensemble as a bundle of its own, then ``ensemble.json``.

    Parameters
    ----------
    ensemble : StackedEnsemble or MeanEnsemble
    folder : path
        Where to; made if absent.
    scores, name, licence, description, colours : optional
        As of :meth:`NeuralNetwork.save`.
    """
    recipe = ensemble.preprocessor
    card = getattr(ensemble, "card", ModelCard()).changed(
        recipe.data.interface, name, licence, description, colours
    )
    stacked = hasattr(ensemble, "combiner")
    networks = ensemble.networks if stacked else [ensemble.networks]
    groups = [
        [f"member_{number}_{k}" for k in range(len(group))] for number, group in enumerate(networks)
    ]
    data = training_data([network for group in networks for network in group])
    kind = "stacked ensemble" if stacked else "mean ensemble"
    document = {
        **common_document(kind, recipe, card, data),
        "networks": groups,
        **(stacked_document(ensemble) if stacked else {"combine": ensemble.combine}),
        "postprocessing": optional_document(getattr(ensemble, "postprocessing", None)),
    }
    with files.new_bundle(Path(folder)) as temporary:
        for names, group in zip(groups, networks, strict=True):
            for member, network in zip(names, group, strict=True):
                network.save(temporary / member)
        _write_documents(temporary, ENSEMBLE, document, scores)


def remove_folder(path: str | Path) -> None:
    """Remove the bundle of this name, so that a file can take its place.

    Parameters
    ----------
    path : path

    Raises
    ------
    ConfigurationError
        If there is a folder that holds anything else.
    """
    files.clear(Path(path))


def _write_documents(
    folder: Path,
    mark: str,
    document: dict[str, Any],
    scores: Any,
    trained_on: frozenset[str] | None = None,
) -> None:
    document = {**document, "scores": None}
    if scores is not None:
        written = write_bundle_scores(scores, folder / files.SCORES)
        origin = written.origin(trained_on)
        document |= {"scores": written.summary, "scores_from": origin}
        # Nobody else's scores were asked for: of a test set the network has seen no subject, and
        # after a cross-validation it should have seen all.
        if origin["trained_on"] and origin["trained_on"] < origin["subjects"]:
            _log.warning(
                "save: of the %d subjects of the scores this network's training saw %d. If it is "
                "the network of the last fold of a cross-validation, which a model is left with: "
                "train it on all subjects before it is saved (model.reset(), then model.train(…))",
                origin["subjects"], origin["trained_on"],
            )  # fmt: skip
    write_json(folder / mark, document)
    write_text(folder / files.CARD, card_text(document))


class _Loading:
    """How a bundle is read, whose check sums are right.

    Parameters
    ----------
    names : frozenset of str
        The files that belong to the bundle; no others are read.
    """

    def __init__(
        self,
        custom_objects: Mapping[str, Any] | None,
        input_path: str | Path | None,
        output_path: str | Path,
        modules: Sequence[str],
        names: frozenset[str],
    ) -> None:
        self.custom_objects = dict(custom_objects or {})
        self.input_path = input_path
        self.output_path = output_path
        self.modules = (modules,) if isinstance(modules, str) else tuple(modules)
        self.names = names

    def network(self, folder: Path, prefix: str) -> NeuralNetwork:
        """Read one network; its files are called ``prefix + name`` in the list."""
        for name in (files.PIPELINE, files.NETWORK):
            if prefix + name not in self.names:
                raise MissingFileError(f"{folder} is incomplete. Missing: {name}")
        if prefix:
            files.check_version(folder)
        path = folder / files.PIPELINE
        document = files.read_document(folder)
        with _describing(path, "a network"):
            return self._made(path, document)

    def _made(self, path: Path, document: dict[str, Any]) -> NeuralNetwork:
        custom = self._classes(document)
        objects = check_names(document, str(path), custom, self.modules)
        interface = self._part(document, "interface", DataInterface, custom)
        data_io = DataIO(interface, self.input_path, output_path=str(self.output_path))
        preprocessor = Preprocessor.from_config(document["preprocessor"], data_io, custom)
        recipe = self._part(document, "optimizer", OptimizerRecipe, custom)
        with keras.saving.custom_object_scope(objects):
            model = NeuralNetwork(
                preprocessor,
                self._part(document, "architecture", Architecture, custom),
                loss=keras.losses.deserialize(document["loss"]),
                metrics=[keras.saving.deserialize_keras_object(m) for m in document["metrics"]],
                learning_rate=keras.saving.deserialize_keras_object(document["learning_rate"]),
                optimizer=recipe.optimizer,
                schedule=self._part(document, "schedule", Schedule, custom),
                weight_decay=recipe.weight_decay,
                gradient_clipping=recipe.clip_norm,
                ema=recipe.ema,
                gradient_accumulation=recipe.accumulation,
                precision=document["precision"],
                seed=document["seed"],
                prediction=self._part(document, "prediction", PredictionSettings, custom),
                postprocessing=self._postprocessing(document, custom),
            )
        model.load(path.with_name(files.NETWORK), self.custom_objects, modules=self.modules)
        model._epochs_trained = int(document["epochs_trained"])
        model._weights_given = not document.get("untrained", False)
        if not document["own_statistics"]:
            model._statistics = None
        model._fingerprint = document["fingerprint"]
        model.card = _card_of(document)
        return model

    def ensemble(self, folder: Path) -> Any:
        """Read an ensemble."""
        document = files.read_document(folder)
        with _describing(folder / ENSEMBLE, "an ensemble"):
            return self._assembled(folder, document)

    def _assembled(self, folder: Path, document: dict[str, Any]) -> Any:
        from miscnn.neural_network._stacking import Score
        from miscnn.neural_network.ensemble import StackedEnsemble  # which imports this module
        from miscnn.neural_network.mean_ensemble import MeanEnsemble

        custom = self._classes(document)
        groups = document["networks"]
        odd = [name for group in groups for name in group if not files.is_member(name)]
        if odd:
            raise DamagedFileError(f"{folder / ENSEMBLE} names {str(odd[0])[:100]!r} as a member")
        networks = [[self.network(folder / name, f"{name}/") for name in group] for group in groups]
        ensemble: Any
        if document["kind"] == "mean ensemble":
            ensemble = MeanEnsemble(networks[0], combine=document["combine"])
        else:
            folds = document["folds"]
            ensemble = StackedEnsemble(
                [member[0] for member in networks],
                document["combiner"],
                document["top"],
                document["names"],
                folds=deserialize(folds, custom) if isinstance(folds, dict) else folds,
                voxels=document["voxels"],
                seed=document["seed"],
            )
            if document["softmax"] is not None:
                ensemble._softmax = deserialize(document["softmax"])
            ensemble.networks = networks
            ensemble.scores = [
                [Score(*score) for score in scores] for scores in document["member_scores"]
            ]
            seen = document["seen"]
            ensemble._seen = HashedNames(seen["hashes"], seen["salt"])
        ensemble.postprocessing = self._postprocessing(document, custom)
        ensemble.card = _card_of(document)
        return ensemble

    def _classes(self, document: Any) -> dict[str, Any]:
        return {**import_classes(document, self.modules), **self.custom_objects}

    def _postprocessing(
        self, document: Mapping[str, Any], custom: Mapping[str, Any]
    ) -> PostProcessing | None:
        if document["postprocessing"] is None:
            return None
        part: PostProcessing = self._part(document, "postprocessing", PostProcessing, custom)
        return part

    def _part(
        self, document: Mapping[str, Any], name: str, kind: type, custom: Mapping[str, Any]
    ) -> Any:
        part = deserialize(document[name], custom)
        if not isinstance(part, kind):
            raise DamagedFileError(
                f"{name} is {type(part).__name__}, expected a {kind.__name__}: this is no bundle "
                "that miscnn wrote"
            )
        return part


def _card_of(document: Mapping[str, Any]) -> ModelCard:
    card = document["card"]
    colours = {each["label"]: each["colour"] for each in document["labels"] if each["colour"]}
    return ModelCard(card["name"], card["description"], card["licence"], colours)
