"""Networks on their way to another process, where folds of a cross-validation run.

What travels is what a network was made of (the arguments of its constructor, parts of Keras' as
class and configuration) and its weights; there it is built anew, as :meth:`BuiltNetwork.copy`
does. It is never written to disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError

if TYPE_CHECKING:
    from miscnn.neural_network._network import BuiltNetwork

# Made anew at the other end: they belong to the devices of this process.
_LEFT_HERE = ("model", "_compiled_predictor", "_compiled_with")


@dataclass(frozen=True)
class KerasPart:
    """A loss, a metric or a schedule of Keras' kind, by class and configuration."""

    kind: type
    config: dict[str, Any]

    def made(self) -> Any:
        """Return the part."""
        return self.kind.from_config(self.config)  # type: ignore[attr-defined]  # of Keras


class Untrained:
    """Stands for a network (or whatever can be pickled) whose weights need not travel.

    It arrives as the network with its initial weights: what :meth:`BuiltNetwork.reset` makes.
    """

    def __init__(self, network: Any) -> None:
        self._network = network

    def __reduce__(self) -> tuple[Any, ...]:
        return _arrived, (type(self._network), packed(self._network), None)


def packed(network: BuiltNetwork) -> dict[str, Any]:
    """Return all that a network is made of, without its weights.

    Raises
    ------
    ConfigurationError
        If it is shared by several devices of this process, or a part of Keras' does not tell
        completely what it was made of.
    """
    if network.distribution.replicas > 1:
        raise ConfigurationError(
            f"the network is shared by {network.distribution.replicas} devices of this process and "
            "cannot be sent to another; run the folds one by one, or make it without distribution"
        )
    state = {name: value for name, value in vars(network).items() if name not in _LEFT_HERE}
    for name in ("loss", "learning_rate"):
        state[name] = _packed_part(state[name], name)
    state["metrics"] = [_packed_part(metric, "metrics") for metric in state["metrics"]]
    return state


def travelling(network: BuiltNetwork) -> tuple[Any, ...]:
    """Return what pickle keeps of a network with its weights, without the optimizer's state."""
    return _arrived, (type(network), packed(network), network.model.get_weights())


def _packed_part(part: Any, name: str) -> Any:
    kinds = (
        keras.losses.Loss,
        keras.metrics.Metric,
        keras.optimizers.schedules.LearningRateSchedule,
    )
    if not isinstance(part, kinds):
        return part
    found = KerasPart(type(part), part.get_config())
    try:
        found.made()
    except Exception as error:  # whatever a stranger's constructor raises
        raise ConfigurationError(
            f"{name}: {type(part).__name__} cannot be made again from its get_config() "
            f"({type(error).__name__}: {error}), so it cannot be sent to another process; let "
            "get_config return all arguments of the constructor"
        ) from error
    return found


def _arrived(kind: type[BuiltNetwork], state: dict[str, Any], weights: Any) -> BuiltNetwork:
    network = object.__new__(kind)
    vars(network).update(state)
    network.loss, network.learning_rate = _made(network.loss), _made(network.learning_rate)
    network.metrics = [_made(metric) for metric in network.metrics]
    network._compiled_predictor = None
    network.model = network._fresh()
    if weights is not None:
        network.model.set_weights(weights)
    network._compile()
    return network


def _made(part: Any) -> Any:
    return part.made() if isinstance(part, KerasPart) else part
