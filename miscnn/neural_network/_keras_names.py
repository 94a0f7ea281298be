"""What a description of Keras' may name, so that reading it runs no code of strangers.

Keras makes whatever class or function a ``config.json`` names, from any module in some versions.
Here every name is looked at before Keras sees it. Allowed are what networks are made of in Keras
itself (layers that neither read files nor run code; losses, metrics, optimizers, ...), the classes
of this library, and what the user hands in or whose module the user names.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError

__all__ = ["check_names"]

# Values, not objects.
_VALUES = frozenset(
    {"__keras_tensor__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__"}
)

# Left out are those that run code or read files: Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer,
# FlaxLayer, StringLookup, IntegerLookup, TextVectorization, and what a later Keras may bring.
_PER_DIMENSION = (
    "Conv{}D", "Conv{}DTranspose", "SeparableConv{}D", "DepthwiseConv{}D", "ConvLSTM{}D",
    "MaxPooling{}D", "AveragePooling{}D", "GlobalMaxPooling{}D", "GlobalAveragePooling{}D",
    "AdaptiveMaxPooling{}D", "AdaptiveAveragePooling{}D", "SpatialDropout{}D",
    "Cropping{}D", "ZeroPadding{}D", "UpSampling{}D",
)  # fmt: skip
_LAYERS = frozenset((
    "Dense", "EinsumDense", "Embedding", "Activation", "Masking", "Identity", "InputLayer",
    "BatchNormalization", "LayerNormalization", "GroupNormalization", "UnitNormalization",
    "RMSNormalization", "SpectralNormalization", "Normalization", "Rescaling", "Resizing",
    "CenterCrop", "Dropout", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization", "Attention", "AdditiveAttention", "MultiHeadAttention",
    "GroupQueryAttention", "Reshape", "Flatten", "Permute", "RepeatVector", "Add",
    "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot", "ReLU",
    "LeakyReLU", "PReLU", "ELU", "Softmax", "RNN", "LSTM", "LSTMCell", "GRU", "GRUCell",
    "SimpleRNN", "SimpleRNNCell", "StackedRNNCells", "Bidirectional", "TimeDistributed",
    *(name.format(n) for name in _PER_DIMENSION for n in (1, 2, 3)),
))  # fmt: skip
_MODELS = frozenset({"Model", "Sequential", "Functional"})
_MODEL_MODULES = {"keras", "keras.models"} | {
    f"keras.src.models.{name}" for name in ("model", "functional", "sequential")
}
_BASES = {
    "keras.initializers": keras.initializers.Initializer,
    "keras.regularizers": keras.regularizers.Regularizer,
    "keras.constraints": keras.constraints.Constraint,
    "keras.losses": keras.losses.Loss,
    "keras.metrics": keras.metrics.Metric,
    "keras.optimizers": keras.optimizers.Optimizer,
    "keras.optimizers.schedules": keras.optimizers.schedules.LearningRateSchedule,
    "keras.random": keras.random.SeedGenerator,
    "keras": keras.DTypePolicy,
    "keras.dtype_policies": keras.DTypePolicy,
}
_FUNCTION_MODULES = ("keras.activations", "keras.losses", "keras.metrics")
_NO_FUNCTIONS = frozenset({"get", "serialize", "deserialize"})
# Pure arithmetic on tensors, as the graph of a functional model holds it.
_OPERATIONS = re.compile(r"keras\.src\.ops\.(numpy|nn|math|image|linalg)")
_OWN = "miscnn.neural_network"  # where all classes are that Keras makes
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def check_names(
    document: Any,
    where: str,
    custom_objects: Mapping[str, Any] | None = None,
    modules: Sequence[str] = (),
) -> dict[str, Any]:
    """Look at each class and function that a description of Keras' names.

    Parameters
    ----------
    document : JSON value
    where : str
        How to call it in messages.
    custom_objects : mapping of str to class or function, optional
        What the user hands in.
    modules : sequence of str
        Modules (with those below them) that the user allows to import classes from.

    Returns
    -------
    dict of str to class or function
        What to hand to Keras as custom objects.

    Raises
    ------
    ConfigurationError
        If a name is not allowed.
    """
    objects = dict(custom_objects or {})
    seen: set[tuple[Any, ...]] = set()
    for entry in _entries(document):
        name, config = entry["class_name"], entry.get("config")
        module, registered = entry.get("module"), entry.get("registered_name", name)
        texts = (name, module, registered)
        if not all(isinstance(text, str) for text in (name, module or "", registered or "")):
            raise _refused(where, str(texts), "names must be texts")
        key = config if name == "function" and isinstance(config, str) else registered
        if (*texts, key) not in seen:
            seen.add((*texts, key))
            found = _checked(where, name, module, registered or name, key or name, objects, modules)
            if found is not None:
                objects[key or name] = found
    return objects


def defined_in(thing: Any, modules: Sequence[str]) -> bool:
    """Tell whether a class or function was defined in one of these modules, or below them."""
    home = str(getattr(thing, "__module__", ""))
    return any(home == module or home.startswith(f"{module}.") for module in modules)


def _entries(document: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects with a ``class_name``, however deep."""
    pending = [document]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if "class_name" in value:
                yield value
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)


