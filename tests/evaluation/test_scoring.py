"""What is asked for, and what it is called."""

from __future__ import annotations

import json
from typing import Any

import pytest

from miscnn.evaluation._metrics import in_order
from miscnn.evaluation.scores import METRICS, STANDARD_METRICS, metric_of
from miscnn.evaluation.scoring import Scoring
from miscnn.exceptions import ConfigurationError


def test_standard_scores() -> None:
    assert Scoring().names == STANDARD_METRICS
    assert set(STANDARD_METRICS) >= {"dice", "hd95_mm", "nsd_2mm", "rmsd_mm", "specificity"}
    assert not {"cldice", "boundary_iou", "ece", "lesion_f1"} & set(STANDARD_METRICS)
    everything = Scoring(metrics=("all",)).names
    assert set(everything) == {*STANDARD_METRICS, "cldice", "boundary_iou"}
    assert list(everything) == [name for name in METRICS if name in everything]


def names_of(*metrics: str, tolerances: tuple[float, ...] = (2,)) -> tuple[str, ...]:
    """Return the names of what was asked for, without the volumes that are always there."""
    names = Scoring(metrics=metrics, nsd_tolerances_mm=tolerances).names
    assert names[-2:] == ("volume_truth_ml", "volume_prediction_ml")
    return names[:-2]


def test_volumes_are_there_once_whatever_is_asked_for() -> None:
    assert names_of("dice") == ("dice",)
    assert names_of("volume_truth_ml", "dice") == ("dice",)


def test_titles_are_whole() -> None:
    assert METRICS["lesion_precision"].title == "Share of predicted lesions that exist"
    for metric in METRICS.values():
        last = metric.title.split()[-1]
        assert last not in {"a", "and", "are", "at", "in", "is", "of", "that", "the", "with"}


def test_order_has_all_tolerances_beside_each_other() -> None:
    given = ["minutes", "nsd_10mm", "dice", "nsd_1mm", "volume_truth_ml", "nsd_2mm", "hd_mm", "age"]
    assert in_order([*given, "dice"]) == [
        "dice", "hd_mm", "nsd_1mm", "nsd_2mm", "nsd_10mm", "volume_truth_ml", "minutes", "age",
    ]  # fmt: skip


def test_tolerances_are_in_the_names() -> None:
    many = Scoring(nsd_tolerances_mm=(5, 0.5, 1.0)).names
    assert [name for name in many if name.startswith("nsd")] == ["nsd_0.5mm", "nsd_1mm", "nsd_5mm"]
    assert len(many) == len(STANDARD_METRICS) + 2
    assert names_of("nsd", "dice", tolerances=(3,)) == ("dice", "nsd_3mm")
    assert names_of("nsd_4mm", tolerances=(3,)) == ("nsd_4mm",)
    assert names_of("nsd_2mm", "nsd_4.0mm") == ("nsd_2mm", "nsd_4mm")
    assert Scoring(metrics=("nsd_2mm", "all"), nsd_tolerances_mm=(3,)).names.count("nsd_2mm") == 1
    tiny = Scoring(metrics=("nsd",), nsd_tolerances_mm=(1e-7,)).names
    assert metric_of(tiny[0]).title == "Surface Dice at 1e-07 mm"


def test_settings_survive_json() -> None:
    scoring = Scoring(("dice", "nsd"), (1, 2.5), 3, True, 0.25, True)
    text = json.dumps(scoring.get_config())
    assert Scoring.from_config(json.loads(text)) == scoring
    assert Scoring.from_config(Scoring().get_config()) == Scoring()
    with pytest.raises(ConfigurationError, match="scoring has no lesion; it has metrics"):
        Scoring.from_config({"lesion": True})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metrics": ("dice", "dise")}, r"metrics holds 'dise'; known are all, dice, dice_roi"),
        ({"metrics": ()}, "holds nothing"),
        ({"metrics": ("nsd_-1mm",)}, "'nsd_-1mm'"),
        ({"metrics": ("lesion_f1",)}, "lesions=True"),
        ({"nsd_tolerances_mm": (-1,)}, "tolerances in mm from 0 on"),
        ({"nsd_tolerances_mm": ("2",)}, "finite number, got '2'"),
        ({"boundary_width_mm": 0}, "width above 0 mm, got 0.0"),
        ({"lesion_iou": 0}, "above 0 and up to 1"),
        ({"lesion_iou": float("nan")}, "finite number, got nan"),
    ],
)
def test_what_cannot_be_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Scoring(**arguments)


def test_metrics_are_known_by_name() -> None:
    assert metric_of("dice") is METRICS["dice"]
    found = metric_of("nsd_1.5mm")
    assert (found.title, found.best, found.bounded) == ("Surface Dice at 1.5 mm", "high", True)
    assert metric_of("anything").best == "none"
    assert not metric_of("hd95_mm").bounded
