"""What a prediction may never write onto: images, segmentations, and results of others."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from miscnn import DataIO
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.data_loading.sample import Sample
from miscnn.exceptions import ConfigurationError, PredictionError
from miscnn.neural_network._engine import WholeEngine
from miscnn.neural_network.prediction import PredictionOptions, predict_subjects


class Copy(WholeEngine):
    """Says what the intensity names; notes whom it has predicted."""

    def __init__(self) -> None:
        super().__init__(self.whole, 3)
        self.seen: list[str] = []

    def whole(self, sample: Sample, probabilities: bool) -> Any:
        self.seen.append(sample.index)
        label = np.rint(sample.image[..., 0]).astype(np.uint8)
        return np.eye(3, dtype=np.float32)[label] if probabilities else label


def run(given: Any, data_io: DataIO, engine: Any = None, **options: Any) -> None:
    engine = Copy() if engine is None else engine
    predict_subjects(given, data_io, lambda: engine, PredictionOptions(verbose=0, **options))


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def values(path: Path) -> np.ndarray:
    return np.asarray(nib.load(path).dataobj)


def save(path: Path, label: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(np.full((2, 3, 4), label, np.float32), np.eye(4))
    nib.save(image, path)
    return path


def trained() -> DataIO:
    return DataIO(NIfTIInterface(1, 3))


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def manifest(folder: Path) -> Any:
    return json.loads((folder / "predictions.json").read_text())


@pytest.mark.parametrize("overwrite", [True, False])
def test_images_of_other_subjects_are_not_overwritten(overwrite: bool, tmp_path: Path) -> None:
    images = [save(tmp_path / "in" / n) for n in ("case.nii.gz", "case_entropy.nii.gz")]
    before = state(tmp_path)
    options = {"output_path": tmp_path / "in", "outputs": "entropy", "overwrite": overwrite}
    engine = Copy()
    with pytest.raises(
        ConfigurationError, match=r"case_entropy\.nii\.gz \(result of sample 'case'"
    ):
        run(images, trained(), engine, **options)
    assert engine.seen == []
    assert state(tmp_path) == before


def test_images_and_segmentations_of_the_data_set_are_not_overwritten(tmp_path: Path) -> None:
    save(tmp_path / "data/ct/a.nii.gz")
    save(tmp_path / "data/seg/b.nii.gz")
    save(tmp_path / "data/ct/b.nii.gz")
    interface = NIfTIInterface(1, 3, image="ct/*.nii.gz", segmentation="seg/*.nii.gz")
    data_io = DataIO(interface, tmp_path / "data")
    new = [save(tmp_path / "new" / n) for n in ("a.nii.gz", "b.nii.gz")]
    before = state(tmp_path)
    for folder in ("ct", "seg"):
        engine = Copy()
        with pytest.raises(ConfigurationError, match="subjects are read from") as caught:
            run(new, data_io, engine, output_path=tmp_path / "data" / folder)
        assert f"{folder}{os.sep}b.nii.gz (result of sample 'b', source of" in str(caught.value)
        assert engine.seen == []
    assert state(tmp_path) == before
    run(new[:1], data_io, output_path=tmp_path / "data/seg")  # none is called so there
    assert "data/seg/a.nii.gz" in state(tmp_path)


def test_links_to_images_are_images(tmp_path: Path) -> None:
    image = save(tmp_path / "in/a.nii.gz")
    (tmp_path / "out").mkdir()
    os.link(image, tmp_path / "out/a.nii.gz")
    with pytest.raises(ConfigurationError, match="subjects are read from"):
        run([image], trained(), output_path=tmp_path / "out")


@pytest.mark.parametrize("order", [1, -1])
def test_two_results_of_one_name_are_refused(order: int, tmp_path: Path) -> None:
    images = [save(tmp_path / "in" / n) for n in ("case.nii.gz", "case_entropy.nii.gz")][::order]
    engine = Copy()
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match=r"case_entropy\.nii\.gz") as caught:
        run(images, trained(), engine, output_path=out, outputs=("labels", "entropy"))
    for text in ("entropy of sample 'case'", "labels of sample 'case_entropy'", "rename"):
        assert text in str(caught.value)
    assert engine.seen == []
    assert not out.exists()
    run(images, trained(), output_path=out, outputs="labels")
    assert files(out) == {"case.nii.gz", "case_entropy.nii.gz", "predictions.json"}


@pytest.mark.parametrize("overwrite", [True, False])
def test_results_of_other_calls_are_kept_too(overwrite: bool, tmp_path: Path) -> None:
    one, two = (save(tmp_path / "in" / n, 2) for n in ("case.nii.gz", "case_entropy.nii.gz"))
    out = tmp_path / "out"
    run([one], trained(), output_path=out, outputs="entropy")
    before = state(out)
    with pytest.raises(ConfigurationError, match="is a result of sample 'case'"):
        run([two], trained(), output_path=out, overwrite=overwrite)
    assert state(out) == before


def test_files_that_nobody_knows_stay_unless_asked_otherwise(tmp_path: Path) -> None:
    images = [save(tmp_path / "imagesTr" / f"{n}_0000.nii.gz") for n in ("p1", "p2", "p3")]
    out = tmp_path / "labelsTr"
    expert = [save(out / f"{n}.nii.gz", 2).read_bytes() for n in ("p1", "p3")]
    with pytest.raises(PredictionError, match=r"predictions\.json does not list it") as caught:
        run(images, trained(), output_path=out, overwrite=False)
    assert list(caught.value.failures) == ["p1", "p3"]
    assert [(out / f"{n}.nii.gz").read_bytes() for n in ("p1", "p3")] == expert
    assert values(out / "p2.nii.gz").max() == 1
    assert list(manifest(out)["subjects"]) == ["p2"]
    run(images, trained(), output_path=out)
    assert values(out / "p1.nii.gz").max() == 1


def test_what_was_begun_is_known_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [save(tmp_path / "in" / n) for n in ("a.nii.gz", "b.nii.gz")]
    out, seen = tmp_path / "out", []
    write = NIfTIInterface.write_file

    def noted(self: Any, path: Path, *arguments: Any) -> None:
        seen.append((out / "predictions.json").read_text())
        write(self, path, *arguments)

    monkeypatch.setattr(NIfTIInterface, "write_file", noted)
    run(images, trained(), output_path=out)
    assert json.loads(seen[0])["subjects"] == {}
    assert manifest(out)["stale"] == []
    # killed between writing the first file and noting it
    (out / "predictions.json").write_text(seen[0])
    (out / "b.nii.gz").unlink()
    (out / "a.nii.gz").write_bytes(b"complete")
    engine = Copy()
    run(images, trained(), engine, output_path=out, overwrite=False)
    assert engine.seen == ["a", "b"]
    assert values(out / "a.nii.gz").max() == 1
    assert manifest(out)["stale"] == []
    assert list(manifest(out)["subjects"]) == ["a", "b"]


def test_another_image_of_the_same_name_is_not_taken_for_the_first(tmp_path: Path) -> None:
    first, other = save(tmp_path / "fa/case.nii.gz", 1), save(tmp_path / "fb/case.nii.gz", 2)
    out = tmp_path / "out"
    run([first], trained(), output_path=out, overwrite=False)
    assert manifest(out)["sources"] == {
        "case": [
            {
                "path": str(first.resolve()),
                "size": first.stat().st_size,
                "mtime_ns": first.stat().st_mtime_ns,
            }
        ]
    }
    engine = Copy()
    with pytest.raises(ConfigurationError, match="predictions of this name") as caught:
        run([other], trained(), engine, output_path=out, overwrite=False)
    assert str(first.resolve()) in str(caught.value)
    assert str(other.resolve()) in str(caught.value)
    assert engine.seen == []
    assert values(out / "case.nii.gz").max() == 1
    run([tmp_path / "fa/../fa/case.nii.gz"], trained(), engine, output_path=out, overwrite=False)
    assert engine.seen == []  # the same file
    run([other], trained(), engine, output_path=out)
    assert values(out / "case.nii.gz").max() == 2
    (out / "case.nii.gz").unlink()  # nothing to confuse is left
    run([first], trained(), engine, output_path=out, overwrite=False)
    assert values(out / "case.nii.gz").max() == 1


def test_an_image_that_has_changed_is_predicted_anew(tmp_path: Path) -> None:
    image, out = save(tmp_path / "in/case.nii.gz", 1), tmp_path / "out"
    asked = {"output_path": out, "overwrite": False, "outputs": ("labels", "entropy", "volumes")}
    run([image], trained(), **asked)
    engine = Copy()
    run([image], trained(), engine, **asked)
    assert engine.seen == []
    save(image, 2)
    run([image], trained(), engine, **{**asked, "outputs": ("labels",)})
    assert engine.seen == ["case"]
    assert values(out / "case.nii.gz").max() == 2
    # its entropy is that of the image of before: not there, and nobody else's
    run([image], trained(), engine, **asked)
    assert len(engine.seen) > 1


def test_a_table_of_volumes_that_nobody_knows_stays(tmp_path: Path) -> None:
    image, out = save(tmp_path / "in/case.nii.gz"), tmp_path / "out"
    out.mkdir()
    (out / "volumes.tsv").write_text("mine")
    run([image], trained(), output_path=out, overwrite=False)
    assert (out / "volumes.tsv").read_text() == "mine"
    with pytest.raises(ConfigurationError, match=r"volumes\.tsv"):
        run([image], trained(), output_path=out, overwrite=False, outputs=("labels", "volumes"))
    assert (out / "volumes.tsv").read_text() == "mine"


def test_a_run_in_which_all_fails_leaves_no_list(tmp_path: Path) -> None:
    image = save(tmp_path / "in/case.nii.gz")
    image.write_bytes(b"no image")
    with pytest.raises(Exception, match="case"):
        run([image], trained(), output_path=tmp_path / "out")
    assert not (tmp_path / "out/predictions.json").exists()


def test_subjects_that_are_there_are_counted(tmp_path: Path) -> None:
    from miscnn._cli_predict import _There

    images = [save(tmp_path / "in" / f"{n}.nii.gz") for n in "abc"]
    asked = {"output_path": tmp_path / "out", "outputs": ("labels", "entropy", "volumes")}
    run(images[:2], trained(), **asked)
    there = _There()
    there.listen()
    try:
        run(images, trained(), overwrite=False, **asked)
    finally:
        there.leave()
    assert there.number == 2


@pytest.mark.parametrize(
    "damage",
    [
        {"subjects": {"a": ["x"]}},
        {"subjects": {"a": {"labels": 5}}},
        {"subjects": {"a": {"labels": [5]}}},
        {"sources": {"a": 3}},
        {"sources": {"a": ["x"]}},
        {"sources": {"a": [{"size": 3}]}},
        {"sizes": {"a.nii.gz": "3"}},
        {"stale": [3]},
        {"stale": {"a": 1}},
        {"format": [1]},
    ],
)
def test_damaged_manifests_are_told(damage: dict[str, Any], tmp_path: Path) -> None:
    image, out = save(tmp_path / "in/a.nii.gz"), tmp_path / "out"
    run([image], trained(), output_path=out)
    document = manifest(out)
    (out / "predictions.json").write_text(json.dumps({**document, **damage}))
    with pytest.raises(ConfigurationError, match="not a list of predictions that this version"):
        run([image], trained(), output_path=out, overwrite=False)
    run([image], trained(), output_path=out)
    assert manifest(out) == document


def test_deep_manifests_are_told(tmp_path: Path) -> None:
    image, out = save(tmp_path / "in/a.nii.gz"), tmp_path / "out"
    out.mkdir()
    (out / "predictions.json").write_text("[" * 200_000)
    with pytest.raises(ConfigurationError, match="not a list of predictions"):
        run([image], trained(), output_path=out, overwrite=False)


def test_results_that_are_not_what_was_written_do_not_count(tmp_path: Path) -> None:
    images = [save(tmp_path / "in" / f"{n}.nii.gz", 2) for n in "abc"]
    out = tmp_path / "out"
    run(images, trained(), output_path=out)
    whole = (out / "b.nii.gz").read_bytes()
    assert manifest(out)["sizes"]["b.nii.gz"] == len(whole)
    (out / "a.nii.gz").write_bytes(b"")
    (out / "b.nii.gz").write_bytes(whole[:-5])
    engine = Copy()
    with pytest.raises(PredictionError, match=f"{len(whole) - 5} bytes, but {len(whole)}") as told:
        run(images, trained(), engine, output_path=out, overwrite=False)
    assert list(told.value.failures) == ["b"]
    assert engine.seen == ["a"]
    assert values(out / "a.nii.gz").max() == 2
    assert (out / "b.nii.gz").read_bytes() == whole[:-5]  # may be somebody's work
    run(images[1:2], trained(), output_path=out)
    assert values(out / "b.nii.gz").max() == 2


def test_two_runs_into_one_folder_keep_each_others_notes(tmp_path: Path) -> None:
    a, b, c, d = (save(tmp_path / "in" / f"{n}.nii.gz", 1) for n in "abcd")
    out = tmp_path / "out"
    asked = {"output_path": out, "outputs": ("labels", "volumes")}
    run([d], trained(), **asked)

    class Meanwhile(Copy):
        """Another run takes place while this one predicts its second subject."""

        def whole(self, sample: Sample, probabilities: bool) -> Any:
            if sample.index == "b":
                run([c], trained(), **asked)
                run([d], trained(), output_path=out, outputs="entropy")
            return super().whole(sample, probabilities)

    run([a, b], trained(), Meanwhile(), **asked)
    document = manifest(out)
    assert list(document["subjects"]) == list(document["sources"]) == ["a", "b", "c", "d"]
    assert document["subjects"]["d"] == {"entropy": ["d_entropy.nii.gz"]}
    # the labels of d are not forgotten as files
    assert document["stale"] == ["d.nii.gz"]
    rows = [line.split("\t")[0] for line in (out / "volumes.tsv").read_text().splitlines()[1:]]
    assert rows == [n for n in "abc" for _ in range(2)]
    engine = Copy()
    run([a, b, c], trained(), engine, **asked, overwrite=False)
    assert engine.seen == []


def test_volumes_tell_the_values_in_the_files(tmp_path: Path) -> None:
    interface = NIfTIInterface(1, 3, label_values=(0, 10, 200))
    image, out = save(tmp_path / "in/a.nii.gz", 2), tmp_path / "out"
    run([image], DataIO(interface), output_path=out, outputs=("labels", "volumes"))
    assert np.unique(values(out / "a.nii.gz")).tolist() == [200]
    assert (out / "volumes.tsv").read_text().splitlines() == [
        "index\tclass\tvalue\tname\tvoxels\tml",
        "a\t1\t10\tclass-1\t0\t0.0",
        "a\t2\t200\tclass-2\t24\t0.024",
    ]
