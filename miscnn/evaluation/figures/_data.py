"""What a data set holds, before anything is trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from tqdm.auto import tqdm

from miscnn import _style
from miscnn._text import number
from miscnn.data_loading.data_io import IF_AVAILABLE, DataIO
from miscnn.evaluation.detailed_validation import ClassNames
from miscnn.evaluation.figures._common import class_legend, key, spread
from miscnn.exceptions import ConfigurationError, MiscnnError

_LOG = logging.getLogger("miscnn.evaluation.figures")
_T = TypeVar("_T")

_BLOCK = 1 << 22  # voxels that are counted at once
_OUTER = (0.5, 99.5)  # percent
_SHOWN = (0.1, 99.9)
_NAMED = 4  # subjects


def class_frequencies(
    data_io: DataIO,
    path: str | os.PathLike[str] | None = None,
    indices: Sequence[str] | None = None,
    *,
    class_names: ClassNames = None,
    title: str | None = None,
    verbose: int = 1,
) -> Figure:
    """Draw the share of voxels of every class, and how many subjects have it.

    The bar is the share in all subjects together, each point that in one subject; the axis is
    logarithmic. Voxels with the interface's ``ignore_label`` are left out of the total. Subjects
    without segmentation, or whose segmentation cannot be read, are counted below the figure and
    named in the log. Only segmentations are read, one after the other.

    Parameters
    ----------
    data_io : DataIO
    path : path, optional
        File to write.
    indices : sequence of str, optional
        Default: all subjects.
    class_names : sequence or mapping, optional
        One name per class, background first; or names by label. Default: those of the interface.
    title : str, optional
    verbose : int
        0: no progress bar.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If no subject has a segmentation.
    """
    _style.check_path(path)
    interface = data_io.interface

    def counts_of(index: str) -> NDArray[np.int64] | None:
        if not data_io.has_segmentation(index):
            return None
        labels = interface.to_classes(np.asarray(interface.load_segmentation(index)), index)
        return _counts(labels, interface.ignore_label)

    found, remarks = _gathered(data_io, indices, counts_of, "counting", verbose)
    counts = list(found.values())
    if not counts:
        raise ConfigurationError(
            f"no subject has a segmentation to count the classes of ({'; '.join(remarks)})"
        )
    n = max(interface.classes, *(len(c) for c in counts))
    table = np.array([np.pad(c, (0, n - len(c))) for c in counts], dtype=np.float64)
    names = _names(data_io, n, class_names)
    figure = _style.new_figure(8.6, max(2.4, 1.2 + 0.38 * n))
    left, right = figure.subplots(1, 2, width_ratios=(2.2, 1), sharey=True)
    shares = table.sum(axis=0) / max(1.0, table.sum())
    each = table / np.maximum(table.sum(axis=1, keepdims=True), 1.0)
    positive = each[each > 0]
    _style.logarithmic(left, "x", positive if positive.size else np.array([1.0]))
    low, high = left.get_xlim()
    left.set_xlim(low, max(high, 3.0))  # room for the number beside the longest bar
    present = (table > 0).sum(axis=0)
    for label in range(n):
        colour = _style.class_colour(label)
        if shares[label] > 0:
            left.barh(label, shares[label] - low, left=low, height=0.62, color=colour, alpha=0.35)
        seen = each[:, label] > 0
        points = each[seen, label]
        left.plot(
            points,
            label + spread(points),
            "o",
            ms=3,
            color=colour,
            mew=0,
            alpha=_style.opacity(len(points)),
        )
        left.text(
            0.995,
            label,
            _percent(shares[label]),
            transform=left.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=9,
            color=_style.INK,
        )
        right.barh(label, present[label], height=0.62, color=colour, alpha=0.35)
        right.text(
            present[label], label, f" {present[label]}", va="center", fontsize=9, color=_style.INK
        )
    left.set_yticks(range(n), [_style.short(name) for name in names], parse_math=False)
    left.set_ylim(n - 0.5, -0.5)
    left.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.6g} %" if value <= 1 else "")
    right.set_xlim(0, 1.15 * len(table))
    _style.whole_numbers(right.xaxis)
    _style.label_axes(left, "share of voxels (bar: all subjects, points: each)")
    _style.label_axes(right, f"subjects that have it (of {len(table)})")
    for axes in (left, right):
        _style.style(axes, "x")
    _style.remark(figure, "; ".join(remarks))
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def intensity_histograms(
    data_io: DataIO,
    path: str | os.PathLike[str] | None = None,
    indices: Sequence[str] | None = None,
    *,
    channel: int = 0,
    bins: int = 100,
    window: tuple[float, float] | None = None,
    voxels_per_subject: int = 20_000,
    unit: str = "intensity",
    seed: int = 0,
    class_names: ClassNames = None,
    title: str | None = None,
    verbose: int = 1,
) -> Figure:
    """Draw how the values of the images are distributed in each class.

    One line per class, each with an area of 1; the shaded range holds the middle 99 % of the
    foreground's values in a typical subject (medians over the subjects) and is written below: what
    a window should keep. From each subject and class the same number of voxels at most is drawn, so
    that large subjects count no more than small ones. Subjects that cannot be read are counted
    below the figure and named in the log. Without any segmentation there is one line for all
    voxels. One subject is in memory at a time.

    Parameters
    ----------
    data_io : DataIO
    path : path, optional
        File to write.
    indices : sequence of str, optional
        Default: all subjects.
    channel : int
        Of the images.
    bins : int
        Between the ends of ``window``.
    window : (float, float), optional
        Which values are shown; how many lie outside is written below. Default: what holds 99.8 %
        of the voxels of a typical subject (medians over the subjects), so that a few images on
        another scale do not hide all others; they are counted.
    voxels_per_subject : int
        So many are drawn of each class of each subject.
    unit : str
        Title of the axis, such as ``"HU"``.
    seed : int
        Of the drawing.
    class_names : sequence or mapping, optional
        As in :func:`class_frequencies`.
    title : str, optional
    verbose : int
        0: no progress bar.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ConfigurationError
        If an argument is out of range, or no subject can be read.
    """
    _style.check_path(path)
    channels = data_io.interface.channels
    if not 0 <= channel < channels:
        raise ConfigurationError(
            f"channel={channel} does not exist; images have {channels} channel(s), counted from 0"
        )
    if bins < 1 or voxels_per_subject < 1:
        raise ConfigurationError(
            f"bins={bins} and voxels_per_subject={voxels_per_subject} must be at least 1"
        )
    if window is not None and not window[0] < window[1]:
        raise ConfigurationError(f"window must be (low, high) with low < high, got {window}")
    numbers = {index: k for k, index in enumerate(data_io.indices_list)}

    def drawn_from(index: str) -> dict[int, NDArray[np.float32]]:
        # One subject's voxels do not depend on which others are drawn.
        rng = np.random.default_rng([seed, numbers.get(index, len(numbers))])
        sample = data_io.sample_loader(index, load_seg=IF_AVAILABLE, check_classes=False)
        image = sample.image[..., channel].ravel()
        if sample.segmentation is None:
            return {-1: _some(image, voxels_per_subject, rng)}
        labels = sample.segmentation.ravel()
        kept = [k for k in np.unique(labels).tolist() if k != sample.ignore_label]
        return {k: _some(image[labels == k], voxels_per_subject, rng) for k in kept}

    found, remarks = _gathered(data_io, indices, drawn_from, "reading", verbose)
    if not found:
        raise ConfigurationError(f"no subject can be read ({'; '.join(remarks)})")
    subjects = list(found.values())
    labels = sorted({label for subject in subjects for label in subject})
    values = {k: np.concatenate([s[k] for s in subjects if k in s]) for k in labels}
    foreground = [
        {0: np.concatenate(parts)}
        for parts in ([s[k] for k in s if k > 0] for s in subjects)
        if parts
    ]
    shown = window or _typical_range(subjects, _SHOWN)
    names = {
        -1: "not annotated",
        **dict(enumerate(_names(data_io, max([*labels, 0]) + 1, class_names))),
    }
    if labels == [-1]:
        names[-1] = "all voxels"
    keys = []
    for label in labels:
        n_subjects = sum(label in subject for subject in subjects)
        noun = "subject" if n_subjects == 1 else "subjects"
        entry = key(label, f"{_style.short(names[label])}\n{n_subjects} {noun}")
        entry.set(marker="none", **{"ls": "-", **_line(label)})
        keys.append(entry)
    figure = _style.new_figure(6.2, 3.8)
    class_legend(figure, keys)
    axes = figure.subplots()
    edges = np.linspace(*shown, bins + 1)
    outside = 0
    for label in labels:
        inside = values[label][(values[label] >= shown[0]) & (values[label] <= shown[1])]
        outside += len(values[label]) - len(inside)
        density = np.histogram(values[label], edges)[0] / (len(values[label]) * np.diff(edges))
        axes.stairs(density, edges, **_line(label))
    if foreground:
        low, high = _typical_range(foreground, _OUTER)
        axes.axvspan(low, high, color=_style.PALE, lw=0, zorder=0)
        remarks.insert(
            0,
            f"shaded: 99 % of the foreground of a typical subject, {number(low)} to {number(high)}",
        )
    if outside:
        share = outside / sum(map(len, values.values()))
        remarks.append(f"{100 * share:.2g} % of the voxels lie outside of the figure")
    if beyond := [index for index, subject in found.items() if _lies_outside(subject, shown)]:
        named = ", ".join(map(_style.short, beyond[:_NAMED])) + ", …" * (len(beyond) > _NAMED)
        remarks.append(
            f"{len(beyond)} of {len(found)} subjects lie outside for the most part:\n{named}"
        )
    axes.set_xlim(*shown)
    axes.set_ylim(bottom=0)
    axes.set_yticks([])
    _style.label_axes(axes, unit, "share per class")
    _style.style(axes, "x")
    _style.remark(figure, "; ".join(remarks))
    _style.entitle(figure, title)
    _style.save(figure, path)
    return figure


def _gathered(
    data_io: DataIO,
    indices: Sequence[str] | None,
    work: Callable[[str], _T | None],
    doing: str,
    verbose: int,
) -> tuple[dict[str, _T], list[str]]:
    """Return what the work gives for each subject, and in words how many it gives nothing for."""
    chosen = list(data_io.indices_list if indices is None else indices)
    without, unreadable = 0, 0
    found: dict[str, _T] = {}
    for index in tqdm(chosen, desc=doing, unit="sample", disable=not verbose):
        try:
            result = work(index)
        except MiscnnError as error:
            unreadable += 1
            _LOG.warning("left out of the figure: %s", error)
            continue
        if result is None:
            without += 1
        else:
            found[index] = result
    told = []
    if without:
        told.append(f"{without} of {len(chosen)} subjects without segmentation")
    if unreadable:
        told.append(f"{unreadable} of {len(chosen)} subjects cannot be read")
    return found, told


def _counts(labels: NDArray[Any], ignore_label: int | None) -> NDArray[np.int64]:
    """Count labels block by block: ``bincount`` copies what it counts to 64 bits."""
    counts = np.zeros(1, dtype=np.int64)
    for block in _blocks(labels):
        found = np.bincount(block.astype(np.int64, copy=False))
        size = max(len(counts), len(found))
        counts = np.pad(counts, (0, size - len(counts))) + np.pad(found, (0, size - len(found)))
    if ignore_label is not None and ignore_label < len(counts):
        counts[ignore_label] = 0
        counts = np.trim_zeros(counts, "b")
    return counts


def _blocks(labels: NDArray[Any]) -> Iterator[NDArray[Any]]:
    flat = labels.reshape(-1)  # a view of what files hold
    for start in range(0, flat.size, _BLOCK):
        yield flat[start : start + _BLOCK]


def _some(values: NDArray[Any], most: int, rng: np.random.Generator) -> NDArray[np.float32]:
    if len(values) > most:
        values = values[rng.choice(len(values), most, replace=False, shuffle=False)]
    return values.astype(np.float32)


def _range(
    groups: Sequence[NDArray[np.float32]], percent: tuple[float, float]
) -> tuple[float, float]:
    ends = np.array([np.percentile(values, percent) for values in groups if values.size])
    low, high = float(ends[:, 0].min()), float(ends[:, 1].max())
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _typical_range(
    subjects: Sequence[dict[int, NDArray[np.float32]]], percent: tuple[float, float]
) -> tuple[float, float]:
    ends = np.array([_range([*subject.values()], percent) for subject in subjects])
    low, high = (float(value) for value in np.median(ends, axis=0))
    return low, high


def _lies_outside(subject: dict[int, NDArray[np.float32]], shown: tuple[float, float]) -> bool:
    values = np.concatenate([*subject.values()])
    return bool(np.mean((values < shown[0]) | (values > shown[1])) > 0.5)


def _names(data_io: DataIO, n: int, class_names: ClassNames) -> list[str]:
    """Return names by label, by default those of tables; the background is called so."""
    chosen = data_io.interface.class_names if class_names is None else class_names
    given = chosen if isinstance(chosen, Mapping) else dict(enumerate(chosen or ()))
    return [given.get(k, "background" if k == 0 else f"class-{k}") for k in range(n)]


def _line(label: int) -> dict[str, Any]:
    if label <= 0:
        return {"color": _style.GREY, "lw": 1.4, "ls": "--" if label == 0 else "-"}
    styles = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)))
    round_ = (label - 1) // len(_style.PALETTE) % len(styles)
    return {"color": _style.class_colour(label), "lw": 1.8, "ls": styles[round_]}


def _percent(share: float) -> str:
    return "none" if share == 0 else f"{100 * share:.3g} %"
