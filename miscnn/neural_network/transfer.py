"""Fine-tuning: weights of one network for another that differs in parts."""

from __future__ import annotations

import logging
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError, DamagedFileError, MissingFileError
from miscnn.neural_network._checksums import SUMS, check_sums, read_sums
from miscnn.neural_network._keras_file import read_keras_file

__all__ = ["TransferReport", "Weight", "transfer_weights"]

_log = logging.getLogger("miscnn.neural_network.transfer")

_NETWORK = "model.keras"  # of a bundle
_ENSEMBLE = "ensemble.json"
_MOST_LINES = 12
_EXAMPLES = 3


class Weight(NamedTuple):
    """One variable in a :class:`TransferReport`.

    Attributes
    ----------
    path : str
        Layer and variable: ``"logits/kernel"``.
    shape : tuple of int
    source_shape : tuple of int or None
        Shape of the variable of this name in the source; None if there is none.
    remark : str
        How it was changed on the way, or why it was not loaded.
    """

    path: str
    shape: tuple[int, ...]
    source_shape: tuple[int, ...] | None = None
    remark: str = ""

    @property
    def parameters(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TransferReport:
    """What was taken over from another network, and what was not.

    Attributes
    ----------
    source : str
        Where the weights come from.
    loaded : tuple of Weight
        Variables of the network that have the source's values now.
    not_loaded : tuple of Weight
        Variables of the network that have kept theirs, each with the reason (``remark``).
    unused : tuple of Weight
        Variables of the source whose name the network does not have. Those of a name in common
        and another shape are in ``not_loaded``.
    warning : str
        What is to be known of weights that were loaded although they fit by shape only.
    """

    source: str
    loaded: tuple[Weight, ...] = field(repr=False)
    not_loaded: tuple[Weight, ...] = field(repr=False)
    unused: tuple[Weight, ...] = field(repr=False)
    warning: str = ""

    @property
    def complete(self) -> bool:
        """Whether every variable of the network was loaded."""
        return not self.not_loaded

    @property
    def loaded_parameters(self) -> int:
        """Number of values that were loaded."""
        return sum(weight.parameters for weight in self.loaded)

    @property
    def parameters(self) -> int:
        """Number of values of the network, batch statistics included."""
        return self.loaded_parameters + sum(weight.parameters for weight in self.not_loaded)

    @property
    def unused_parameters(self) -> int:
        """Number of values of the source without a place in the network."""
        return sum(weight.parameters for weight in self.unused)

    def __str__(self) -> str:
        share = 100.0 * self.loaded_parameters / self.parameters
        if not self.complete:
            share = min(share, 99.9)  # only what is complete is shown as 100 %
        lines = [
            f"weights from {self.source}: {len(self.loaded)} of "
            f"{len(self.loaded) + len(self.not_loaded)} variables loaded "
            f"({self.loaded_parameters:,} of {self.parameters:,} parameters, {share:.1f} %)"
        ]
        changed = [weight for weight in self.loaded if weight.remark]
        lines += _table("loaded with a change:", changed)
        lines += _table("not loaded:", self.not_loaded)
        lines += _table(f"in the source only ({self.unused_parameters:,} values):", self.unused)
        if self.warning:
            lines.append(f"  warning: {self.warning}")
        return "\n".join(lines)

    def log(self) -> None:
        """Log it: as a warning if anything was not loaded or there is one, else as information."""
        level = logging.INFO if self.complete and not self.warning else logging.WARNING
        _log.log(level, "%s", self)


def transfer_weights(
    target: Any,
    source: Any,
    channels: Literal["mean"] | None = None,
    *,
    custom_objects: Mapping[str, Any] | None = None,
    modules: Sequence[str] = (),
    log: bool = True,
) -> TransferReport:
    """Load the weights of another network wherever name and shape agree.

    Variables are matched by layer and name (``"encoder_0_0_conv/kernel"``); the name of the
    model itself does not count. Those that are not trained, such as the statistics of batch
    normalisation, are taken over too. The rest of the network keeps the weights it has: as a
    rule the first convolution if the number of channels differs, and ``logits`` if the number of
    classes does.

    Parameters
    ----------
    target : keras.Model
        The network to load into; changed in place. Not touched if there is an error.
    source : keras.Model or path
        A network, a ``.keras`` file, or the folder of a bundle that
        :meth:`NeuralNetwork.save` wrote. No code is run from files.
    channels : {"mean"}, optional
        What to do with convolutions that read the input, if the number of channels differs.
        "mean": each channel of the network gets the mean of the source's channels, times
        (source's channels / network's channels), so that the sum over the channels stays: on
        channels that are all alike both networks compute the same. Default: they are not loaded.
    custom_objects : mapping of str to class, optional
        Classes of the user's own in the file.
    modules : sequence of str
        Modules that the file may have imported, to find its classes there.
    log : bool
        Log the report: as a warning if anything was not loaded, else as information.

    Returns
    -------
    TransferReport
        ``print(report)`` shows a short table.

    Raises
    ------
    ConfigurationError
        If not one variable agrees, or the file is no Keras model or names unknown classes.
    MissingFileError
        If there is no such file, or no network in the folder.

    Notes
    -----
    An optimizer that was at work before knows nothing of the new weights: compile anew.

    Examples
    --------
    >>> from miscnn.neural_network.architecture import UNetStandard
    >>> unet = UNetStandard(n_filters=4, depth=1)
    >>> kidney = unet.create_model_2D((None, None, 1), n_labels=2)
    >>> tumour = unet.create_model_2D((None, None, 1), n_labels=3)
    >>> report = transfer_weights(tumour, kidney, log=False)
    >>> [weight.path for weight in report.not_loaded]
    ['logits/kernel', 'logits/bias']
    """
    if channels not in (None, "mean"):
        raise ConfigurationError(f'channels must be None or "mean", got {channels!r}')
    model, name = _read(source, custom_objects, modules)
    mine = _by_path(target, "the network to load into")
    theirs = _by_path(model, f"the source {name}")
    means = _entries(target) & _entries(model) if channels == "mean" else frozenset()

    loaded: list[Weight] = []
    not_loaded: list[Weight] = []
    todo: list[tuple[Any, Any, Callable[[Any], Any]]] = []
    for path, variables in mine.items():
        others = theirs.get(path, [])
        for number, variable in enumerate(variables):
            shape = tuple(variable.shape)
            if not others:
                not_loaded.append(Weight(path, shape, None, "not in the source"))
            elif len(others) != len(variables):
                # Of several layers with one name it is not known which stands for which.
                counts = f"{len(variables)} of this name here, {len(others)} in the source"
                not_loaded.append(Weight(path, shape, None, counts))
            else:
                other = others[number]
                other_shape = tuple(other.shape)
                if shape == other_shape:
                    loaded.append(Weight(path, shape, other_shape))
                    todo.append((variable, other, ops.convert_to_tensor))
                elif path in means and _but_channels(shape) == _but_channels(other_shape):
                    remark = f"mean of the source's channels: {other_shape[-2]} to {shape[-2]}"
                    loaded.append(Weight(path, shape, other_shape, remark))
                    todo.append((variable, other, _spread_over(shape[-2])))
                else:
                    remark = f"the source has {_shown(other_shape)}"
                    not_loaded.append(Weight(path, shape, other_shape, remark))
    if not loaded:
        raise ConfigurationError(
            f"no variable of the source {name} agrees in name and shape with one of the network: "
            f"the network has {_examples(mine)}; the source has {_examples(theirs)}. Weights can "
            "be taken from a network of the same architecture, or one that shares layers with it"
        )
    for variable, other, change in todo:
        variable.assign(change(other))
    report = TransferReport(
        name,
        tuple(loaded),
        tuple(not_loaded),
        tuple(
            Weight(path, tuple(variable.shape), tuple(variable.shape))
            for path, variables in theirs.items()
            if path not in mine
            for variable in variables
        ),
    )
    if log:
        report.log()
    return report


def _read(
    source: Any, custom_objects: Mapping[str, Any] | None, modules: Sequence[str]
) -> tuple[Any, str]:
    """Return a model, and how to call it in messages."""
    if isinstance(source, keras.Model):
        return source, f"the model {source.name!r}"
    if not isinstance(source, str | Path):
        raise ConfigurationError(
            "source must be a Keras model, a .keras file or the folder of a saved network, got "
            f"{type(source).__name__}"
        )
    path = Path(source)
    if path.is_dir():
        if (path / _ENSEMBLE).is_file():
            raise ConfigurationError(
                f"source {path} holds an ensemble of several networks: name the folder of one "
                f"of them, such as {path / 'member_0_0'}"
            )
        if not (path / _NETWORK).is_file():
            raise MissingFileError(
                f"source {path} holds no {_NETWORK}: expected a folder that NeuralNetwork.save() "
                "wrote"
            )
        sums = read_sums(path) if (path / SUMS).is_file() else {}
        check_sums(path, {name: sums[name] for name in sums if name == _NETWORK})
        path = path / _NETWORK
    if not path.is_file():
        raise MissingFileError(f"source {path} does not exist: expected a .keras file or a folder")
    if not zipfile.is_zipfile(path):
        raise ConfigurationError(
            f"source {path} is no Keras model: expected a file in the .keras format, as "
            "NeuralNetwork.dump() writes it"
        )
    try:
        model = read_keras_file(path, custom_objects, modules)
    except (ConfigurationError, DamagedFileError) as error:
        raise ConfigurationError(f"source cannot be read as a Keras model: {error}") from error
    except (TypeError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConfigurationError(
            f"source {path} cannot be read as a Keras model: {_reason(error)}\n"
            "Hand in classes of your own as custom_objects={'Name': Name}. Code in files "
            "(Lambda layers) is never run: load such a model yourself and pass it as source"
        ) from error
    return model, str(path)


def _reason(error: Exception) -> str:
    """Return the part of Keras' message that says what is wrong, without the configuration."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "Could not" in line or "Unknown" in line]
    return (telling or lines or [type(error).__name__])[0][:300]


def _by_path(model: Any, what: str) -> dict[str, list[Any]]:
    """Return the variables of a model by path, in the model's order, without the model's name.

    Only subclassed models put their name before the layers', and not after they were read from
    a file.
    """
    found: dict[str, list[Any]] = {}
    prefixed = all(layer.name != model.name for layer in model.layers)
    for variable in model.weights:
        first, _, rest = variable.path.partition("/")
        path = rest if rest and prefixed and first == model.name else variable.path
        found.setdefault(path, []).append(variable)
    if not found:
        raise ConfigurationError(
            f"{what} ({model.name!r}) has no weights yet: build it, or call it on a batch, first"
        )
    return found


def _entries(model: Any) -> frozenset[str]:
    """Return the paths of the kernels of convolutions that read the model's input.

    Padding, dropout and the like may stand between. Models that are no graph have none.
    """
    paths: set[str] = set()

    def walk(part: Any) -> None:
        inputs = {id(tensor) for tensor in getattr(part, "inputs", None) or ()}
        for layer in part.layers:
            try:
                # Of the layer in this graph; a nested model's own property is of the graph inside.
                read, given = _INPUT(layer), _OUTPUT(layer)
            except (AttributeError, ValueError):  # not in a graph, or in it several times
                continue
            if isinstance(read, list | tuple) or id(read) not in inputs:
                continue
            if isinstance(layer, keras.Model):
                walk(layer)
            elif isinstance(layer, _CONVOLUTIONS) and layer.groups == 1:
                paths.add(layer.kernel.path)
            elif not layer.weights and given.shape[-1] == read.shape[-1]:
                inputs.add(id(given))

    walk(model)
    counts = Counter(variable.path for variable in model.weights)
    return frozenset(path for path in paths if counts[path] == 1)


_INPUT = keras.layers.Layer.input.fget
_OUTPUT = keras.layers.Layer.output.fget
_CONVOLUTIONS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)


def _but_channels(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the shape of a kernel (…, channels, filters) without its channels."""
    return (*shape[:-2], *shape[-1:])


def _spread_over(channels: int) -> Callable[[Any], Any]:
    """Return a function that gives each of ``channels`` channels its share of the sum."""

    def spread(kernel: Any) -> Any:
        summed = ops.sum(ops.convert_to_tensor(kernel), axis=-2, keepdims=True)
        return ops.repeat(summed / channels, channels, axis=-2)

    return spread


def _shown(shape: Sequence[int]) -> str:
    return "x".join(str(size) for size in shape) or "one value"


def _examples(paths: Mapping[str, Sequence[Any]]) -> str:
    some = [f"{path} ({_shown(paths[path][0].shape)})" for path in list(paths)[:_EXAMPLES]]
    more = len(paths) - len(some)
    return ", ".join(some) + (f" and {more} more" if more > 0 else "")


def _table(title: str, weights: Sequence[Weight]) -> list[str]:
    if not weights:
        return []
    shown = weights[:_MOST_LINES]
    names = max(len(weight.path) for weight in shown)
    sizes = max(len(_shown(weight.shape)) for weight in shown)
    lines = [
        f"    {weight.path:<{names}}  {_shown(weight.shape):>{sizes}}  {weight.remark}".rstrip()
        for weight in shown
    ]
    if len(weights) > len(shown):
        lines.append(f"    and {len(weights) - len(shown)} more")
    return [f"  {title}", *lines]
