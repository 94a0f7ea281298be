"""What every architecture does."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

from miscnn._configurable import Configurable
from miscnn.exceptions import ConfigurationError

__all__ = ["Abstract_Architecture", "Architecture", "BothDimensions"]


class Architecture(Configurable, ABC):
    """A recipe for networks, 2D and 3D.

    Contract
    --------
    - :meth:`create_model_2D` and :meth:`create_model_3D` return a Keras model from images
      ``(batch, x, y[, z], channels)`` to probabilities ``(batch, x, y[, z], n_labels)`` in
      float32 (under any dtype policy) that sum to one in each voxel.
    - The spatial axes of ``input_shape`` are None as a rule: one model takes all sizes that
      are multiples of :attr:`required_multiple`. Whoever calls the model pads to them and crops.
    - Layers are Keras' own, or registered with
      ``keras.saving.register_keras_serializable``, so that a saved model can be loaded without
      running code from the file. No Lambda layers.
    - The constructor's arguments are JSON values and are stored under their own names.
    - ``output_argument`` names the argument for the activation of the output, if there is one:
      with "sigmoid" each channel is a probability for itself (:meth:`multilabel`).

    ``miscnn.testing.check_architecture`` tests all this.
    """

    output_argument: ClassVar[str | None] = None

    @abstractmethod
    def create_model_2D(  # noqa: N802 - the name of MIScnn 1.x, and the field's way to write 2D
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        """Make a new 2D model.

        Parameters
        ----------
        input_shape : tuple
            ``(x, y, channels)`` without the batch axis; x and y may be None.
        n_labels : int
            Number of classes, background included.

        Returns
        -------
        keras.Model
        """

    @abstractmethod
    def create_model_3D(  # noqa: N802
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        """Make a new 3D model; ``input_shape`` is ``(x, y, z, channels)``."""

    @property
    def required_multiple(self) -> int | tuple[int, ...]:
        """What the size of the spatial axes must be a multiple of: one number, or one per axis."""
        return 1

    @property
    def adapts(self) -> bool:
        """Whether :meth:`adapted_to` looks at the recipe; if not, no headers need be read."""
        return type(self).adapted_to is not Architecture.adapted_to

    def adapted_to(
        self, patch_shape: Sequence[int] | None, spacing: Sequence[float] | None
    ) -> Architecture:
        """Return the architecture fitted to a recipe; the base returns itself.

        An architecture that changes with the data returns a copy of itself whose arguments say
        what came of it, so that its configuration makes the same network again. What
        the user has decided stays.

        Parameters
        ----------
        patch_shape : sequence of int, optional
            What the network sees, in voxels per axis; None where the recipe does not fix it.
        spacing : sequence of float, optional
            Size of a voxel per axis, mm; None where the recipe does not fix it.
        """
        return self

    def multilabel(self) -> Self:
        """Return the architecture with independent outputs: sigmoid in place of softmax.

        Raises
        ------
        ConfigurationError
            If it is not known how.
        """
        if self.output_argument is None:
            raise ConfigurationError(
                f"the preprocessor has regions, which need sigmoid outputs, but {self!r} does not "
                "say how to get them: set the class attribute output_argument to the name of the "
                "argument for the activation of the output, or write multilabel()"
            )
        config = self.get_config()
        if config[self.output_argument] != "softmax":  # the user's own choice
            return self
        return self.from_config({**config, self.output_argument: "sigmoid"})

    def multiple_per_axis(self, dimensions: int) -> tuple[int, ...]:
        """Return :attr:`required_multiple` for each of 2 or 3 spatial axes.

        Raises
        ------
        ConfigurationError
            If the architecture was configured for another number of axes.
        """
        multiple = self.required_multiple
        if isinstance(multiple, int):
            return (multiple,) * dimensions
        if len(multiple) != dimensions:
            raise ConfigurationError(
                f"{self!r} is configured for {len(multiple)} spatial axes and cannot be used "
                f"in {dimensions}D"
            )
        return tuple(multiple)

    def check_input_shape(self, input_shape: tuple[int | None, ...], dimensions: int) -> None:
        """Raise ConfigurationError if a model of ``dimensions`` cannot have this input."""
        multiples = self.multiple_per_axis(dimensions)
        if len(input_shape) != dimensions + 1 or not input_shape[-1]:
            raise ConfigurationError(
                f"input_shape is {tuple(input_shape)}; expected {dimensions} spatial axes (None "
                "for any size), then the number of channels, without a batch axis"
            )
        for axis, (size, multiple) in enumerate(zip(input_shape[:-1], multiples, strict=True)):
            if size is not None and size % multiple:
                raise ConfigurationError(
                    f"input_shape is {tuple(input_shape)}: axis {axis} must be a multiple of "
                    f"{multiple} for {self!r}; take {size + -size % multiple} or a smaller depth"
                )


class BothDimensions(Architecture):
    """An architecture whose 2D and 3D networks are made by one method, :meth:`_create`."""

    def create_model_2D(  # noqa: N802 - see the base class
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        """Make a new 2D model; ``input_shape`` is ``(x, y, channels)``."""
        self.check_input_shape(input_shape, dimensions=2)
        return self._create(input_shape, n_labels, dimensions=2)

    def create_model_3D(  # noqa: N802
        self, input_shape: tuple[int | None, ...], n_labels: int = 2
    ) -> Any:
        """Make a new 3D model; ``input_shape`` is ``(x, y, z, channels)``."""
        self.check_input_shape(input_shape, dimensions=3)
        return self._create(input_shape, n_labels, dimensions=3)

    @abstractmethod
    def _create(self, input_shape: tuple[int | None, ...], n_labels: int, dimensions: int) -> Any:
        """Make a model for an input shape that was checked."""


Abstract_Architecture = Architecture
