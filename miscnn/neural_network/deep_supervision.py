"""Training a network at several resolutions at once."""

from __future__ import annotations

from typing import Any

from miscnn._keras import keras, ops
from miscnn.exceptions import ConfigurationError

__all__ = ["DeepSupervisionModel", "downsampled", "supervision_weights"]


@keras.saving.register_keras_serializable(package="miscnn")
class DeepSupervisionModel(keras.Model):  # type: ignore[misc]  # Keras has no types
    """A functional model whose coarser outputs help in training and are silent otherwise.

    Called with ``training=True`` it returns the list of its outputs, the one at full resolution
    first. Otherwise it returns that one alone: to predict, evaluate, validate and save it is a
    model with one output.

    The loss of a training step is ``Σ w_i · loss(y_i, output_i)`` with the weights of
    :func:`supervision_weights` and the truth :func:`downsampled` to each output; any loss handed
    to ``compile`` works. The loss in validation, and all metrics, are those of the full
    resolution. (So the loss of training is not that of validation on the same data.)

    Other Parameters
    ----------------
    inputs : Keras tensor
    outputs : list of Keras tensors
        Full resolution first, then coarser ones; ``(batch, x, y[, z], classes)``. Each spatial
        size of the first must be a multiple of that of each other.

    Notes
    -----
    nnU-Net gives its coarsest output the weight 0. Leave such an output out.

    References
    ----------
    Isensee et al. 2021, Nature Methods 18:203, and its code (MIC-DKFZ/nnUNet, 2.x).
    """

    output_names: list[str]

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # Keras makes models by this signature
        super().__init__(*args, **kwargs)
        if not isinstance(self.outputs, list) or len(self.outputs) < 2:
            raise ConfigurationError(
                f"outputs has {len(self.outputs)} tensor(s); expected a list of two or more, full "
                "resolution first. With one output take keras.Model"
            )
        # Losses and metrics see one output, and must not look for a name for each.
        self.output_names = self.output_names[:1]

    @property
    def output(self) -> Any:
        """The output at full resolution."""
        return self.outputs[0]

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of the output at full resolution."""
        return tuple(self.outputs[0].shape)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return all outputs in training, else the one at full resolution."""
        outputs = super().call(inputs, training=training, mask=mask)
        return outputs if training else outputs[0]

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Return the symbolic outputs; see :meth:`call`."""
        outputs = super().compute_output_spec(inputs, training=training, mask=mask)
        return outputs if training else outputs[0]

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the weighted sum of the losses of all outputs, or the loss of a single one."""
        if not isinstance(y_pred, (list, tuple)):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        # Penalties on the weights are part of each summand. The weights sum to 1: they count once.
        total: Any = 0.0
        for weight, output in zip(supervision_weights(len(y_pred)), y_pred, strict=True):
            part = super().compute_loss(
                x,
                downsampled(y, y, output),
                output,
                None if sample_weight is None else downsampled(sample_weight, y, output),
                training,
            )
            total = total + weight * part
        return total

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Update the metrics with the output at full resolution and return their results."""
        if isinstance(y_pred, (list, tuple)):
            y_pred = y_pred[0]
        return super().compute_metrics(x, y, y_pred, sample_weight)


def supervision_weights(outputs: int) -> tuple[float, ...]:
    """Return the weights of the losses of ``outputs`` outputs: halved each time, sum 1.

    Parameters
    ----------
    outputs : int
        How many.

    Examples
    --------
    >>> [round(7 * weight, 6) for weight in supervision_weights(3)]
    [4.0, 2.0, 1.0]
    """
    halves = [0.5**number for number in range(outputs)]
    return tuple(half / sum(halves) for half in halves)


def downsampled(values: Any, reference: Any, output: Any) -> Any:
    """Reduce voxels to the grid of a coarser output, without mixing labels.

    Of each block of ``f`` voxels along an axis the one with the index ``f // 2`` is taken: the
    voxel at the centre, or the first beyond it. It is the one that PyTorch's interpolation
    "nearest-exact" takes, and nnU-Net with it.

    Parameters
    ----------
    values : tensor
        One-hot truth ``(batch, x, y[, z], classes)``, or weights ``(batch, x, y[, z][, 1])``.
        Axes of size 1 stay. Weights per sample, ``(batch,)``, are returned as they are.
    reference : tensor
        Truth at full resolution, with all its axes.
    output : tensor
        What the network returned at the coarser resolution.

    Returns
    -------
    tensor
    """
    spatial = len(reference.shape) - 2
    if len(values.shape) < spatial + 1:
        return values
    full, coarse = ops.shape(reference), ops.shape(output)
    chosen = [slice(None)]
    for axis in range(1, spatial + 1):
        step = full[axis] // coarse[axis]
        same_everywhere = values.shape[axis] == 1
        chosen.append(slice(None) if same_everywhere else slice(step // 2, None, step))
    return values[tuple(chosen)]
