"""The colours of classes and of errors, the same in figures, overlays and the viewer."""

from __future__ import annotations

CLASS_COLOURS = ("#F0A000", "#3FA9F5", "#F06AB8", "#2BC48A", "#B5CC18", "#FF6A2B", "#B9A0FF")
"""Of the classes 1, 2, … in turn: after Okabe and Ito, whom colour-blind readers tell apart, but
bright enough for a grey image, and dark enough for white paper."""

# Of none of the classes; told apart by their lightness too.
FALSE, MISSED, OTHER_CLASS = "#E5304A", "#FFE11A", "#A04DFF"
RIGHT = "#FFFFFF"

PLAIN = "#44566C"
"""Of what is no class."""
