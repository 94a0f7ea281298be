"""Words in the names of files and columns that tell segmentations from images."""

from __future__ import annotations

import re

LABEL_WORD = re.compile(
    r"(?<![a-z])(?:labels?|segs?|segmentations?|masks?|gt|(?:ground[ _-]?)?truths?|annotations?"
    r"|dseg)(?![a-z])",
    re.IGNORECASE,
)
"""A whole word that stands for segmentations; digits and other signs end a word."""

LABEL_WORDS = ("segmentation", "label", "mask", "seg", "gt", "truth", "annotation", "dseg")
"""Those to name in messages."""


def has_label_word(name: str) -> bool:
    """Tell whether a name holds a word that stands for segmentations.

    Examples
    --------
    >>> [has_label_word(name) for name in ("c0_labels_final", "seg-1", "unmasked", "SegTHOR_1")]
    [True, True, False, False]
    """
    return LABEL_WORD.search(name) is not None
