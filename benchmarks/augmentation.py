"""Augmentation: ours against batchgenerators, batchgeneratorsv2, TorchIO and MONAI.

Per 96³ patch and per 16 × 128 × 128 volume (image float32, labels uint8), one thread. Each
library is used through its own transforms, in the layout it wants; image linear, labels nearest,
the same ranges as far as it has them, every operation drawn always. Border voxels are repeated,
but not by TorchIO, which has no such option: there the image's minimum and label 0 lie beyond.
The smooth displacements are about 1.2 to 2 voxels (standard deviation) in all libraries. Drawing
is part of the time. A library that is not installed is named and left out.

The CT chain without slice operations is rotation in the slice, range shift and noise; the
equivalent of batchgenerators is rotation about one axis, gamma (it has no map of windows) and
noise. "batchgenerators" rotates the volume with its 3D transform, "slicewise" hands the slices
over as channels of one 2D image, as nnU-Net does it for thick slices ("dummy 2D"). All operations
are slice skipping and interpolation as well, by 2 each; there, half as many slices and back. Both
at once show each second slice of the input only: ours rotates no more than these.
"""

from __future__ import annotations

import os

# before NumPy is imported
os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import importlib.util
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from _timing import arguments, in_turns, report, write
from scipy.ndimage import gaussian_filter

from miscnn.processing.augmentation.base import Augmentation, PatchGrid
from miscnn.processing.augmentation.ct import CTAugmentation
from miscnn.processing.augmentation.multidimensional import MultidimensionalAugmentation

Arrays = tuple[np.ndarray, np.ndarray]
Run = Callable[[], Arrays]  # image and labels, of the patch's shape, without channels
Peer = Callable[[np.ndarray, np.ndarray, bool], Run]

ANGLE = 20.0
SCALE = (0.8, 1.2)
GRID = 25.0  # voxels between control points, where a library has them
CT_ANGLE = 16.0


def main() -> None:
    options = arguments(__doc__ or "", repeats=9)
    peers: dict[str, Peer] = {
        "batchgenerators": batchgenerators,
        "batchgeneratorsv2": batchgeneratorsv2,
        "torchio": torchio,
        "monai": monai,
    }
    for name in [name for name in peers if importlib.util.find_spec(name) is None]:
        print(f"{name} is not installed and left out")
        del peers[name]
    warnings.simplefilter("ignore")  # TorchIO's, that a random deformation may fold
    one_thread()
    rows = {}
    for shape in ((96, 96, 96), (16, 128, 128)):
        image, labels = volume(shape)
        for elastic in (False, True):
            runs = {"ours": ours_mia(image, labels, elastic)}
            runs |= {name: make(image, labels, elastic) for name, make in peers.items()}
            name = "affine + elastic" if elastic else "affine"
            rows[f"{name}, {shape}"] = measured(runs, image, labels, options.repeats)
        for slices in (True, False) if "batchgenerators" in peers else ():
            runs = {
                "ours": ours_ct(image, labels, slices),
                "batchgenerators": batchgenerators_ct(image, labels, slices, slicewise=False),
                "slicewise": batchgenerators_ct(image, labels, slices, slicewise=True),
            }
            name = "CT chain, all" if slices else "CT chain, no slice operations"
            rows[f"{name}, {shape}"] = measured(runs, image, labels, options.repeats)
    report("Augmentation, medians per patch", rows, "ours")
    if "torchio" in peers:
        print("torchio: image minimum and label 0 beyond the border; the others repeat it")
    write(options.json, rows)


def one_thread() -> None:
    if importlib.util.find_spec("torch"):
        import torch

        torch.set_num_threads(1)
    if importlib.util.find_spec("SimpleITK"):  # TorchIO's
        import SimpleITK

        SimpleITK.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def volume(shape: tuple[int, ...]) -> Arrays:
    """Return a smooth random image in HU and its four labels."""
    smooth = gaussian_filter(np.random.default_rng(0).standard_normal(shape), 4, mode="wrap")
    smooth /= smooth.std()
    labels = np.digitize(smooth, (-0.5, 0.5, 1.5)).astype(np.uint8)
    return (100 * smooth).astype(np.float32), labels


