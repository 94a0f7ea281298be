"""Optimizers by name, with the options that trainings need."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from miscnn._configurable import Configurable
from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError

__all__ = ["OptimizerRecipe"]

_SGD_MOMENTUM = 0.99  # nnU-Net's


class OptimizerRecipe(Configurable):
    """Makes the same optimizer any number of times.

    Parameters
    ----------
    optimizer : str or mapping
        "adam"; "adamw"; "sgd", which has Nesterov momentum 0.99 as in nnU-Net; the name of
        another optimizer of Keras'; or what ``keras.optimizers.serialize`` returned.
    weight_decay : float, optional
        Decoupled weight decay per step, times the learning rate. Default: Keras' for the optimizer.
    clip_norm : float, optional
        The gradient is scaled down to this global norm if it is longer.
    ema : float, optional
        Momentum of the exponential moving average of the weights, such as 0.999. Validation and
        the end of the training take the averages.
    accumulation : int
        Number of batches whose gradients are averaged for one update.
    """

    def __init__(
        self,
        optimizer: str | Mapping[str, Any] = "adam",
        *,
        weight_decay: float | None = None,
        clip_norm: float | None = None,
        ema: float | None = None,
        accumulation: int = 1,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ConfigurationError(
                f"gradient_clipping is {clip_norm!r}; expected a positive norm"
            )
        if weight_decay is not None and not weight_decay >= 0:
            raise ConfigurationError(f"weight_decay is {weight_decay!r}; expected 0 or more")
        if ema is not None and not 0 < ema < 1:
            raise ConfigurationError(
                f"ema is {ema!r}; expected a momentum between 0 and 1, such as 0.999"
            )
        if isinstance(accumulation, bool) or int(accumulation) != accumulation or accumulation < 1:
            raise ConfigurationError(
                f"gradient_accumulation is {accumulation!r}; expected 1 batch or more"
            )
        options = (weight_decay, clip_norm, ema)
        if not isinstance(optimizer, str) and (options != (None,) * 3 or accumulation != 1):
            raise ConfigurationError(
                "weight_decay, gradient_clipping, ema and gradient_accumulation are for optimizers "
                "given by name; an optimizer object has arguments of its own for them "
                "(weight_decay, global_clipnorm, use_ema, gradient_accumulation_steps)"
            )
        self.optimizer = optimizer
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.ema = ema
        self.accumulation = accumulation
        if isinstance(optimizer, str):
            self._named()  # raises if there is none of this name

    @classmethod
    def of(cls, optimizer: Any, **options: Any) -> OptimizerRecipe:
        """Return the recipe for a name, for an optimizer object (it is copied), or for None."""
        if optimizer is None:
            return cls(**options)
        if isinstance(optimizer, keras.optimizers.Optimizer):
            optimizer = keras.optimizers.serialize(optimizer)
        elif not isinstance(optimizer, (str, Mapping)):
            raise ConfigurationError(
                f"optimizer is {optimizer!r}; expected a name such as 'adam', 'adamw' or 'sgd', or "
                "an optimizer of Keras'"
            )
        return cls(optimizer, **options)

    def make(self, learning_rate: Any) -> Any:
        """Make an optimizer. One that was given as an object has a learning rate of its own."""
        if not isinstance(self.optimizer, str):
            # Keras puts the schedule it has made into the very configuration it was given.
            return keras.optimizers.deserialize(copy.deepcopy(dict(self.optimizer)))
        options: dict[str, Any] = {"learning_rate": learning_rate}
        if self.optimizer == "sgd":
            options |= {"momentum": _SGD_MOMENTUM, "nesterov": True}
        if self.weight_decay is not None:
            options["weight_decay"] = self.weight_decay
        if self.clip_norm is not None:
            options["global_clipnorm"] = self.clip_norm
        if self.ema is not None:
            options |= {"use_ema": True, "ema_momentum": self.ema}
        if self.accumulation > 1:
            options["gradient_accumulation_steps"] = self.accumulation
        return self._named()(**options)

    def schedules_itself(self, learning_rate: Any) -> bool:
        """Tell whether a schedule of Keras' decides about the learning rate."""
        if not isinstance(self.optimizer, str):
            learning_rate = self.optimizer["config"]["learning_rate"]
        return not isinstance(learning_rate, (int, float))

    def _named(self) -> Any:
        known = {
            name.lower(): kind
            for name, kind in vars(keras.optimizers).items()
            if isinstance(kind, type)
            and issubclass(kind, keras.optimizers.Optimizer)
            and kind not in (keras.optimizers.Optimizer, keras.optimizers.LossScaleOptimizer)
        }
        if str(self.optimizer) not in known:
            raise ConfigurationError(
                f"optimizer is {self.optimizer!r}; expected one of {', '.join(sorted(known))}, or "
                "an optimizer of Keras'"
            )
        return known[str(self.optimizer)]
