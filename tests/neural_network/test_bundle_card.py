"""What bundles tell of scores and of training data."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import miscnn
from miscnn.data_loading.interfaces import DictionaryInterface, NIfTIInterface
from miscnn.data_loading.interfaces.merged import MergedLabels
from miscnn.evaluation._results import CrossValidationResult, FoldResult
from miscnn.evaluation.scores import METRICS
from miscnn.evaluation.summary import ScoreRow, ScoreTable
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.neural_network._bundle_document import HashedNames
from miscnn.neural_network._score_summary import WORST, write_bundle_scores
from miscnn.neural_network.fingerprint import fingerprint_of
from miscnn.neural_network.model_card import ModelCard, card_text, label_table


def table() -> ScoreTable:
    rng = np.random.default_rng(0)
    rows = []
    for fold, sample in enumerate(["zoe", "adam", "zoe"]):
        for label, name in ((1, "liver"), (2, "tumour")):
            for metric in METRICS:
                value = float(rng.normal())
                if (sample, label) == ("adam", 2):
                    value = math.nan if metric == "dice" else math.inf
                rows.append(ScoreRow(fold, sample, label, name, metric, value, 5, 2.0))
    return ScoreTable(rows)


def test_the_summary_is_that_of_an_evaluation(tmp_path: Path) -> None:
    scores = table()
    told = write_bundle_scores(scores, tmp_path / "bundle.tsv").summary
    summary = scores.summary()
    assert len(told) == 2 * len(METRICS)

    def plain(value: float) -> Any:
        return None if math.isnan(value) else str(value) if math.isinf(value) else value

    for each in told:
        row = summary.row(each["metric"], each["class"])
        assert (each["name"], each["n"]) == (row.class_name, row.n)
        assert (each["undefined"], each["infinite"]) == (row.n_undefined, row.n_infinite)
        assert each["mean"] == pytest.approx(row.mean)
        assert each["sd"] == pytest.approx(row.sd)
        for name in ("median", "worst"):
            assert each[name] == pytest.approx(plain(getattr(row, name))), (each["metric"], name)


def test_the_table_keeps_the_values_and_numbers_the_subjects(tmp_path: Path) -> None:
    scores = table()
    scores.to_tsv(tmp_path / "scores.tsv")
    told = write_bundle_scores(scores, tmp_path / "a.tsv")
    for number, source in enumerate([tmp_path / "scores.tsv", tmp_path, str(tmp_path)]):
        path = tmp_path / f"{number}.tsv"
        assert write_bundle_scores(source, path) == told
        assert path.read_bytes() == (tmp_path / "a.tsv").read_bytes()
    again = ScoreTable.from_tsv(tmp_path / "a.tsv")
    assert again.samples == ["1", "2"]
    assert str([row.value for row in again]) == str([row.value for row in scores])
    assert (told.subjects, told.folds, told.cross_validation) == ({"zoe", "adam"}, 3, False)
    assert told.origin(None) == {
        "from": "not known",
        "folds": 3,
        "subjects": 2,
        "trained_on": None,
    }
    assert told.origin(frozenset(["zoe", "eve"]))["trained_on"] == 1


def test_which_values_are_bad_is_said_once_in_each_place() -> None:
    words = {"high": "low", "low": "high", "zero": "far from zero"}
    judged = {name: words[m.best] for name, m in METRICS.items() if m.best != "none"}
    assert judged == WORST


def test_what_is_no_table_of_scores(tmp_path: Path) -> None:
    (tmp_path / "other.tsv").write_text("a\tb\n1\t2\n")
    (tmp_path / "ragged.tsv").write_text(
        "fold\tsample\tclass\tclass_name\tmetric\tvalue\n0\ta\t1\tx\tdice\n"
    )
    (tmp_path / "text.tsv").write_text(
        "fold\tsample\tclass\tclass_name\tmetric\tvalue\n0\ta\t1\tx\tdice\tgood\n"
    )
    for scores, error, message in (
        (tmp_path / "none.tsv", MissingFileError, "does not exist"),
        (tmp_path / "other.tsv", ConfigurationError, r"lacks the column\(s\) fold, sample"),
        (tmp_path / "ragged.tsv", ConfigurationError, "not all of one length"),
        (tmp_path / "text.tsv", ConfigurationError, "line 2"),
        (0.9, ConfigurationError, "got float"),
    ):
        with pytest.raises(error, match=message):
            write_bundle_scores(scores, tmp_path / "bundle.tsv")


# ---------------------------------------------------------------------- training data


def data_io(shapes: list[tuple[int, int, int]], spacings: list[Any]) -> miscnn.DataIO:
    subjects = {
        f"patient {number}": (np.zeros(shape, np.float32), None, None, {"spacing": spacing})
        for number, (shape, spacing) in enumerate(zip(shapes, spacings, strict=True))
    }
    return miscnn.DataIO(DictionaryInterface(subjects, 1, 2))


def test_a_fingerprint_is_made_of_the_training_subjects_headers() -> None:
    data = data_io(
        [(10, 12, 5), (20, 12, 7), (30, 12, 9), (99, 99, 99)],
        [(1, 1, 5), (1, 1, 3), (2, 1, 2.5), (9, 9, 9)],
    )
    found = fingerprint_of(data, ["patient 0", "patient 1", "patient 2", "patient 1"])
    assert found == {
        "subjects": 3,
        "headers_read": 3,
        "format": "Dictionary",
        "channels": 1,
        "three_dim": True,
        "shape": {"min": [10, 12, 5], "median": [20, 12, 7], "max": [30, 12, 9]},
        "spacing": {"min": [1, 1, 2.5], "median": [1, 1, 3], "max": [2, 1, 5]},
        "slices": {"min": 5, "median": 7, "max": 9},
        "slice_thickness": {"min": 2.5, "median": 3, "max": 5},
    }
    assert "patient" not in str(found)


def test_not_all_headers_are_read_and_broken_ones_are_left_out(
    caplog: pytest.LogCaptureFixture,
) -> None:
    data = data_io([(4, 4, 4)] * 500, [(1, 1, 1)] * 500)
    assert fingerprint_of(data, data.indices_list)["headers_read"] == 167  # every third
    data = data_io([(4, 4, 4)] * 2, [(1, 1, 1), (0, 0, 0)])
    found = fingerprint_of(data, [*data.indices_list, "gone"])
    assert (found["subjects"], found["headers_read"]) == (3, 1)
    assert "2 of 3 training subjects" in caplog.text
    assert "patient" not in caplog.text
    nothing = fingerprint_of(miscnn.DataIO(MergedLabels(NIfTIInterface(), [[0], [1]])), ["gone"])
    assert (nothing["format"], nothing["headers_read"]) == ("NIfTI", 0)
    assert (nothing["spacing"], nothing["slice_thickness"]) == (None, None)


TEXTS = st.sets(st.text(st.characters(codec="utf-8")))


@given(names=TEXTS, others=TEXTS)
def test_hashed_names_know_who_is_there(names: set[str], others: set[str]) -> None:
    hashed = HashedNames.of(frozenset(names))
    assert (names | others) & hashed == names
    assert not names & hashed.hashes
    assert HashedNames.of(hashed) is hashed
    if names:
        assert HashedNames.of(frozenset(names)).hashes != hashed.hashes  # another salt


# ---------------------------------------------------------------------- the card


def document(card: ModelCard, interface: Any) -> dict[str, Any]:
    return {
        "card": card.document(),
        "labels": label_table(interface, card),
        "inputs": {
            "three_dim": True,
            "channels": 2,
            "format": "NIfTI",
            "steps": [],
            "patch_shape": [64, 64, 32],
        },
        "versions": {"miscnn": "2.0", "keras": "3.8"},
        "regions": [{"name": "whole | all", "labels": [1, 2]}],
    }


def test_what_a_card_says_of_regions_values_and_infinity() -> None:
    interface = NIfTIInterface(2, 3, label_values=[0, 85, 255])
    card = ModelCard().changed(interface, "  a\n name ", None, "Text.\n\nMore.", None)
    score = {
        "class": 1,
        "name": "x",
        "metric": "hd95_mm",
        "n": 3,
        "undefined": 1,
        "infinite": 1,
        "mean": 12.5,
        "sd": None,
        "median": "inf",
        "worst": "inf",
    }
    lines = card_text({**document(card, interface), "scores": [score]}).splitlines()
    for line in (
        "# a name",
        "More.",
        "| 2 | class 2 | #3fa9f5 | 255 |",
        "The network predicts regions that overlap: whole \\| all: classes [1, 2].",
        "- Volumes, 2 channel(s)",
        "- Patches of 64 x 64 x 32 voxels after these steps",
        "| x | hd95_mm | 3 | 12.50 | — | inf | inf | 1 | 1 |",
        "**LICENCE NOT STATED.** Nobody has said that you may use, change or pass on this "
        "network. Ask whoever gave it to you.",
    ):
        assert line in lines, line


def test_a_cross_validation_is_known(tmp_path: Path) -> None:
    folds = tuple(
        FoldResult(
            number,
            tmp_path,
            ("a",),
            (),
            ("b",),
            {},
            ScoreTable(r for r in table() if r.fold == number),
        )
        for number in range(3)
    )
    told = write_bundle_scores(CrossValidationResult(tmp_path, folds), tmp_path / "bundle.tsv")
    assert told.origin(frozenset()) == {
        "from": "cross-validation",
        "folds": 3,
        "subjects": 2,
        "trained_on": 0,
    }
    # A fold, and a table, are of one network, and which is not known.
    assert not write_bundle_scores(folds[0], tmp_path / "bundle.tsv").cross_validation


@pytest.mark.parametrize(
    ("origin", "several", "expected"),
    [
        (
            ("cross-validation", 3, 9, 9),
            False,
            "From a cross-validation over 3 folds: scores of the networks of the folds, not of "
            "this network. Subjects: 9; this network's training saw 9 of them.",
        ),
        (
            ("cross-validation", 3, 9, 6),
            False,
            "From a cross-validation over 3 folds: scores of the networks of the folds, not of "
            "this network (which may be that of a fold). Subjects: 9; this network's training saw "
            "6 of them.",
        ),
        (
            ("cross-validation", 1, 3, None),
            True,
            "From a cross-validation over 1 fold: scores of the models of the folds, not of this "
            "ensemble. Subjects: 3.",
        ),
        (
            ("not known", 5, 9, None),
            False,
            "Given when it was saved: which network they are of is not known. They are of 5 folds. "
            "Subjects: 9.",
        ),
    ],
)
def test_a_card_says_where_scores_are_from(
    origin: tuple[Any, ...], several: bool, expected: str
) -> None:
    interface = NIfTIInterface(2, 3)
    card = document(ModelCard(), interface)
    score = {"class": 1, "name": "x", "metric": "dice", "n": 3, "undefined": 0, "infinite": 0}
    score |= dict.fromkeys(("mean", "sd", "median", "worst"), 0.5)
    card |= {
        "scores": [score],
        "scores_from": dict(zip(("from", "folds", "subjects", "trained_on"), origin, strict=True)),
    }
    if several:
        card |= {"networks": [["member_0_0", "member_0_1"]], "kind": "mean ensemble"}
    lines = card_text(card).splitlines()
    assert lines[lines.index("## Scores") + 2] == expected
    told = lines[lines.index("## Network") + 2]
    assert told.startswith("A mean ensemble of 2 networks." if several else "- Architecture: not")


def test_a_loss_that_is_a_function_is_named() -> None:
    loss = {"class_name": "function", "config": "categorical_crossentropy"}
    card = document(ModelCard(), NIfTIInterface(2, 3)) | {"loss": loss, "epochs_trained": 7}
    lines = card_text(card).splitlines()
    assert "- Loss: categorical_crossentropy" in lines
    assert "- Epochs trained: 7" in lines


def test_texts_must_be_texts() -> None:
    for name in ("name", "licence", "description"):
        given = {"name": None, "licence": None, "description": None, name: 5}
        with pytest.raises(ConfigurationError, match=f"{name} must be a text, got 5"):
            ModelCard().changed(NIfTIInterface(), **given, colours=None)