def measured(
    runs: dict[str, Run], image: np.ndarray, labels: np.ndarray, repeats: int
) -> dict[str, float]:
    """Time the runs after a look at what they return."""
    for name, run in runs.items():
        moved, mapped = run()
        changed = float(np.mean(moved != image))
        if moved.shape != image.shape or mapped.shape != labels.shape or changed < 0.5:
            raise RuntimeError(f"{name} gave {moved.shape}, {mapped.shape}; changed: {changed:.0%}")
        if not set(np.unique(mapped)) <= set(np.unique(labels)):
            raise RuntimeError(f"{name} made new labels: {np.unique(mapped)}")
    return in_turns(runs, repeats)


def ours(augmentation: Augmentation, image: np.ndarray, labels: np.ndarray) -> Run:
    """Without margin: what lies beyond the patch is its border, as with the others."""
    rng = np.random.default_rng(0)
    grid = PatchGrid((1.0, 1.0, 1.0), slice_axis=0)

    def run() -> Arrays:
        drawn = augmentation.sample_parameters(rng, labels.shape, 1, grid)
        moved, mapped = augmentation.apply(image[..., np.newaxis], labels, drawn, labels.shape)
        return moved[..., 0], mapped

    return run


def ours_mia(image: np.ndarray, labels: np.ndarray, elastic: bool) -> Run:
    augmentation = MultidimensionalAugmentation(
        rotation=ANGLE,
        scaling=SCALE,
        shear=None,
        deformation=(4.0, 4.0) if elastic else None,
        deformation_spacing=GRID,
        mirror=None,
        intensity=False,
        border="nearest",
    )
    return ours(augmentation, image, labels)


def ours_ct(image: np.ndarray, labels: np.ndarray, slices: bool) -> Run:
    factors = (2, 2) if slices else None
    augmentation = CTAugmentation(
        rotation=CT_ANGLE,
        slice_skipping=factors,
        slice_interpolation=factors,
        noise=(20.0, 20.0),
        probabilities=1.0,
    )
    return ours(augmentation, image, labels)


def batchgenerators(image: np.ndarray, labels: np.ndarray, elastic: bool) -> Run:
    from batchgenerators.transforms.spatial_transforms import SpatialTransform

    angle = (-np.radians(ANGLE), np.radians(ANGLE))
    transform = SpatialTransform(
        labels.shape,
        do_elastic_deform=elastic,
        alpha=(900.0, 900.0),
        sigma=(9.0, 13.0),
        angle_x=angle,
        angle_y=angle,
        angle_z=angle,
        scale=SCALE,
        independent_scale_for_each_axis=True,
        order_data=1,
        border_mode_data="nearest",
        order_seg=0,
        border_mode_seg="nearest",
        random_crop=False,
    )
    return _batchgenerators_run(transform, image, labels)


def batchgenerators_ct(image: np.ndarray, labels: np.ndarray, slices: bool, slicewise: bool) -> Run:
    from batchgenerators.transforms.abstract_transforms import Compose
    from batchgenerators.transforms.color_transforms import GammaTransform
    from batchgenerators.transforms.noise_transforms import GaussianNoiseTransform
    from batchgenerators.transforms.resample_transforms import SimulateLowResolutionTransform
    from batchgenerators.transforms.spatial_transforms import SpatialTransform

    rotation = SpatialTransform(
        labels.shape[1:] if slicewise else labels.shape,
        do_elastic_deform=False,
        angle_x=(-np.radians(CT_ANGLE), np.radians(CT_ANGLE)),
        angle_y=(0.0, 0.0),
        angle_z=(0.0, 0.0),
        do_scale=False,
        order_data=1,
        border_mode_data="nearest",
        order_seg=0,
        border_mode_seg="nearest",
        random_crop=False,
    )
    transforms = [
        GammaTransform(gamma_range=(0.7, 1.5), retain_stats=False),
        GaussianNoiseTransform(noise_variance=(20.0, 20.0)),
    ]
    if slices:
        coarse = SimulateLowResolutionTransform(
            zoom_range=(0.5, 0.5), order_downsample=0, order_upsample=1, ignore_axes=(1, 2)
        )
        transforms.insert(0, coarse)
    chain = Compose(transforms)

    def whole(**batch: np.ndarray) -> dict[str, np.ndarray]:
        return chain(**rotation(**batch))

    def by_slice(**batch: np.ndarray) -> dict[str, np.ndarray]:
        # slices as channels, what its users call "dummy 2D"
        turned = rotation(data=batch["data"][:, 0], seg=batch["seg"][:, 0])
        return chain(data=turned["data"][:, np.newaxis], seg=turned["seg"][:, np.newaxis])

    return _batchgenerators_run(by_slice if slicewise else whole, image, labels)


