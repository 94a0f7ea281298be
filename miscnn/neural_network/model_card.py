"""The model card: what a bundle holds, for people (``README.md``) and for programs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.colors import to_hex

from miscnn._colours import CLASS_COLOURS
from miscnn._text import number
from miscnn.data_loading.interfaces.base import DataInterface
from miscnn.exceptions import ConfigurationError

__all__ = ["ModelCard", "card_text", "label_table"]

NOT_STATED = "not stated"
_FORMS = (
    "'#ff8800', a name such as 'orange', or red, green and blue as numbers 0 … 1, such as "
    "(1, 0.53, 0)"
)


@dataclass(frozen=True)
class ModelCard:
    """What the user says about a network when it is saved.

    Attributes
    ----------
    name, description, licence : str or None
    colours : dict of int to str
        The colour of each class that was given one, ``"#rrggbb"``.
    """

    name: str | None = None
    description: str | None = None
    licence: str | None = None
    colours: Mapping[int, str] = field(default_factory=dict)

    def changed(
        self,
        interface: DataInterface,
        name: str | None,
        licence: str | None,
        description: str | None,
        colours: Mapping[int | str, str] | Sequence[str] | None,
    ) -> ModelCard:
        """Return a card with what is given, and the rest as it was.

        Raises
        ------
        ConfigurationError
            If a text is none, or a colour or its class is unknown.
        """
        for what, text in (("name", name), ("licence", licence), ("description", description)):
            if text is not None and not isinstance(text, str):
                raise ConfigurationError(f"{what} must be a text, got {text!r}")
        return ModelCard(
            self.name if name is None else " ".join(name.split()),
            self.description if description is None else description.strip(),
            self.licence if licence is None else " ".join(licence.split()),
            dict(self.colours) | _colours(interface, colours),
        )

    def document(self) -> dict[str, Any]:
        """Return the texts as JSON values."""
        return {"name": self.name, "description": self.description, "licence": self.licence}


def label_table(interface: DataInterface, card: ModelCard) -> list[dict[str, Any]]:
    """Return label, name, colour and (of files) value of each class, background first.

    Parameters
    ----------
    interface : DataInterface
        Knows the names and the values in files.
    card : ModelCard
        Knows the colours.
    """
    names = interface.class_names or ["background"] + [
        f"class {label}" for label in range(1, interface.classes)
    ]
    mapping = interface.mapping
    return [
        {
            "label": label,
            "name": str(names[label]),
            "colour": card.colours.get(label, _colour(label)),
            "value": label if mapping is None else int(mapping.values[label]),
        }
        for label in range(interface.classes)
    ]


def _colour(label: int) -> str | None:
    """Return the colour of a class in overlays; the background has none."""
    return CLASS_COLOURS[(label - 1) % len(CLASS_COLOURS)].lower() if label else None


def _colours(
    interface: DataInterface, colours: Mapping[int | str, str] | Sequence[str] | None
) -> dict[int, str]:
    classes = interface.classes
    if colours is None:
        return {}
    if not isinstance(colours, Mapping):
        listed = isinstance(colours, Iterable) and not isinstance(colours, str)
        if not listed or len(list(colours)) not in (classes, classes - 1):
            raise ConfigurationError(
                f"colours must be a mapping of classes to colours, or a list of {classes - 1} (or "
                f"{classes}, with one for the background); got {colours!r}"
            )
        colours = dict(enumerate(colours, classes - len(list(colours))))
    found = {}
    for key, colour in colours.items():
        names = list(interface.class_names or [])
        label = names.index(key) if key in names else key
        if isinstance(label, bool) or not isinstance(label, int) or not 0 <= label < classes:
            raise ConfigurationError(
                f"colours has the class {key!r}; expected 0 … {classes - 1}"
                + (
                    f" or one of {', '.join(names)}"
                    if names
                    else ", for the interface of the data set has no class_names"
                )
            )
        try:
            found[label] = str(to_hex(colour))
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"colours: {colour!r} of class {key!r} is no colour; expected {_FORMS}"
            ) from None
    return found


def card_text(document: Mapping[str, Any]) -> str:
    """Return the card as Markdown, from the document of a bundle.

    Parameters
    ----------
    document : dict
        What ``pipeline.json`` or ``ensemble.json`` holds.
    """
    card = document["card"]
    licence = card["licence"]
    parts = [
        f"# {_cell(card['name'] or 'A segmentation network')}",
        card["description"] or f"Description: {NOT_STATED}.",
        "## Licence",
        _cell(licence)
        if licence
        else "**LICENCE NOT STATED.** Nobody has said that you may use, change or pass on this "
        "network. Ask whoever gave it to you.",
        "## Use",
        _use(document),
        "## Intended use and limits",
        _limits(),
        "## Classes",
        _labels(document),
        "## Input",
        _inputs(document["inputs"]),
        "## Network",
        _network(document),
        "## Training data",
        _training(document.get("fingerprint")),
        "## Scores",
        _scores(document.get("scores"), _origin(document)),
        "## Made with",
        "\n".join(f"- {name} {version}" for name, version in document["versions"].items()),
        "## Files",
        "`sha256sum -c SHA256SUMS` tells whether all files are as they were saved. "
        "`pipeline.json` (of several networks: `ensemble.json`) says for programs what stands "
        "here. Opening the bundle with `miscnn.load` runs no code from it.",
    ]
    return "\n\n".join(parts) + "\n"


def _use(document: Mapping[str, Any]) -> str:
    return (
        "```python\nimport miscnn\n\n"
        'model = miscnn.load("path/to/this/folder")\n'
        'model.predict("folder/of/images", output_path="predictions")\n```\n\n'
        "```bash\nmiscnn predict path/to/this/folder folder/of/images predictions\n```"
    )


def _limits() -> str:
    return "\n".join(
        [
            f"- Intended use: {NOT_STATED}.",
            f"- Who must not use it, and for what: {NOT_STATED}.",
            f"- Patients, scanners and sites it was tried on beyond those below: {NOT_STATED}.",
            f"- Known failures: {NOT_STATED}.",
            "- It is not a medical device unless its maker states so. Look at every result.",
        ]
    )


def _labels(document: Mapping[str, Any]) -> str:
    rows = [
        (str(each["label"]), each["name"], each["colour"] or "", str(each["value"]))
        for each in document["labels"]
    ]
    text = _table(("class", "name", "colour", "value in files"), rows)
    regions = document.get("regions")
    if regions:
        told = "; ".join(f"{_cell(each['name'])}: classes {each['labels']}" for each in regions)
        text += f"\n\nThe network predicts regions that overlap: {told}."
    return text


def _inputs(inputs: Mapping[str, Any]) -> str:
    kind = "Volumes" if inputs["three_dim"] else "Images in 2D"
    lines = [
        f"- {kind}, {inputs['channels']} channel(s)",
        f"- File format of the training: {inputs['format']}",
    ]
    if inputs["steps"]:
        lines.append(f"- What is done to an image, in this order: {', '.join(inputs['steps'])}")
    if inputs["patch_shape"]:
        lines.append(f"- Patches of {_by(inputs['patch_shape'])} voxels after these steps")
    return "\n".join(lines)


def _network(document: Mapping[str, Any]) -> str:
    groups = document.get("networks")
    if groups:
        members = [member for group in groups for member in group]
        return (
            f"A {document['kind']} of {len(members)} networks. Each has a card of its own, such as "
            f"`{members[0]}/README.md`."
        )
    epochs = document.get("epochs_trained")
    lines = [
        f"- Architecture: {_class_of(document.get('architecture'))}",
        f"- Loss: {_class_of(document.get('loss'))}",
        f"- Epochs trained: {NOT_STATED if epochs is None else epochs}",
    ]
    if document.get("untrained"):
        lines.append("- **NEVER TRAINED.** No weights were loaded either: they are random.")
    return "\n".join(lines)


def _class_of(part: Any) -> str:
    """Return the name of a class or function that miscnn or Keras has written down."""
    if not isinstance(part, Mapping):
        return _cell(part or NOT_STATED)
    if part.get("class_name") == "function":
        return _cell(part["config"])
    return _cell(str(part.get("class") or part.get("class_name")).rpartition(":")[2])


def _training(fingerprint: Mapping[str, Any] | None) -> str:
    if not fingerprint:
        return f"{NOT_STATED[0].upper()}{NOT_STATED[1:]}."
    counts = f"{fingerprint['subjects']} (headers of {fingerprint['headers_read']} were read)"
    lines = [f"- Subjects: {counts}"]
    for key, what in (
        ("shape", "Shape, voxels"),
        ("spacing", "Voxel spacing, mm"),
        ("slices", "Slices"),
        ("slice_thickness", "Slice thickness, mm"),
    ):
        found = fingerprint.get(key)
        if found:
            lines.append(
                f"- {what}: median {_by(found['median'])} (lowest {_by(found['min'])}, highest "
                f"{_by(found['max'])})"
            )
    if fingerprint.get("before"):
        lines.append("- It was trained before on other subjects, as its earlier bundle says:")
        lines += [f"  {line}" for line in _training(fingerprint["before"]).splitlines()]
    return "\n".join(lines)


def _origin(document: Mapping[str, Any]) -> str:
    """Say where scores are from, and whether the network has seen their subjects."""
    origin = document.get("scores_from")
    if not origin:
        return ""
    several = bool(document.get("networks"))
    which = "ensemble" if several else "network"
    folds, subjects, seen = origin["folds"], origin["subjects"], origin["trained_on"]
    if origin["from"] == "cross-validation":
        # Not of this one: unless it was saved just after it, which the log has warned of.
        part = seen and seen < subjects and not several
        text = (
            f"From a cross-validation over {folds} fold{'' if folds == 1 else 's'}: scores of the "
            f"{'models' if several else 'networks'} of the folds, not of this {which}"
            + (" (which may be that of a fold)." if part else ".")
        )
    else:
        text = f"Given when it was saved: which {which} they are of is not known."
        if folds > 1:
            text += f" They are of {folds} folds."
    text += f" Subjects: {subjects}"
    return text + (f"; this network's training saw {seen} of them." if seen is not None else ".")


def _scores(scores: Sequence[Mapping[str, Any]] | None, origin: str) -> str:
    if not scores:
        return f"{NOT_STATED[0].upper()}{NOT_STATED[1:]}. Measure them on your own data before use."
    rows = [
        (
            each["name"],
            each["metric"],
            str(each["n"]),
            *(_number(each[key]) for key in ("mean", "sd", "median", "worst")),
            str(each["undefined"] or ""),
            str(each["infinite"] or ""),
        )
        for each in scores
    ]
    header = ("class", "score", "n", "mean", "sd", "median", "worst", "undefined", "infinite")
    return (
        (f"{origin}\n\n" if origin else "")
        + _table(header, rows)
        + "\n\nAll values: `scores.tsv`. Mean and sd leave out undefined and "
        "infinite values; median and worst count the infinite ones."
    )


def _number(value: float | str | None) -> str:
    return number(float("nan") if value is None else float(value))


def _by(values: Any) -> str:
    sizes = values if isinstance(values, list | tuple) else [values]
    return " x ".join(f"{size:g}" for size in sizes)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    """Return a text that stays on one line, and in its cell."""
    return " ".join(str(text).split()).replace("|", "\\|")
