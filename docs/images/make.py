"""Make the pictures of the how-to guide about figures.

    python docs/images/make.py

Subjects are those of the phantom; the predictions are their segmentations with borders moved by
smooth noise, so that no network has to be trained.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from miscnn.data_loading.geometry import Geometry
from miscnn.data_loading.sample import Sample
from miscnn.datasets.phantom import make_subject
from miscnn.evaluation import (
    ScoreRow,
    ScoreTable,
    bland_altman,
    box_plot,
    error_map,
    score_against,
    score_subject,
    surface_view,
)

FOLDER = Path(__file__).parent
NAMES = ("background", "kidney", "tumour")
N_SUBJECTS = 14
DPI = 80
COLOURS = 128


def moved(labels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return labels whose borders are moved by smooth noise."""
    noise = ndimage.gaussian_filter(rng.normal(size=labels.shape), 3)
    noise *= rng.uniform(0.5, 2.5) / noise.std()
    prediction = np.zeros_like(labels)
    for label in (1, 2):
        inside = labels == label
        depth = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
        prediction[depth + noise > 0.5] = label
    return prediction


def subjects() -> list[Sample]:
    samples = []
    for k in range(N_SUBJECTS):
        rng = np.random.default_rng([0, k])
        subject = make_subject(rng)
        geometry = Geometry(subject.image.shape, subject.affine)
        sample = Sample(f"phantom {k}", subject.image.astype(np.float32), 1, 3, geometry)
        sample.add_segmentation(subject.segmentation)
        sample.add_prediction(moved(subject.segmentation, rng))
        samples.append(sample)
    return samples


def scores(samples: list[Sample]) -> ScoreTable:
    return ScoreTable(
        ScoreRow(
            0,
            sample.index,
            score.label,
            NAMES[score.label],
            score.metric,
            score.value,
            sample.geometry.n_slices,
            sample.geometry.slice_thickness,
        )
        for sample in samples
        for score in score_subject(
            sample.segmentation[..., 0], sample.prediction, 3, sample.spacing
        )
    )


def write(figure: Figure, name: str) -> None:
    """Write a figure with few colours: a picture of a page is to be small."""
    path = FOLDER / name
    figure.savefig(path, dpi=DPI)
    with Image.open(path) as picture:
        few = picture.convert("RGB").quantize(
            COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
        )
    few.save(path, optimize=True)


def main() -> None:
    samples = subjects()
    table = scores(samples)
    worst = min(table.select("dice", 2), key=lambda row: row.value if row.value >= 0 else 2.0)
    sample = next(s for s in samples if s.index == worst.sample)
    write(box_plot(table), "boxes.png")
    write(bland_altman(table), "volumes.png")
    write(score_against(table, by="size"), "size.png")
    write(error_map(sample, n_slices=4, class_names=NAMES), "errors.png")
    write(surface_view(sample, class_names=NAMES), "surfaces.png")


if __name__ == "__main__":
    main()
