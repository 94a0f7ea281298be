"""Several networks for the same outputs that predict as one: their mean."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network._engine import own_recipe
from miscnn.neural_network._identity import identity_of
from miscnn.neural_network._predictor import Predictor
from miscnn.neural_network._roi import RegionOfInterest
from miscnn.neural_network._several import Averaging, CombinedEngine, engine_of
from miscnn.neural_network._stacking import check_members, label_set_of
from miscnn.neural_network.model import NeuralNetwork
from miscnn.neural_network.prediction_settings import Combine, PredictionSettings
from miscnn.processing.postprocessing import PostProcessing
from miscnn.processing.preprocessor import Preprocessor

_WEIGHTS = "model.keras"
_RUN = "run.json"


class MeanEnsemble(Predictor):
    """The mean of networks of the same outputs, such as those of the folds.

    Each predicts on the grid of the *image*, by its own recipe and with what it has learned; there
    they are averaged, plane by plane.

    Parameters
    ----------
    networks : sequence of NeuralNetwork
        Trained, of the same classes or regions. Their recipes may differ.
    combine : {"probabilities", "logits"}
        Mean of probabilities; or of logits: for exclusive classes the normalised geometric mean
        of the probabilities, for regions that of the odds. Probabilities are clipped to
        1e-7 … 1 - 1e-7 before, so that no network that is sure and wrong decides alone.
    postprocessing : PostProcessing, optional
        What is done to finished label maps. Default: that of the first network.

    Attributes
    ----------
    preprocessor : Preprocessor
        That of the first network, whose data set is the ensemble's.

    Raises
    ------
    ConfigurationError
        If the networks' outputs do not fit together.
    """

    def __init__(
        self,
        networks: Sequence[NeuralNetwork],
        combine: Combine = "probabilities",
        postprocessing: PostProcessing | None = None,
    ) -> None:
        self.networks = list(networks)
        if not self.networks or not all(isinstance(n, NeuralNetwork) for n in self.networks):
            raise ConfigurationError(
                f"networks must be a list of NeuralNetwork objects, got {networks!r}"
            )
        if combine not in get_args(Combine):
            raise ConfigurationError(
                f'combine must be "probabilities" or "logits", got {combine!r}'
            )
        self.combine: Combine = combine
        first = self.networks[0]
        self.postprocessing = first.postprocessing if postprocessing is None else postprocessing
        self.preprocessor: Preprocessor = first.preprocessor
        self._check()

    def _check(self) -> None:
        recipes = [network.preprocessor for network in self.networks]
        names = [f"network {number}" for number in range(len(recipes))]
        check_members([recipe.data for recipe in recipes], names)
        first = recipes[0]
        for name, recipe in zip(names[1:], recipes[1:], strict=True):
            same_labels = label_set_of(recipe.data.interface) == label_set_of(first.data.interface)
            if recipe.regions != first.regions or recipe.outputs != first.outputs:
                raise ConfigurationError(
                    f"{name} predicts {_outputs_of(recipe)}, {names[0]} {_outputs_of(first)}; "
                    "only networks of the same outputs can be averaged. StackedEnsemble combines "
                    "networks of different classes"
                )
            if not same_labels:
                raise ConfigurationError(
                    f"{name} merges the classes of the data set in another way than {names[0]}; "
                    "StackedEnsemble combines networks of different classes"
                )

    @classmethod
    def from_cross_validation(
        cls,
        evaluation_path: str | Path,
        model: NeuralNetwork,
        combine: Combine = "probabilities",
        custom_objects: Mapping[str, Any] | None = None,
    ) -> MeanEnsemble:
        """Make an ensemble of the networks that a cross-validation has left behind.

        What a fold's recipe had learned from its training subjects is learned again from the same
        subjects (the data set must be there), where anything is learned at all.

        Parameters
        ----------
        evaluation_path : path
            The one of ``cross_validation``, with ``save_models=True``; all of its folds must be
            finished.
        model : NeuralNetwork
            The model that was handed to it; it stays as it is.
        combine : {"probabilities", "logits"}
        custom_objects : mapping of str to class, optional
            Classes of the user's own in the networks.

        Raises
        ------
        MissingFileError
            If there are no folds, one is not finished, or its weights were not kept.
        """
        folder = Path(evaluation_path)
        folds = folder / "folds.json"
        if not folds.is_file():
            raise MissingFileError(
                f"there is no {folds}; expected the evaluation_path of a cross_validation"
            )
        count = int(json.loads(folds.read_text(encoding="utf-8"))["n_folds"])
        networks = []
        for number in range(count):
            fold = folder / f"fold_{number}"
            for name, why in ((_RUN, "the fold is not finished"), (_WEIGHTS, "save_models=True")):
                if not (fold / name).is_file():
                    raise MissingFileError(f"there is no {fold / name} ({why})")
            run = json.loads((fold / _RUN).read_text(encoding="utf-8"))
            networks.append(
                _network_of_fold(model, fold / _WEIGHTS, run["training"], custom_objects)
            )
        return cls(networks, combine)

    # ------------------------------------------------------------------ prediction

    def _engine(
        self, settings: PredictionSettings | None = None, roi: RegionOfInterest | None = None
    ) -> CombinedEngine:
        recipe = self.preprocessor
        engines = [
            engine_of(network, recipe.outputs, f"network {number}", settings, roi)
            for number, network in enumerate(self.networks)
        ]
        mean = Averaging(self.combine, exclusive=recipe.regions is None)
        return CombinedEngine(engines, mean, recipe.outputs, recipe.regions)

    def _identity(self, settings: PredictionSettings | None = None) -> list[Any]:
        return [self.combine, *(identity_of(network, settings) for network in self.networks)]

    # ------------------------------------------------------------------ files

    def save(
        self,
        folder: str | Path,
        *,
        scores: Any = None,
        name: str | None = None,
        licence: str | None = None,
        description: str | None = None,
        colours: Mapping[int | str, str] | Sequence[str] | None = None,
    ) -> None:
        """Write a bundle that holds one of each network; read it with :func:`miscnn.load`.

        Parameters are those of :meth:`NeuralNetwork.save`.
        """
        from miscnn.neural_network.bundle import save_ensemble

        save_ensemble(
            self,
            folder,
            scores=scores,
            name=name,
            licence=licence,
            description=description,
            colours=colours,
        )

    def __repr__(self) -> str:
        return (
            f"MeanEnsemble({len(self.networks)} networks; mean of {self.combine}, "
            f"{_outputs_of(self.preprocessor)})"
        )


def _network_of_fold(
    model: NeuralNetwork,
    weights: Path,
    training: Sequence[str],
    custom_objects: Mapping[str, Any] | None,
) -> NeuralNetwork:
    """Return a network as it was at the end of a fold."""
    network = model.copy()
    network._forget()
    network._given_statistics = None
    network._adapt(training)
    network.load(weights, custom_objects)
    recipe = own_recipe(model.preprocessor, None)
    network._statistics = recipe.fit(training).get_statistics()
    network._trained_on = tuple(training)
    return network


def _outputs_of(recipe: Preprocessor) -> str:
    if recipe.regions is None:
        return f"{recipe.classes} classes"
    return f"the regions {', '.join(recipe.regions.names)}"
