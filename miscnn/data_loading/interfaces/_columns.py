"""Which column of a table names the index, the images and the segmentation of a subject."""

from __future__ import annotations

import re
from collections.abc import Sequence

from miscnn.data_loading._label_words import LABEL_WORDS, has_label_word
from miscnn.exceptions import ConfigurationError

INDEX_COLUMNS = ("index", "subject", "id", "case", "sample", "participant_id")
_LABEL_COLUMNS = ("segmentation", "label", "mask", "seg", "labels")
_IMAGE_COLUMNS = ("image", "images")
_IMAGE_WORD = re.compile(r"(?<![a-z])(?:images?|img|imaging|scans?|volumes?|pictures?)(?![a-z])")
# Of MR, CT, nuclear medicine and ultrasound, as the first letters of a word.
_MODALITY = re.compile(
    r"(?<![a-z])(?:ct|cta|cbct|mri?|t1|t2|pd|flair|adc|dwi|dce|dsc|swi|asl|bold|pet|fdg|suv|spect"
    r"|us|oct|xray|channel|ch|phase|contrast|arterial|venous|native|delayed)(?:[0-9]|(?![a-z])|"
    r"(?<=t[12])(?:w|c|ce|gd|km)(?![a-z]))"
)
_FILE = re.compile(r".*\.[A-Za-z]\w*", re.DOTALL)


def find_columns(
    names: Sequence[str], rows: Sequence[Sequence[str]], endings: Sequence[str]
) -> tuple[int, list[int], int | None]:
    """Return the columns of the index, the images and the segmentation.

    Segmentations stand in the column of which the name holds a word such as ``label`` or ``mask``.
    Images stand in those called ``image``, ``image2`` or the like; else in all that name files of
    one of the ``endings``, if there is one or their names tell modalities.

    Raises
    ------
    ConfigurationError
        If a column is missing, or what the files of a column are cannot be told: a segmentation
        that is read as an image would train a model on what it is to find.
    """
    plain = [re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in names]
    index = next((plain.index(name) for name in INDEX_COLUMNS if name in plain), None)

    def files(column: int) -> bool:
        cells = [row[column] for row in rows if row[column]]
        return bool(cells) and all(_FILE.fullmatch(cell) for cell in cells)

    labels = [
        i
        for i, name in enumerate(plain)
        if i != index and (name in _LABEL_COLUMNS or (has_label_word(name) and files(i)))
    ]
    if len(labels) > 1:
        shown = " and ".join(repr(names[i]) for i in labels)
        raise ConfigurationError(
            f"the columns {shown} could all name the segmentation; remove all but one"
        )
    others = [i for i in range(len(names)) if i not in (index, *labels)]
    images = [i for i in others if plain[i] in _IMAGE_COLUMNS]
    images += [i for i in others if _IMAGE_WORD.search(plain[i]) and files(i) and i not in images]
    readable = [
        i
        for i in others
        if files(i) and all(row[i].lower().endswith(tuple(endings)) for row in rows if row[i])
    ]
    if not images and (len(readable) == 1 or all(_MODALITY.search(plain[i]) for i in readable)):
        images = readable
    if index is None or not (images or readable):
        raise ConfigurationError(
            f"expected columns 'index' (or {', '.join(INDEX_COLUMNS[1:])}), 'image' (or one for "
            f"each channel, with files that end in {', '.join(endings)}) and perhaps "
            f"'segmentation' (or a name with one of the words {', '.join(LABEL_WORDS[1:])}); the "
            f"first line names {', '.join(names[:8])}"
        )
    unclear = [i for i in readable if i not in images]
    if unclear:
        shown = " and ".join(repr(names[i]) for i in unclear)
        raise ConfigurationError(
            f"it cannot be told what the files of the columns {shown} are; begin the names of "
            "those of images with 'image_', call that of the segmentation 'segmentation' (or by a "
            f"name with one of the words {', '.join(LABEL_WORDS[1:])}), and remove others"
        )
    return index, sorted(images), labels[0] if labels else None
