"""Dice, HD95, ASSD and surface Dice of real labels, against surface-distance and MONAI.

    python benchmarks/scores.py FOLDER [--repeats N] [--cases N] [--json FILE]
    python benchmarks/scores.py --random-pairs 200

FOLDER holds label maps of KiTS19 (``*.nii.gz``; 1 kidney, 2 tumour). Each is scored against a copy
of which the border of each class was moved in and out by a smooth random field of 2 mm; and, first
of all, the figures of surface-distance on random pairs are compared with ours (2D, 3D, anisotropic,
at the border of the image, far apart).

The peers run as their documentation shows: surface-distance on a mask for each class, MONAI on one
batch of one-hot tensors, both on the whole image. What they are given (masks, one-hot tensors) is
made beforehand and not timed; ours takes the label maps. Both again with the image cut to the box
of the kidneys, two voxels wider, which is not timed for them either. MONAI's values are not ours:
its surface are border voxels, without areas. On whole images that are too large for it (see
``--monai-gb``) MONAI is left out, and it is said so; the summary counts them.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import statistics
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _timing import in_own_process, in_turns, peak_memory, write
from scipy import ndimage

from miscnn.evaluation import score_subject
from miscnn.evaluation.scoring import Scoring

TOLERANCE = 2.0
SCORING = Scoring(metrics=("dice", "hd95_mm", "assd_mm", "nsd"), nsd_tolerances_mm=(TOLERANCE,))
LABELS = (1, 2)
# What MONAI takes for each voxel of an image, measured (one-hot tensors of three classes, and what
# is made of them), and one fifth more.
MONAI_BYTES = 44
PEERS = ("surface-distance", "MONAI", "surface-distance, cut", "MONAI, cut")
Pair = tuple[np.ndarray, np.ndarray, tuple[float, ...]]


def surface_distance_package() -> Any:
    """Import surface-distance 0.1, which needs names that NumPy 2 and SciPy 1.15 have dropped."""
    vars(np).update(Inf=np.inf, NaN=np.nan)
    for name in ("filters", "morphology"):
        module = types.ModuleType(f"scipy.ndimage.{name}")
        module.__dict__.update(vars(ndimage))
        sys.modules.setdefault(module.__name__, module)
        if not hasattr(ndimage, name):
            setattr(ndimage, name, module)
    import surface_distance

    return surface_distance


def by_surface_distance(masks: list[Pair]) -> list[list[float]]:
    """Score every class with the package surface-distance."""
    package = surface_distance_package()
    rows = []
    for truth, prediction, spacing in masks:
        found = package.compute_surface_distances(truth, prediction, spacing)
        areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
        means = package.compute_average_surface_distance(found)
        rows.append(
            [
                float(package.compute_dice_coefficient(truth, prediction)),
                float(package.compute_robust_hausdorff(found, 95)),
                float(np.dot(means, areas) / sum(areas)),
                float(package.compute_surface_dice_at_tolerance(found, TOLERANCE)),
            ]
        )
    return rows


def by_monai(truth: Any, prediction: Any, spacing: tuple[float, ...]) -> list[list[float]]:
    """Score all classes with MONAI; one-hot tensors (1, classes, x, y, z)."""
    from monai import metrics

    options = {"include_background": False, "spacing": spacing}
    columns = [
        metrics.compute_dice(prediction, truth, include_background=False),
        metrics.compute_hausdorff_distance(prediction, truth, percentile=95, **options),
        metrics.compute_average_surface_distance(prediction, truth, symmetric=True, **options),
        metrics.compute_surface_dice(
            prediction, truth, class_thresholds=[TOLERANCE] * len(LABELS), **options
        ),
    ]
    return np.array([column[0].tolist() for column in columns]).T.tolist()


def figures(rows: list[Any]) -> list[float]:
    """Return the scores without the volumes, which are always told besides."""
    return [row.value for row in rows if not row.metric.startswith(("volume_", "area_"))]


def by_miscnn(truth: np.ndarray, prediction: np.ndarray, spacing: Any) -> list[list[float]]:
    """Score all classes with ours."""
    values = figures(score_subject(truth, prediction, LABELS, spacing, scoring=SCORING))
    return [values[k : k + 4] for k in range(0, len(values), 4)]


def masks_of(truth: np.ndarray, prediction: np.ndarray, spacing: Any) -> list[Pair]:
    """Return the masks of each class."""
    return [(truth == label, prediction == label, spacing) for label in LABELS]


def one_hot(labels: np.ndarray) -> Any:
    """Return a tensor (1, classes, x, y, z) as MONAI's documentation makes it."""
    import torch
    from monai.networks.utils import one_hot as encode

    return encode(
        torch.from_numpy(labels[np.newaxis, np.newaxis]), 1 + len(LABELS), dtype=torch.uint8
    )


def read(path: Path) -> Pair:
    """Return a label map, a perturbed copy and the voxel size in mm."""
    import nibabel

    image = nibabel.load(path)
    truth = np.ascontiguousarray(np.asarray(image.dataobj).astype(np.uint8))
    spacing = tuple(float(size) for size in image.header.get_zooms()[:3])
    return truth, perturbed(truth, spacing, np.random.default_rng(0)), spacing


