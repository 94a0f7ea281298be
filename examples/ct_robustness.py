"""Does CT-specific augmentation make segmentation more robust? The CT paper's experiment.

    python examples/ct_robustness.py ct_data --phantom 20 --preset small
    python examples/ct_robustness.py kits19/data --folds 5
    python examples/ct_robustness.py CHAOS_Train_Sets --folds 5      (needs pydicom)

Networks in two and three dimensions (MS-D Net, nnU-Net), each with general (MIA) and with
CT-specific augmentation (CTIA), and a stack of the best, under cross-validation with folds sorted
by number and thickness of slices: volumes are predicted by networks that have seen none like
them. Robust is what has a small spread over the subjects and a good worst case.

After Kloenne et al., "Domain-specific cues improve robustness of deep learning-based
segmentation of CT volumes", Scientific Reports 2020, s41598-020-67544-y. What the paper does not
say (depth of the networks, number of epochs, strength of the augmentation) is our choice. A run
that was interrupted goes on where it was.
"""

from __future__ import annotations

import argparse
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path

from chaos import CHAOSInterface, is_chaos

import miscnn
from miscnn.data_loading.interfaces import DataInterface, MergedLabels
from miscnn.data_loading.layouts import find_layout
from miscnn.evaluation import ScoreTable, SliceSortedKFold, compare, cross_validation
from miscnn.evaluation.comparison import Estimate
from miscnn.processing.augmentation import CTAugmentation, MultidimensionalAugmentation
from miscnn.processing.subfunctions import Normalization, Resize, Windowing

METRICS = {"dice_roi": "slices with foreground, as in the paper", "dice": "whole volumes"}


@dataclass(frozen=True)
class Preset:
    """Sizes of networks and trainings."""

    plane: int  # rows and columns of a slice
    slices: int  # per volume, in an epoch and in a 3D stack
    batch_2d: int
    epochs: int
    iterations: int
    learning_rate: float
    width_msd: int
    depth_msd: int
    filters: int  # of nnU-Net's first level
    inner_folds: int  # of the stack: how often each member is trained
    top: int  # how many of these networks it keeps, the best on the subjects they have not seen


PRESETS = {
    # As the paper has it, where it says so: slices, batches, learning rate, top 5.
    "paper": Preset(128, 16, 28, 200, 100, 1e-3, 1, 100, 30, 10, 5),
    # Two cores of a processor and 20 minutes.
    "small": Preset(64, 16, 16, 3, 40, 8e-3, 1, 12, 8, 2, 1),
    # Whether it runs at all.
    "tiny": Preset(32, 8, 8, 1, 3, 8e-3, 1, 4, 4, 2, 1),
}


def open_data(path: Path, names: tuple[str, ...] | None) -> tuple[DataInterface, tuple[str, ...]]:
    """Find out what kind of folder it is, and what the classes are called."""
    if is_chaos(path):
        return CHAOSInterface(), ("background", "liver")
    layout = find_layout(path)
    if names is None:
        kidneys = layout.name == "miscnn"  # as in KiTS19
        names = ("background", "kidney", "tumour") if kidneys else ("background", "structure")
    return layout.interface(classes=len(names)), tuple(names)


def find_subjects(data_io: miscnn.DataIO, most: int | None) -> list[str]:
    """Return the subjects with a segmentation; KiTS19 has a test part without."""
    indices = data_io.get_indiceslist()
    labelled = [index for index in indices if data_io.interface.has_segmentation(index)]
    if len(labelled) < len(indices):
        print(f"{len(indices) - len(labelled)} subjects without a segmentation are left out")
    return labelled[:most]


def make_model(
    data: DataInterface, arguments: argparse.Namespace, dimension: str, net: str, augmentation: str
) -> miscnn.NeuralNetwork:
    """Return one of the eight networks, with its recipe."""
    from miscnn.neural_network.architecture import MSDNet, NNUNet
    from miscnn.neural_network.losses import TanimotoCrossEntropy

    preset = PRESETS[arguments.preset]
    data_io = miscnn.DataIO(data, arguments.data, batch_path=str(arguments.output / "prepared"))
    preprocessor = miscnn.Preprocessor(
        data_io,
        batch_size=preset.batch_2d if dimension == "2D" else 1,
        analysis="slicewise" if dimension == "2D" else "slice-stack",
        slices_per_volume=preset.slices,
        subfunctions=[
            Resize((preset.plane, preset.plane)),
            Windowing(quantiles=(0.60, 0.99)),
            Normalization("z-score", statistics="dataset", subset=10),
        ],
        data_aug=CTAugmentation() if augmentation == "CTIA" else MultidimensionalAugmentation(),
        seed=arguments.seed,
    )
    return miscnn.NeuralNetwork(
        preprocessor,
        architecture=(
            MSDNet(preset.width_msd, preset.depth_msd)
            if net == "MS-D"
            else NNUNet(version="2018", base_features=preset.filters)
        ),
        loss=TanimotoCrossEntropy(),
        learning_rate=preset.learning_rate,
        workers=2,
    )


def make_stack(
    data: DataInterface, arguments: argparse.Namespace
) -> miscnn.neural_network.ensemble.StackedEnsemble:
    """3D MS-D Nets that know one structure, and 2D nnU-Nets that know all, with CTIA."""
    from miscnn.neural_network.ensemble import StackedEnsemble

    preset = PRESETS[arguments.preset]
    binary = MergedLabels(data, ((0,), tuple(range(1, data.classes))))
    return StackedEnsemble(
        [
            make_model(binary if data.classes > 2 else data, arguments, "3D", "MS-D", "CTIA"),
            make_model(data, arguments, "2D", "nnU-Net", "CTIA"),
        ],
        combiner=arguments.combiner,
        top=preset.top,
        names=["3D MS-D", "2D nnU-Net"],
        folds=preset.inner_folds,
        seed=arguments.seed,
    )


