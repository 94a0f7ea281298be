"""Which of several images of a subject are its channels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set

from miscnn.exceptions import ConfigurationError

_SHOWN = 8


def common(rests: Sequence[Set[str]], names: Sequence[str] | None) -> tuple[list[str], str]:
    """Return the images that all subjects have as channels, and a remark on the others.

    Parameters
    ----------
    rests : sequence of set of str
        What the names of each subject's images hold besides the index.
    names : sequence of str, optional
        The channels to take.

    Raises
    ------
    ConfigurationError
        If there is no image of one of the ``names``.
    """
    counts = Counter(rest for found in rests for rest in found)
    if names is not None:
        plain = {channel_name(rest): rest for rest in counts}
        check_known(names, plain)
        return [plain[name] for name in names], ""
    everywhere = sorted(rest for rest, count in counts.items() if count == len(rests))
    chosen = everywhere or [rest for rest, _ in counts.most_common(1)]
    return chosen, unused_remark({channel_name(r): counts[r] for r in counts if r not in chosen})


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


def unused_remark(counts: Mapping[str, int]) -> str:
    """Tell of images that only some subjects have, and how to have them read all the same."""
    if not counts:
        return ""
    shown = ", ".join(f"{name or 'plain'} ({n})" for name, n in sorted(counts.items())[:_SHOWN])
    return f"; not read, since not all subjects have them: {shown} (modalities=[…] to choose)"