def perturbed(
    truth: np.ndarray, spacing: tuple[float, ...], rng: np.random.Generator
) -> np.ndarray:
    """Move the borders of the classes in and out by 2 mm, smoothly over 12 mm."""
    box = widened(truth, 12)
    labels = truth[box]
    result = np.zeros_like(truth)
    coarse = [max(2, int(n * size / 12)) for n, size in zip(labels.shape, spacing, strict=True)]
    zoom = [n / m for n, m in zip(labels.shape, coarse, strict=True)]
    field = 2.0 * ndimage.zoom(rng.normal(size=coarse), zoom, order=1)
    for label in LABELS:
        mask = labels >= label
        if mask.any():
            inside = ndimage.distance_transform_edt(mask, sampling=spacing)
            outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
            result[box][inside - outside + field > 0] = label
    return result


def widened(labels: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Return the box of the foreground, wider by so many voxels."""
    box = ndimage.find_objects((labels > 0).astype(np.uint8))[0]
    return tuple(
        slice(max(0, part.start - margin), min(n, part.stop + margin))
        for part, n in zip(box, labels.shape, strict=True)
    )


def random_pairs(number: int) -> Iterator[tuple[str, Pair]]:
    """Yield pairs of masks: blobs, noise, at the border of the image, far apart; any spacing."""
    rng = np.random.default_rng(0)
    for k in range(number):
        ndim = 2 + k % 2
        kind = ("blobs", "noise", "at the border", "far apart", "isotropic")[k // 2 % 5]
        shape = rng.integers(8, 60 if ndim == 2 else 36, size=ndim)
        spacing = tuple(rng.uniform(0.4, 6.0, size=ndim).tolist())
        if kind == "isotropic":
            spacing = (1.0,) * ndim
        width = 0.0 if kind == "noise" else rng.uniform(1.0, 3.0)
        field = [ndimage.gaussian_filter(rng.normal(size=shape), width) for _ in range(2)]
        field[1] = 0.7 * field[0] + 0.5 * field[1]
        masks = [each > np.quantile(each, rng.uniform(0.5, 0.98)) for each in field]
        if kind == "at the border":
            for mask in masks:
                mask[: rng.integers(1, 5)] = True
                mask[..., -1] |= rng.random(mask[..., -1].shape) < 0.5
        if kind == "far apart":
            masks[0][shape[0] // 3 :] = False
            masks[1][: -(shape[0] // 3)] = False
            masks[0].flat[0] = masks[1].flat[-1] = True
        yield f"{ndim}D, {kind}", (masks[0], masks[1], spacing)


def compare_random_pairs(number: int) -> float:
    """Return the largest difference to surface-distance on random pairs, in mm or as a share."""
    package = surface_distance_package()
    scoring = Scoring(
        metrics=("dice", "hd_mm", "hd95_mm", "assd_mm", "nsd"), nsd_tolerances_mm=(1, 4)
    )
    worst: dict[str, float] = {}
    for kind, (truth, prediction, spacing) in random_pairs(number):
        found = package.compute_surface_distances(truth, prediction, spacing)
        areas = [found["surfel_areas_gt"].sum(), found["surfel_areas_pred"].sum()]
        theirs = [
            float(package.compute_dice_coefficient(truth, prediction)),
            float(package.compute_robust_hausdorff(found, 100)),
            float(package.compute_robust_hausdorff(found, 95)),
            float(np.dot(package.compute_average_surface_distance(found), areas) / sum(areas)),
            *(float(package.compute_surface_dice_at_tolerance(found, t)) for t in (1.0, 4.0)),
        ]
        rows = score_subject(truth, prediction, 2, spacing, scoring=scoring)
        # Two empty masks: not a number in both.
        differences = np.abs(np.nan_to_num(np.subtract(figures(rows), theirs)))
        worst[kind] = max(worst.get(kind, 0.0), float(differences.max()))
    print(f"largest difference to surface-distance on {number} random pairs")
    for kind, difference in sorted(worst.items()):
        print(f"  {kind:20} {difference:.2e}")
    return max(worst.values())


def one_case(
    path: Path, repeats: int, monai_gb: float, clock: Callable[[], float] | None = None
) -> dict[str, float]:
    """Return the median seconds of each on one label map and its copy.

    MONAI is not there on a whole image that would take more than ``monai_gb``.
    """
    truth, prediction, spacing = read(path)
    box = widened(np.maximum(truth, prediction), 2)
    cut = (np.ascontiguousarray(truth[box]), np.ascontiguousarray(prediction[box]), spacing)
    masks, masks_cut = masks_of(truth, prediction, spacing), masks_of(*cut)
    hot_cut = tuple(map(one_hot, cut[:2]))
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: by_miscnn(truth, prediction, spacing),
        "surface-distance": lambda: by_surface_distance(masks),
        "surface-distance, cut": lambda: by_surface_distance(masks_cut),
        "MONAI, cut": lambda: by_monai(*hot_cut, spacing),
    }
    if monai_needs(truth.size) <= monai_gb:
        hot = tuple(map(one_hot, (truth, prediction)))
        functions["MONAI"] = lambda: by_monai(*hot, spacing)
    difference = np.abs(np.subtract(functions["ours"](), functions["surface-distance"]())).max()
    if not difference < 1e-6:
        raise SystemExit(f"{path.name}: ours differs from surface-distance by {difference}")
    return in_turns(functions, repeats) if clock is None else by_clock(functions, repeats, clock)


def by_clock(
    functions: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float]
) -> dict[str, float]:
    """As ``in_turns``, with another clock."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for repeat in range(repeats + 1):
        for name, function in functions.items():
            begin = clock()
            function()
            if repeat:
                times[name].append(clock() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def monai_needs(voxels: int) -> float:
    """Return about how much memory MONAI takes in GB."""
    return voxels * MONAI_BYTES / 1e9


def voxels_of(path: Path) -> int:
    """Return the number of voxels of a file, from its header."""
    import nibabel

    return int(np.prod(nibabel.load(path).shape))


def memory_of(which: str, path: Path) -> dict[str, float]:
    """Return by how much a scoring raises the memory of this process in GB, with its inputs."""
    truth, prediction, spacing = read(path)
    if which == "MONAI":
        one_hot(truth[:1, :4, :4])  # what importing it takes is not counted
    elif which == "surface-distance":
        surface_distance_package()
    # What making the copy took is given back, or it would be taken again for nothing.
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = peak_memory()
    if which == "ours":
        by_miscnn(truth, prediction, spacing)
    elif which == "MONAI":
        by_monai(one_hot(truth), one_hot(prediction), spacing)
    else:
        by_surface_distance(masks_of(truth, prediction, spacing))
    return {"memory_gb": peak_memory() - before}


def tell_case(path: Path, row: dict[str, float]) -> None:
    """Print the times of one case."""
    voxels = voxels_of(path)
    print(f"{path.name}, {voxels / 1e6:.0f} million voxels   ours {1e3 * row['ours']:.1f} ms")
    for name in PEERS:
        if name in row:
            ratio = row[name] / row["ours"]
            print(f"    {name:22} {1e3 * row[name]:9.1f} ms   {ratio:6.1f} x ours")
        else:
            print(f"    {name:22} left out: it needs some {monai_needs(voxels):.0f} GB")
    sys.stdout.flush()


def tell_sums(rows: list[dict[str, float]]) -> None:
    """Print how many times slower the peers are: on the median, and where it is the least."""
    print(f"all {len(rows)} label maps: median of the ratios (smallest), sum of the times")
    print(f"    {'ours':22} {sum(row['ours'] for row in rows):.3f} s")
    for name in PEERS:
        done = [row for row in rows if name in row]
        if not done:
            continue
        ratios = [row[name] / row["ours"] for row in done]
        told = f"{statistics.median(ratios):6.1f} ({min(ratios):.1f}) x ours"
        total = f"{sum(row[name] for row in done):.3f} s"
        if len(done) < len(rows):
            ours = sum(row["ours"] for row in done)
            total += f" on {len(done)} of {len(rows)}; ours on these {ours:.3f} s"
        print(f"    {name:22} {told}, {total}")


def tell_memory(largest: Path, monai_gb: float) -> None:
    """Print what each takes on one label map, in processes of their own."""
    print(f"memory beyond the two label maps, {largest.name}")
    for name in ("ours", "surface-distance", "MONAI"):
        needs = monai_needs(voxels_of(largest))
        if name == "MONAI" and needs > monai_gb:
            print(f"    {name:22} left out: it needs some {needs:.0f} GB")
            continue
        used = in_own_process(__file__, str(largest), "--memory-of", name)["memory_gb"]
        print(f"    {name:22} {1e3 * used:8.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="label maps of KiTS19, *.nii.gz")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cases", type=int, help="only the first so many label maps")
    parser.add_argument(
        "--cpu", action="store_true", help="processor time, where the machine has other work"
    )
    parser.add_argument("--random-pairs", type=int, default=200)
    parser.add_argument(
        "--monai-gb", type=float, default=8.0, help="leave MONAI out where it would need more"
    )
    parser.add_argument("--json", type=Path, help="also write the medians in seconds here")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory_of:
        import json

        print(json.dumps(memory_of(options.memory_of, options.folder)))
        return
    if options.random_pairs and not compare_random_pairs(options.random_pairs) < 1e-6:
        raise SystemExit("ours differs from surface-distance")
    if options.folder is None:
        return
    import torch

    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))
    paths = sorted(options.folder.glob("*.nii.gz"))[: options.cases]
    rows: dict[str, dict[str, float]] = {}
    for path in paths:
        clock = time.process_time if options.cpu else None
        rows[path.name] = one_case(path, options.repeats, options.monai_gb, clock)
        tell_case(path, rows[path.name])
    tell_sums(list(rows.values()))
    tell_memory(max(paths, key=voxels_of), options.monai_gb)
    write(options.json, rows)


if __name__ == "__main__":
    main()