def _batchgenerators_run(
    transform: Callable[..., dict[str, np.ndarray]], image: np.ndarray, labels: np.ndarray
) -> Run:
    def run() -> Arrays:
        # copies, since some of its transforms write into what they are handed
        result = transform(data=image[None, None].copy(), seg=labels[None, None].copy())
        return result["data"][0, 0], result["seg"][0, 0]

    return run


def batchgeneratorsv2(image: np.ndarray, labels: np.ndarray, elastic: bool) -> Run:
    import torch
    from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform

    transform = SpatialTransform(
        labels.shape,
        patch_center_dist_from_border=0,
        random_crop=False,
        p_elastic_deform=1.0 if elastic else 0.0,
        elastic_deform_scale=(0.1, 0.1),
        elastic_deform_magnitude=(4.0, 4.0),  # voxels, of the largest displacement
        p_rotation=1.0,
        rotation=(-np.radians(ANGLE), np.radians(ANGLE)),
        p_scaling=1.0,
        scaling=SCALE,
        mode_seg="nearest",
        border_mode_seg="border",
        padding_mode_image="border",
    )
    data, seg = torch.from_numpy(image)[None], torch.from_numpy(labels)[None]

    def run() -> Arrays:
        result = transform(image=data, segmentation=seg)
        return result["image"][0].numpy(), result["segmentation"][0].numpy()

    return run


def torchio(image: np.ndarray, labels: np.ndarray, elastic: bool) -> Run:
    import torch
    import torchio as tio

    affine = {"scales": SCALE, "degrees": ANGLE}
    points = tuple(max(4, round(size / GRID) + 3) for size in labels.shape)
    displacement = {"num_control_points": points, "max_displacement": 7.0, "locked_borders": 0}
    transform: Any
    if not elastic:
        transform = tio.RandomAffine(**affine)
    elif hasattr(tio, "RandomAffineElasticDeformation"):  # one interpolation for both
        transform = tio.RandomAffineElasticDeformation(
            affine_kwargs=affine, elastic_kwargs=displacement
        )
    else:
        transform = tio.Compose(
            [tio.RandomAffine(**affine), tio.RandomElasticDeformation(**displacement)]
        )
    subject = tio.Subject(
        image=tio.ScalarImage(tensor=torch.from_numpy(image)[None]),
        labels=tio.LabelMap(tensor=torch.from_numpy(labels)[None]),
    )

    def run() -> Arrays:
        result = transform(subject)
        return result["image"].data[0].numpy(), result["labels"].data[0].numpy()

    return run


def monai(image: np.ndarray, labels: np.ndarray, elastic: bool) -> Run:
    import torch
    from monai.transforms import Rand3DElasticd, RandAffined

    common: dict[str, Any] = {
        "keys": ("image", "labels"),
        "prob": 1.0,
        "rotate_range": (np.radians(ANGLE),) * 3,
        "scale_range": (0.2,) * 3,
        "mode": ("bilinear", "nearest"),
        "padding_mode": "border",
        "spatial_size": labels.shape,
    }
    if elastic:
        transform: Any = Rand3DElasticd(sigma_range=(5, 8), magnitude_range=(100, 200), **common)
    else:
        transform = RandAffined(**common)
    data, seg = torch.from_numpy(image)[None], torch.from_numpy(labels)[None]

    def run() -> Arrays:
        result = transform({"image": data, "labels": seg})
        return np.asarray(result["image"][0]), np.asarray(result["labels"][0])

    return run


if __name__ == "__main__":
    main()
