"""Other steps for each class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from miscnn.data_loading.geometry import Geometry
from miscnn.exceptions import ConfigurationError
from miscnn.processing.postprocessing.base import PostProcessingStep


class PerClass(PostProcessingStep):
    """Steps of its own for each class.

    Parameters
    ----------
    steps : mapping of int to sequence of PostProcessingStep
        For each class the steps that are done for it, in this order. Their ``labels`` are left
        out. Classes without an entry stay as they are.

    Notes
    -----
    The classes are gone through in ascending order. Labels as text are taken for the number, since
    that is how JSON writes them.

    Examples
    --------
    >>> from miscnn.processing.postprocessing import FillHoles, KeepLargest, RemoveSmall
    >>> rules = PerClass({1: [KeepLargest(), FillHoles()], 2: [RemoveSmall(0.5)]})
    >>> PerClass.from_config(rules.get_config()) == rules
    True
    """

    def __init__(self, steps: Mapping[int, Sequence[PostProcessingStep]]) -> None:
        if not isinstance(steps, Mapping):
            raise ConfigurationError(
                f"steps maps classes to their steps, {{1: [KeepLargest()]}}; got {steps!r}"
            )
        self.steps: dict[int, tuple[PostProcessingStep, ...]] = {}
        for key, given in sorted(steps.items(), key=lambda item: _class(item[0])):
            label = _class(key)
            if label in self.steps:
                raise ConfigurationError(f"steps has class {label} twice, as {label} and '{label}'")
            self.steps[label] = checked_steps(given, f"steps of class {label}")
        self._bound = [step.for_label(n) for n, of_class in self.steps.items() for step in of_class]

    def edit(
        self, labels: NDArray[Any], geometry: Geometry, ignore_label: int | None = None
    ) -> None:
        """Do the steps of each class for it."""
        for step in self._bound:
            step.edit(labels, geometry, ignore_label)


def checked_steps(steps: Any, name: str) -> tuple[PostProcessingStep, ...]:
    """Return steps as a tuple.

    Raises
    ------
    ConfigurationError
        If something else is among them.
    """
    listed = steps if isinstance(steps, (list, tuple)) else [None]
    wrong = [step for step in listed if not isinstance(step, PostProcessingStep)]
    if wrong:
        raise ConfigurationError(
            f"{name} must be a list of post-processing steps such as [KeepLargest()], got {steps!r}"
        )
    return tuple(listed)


def _class(key: Any) -> int:
    text = str(key)
    if isinstance(key, bool) or not text.isdecimal() or int(text) < 1:
        raise ConfigurationError(
            f"steps has an entry for {key!r}; expected a class, a whole number from 1 on (0 is "
            "the background)"
        )
    return int(text)
