"""What one call of ``predict`` is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network._outputs import Output, checked_outputs
from miscnn.neural_network._roi import RegionOfInterest, checked_roi

OnError = Literal["continue", "raise"]

LABELS: Final = "labels"


@dataclass(frozen=True)
class PredictionOptions:
    """What is to become of predictions; the arguments of :meth:`NeuralNetwork.predict`.

    Attributes
    ----------
    return_output : bool
        Return arrays instead of writing files. Subjects in memory are always returned.
    activation_output : bool
        Probabilities take the place of the label maps.
    output_path : path, optional
        Folder for the files. Default: the data set's ``output_path``.
    verbose : int
        0 shows no progress bar.
    outputs : sequence of {"labels", "probabilities", "entropy", "volumes"}
    overwrite : bool
        False leaves out subjects of which all outputs are there.
    on_error : {"continue", "raise"}
    scratch_path : path, optional
        Folder for what is too large for the memory. Default: where the output folder lies, if
        that can be written to; else the system's folder for temporary files.
    roi : sequence of pairs of int, optional
    """

    return_output: bool = False
    activation_output: bool = False
    output_path: str | Path | None = None
    verbose: int = 1
    outputs: Sequence[Output] = (LABELS,)
    overwrite: bool = True
    on_error: OnError = "continue"
    scratch_path: str | Path | None = None
    roi: RegionOfInterest | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", checked_outputs(self.outputs))
        if self.roi is not None:
            object.__setattr__(self, "roi", checked_roi(self.roi))
        if self.on_error not in get_args(OnError):
            raise ConfigurationError(
                f'on_error must be "continue" or "raise", got {self.on_error!r}'
            )
        if self.return_output and not self.overwrite:
            raise ConfigurationError(
                "overwrite=False leaves out subjects whose files are there, so that there would "
                "be nothing to return of them; use one of return_output=True and overwrite=False"
            )

    def check_axes(self, three_dim: bool) -> None:
        """Refuse a region of interest with another number of axes than the images.

        Raises
        ------
        ConfigurationError
        """
        axes = 3 if three_dim else 2
        if self.roi is not None and len(self.roi) != axes:
            raise ConfigurationError(
                f"roi has {len(self.roi)} axes, but the network's images have {axes}: give "
                "(start, stop) for each"
            )

    @property
    def arrays(self) -> tuple[str, ...]:
        """What must be collected of each subject."""
        labels = "probabilities" if self.activation_output else "labels"
        wanted = {LABELS: labels, "volumes": "labels"}
        return tuple(dict.fromkeys(wanted.get(name, name) for name in self.outputs))