def run(arguments: argparse.Namespace) -> dict[str, ScoreTable]:
    """Cross-validate everything that is not there yet."""
    data, names = open_data(arguments.data, arguments.names)
    data_io = miscnn.DataIO(data, arguments.data)
    indices = find_subjects(data_io, arguments.subjects)
    report = data_io.verify(indices)
    if not report.ok:
        raise SystemExit(f"{report}\nName the classes with --names, or mend the files.")
    preset = PRESETS[arguments.preset]
    names_2d_3d = itertools.product(("2D", "3D"), ("MS-D", "nnU-Net"), ("MIA", "CTIA"))
    tables = {}
    for parts in [*names_2d_3d, ("stack",)]:
        title = " ".join(parts)
        begin = time.monotonic()
        model = (
            make_stack(data, arguments) if len(parts) == 1 else make_model(data, arguments, *parts)
        )
        result = cross_validation(
            indices,
            model,
            splitter=SliceSortedKFold(arguments.folds),
            epochs=preset.epochs,
            iterations=preset.iterations,
            evaluation_path=arguments.output / title.replace(" ", "_"),
            class_names=names,
            seed=arguments.seed,
            draw_figures=False,
            resume=True,
            verbose=arguments.verbose,
        )
        tables[title] = result.scores
        summary = tables[title].summary()
        means = ", ".join(
            f"{name} {summary.row('dice_roi', label).mean:.3f}"
            for label, name in list(enumerate(names))[1:]
        )
        print(f"{title:18} {means}   ({time.monotonic() - begin:.0f} s)", flush=True)
    return tables


def paper_table(tables: dict[str, ScoreTable], metric: str) -> list[str]:
    """Mean and standard deviation, number of subjects and worst case, a line for each model."""
    classes = next(iter(tables.values())).classes
    cells = " | ".join(f"{name} | n | worst" for name in classes.values())
    lines = [f"| model | {cells} |", "|---" * (1 + 3 * len(classes)) + "|"]
    for title, table in tables.items():
        line = [title]
        summary = table.summary()
        for label in classes:
            row = summary.row(metric, label)
            line += [f"{row.mean:.3f} ± {row.sd:.3f}", f"{row.n}", f"{row.worst:.3f}"]
        lines.append(f"| {' | '.join(line)} |")
    return lines


def spread_table(tables: dict[str, ScoreTable], metric: str) -> list[str]:
    """How much smaller the spread is with CTIA: the ratio of the standard deviations."""
    lines = [
        "| network | class | mean CTIA - MIA | sd CTIA - MIA | sd CTIA / MIA |",
        "|---" * 5 + "|",
    ]
    for network in dict.fromkeys(title.rsplit(" ", 1)[0] for title in tables if title != "stack"):
        pair = compare(tables[f"{network} CTIA"], tables[f"{network} MIA"], metric)
        for row in pair.rows:
            cells = map(with_interval, (row.mean_difference, row.sd_difference, row.sd_ratio))
            lines.append(f"| {network} | {row.class_name} | {' | '.join(cells)} |")
    return lines


def with_interval(estimate: Estimate) -> str:
    """A figure and its interval, a dash for each that cannot be told from so few subjects."""
    if math.isnan(estimate.value):
        return "—"
    known = not math.isnan(estimate.low)
    interval = f"{estimate.low:.3f} … {estimate.high:.3f}" if known else "—"
    return f"{estimate.value:.3f} ({interval})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="KiTS19, CHAOS or images/ + labels/ folder")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--preset", choices=PRESETS, default="paper")
    parser.add_argument("--combiner", choices=("mean", "learned"), default="mean")
    parser.add_argument("--names", nargs="+", help="names of the classes, background first")
    parser.add_argument("--subjects", type=int, help="use only the first so many")
    parser.add_argument("--phantom", type=int, help="first write so many CT phantoms to DATA")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("results/ct_robustness"))
    parser.add_argument("--verbose", type=int, default=0)
    arguments = parser.parse_args()
    written = len(list(arguments.data.glob("phantom_*/segmentation.nii.gz")))
    if arguments.phantom and written < arguments.phantom:
        from miscnn.datasets.phantom import write_dataset

        write_dataset(arguments.data, arguments.phantom, seed=arguments.seed)

    begin = time.monotonic()
    tables = run(arguments)
    minutes = (time.monotonic() - begin) / 60
    lines = [
        f"Preset {arguments.preset}, {arguments.folds} sorted folds, seed {arguments.seed}, "
        f"{len(tables['stack'].samples)} subjects; this run took {minutes:.0f} min."
    ]
    for metric, what in METRICS.items():
        lines += ["", f"Dice, {what}: mean ± standard deviation over subjects, and worst", ""]
        lines += paper_table(tables, metric)
        lines += ["", "CTIA against MIA, with 95 % intervals (bootstrap over subjects)", ""]
        lines += spread_table(tables, metric)
    text = "\n".join(lines) + "\n"
    (arguments.output / "tables.md").write_text(text, encoding="utf-8")
    print("\n" + text)
    print(f"Files: {arguments.output}")


if __name__ == "__main__":
    main()
