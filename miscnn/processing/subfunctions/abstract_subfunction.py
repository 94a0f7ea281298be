"""The base class of subfunctions in MIScnn 1.x."""

from __future__ import annotations

from miscnn.processing.subfunctions.base import Subfunction

__all__ = ["Abstract_Subfunction"]


class Abstract_Subfunction(Subfunction):  # noqa: N801 - the name in MIScnn 1.x
    """A :class:`Subfunction` as MIScnn 1.x knew it: its way back is given label maps.

    New subfunctions derive from :class:`Subfunction`, whose way back is given probabilities.
    """

    restores_probabilities = False
    keeps_hounsfield = False  # nobody knows what it does; those that keep them may say so