def _checked(
    where: str,
    name: str,
    module: str | None,
    registered: str,
    key: str,
    objects: Mapping[str, Any],
    modules: Sequence[str],
) -> Any:
    """Raise ConfigurationError for what is not allowed; return what Keras has to be handed."""
    full = f"{module}.{key if name == 'function' else name}" if module else name
    if name in _VALUES:
        return None
    if name in ("__lambda__", "__typespec__") or (name == "Lambda" and _is_keras(module)):
        raise _refused(where, full, "Lambda layers hold code", advice="")
    own = module is not None and defined_in(_Home(module), (_OWN,))
    if own or (module is not None and defined_in(_Home(module), modules)):
        _imported(where, full, str(module))  # classes register themselves there
    # Keras takes what is registered under the name before anything else.
    known = keras.saving.get_custom_objects()
    taken = known.get(key, objects.get(key))
    if taken is None and name in objects:
        return objects[name]
    if taken is not None:
        handed = any(taken is thing for thing in objects.values())
        # Older descriptions are read by the name of the class alone.
        same = name in ("function", key, getattr(taken, "__name__", None))
        if same and (handed or defined_in(taken, (_OWN, *modules))):
            return None
        raise _refused(where, full, f"{key!r} is registered with Keras, but was not handed in")
    if not own and module is not None and defined_in(_Home(module), modules):
        thing = getattr(sys.modules[module], key if name == "function" else name, None)
        if (inspect.isclass(thing) or inspect.isfunction(thing)) and defined_in(thing, modules):
            return thing
        raise _refused(where, full, f"{module} defines nothing of this name")
    if not _is_builtin(name, module, registered, key):
        raise _refused(where, full, "it is no part of networks that miscnn or Keras define")
    return None


class _Home:
    """Stands for something of a module that is not imported."""

    def __init__(self, module: str) -> None:
        self.__module__ = module


def _is_keras(module: str | None) -> bool:
    return module is None or module == "keras" or module.startswith("keras.")


def _is_builtin(name: str, module: str | None, registered: str, key: str) -> bool:
    """Tell whether this is a part of Keras' own that computes and does nothing else."""
    if module is None:
        return False
    if name == "function":
        places = _FUNCTION_MODULES if module == "builtins" else (module,)
        return key not in _NO_FUNCTIONS and any(
            place in _FUNCTION_MODULES and inspect.isfunction(_attribute(place, key))
            for place in places
        )
    if registered != name:
        return False
    if module == "keras.layers":
        return name in _LAYERS
    if module in _MODEL_MODULES and name in _MODELS:
        return True
    thing = _attribute(module, name)
    if not inspect.isclass(thing):
        return False
    if module in _BASES:
        return issubclass(thing, _BASES[module])
    if _OPERATIONS.fullmatch(module):
        return issubclass(thing, keras.Operation) and thing.__module__ == module
    return False


def _attribute(module: str, name: str) -> Any:
    """Return what is found under a name in a module of Keras' that is there already."""
    return getattr(sys.modules.get(module), name, None) if name.isidentifier() else None


def _imported(where: str, full: str, module: str) -> None:
    if not _MODULE.fullmatch(module):
        raise _refused(where, full, "this is no name of a module")
    try:
        importlib.import_module(module)
    except ImportError as error:
        raise _refused(where, full, f"its module cannot be imported ({error})") from error


def _refused(where: str, name: str, reason: str, advice: str | None = None) -> ConfigurationError:
    if advice is None:
        last = name.rpartition(".")[2][:80]
        advice = (
            f" If it is yours, hand it in: custom_objects={{{last!r}: {last}}}, or allow its "
            "module by modules=(...)"
        )
    return ConfigurationError(
        f"{where} names {name[:200]!r}, which is not loaded: {reason}. Code in files is never run."
        f"{advice}"
    )
