"""The examples of the README and of the documentation run, page by page.

A page is one session: its blocks run from the first to the last, in one namespace, in a folder of
their own in which the data lie that the pages name (small phantoms). The text is run as it stands.
Only budgets are cut, from outside: two folds, one epoch of one batch, patches of at most 32 voxels,
networks with few feature maps (`_cut_budgets`), which are not compiled (`_EXPORTS`).

Two comments, invisible on the page, steer this::

    <!-- setup
    model = ...          what the page takes for granted, such as a model of an earlier page
    -->

    <!-- not run: why this block cannot be run here -->

What is not run is compiled, and what it imports from the library must exist.
"""

from __future__ import annotations

import ast
import functools
import importlib
import inspect
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import nibabel as nib
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(
    [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md"))]
)
_PART = re.compile(
    r"<!-- setup\n(?P<setup>.*?)-->"
    r"|(?:<!-- not run: (?P<reason>.*?) -->\s*)?"
    r"^(?P<indent> *)```python\n(?P<code>.*?)^ *```$",
    re.DOTALL | re.MULTILINE,
)
_LARGEST = 32
# Compiling takes far longer than one batch. These pages hand over what is compiled.
_EXPORTS = {"docs/how-to/export.md"}


@dataclass(frozen=True)
class Block:
    """A piece of code of a page."""

    code: str
    line: int
    reason: str | None = None
    visible: bool = True


def blocks_of(text: str) -> list[Block]:
    """The code of a page, in order."""
    found = []
    for part in _PART.finditer(text):
        setup = part["setup"]
        code = part["code"] if setup is None else setup
        indent = part["indent"] or ""
        code = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
        start = part.start("code" if setup is None else "setup")
        found.append(Block(code, text.count("\n", 0, start), part["reason"], setup is None))
    return found


BLOCKS = {
    path.relative_to(ROOT).as_posix(): blocks_of(path.read_text(encoding="utf-8")) for path in PAGES
}
WITH_CODE = [page for page, blocks in BLOCKS.items() if any(block.visible for block in blocks)]


# ---------------------------------------------------------------------- without running


@pytest.mark.parametrize("page", WITH_CODE)
def test_examples_can_be_compiled(page: str) -> None:
    for block in BLOCKS[page]:
        compile(block.code, f"{page}, line {block.line}", "exec")


@pytest.mark.parametrize("page", WITH_CODE)
def test_what_examples_import_from_the_library_is_there(page: str) -> None:
    for block in BLOCKS[page]:
        for node in ast.walk(ast.parse(block.code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("miscnn"):
                module = importlib.import_module(str(node.module))
                for alias in node.names:
                    where = f"{page}, line {block.line + node.lineno}"
                    assert hasattr(module, alias.name), f"{where}: {alias.name}"


@pytest.mark.parametrize("page", WITH_CODE)
def test_what_is_not_run_says_why(page: str) -> None:
    for block in BLOCKS[page]:
        if block.reason is not None:
            assert len(block.reason.split()) >= 3


def test_blocks_are_found() -> None:
    text = (
        "# Title\n\n<!-- setup\na = 1\n-->\n\n```python\nb = a\n```\n\n"
        "<!-- not run: no such machine -->\n```python\nc\n```\n\n"
        "- in a list:\n\n  ```python\n  d = 2\n  ```\n"
    )
    setup, first, second, third = blocks_of(text)
    assert (setup.visible, setup.code) == (False, "a = 1\n")
    assert (first.code, first.line, first.reason) == ("b = a\n", 7, None)
    assert second.reason == "no such machine"
    assert third.code == "d = 2\n"


# ---------------------------------------------------------------------- running


def _write(path: Path, array: np.ndarray, spacing: tuple[float, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, np.diag([*spacing, 1.0])), path)


@pytest.fixture(scope="session")
def documented_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders and files that the pages name, made of small phantoms."""
    from miscnn.datasets.phantom import make_subject

    folder = tmp_path_factory.mktemp("documented")
    (folder / "nnUNet_preprocessed/Dataset220_KiTS2023").mkdir(parents=True)
    raw = folder / "nnUNet_raw/Dataset220_KiTS2023"
    spleen = folder / "Task09_Spleen"
    names = []
    for number in range(6):
        rng = np.random.default_rng([7, number])
        subject = make_subject(rng, n_slices=16 + 2 * number, thickness=5, in_plane=24, tilt=0)
        # Far smaller than a phantom is, so that resampling to what the pages name stays cheap.
        spacing = (1.25, 1.25, 1.5 + number % 2)
        name = f"case_{number:05d}"
        names.append(name)
        for data in ("data", "kits19/data", "miscnn-demo/data"):
            _write(folder / data / name / "imaging.nii.gz", subject.image, spacing)
            _write(folder / data / name / "segmentation.nii.gz", subject.segmentation, spacing)
        _write(raw / f"imagesTr/{name}_0000.nii.gz", subject.image, spacing)
        _write(raw / f"labelsTr/{name}.nii.gz", subject.segmentation, spacing)
        _write(spleen / f"imagesTr/{name}.nii.gz", subject.image, spacing)
        _write(spleen / f"labelsTr/{name}.nii.gz", np.minimum(subject.segmentation, 1), spacing)
        if number < 2:
            _write(folder / f"new_cases/new_{number}.nii.gz", subject.image, spacing)
            _write(folder / f"{'ab'[number]}.nii.gz", subject.image, spacing)
        if number == 0:
            _write(folder / "scan.nii.gz", subject.image, spacing)
            _write(folder / "case.nii.gz", subject.image, spacing)
    labels = {"background": 0, "kidney": 1, "tumour": 2}
    _json(raw / "dataset.json", {
        "channel_names": {"0": "CT"}, "labels": labels, "numTraining": len(names),
        "file_ending": ".nii.gz",
    })  # fmt: skip
    _json(spleen / "dataset.json", {
        "name": "Spleen", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "spleen"},
        "numTraining": len(names), "numTest": 0, "test": [],
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in names
        ],
    })  # fmt: skip
    _json(folder / "nnUNet_preprocessed/Dataset220_KiTS2023/splits_final.json", [
        {"train": names[:3], "val": names[3:]}, {"train": names[3:], "val": names[:3]},
    ])  # fmt: skip
    shutil.copytree(
        ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("*.ipynb")
    )
    return folder


def _json(path: Path, value: Any) -> None:
    import json

    path.write_text(json.dumps(value), encoding="utf-8")


def _cut(function: Callable[..., Any], **limits: Callable[[Any], Any]) -> Callable[..., Any]:
    """Call a function with these arguments limited, whether they are given or not."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def limited(*given: Any, **named: Any) -> Any:
        bound = signature.bind(*given, **named)
        for name, limit in limits.items():
            if name in signature.parameters:
                bound.arguments[name] = limit(bound.arguments.get(name))
        return function(*bound.args, **bound.kwargs)

    return limited


@pytest.fixture
def _cut_budgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every training be one step of a small network on small patches."""
    import miscnn.evaluation
    from miscnn.evaluation import SliceSortedKFold
    from miscnn.neural_network.architecture import MSDNet, NNUNet, UNetStandard
    from miscnn.neural_network.architecture.unet import UNet
    from miscnn.neural_network.model import NeuralNetwork
    from miscnn.processing.preprocessor import Preprocessor

    training = {
        "epochs": lambda given: 1,
        "iterations": lambda given: 1,
        "max_minutes": lambda given: None,
        "validate_volumes": lambda given: None if given is None else 1,
    }
    for name in ("train", "evaluate"):
        monkeypatch.setattr(NeuralNetwork, name, _cut(getattr(NeuralNetwork, name), **training))
    folds = {
        "k_fold": lambda given: 2,
        "draw_figures": lambda given: False,
    }
    for name in ("cross_validation", "run_fold", "leave_one_out", "split_validation"):
        function = _cut(getattr(miscnn.evaluation, name), **folds)
        monkeypatch.setattr(miscnn.evaluation, name, function)
    two = _cut(SliceSortedKFold.__init__, n_splits=lambda given: 2)
    monkeypatch.setattr(SliceSortedKFold, "__init__", two)
    # Processes would each import the library, and nothing of what is cut here reaches them.
    threads = _cut(joblib.parallel_config, backend=lambda given: "threading")
    monkeypatch.setattr(joblib, "parallel_config", threads)
    recipe = {
        "patch_shape": lambda given: (
            None if given is None else tuple(min(size, _LARGEST) for size in given)
        ),
        "batch_size": lambda given: min(given, 2),
        "patchwise_overlap": lambda given: None,
        "slices_per_volume": lambda given: None if given is None else 4,
    }
    monkeypatch.setattr(Preprocessor, "__init__", _cut(Preprocessor.__init__, **recipe))
    few = {
        "n_filters": lambda given: 4,
        "depth": lambda given: 2 if given is None else given,
        "deep_supervision": lambda given: False,
    }
    monkeypatch.setattr(UNet, "__init__", _cut(UNet.__init__, **few))
    monkeypatch.setattr(
        NNUNet,
        "__init__",
        _cut(NNUNet.__init__, base_features=lambda given: 4, deep_supervision=lambda given: False),
    )
    monkeypatch.setattr(MSDNet, "__init__", _cut(MSDNet.__init__, depth=lambda given: 4))
    assert UNetStandard().n_filters == 4


@pytest.fixture
def _uncompiled(request: pytest.FixtureRequest) -> Iterator[None]:
    import tensorflow as tf

    tf.config.run_functions_eagerly(request.node.callspec.params["page"] not in _EXPORTS)
    yield
    tf.config.run_functions_eagerly(False)


def _linked(source: Path, target: Path) -> None:
    """Copy folders, so that a page may write into them; files are links."""
    for path in source.iterdir():
        if path.is_dir():
            (target / path.name).mkdir()
            _linked(path, target / path.name)
        else:
            (target / path.name).hardlink_to(path)


def _runs() -> Iterator[Any]:
    for page in WITH_CODE:
        if any(block.visible and block.reason is None for block in BLOCKS[page]):
            yield pytest.param(page, id=page)


@pytest.mark.slow
@pytest.mark.usefixtures("_cut_budgets", "_uncompiled")
@pytest.mark.parametrize("page", list(_runs()))
def test_examples_run(
    page: str, documented_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _linked(documented_data, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "examples"))
    namespace: dict[str, Any] = {"__name__": "__page__"}
    for block in BLOCKS[page]:
        if block.reason is None:
            code = "\n" * block.line + block.code
            with warnings.catch_warnings():
                # What a page shows may be worth a remark to whoever runs it on six phantoms.
                warnings.simplefilter("ignore")
                exec(compile(code, str(ROOT / page), "exec"), namespace)
