"""Samples that other processes prepare."""

from __future__ import annotations

import copy
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib
import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.exceptions import LabelError
from miscnn.processing import cache
from miscnn.processing.preparation import PreparedSamples
from miscnn.processing.subfunctions import Normalization, Resampling

NAMES = [f"case_{k}" for k in range(4)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    for name in NAMES:
        (folder / name).mkdir()
        label = np.zeros((12, 12, 6), dtype=np.uint8)
        label[3:8, 3:8, 2:4] = 1
        image = rng.normal(100, 20, label.shape).astype(np.float32)
        nib.save(nib.Nifti1Image(image, affine), folder / name / "imaging.nii.gz")
        nib.save(nib.Nifti1Image(label, affine), folder / name / "segmentation.nii.gz")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _end_of_workers() -> Iterator[None]:
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def recipe_in(data: Path, folder: Path, cache: Any = "disk") -> miscnn.Preprocessor:
    data_io = miscnn.DataIO(NIfTIInterface(1, 2), data, folder / "out", folder / "batches")
    chain = [Resampling((2.0, 2.0, 2.0)), Normalization("z-score")]
    return miscnn.Preprocessor(data_io, 2, chain, analysis="fullimage", cache=cache)


def arrays(recipe: miscnn.Preprocessor) -> list[Any]:
    sources = [recipe.batch_source(name) for name in NAMES]
    return [
        (np.asarray(p.image[...]).tobytes(), np.asarray(p.labels[...]).tobytes(), measures)
        for p, measures in sources
    ]


def test_processes_prepare_what_threads_do(data: Path, tmp_path: Path) -> None:
    here, there = recipe_in(data, tmp_path / "here"), recipe_in(data, tmp_path / "there")
    here.prepare(NAMES)
    with joblib.parallel_config("loky", n_jobs=2):
        there.prepare(NAMES)
    assert there._samples._kept == {}  # nothing was prepared in this process
    assert all(there._samples.is_prepared(name) for name in NAMES)
    assert arrays(there) == arrays(here)


def test_a_cache_in_memory_is_this_process_s(data: Path, tmp_path: Path) -> None:
    recipe = recipe_in(data, tmp_path, "memory")
    with joblib.parallel_config("loky", n_jobs=2):
        recipe.prepare(NAMES)
    assert sorted(recipe._samples._kept) == NAMES


def test_errors_name_the_sample(data: Path, tmp_path: Path) -> None:
    recipe = recipe_in(data, tmp_path)
    recipe.data.interface.classes = 1
    with joblib.parallel_config("loky", n_jobs=2), pytest.raises(LabelError, match="case_0"):
        recipe.prepare(NAMES)


_SCRIPT = """
import sys
from pathlib import Path
import joblib
import miscnn
from miscnn.data_loading.interfaces import NIfTIInterface
from miscnn.processing.subfunctions import Resampling

class Mine(Resampling):
    pass

if __name__ == "__main__":
    data, folder = map(Path, sys.argv[1:])
    data_io = miscnn.DataIO(NIfTIInterface(1, 2), data, folder / "out", folder / "batches")
    recipe = miscnn.Preprocessor(data_io, 2, [Mine((2.0, 2.0, 2.0))], analysis="fullimage")
    names = data_io.get_indiceslist()
    with joblib.parallel_config("loky", n_jobs=2):
        recipe.prepare(names)
    assert all(recipe._samples.is_prepared(name) for name in names)
    assert recipe._samples._kept == {}
"""


@pytest.mark.slow
def test_what_a_script_defines_prepares_for_the_script(data: Path, tmp_path: Path) -> None:
    # Workers do not have its source, which is part of the names in the cache.
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, str(script), str(data), str(tmp_path)]
    subprocess.run(command, env=environment, check=True, timeout=300)
    assert len(list((tmp_path / "batches" / "prepared").iterdir())) == len(NAMES)


def test_a_copy_in_the_same_process_knows_changed_code(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Mine(Resampling):
        pass

    Mine.__module__, Mine.__qualname__ = "__main__", "Mine"
    recipe = recipe_in(data, tmp_path)
    recipe.subfunctions = [Mine((2.0, 2.0, 2.0))]
    told = ["first"]
    monkeypatch.setattr(cache, "_code", lambda cls: told[0] if cls.__name__ == "Mine" else "")
    copied = copy.deepcopy(recipe._samples)
    sent = recipe._samples.__getstate__()
    arrived = PreparedSamples(recipe)
    arrived.__setstate__({**sent, "_of": (0, sent["_of"][1])})  # in another process
    again = copy.deepcopy(arrived)  # which copies it, for a network
    before = recipe._samples._key(NAMES[0])
    told[0] = "second"
    assert copied._key(NAMES[0]) == recipe._samples._key(NAMES[0]) != before
    assert arrived._key(NAMES[0]) == again._key(NAMES[0]) == before


@pytest.mark.slow
def test_a_cluster_prepares(data: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    here, there = recipe_in(data, tmp_path / "here"), recipe_in(data, tmp_path / "there")
    here.prepare(NAMES)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
            local_directory=str(tmp_path / "dask"), silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):  # fmt: skip
        there.prepare(NAMES)
    assert there._samples._kept == {}
    assert arrays(there) == arrays(here)
