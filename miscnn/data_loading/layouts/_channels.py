"""Which of several images of a subject are its channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set

from miscnn.data_loading._patterns import natural_key
from miscnn.exceptions import ConfigurationError

_SHOWN = 8
_FEW = 4


def common(rests: Mapping[str, Set[str]], names: Sequence[str] | None) -> tuple[list[str], str]:
    """Return the images that all subjects have as channels, and a remark on the others.

    Parameters
    ----------
    rests : mapping of str to set of str
        What the names of each subject's images hold besides the index; the subjects without any
        image do not count.
    names : sequence of str, optional
        The channels to take.

    Raises
    ------
    ConfigurationError
        If there is no image of one of the ``names``. Without ``names``, if most subjects have an
        image that others lack.
    """
    rests = {index: found for index, found in rests.items() if found}
    counts = Counter(rest for found in rests.values() for rest in found)
    if names is not None:
        plain = {channel_name(rest): rest for rest in counts}
        check_known(names, plain)
        return [plain[name] for name in names], ""
    everywhere = sorted(rest for rest, count in counts.items() if count == len(rests))
    chosen = everywhere or [rest for rest, _ in counts.most_common(1)]
    check_lacking(
        {index: {channel_name(rest) for rest in found} for index, found in rests.items()},
        [channel_name(rest) for rest in chosen],
    )
    return chosen, unused_remark({channel_name(r): counts[r] for r in counts if r not in chosen})


def check_lacking(found: Mapping[str, Set[str]], chosen: Sequence[str]) -> None:
    """Refuse to leave out an image that most subjects have: it may be no choice, but an accident.

    Parameters
    ----------
    found : mapping of str to set of str
        The names of each subject's images.
    chosen : sequence of str
        Those that would be the channels.

    Raises
    ------
    ConfigurationError
        Naming the subjects that lack such an image, and what chooses.
    """
    counts = Counter(name for names in found.values() for name in names)
    most = [n for n in sorted(counts) if n not in chosen and 2 * counts[n] > len(found)]
    if not most:
        return
    lacking = {name: few(i for i in found if name not in found[i]) for name in most}
    told = "; ".join(f"{_shown(name)} is missing for {lacking[name]}" for name in most)
    raise ConfigurationError(
        f"most subjects, but not all, have {' and '.join(map(_shown, most))} besides "
        f"{' and '.join(map(_shown, chosen))}: {told}. Add the files, or say modalities="
        f"{sorted({*chosen, *most})!r} to have verify name such subjects, or modalities="
        f"{list(chosen)!r} to leave such images out"
    )


def check_known(names: Sequence[str], known: Mapping[str, object]) -> None:
    """Refuse names of images that no subject has.

    Raises
    ------
    ConfigurationError
    """
    unknown = [name for name in names if name not in known]
    if unknown:
        there = ", ".join(sorted(name or "''" for name in known))
        raise ConfigurationError(
            f"modalities={list(names)!r}: there are no such images ({', '.join(unknown)}); there "
            f"are {there}"
        )


def channel_name(rest: str) -> str:
    """Return what a channel is called, from what follows the index in its files' names."""
    return rest.replace("{index}", "").strip("_-")


def _shown(name: str) -> str:
    return name or "a plain image"


def few(names: Iterable[str]) -> str:
    """Return the first names in natural order, and how many more there are."""
    shown = sorted(names, key=natural_key)
    more = len(shown) - _FEW
    return ", ".join(shown[:_FEW]) + (f" and {more} more" if more > 0 else "")


def unused_remark(counts: Mapping[str, int]) -> str:
    """Tell of images that only some subjects have, and how to have them read all the same."""
    if not counts:
        return ""
    shown = ", ".join(f"{name or 'plain'} ({n})" for name, n in sorted(counts.items())[:_SHOWN])
    return f"; not read, since not all subjects have them: {shown} (modalities=[…] to choose)"
