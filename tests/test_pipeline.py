from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import miscnn
from miscnn.exceptions import ConfigurationError, MissingFileError
from miscnn.pipeline import Pipeline, PipelineError
from miscnn.processing.augmentation import CTAugmentation
from miscnn.processing.postprocessing import FillHoles, KeepLargest, PerClass
from miscnn.processing.preprocessor import Preprocessor
from miscnn.processing.regions import Regions
from miscnn.processing.subfunctions import Normalization, Resampling, Windowing

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
_BASE = '[data]\npath = "scans"\n\n[preprocessor]\nbatch_size = 2\npatch_shape = [8, 8, 8]\n'


def written(tmp_path: Path, text: str, name: str = "p.toml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(tmp_path: Path, text: str, name: str = "p.toml") -> list[str]:
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_file(written(tmp_path, text, name))
    return [str(problem) for problem in caught.value.problems]


def minimal(**sections: Any) -> dict[str, Any]:
    preprocessor = {"batch_size": 2, "patch_shape": [8, 8, 8], **sections.pop("preprocessor", {})}
    return {"data": {"path": "scans"}, "preprocessor": preprocessor, **sections}


def test_what_is_left_out_has_the_constructors_defaults(tmp_path: Path) -> None:
    pipeline = Pipeline.from_file(written(tmp_path, _BASE))
    assert pipeline.preprocessor().get_config() == (
        Preprocessor(None, 2, patch_shape=(8, 8, 8)).get_config()
    )
    document = pipeline.to_dict()
    assert document["network"]["architecture"]["type"] == "UNetStandard"
    assert document["network"]["architecture"]["n_filters"] == 32
    assert document["network"]["learning_rate"] == 1e-3
    assert document["network"]["schedule"] == {"type": "ConstantSchedule", "warmup": 0.0}
    assert document["training"]["epochs"] is None
    assert "evaluation" not in document


def test_parts_are_names_tables_or_objects(tmp_path: Path) -> None:
    chain = [Resampling((3, None, 1)), Windowing("kidney"), Normalization()]
    objects = Pipeline(
        minimal(
            preprocessor={
                "subfunctions": chain,
                "augmentation": CTAugmentation(rotation=None),
                "regions": Regions({"whole": (1, 2), "core": (2,)}),
            },
            postprocessing=[PerClass({1: [KeepLargest(number=2), FillHoles()]})],
        ),
        tmp_path,
    )
    text = (
        _BASE
        + """
augmentation = { type = "ct", rotation = "none" }
regions = { type = "Regions", regions = [["whole", [1, 2]], ["core", [2]]], class_order = [1, 2] }
subfunctions = [
    { type = "Resampling", new_spacing = [3, "none", 1] },
    { type = "windowing", name = "kidney" },
    "Normalization",
]

[[postprocessing]]
type = "per-class"
steps.1 = [{ type = "KeepLargest", number = 2 }, { type = "FillHoles" }]
"""
    )
    tables = Pipeline.from_file(written(tmp_path, text))
    made = tables.preprocessor()
    assert made.subfunctions == chain
    assert made.data_augmentation == CTAugmentation(rotation=None)
    assert made == made
    assert made.regions == Regions({"whole": (1, 2), "core": (2,)})
    assert made.get_config() == objects.preprocessor().get_config()
    steps = tables.to_dict()["postprocessing"]
    assert steps[0]["steps"]["1"][0]["number"] == 2
    assert steps == objects.to_dict()["postprocessing"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('analysis = "patchwise"', "line 7: [preprocessor] analysis = 'patchwise': expected one "
         "of 'patchwise-crop', 'patchwise-grid', 'fullimage', 'slicewise', 'slice-stack'; did "
         "you mean 'patchwise-grid'?"),
        ("seeed = 3", "line 7: [preprocessor] seeed is not known; expected one of batch_size, "),
        ("seed = 0.5", "line 7: [preprocessor] seed = 0.5: expected an integer"),
        ("seed = true", "line 7: [preprocessor] seed = true: expected an integer"),
        ("prepare_batches = 1", "line 7: [preprocessor] prepare_batches = 1: expected true or"),
        ("foreground_oversampling = 2", "line 7: [preprocessor]: "
         "foreground_oversampling is a share, 0 … 1; got 2"),
        ("patchwise_overlap = [1, 2.5]", "patchwise_overlap = [1, 2.5]: expected a list of "
         'integers or "none"'),
        ('augmentation = "generall"', "augmentation = 'generall': expected one of CTAugmentation, "
         "Compose, GeneralAugmentation, MultidimensionalAugmentation; did you mean 'general'?"),
        ('subfunctions = "Windowing"', "subfunctions = 'Windowing': expected a list, each "),
        ('subfunctions = [{ name = "x" }]', 'line 7: [preprocessor.subfunctions #1] is a table '
         'without "type"'),
        ("subfunctions = [3]", "line 7: [preprocessor.subfunctions #1] = 3: expected the name of "
         "a subfunction"),
        ('[network]\nloss = "tanimoto"', None),
        ('[network]\nloss = "tanimotto"', "line 8: [network] loss = 'tanimotto': expected one of"),
        ('[network]\nloss = "SegmentationLoss"', "[network] loss = 'SegmentationLoss': expected"),
        ('[network]\nloss = "keras.Huber"', None),
        ("[network]\noptimizer = 3", "[network] optimizer = 3: expected a name such as 'adam'"),
        ('[network]\nschedule = { type = "cosine", warmup = 2.0 }', "line 8: [network] schedule: "
         "warmup is 2.0; expected the share"),
        ("[training]\nvalidation = 1.5", "line 8: [training] validation = 1.5: expected a share"),
        ("[training]\nrestore_best = true", "restore_best = true: needs subjects to validate on"),
        ("[network]\nlearning_rate = -1", "line 8: [network] learning_rate = -1: expected a "
         "positive number, such as 1e-3"),
        ("[network]\nlearning_rate = inf", "line 8: [network] learning_rate = inf: expected a po"),
        ("[network]\nworkers = -5", "line 8: [network] workers = -5: expected 1 or more"),
        ("[network]\nema = 1.0", "line 8: [network] ema = 1.0: expected a momentum between 0"),
        ("[network]\nweight_decay = -0.1", "line 8: [network] weight_decay = -0.1: expected 0 o"),
        ('[network]\nloss = { type = "keras.Nope" }', "line 8: [network.loss] type = "
         "'keras.Nope': expected one of keras.BinaryCrossentropy"),
        ('[network]\nloss = "keras.huber"', "did you mean 'keras.Huber'?"),
        ('[network]\nloss = "keras.AUC"', "line 8: [network] loss = 'keras.AUC': expected one"),
        ('[network]\nmetrics = ["keras.AUC"]', None),
        ('[network]\noptimizer = "adm"', "line 8: [network] optimizer = 'adm': expected one of "
         "adadelta, "),
        ('[network]\noptimizer = { type = "Adm" }', "[network.optimizer] type = 'Adm': expected"),
        ('[network]\noptimizer = { type = "AdamW", weight_decay = 0.1 }', None),
        ('[network]\noptimizer = "sgd"', None),
        ("[training]\nearly_stopping = 0", "line 8: [training] early_stopping = 0: expected 1"),
        ("[training]\nmax_minutes = inf\n", "line 8: [training] max_minutes = inf: expected a"),
        ('[evaluation]\nsplitter = "slices"', "line 8: [evaluation.splitter] type = 'slices': "
         "expected one of random, DetailedSplit, GroupedKFold, HoldOut, LeaveOneOut, "),
        ('[evaluation]\nmethod = "split"\npercentage = 1.0', "line 9: [evaluation] percentage = "
         "1.0: expected a share between 0 and 1"),
        ('[bundle]\nfolder = ""', 'line 8: [bundle] folder is empty; expected a path'),
        ('[bundle]\nfolder = "."', "line 8: [bundle] folder = '.': a bundle needs a folder of "
         "its own, such as 'bundle'"),
        ('[bundle]\nfolder = "./.."', "line 8: [bundle] folder = './..': a bundle needs a fold"),
        ("[training]\nepochs = 0", "line 8: [training] epochs = 0: expected 1 or more"),
        ('[evaluation]\nmethod = "kfold"', "expected one of cross-validation, split, leave-one-"),
        ('[evaluation]\npercentage = 0.3', "percentage is for method = 'split' only"),
        ('[evaluation]\nfolds = 3\nsplitter = { type = "SliceSortedKFold", n_splits = 4 }',
         "line 9: [evaluation] splitter has n_splits = 4, but folds = 3"),
        ("[prediction]\noverlap = 2", "line 8: [prediction]: overlap is 2; expected a"),
        ('[[postprocessing]]\ntype = "KeepLargest"\nnumber = 0', "line 9: [postprocessing #1]: "
         "number of components must be 1 or more, got 0"),
        ("[postprocessing]\n", "is one table; expected a list of steps, [[postprocessing]] each"),
        ("[bundel]\n", "line 7: [bundel] is not known; expected one of modules, data, "
         "preprocessor, network, training, evaluation, prediction, postprocessing, bundle; did "
         "you mean 'bundle'?"),
        ('[bundle]\nlicense = "MIT"', "line 8: [bundle] license is not known"),
    ],
)  # fmt: skip
def test_errors_name_line_key_value_and_what_is_allowed(
    line: str, message: str | None, tmp_path: Path
) -> None:
    if message is None:
        Pipeline.from_file(written(tmp_path, f"{_BASE}{line}\n"))
        return
    (problem,) = problems_of(tmp_path, f"{_BASE}{line}\n")
    assert message in problem
    assert problem.startswith("p.toml, line ")


def test_all_problems_are_told_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = (
        '[preprocessor]\nbatch_size = "two"\n[[preprocessor.subfunctions]]\n'
        'type = "Windowing"\nname = "kidny"\n[training]\nepoch = 3\n'
    )
    first, *others = problems_of(tmp_path, text)
    assert first == "p.toml: the section [data] is missing"
    assert [problem.split(": ")[0] for problem in others] == [
        "p.toml, line 2", "p.toml, line 5", "p.toml, line 7"
    ]  # fmt: skip
    assert "did you mean 'epochs'?" in others[2]
    with pytest.raises(PipelineError, match=r"^4 problems:\n"):
        Pipeline.from_file(tmp_path / "p.toml")


def test_a_dictionary_has_no_lines() -> None:
    with pytest.raises(PipelineError, match=r"^pipeline: \[network\] learning_rate = 'fast'"):
        Pipeline(minimal(network={"learning_rate": "fast"}))


def test_what_is_missing_is_named_with_its_section(tmp_path: Path) -> None:
    text = _BASE.replace("batch_size = 2\n", "").replace("path =", "layout =")
    told = problems_of(tmp_path, text + '[[postprocessing]]\ntype = "PerClass"\n')
    assert told[0] == "p.toml, line 1: [data] path is missing; it is needed"
    assert told[1].startswith("p.toml, line 4: [preprocessor] batch_size is missing")
    assert told[2] == (
        "p.toml, line 6: [postprocessing #1] steps is missing; it is needed by PerClass"
    )


def test_values_can_be_put_in_place_of_the_files(tmp_path: Path) -> None:
    path = written(tmp_path, _BASE + 'subfunctions = ["Resampling", "Normalization"]\n')
    pipeline = Pipeline.from_file(
        path,
        {
            "training.epochs": 3,
            "network.architecture.depth": 2,
            "preprocessor.subfunctions.0.new_spacing": [2, 2, 2],
        },
    )
    document = pipeline.to_dict()
    assert document["training"]["epochs"] == 3
    assert document["network"]["architecture"]["depth"] == 2
    assert pipeline.preprocessor().subfunctions[0] == Resampling((2, 2, 2))
    with pytest.raises(PipelineError, match=r"--set training.epochs: \[training\] epochs = 'x'"):
        Pipeline.from_file(path, {"training.epochs": "x"})
    with pytest.raises(ConfigurationError, match="'2' is no position in a list of 2"):
        Pipeline.from_file(path, {"preprocessor.subfunctions.2.clip": False})


@pytest.mark.parametrize("name", ["evaluation", "training", "network", "bundle", "prediction"])
def test_a_section_that_is_named_has_its_defaults(name: str, tmp_path: Path) -> None:
    toml = Pipeline.from_file(written(tmp_path, f"{_BASE}[{name}]\n"))
    base = "data: {path: scans}\npreprocessor: {batch_size: 2, patch_shape: [8, 8, 8]}\n"
    for text in (f"{name}:", f"{name}: null", f"{name}: {{}}"):
        assert Pipeline.from_file(written(tmp_path, f"{base}{text}\n", "p.yaml")) == toml
    assert name in toml.to_dict()
    assert toml.to_dict().get("evaluation", {}).get("folds") == (
        3 if name == "evaluation" else None
    )
    if name == "evaluation":
        without = Pipeline.from_file(tmp_path / "p.toml", {name: "none"})
        assert without == Pipeline.from_file(written(tmp_path, _BASE, "q.toml"))


def test_what_constructors_refuse_has_a_line(tmp_path: Path) -> None:
    """Also where it is found out only when the network is built, by another library."""
    (tmp_path / "scans").mkdir()
    for line, message in (
        ('loss = { type = "keras.Huber", dlta = 1 }', r"line 8: \[network\] loss: .*dlta"),
        ('optimizer = { type = "Adam", beta_9 = 1 }', r"line 8: \[network\] optimizer: .*beta_9"),
        ('architecture = { type = "UNetStandard", depth = -1 }', r"line 8: \[network"),
    ):
        pipeline = Pipeline.from_file(written(tmp_path, f"{_BASE}[network]\n{line}\n"))
        with pytest.raises(PipelineError, match=f"p.toml, {message}"):
            pipeline._built(_data_io(tmp_path))
    path = written(tmp_path, f'{_BASE}[network]\noptimizer = {{ type = "Adam", beta_1 = 0.8 }}\n')
    optimizer = Pipeline.from_file(path)._built(_data_io(tmp_path)).model.optimizer
    assert (type(optimizer).__name__, optimizer.beta_1) == ("Adam", 0.8)
    assert float(optimizer.learning_rate) == pytest.approx(1e-3)


def _data_io(folder: Path) -> Any:
    import numpy as np

    from miscnn.data_loading.interfaces import DictionaryInterface

    image = np.zeros((8, 8, 8), np.float32)
    subjects = {"a": (image, image.astype(np.uint8))}
    return miscnn.DataIO(
        DictionaryInterface(subjects, 1, 2, True), None, folder / "o", folder / "b"
    )


def test_errors_of_a_running_training_are_not_those_of_its_arguments() -> None:
    pipeline = Pipeline(minimal())
    for error in (ValueError("x"), TypeError("x")):
        with pytest.raises(type(error)) as caught, pipeline._running("training"):
            raise error
        assert not isinstance(caught.value, PipelineError)
        with pytest.raises(PipelineError, match=r"\[training\]: x"), pipeline._told("training"):
            raise error


def test_a_home_folder_that_is_not_known_is_no_crash(tmp_path: Path) -> None:
    path = written(tmp_path, _BASE.replace("scans", "~nobody-of-this-name/y"))
    pipeline = Pipeline.from_file(path)
    with pytest.raises(MissingFileError, match="~nobody-of-this-name"):
        pipeline.check()
    pipeline.to_file(tmp_path / "q.toml")
    assert Pipeline.from_file(tmp_path / "q.toml") == pipeline


def test_the_number_of_folds_is_that_of_the_splitter() -> None:
    for section in (
        {"folds": 4, "splitter": "slice-sorted"},
        {"splitter": {"type": "SliceSortedKFold", "n_splits": 4}},
    ):
        evaluation = Pipeline(minimal(evaluation=section)).to_dict()["evaluation"]
        assert evaluation["folds"] == evaluation["splitter"]["n_splits"] == 4
    assert Pipeline(minimal(evaluation={})).to_dict()["evaluation"]["splitter"] is None


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    pipeline = Pipeline.from_file(written(tmp_path, _BASE + '[bundle]\nfolder = "b"\n'))
    assert pipeline.path("data", "path") == tmp_path / "scans"
    assert pipeline.path("bundle", "folder") == tmp_path / "b"
    assert pipeline.path("bundle", "folder", tmp_path / "out") == tmp_path / "out" / "b"
    assert pipeline.path("data", "path", tmp_path / "out") == tmp_path / "scans"
    (tmp_path / "other").mkdir()
    pipeline.to_file(tmp_path / "other" / "q.yaml")
    moved = Pipeline.from_file(tmp_path / "other" / "q.yaml")
    assert moved == pipeline
    assert moved.to_dict()["data"]["path"] == "../scans"
    assert moved != Pipeline(pipeline.to_dict(), tmp_path / "other")
    assert Pipeline.from_dict(pipeline.to_dict(), pipeline.folder) == pipeline


def test_own_classes_come_from_named_modules_only(tmp_path: Path) -> None:
    name = "own_parts_of_a_test"
    (tmp_path / f"{name}.py").write_text(
        "from miscnn.processing.subfunctions import Windowing\n"
        "class Special(Windowing):\n"
        "    def __init__(self, strength: int = 3) -> None:\n"
        "        super().__init__('kidney')\n"
        "        self.strength = strength\n"
    )
    text = _BASE + 'subfunctions = [{ type = "Special", strength = 5 }]\n'
    (problem,) = problems_of(tmp_path, text)
    assert "[preprocessor.subfunctions #1] type = 'Special': expected one of Clipping" in problem
    pipeline = Pipeline.from_file(written(tmp_path, f'modules = ["{name}"]\n{text}'))
    (step,) = pipeline.preprocessor().subfunctions
    assert type(step).__name__ == "Special"
    assert step.strength == 5  # type: ignore[attr-defined]
    assert set(pipeline.custom_objects) == {"Special"}
    (tmp_path / "other").mkdir()
    pipeline.to_file(tmp_path / "other" / "q.toml")
    assert Pipeline.from_file(tmp_path / "other" / "q.toml") == pipeline
    with pytest.raises(PipelineError, match=r"line 1: modules: there is no module 'nowhere'"):
        Pipeline.from_file(written(tmp_path, f'modules = ["nowhere"]\n{_BASE}'))
    del sys.modules[name]


def test_an_interface_is_named_where_nothing_is_to_be_found_out(tmp_path: Path) -> None:
    table = '[data]\npath = "x"\ninterface = { type = "nifti", classes = 4 }\n'
    text = table + _BASE.partition("\n\n")[2]
    pipeline = Pipeline.from_file(written(tmp_path, text))
    assert pipeline.to_dict()["data"]["interface"]["classes"] == 4
    (tmp_path / "x").mkdir()
    assert pipeline.data_io().interface.classes == 4
    (problem,) = problems_of(tmp_path, text.replace("interface", "channels = 2\ninterface"))
    assert "channels is an argument of the interface; write it in its table" in problem


def test_what_open_dataset_says_has_the_line_of_the_section(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    pipeline = Pipeline.from_file(written(tmp_path, "# a remark\n" + _BASE))
    with pytest.raises(MissingFileError, match="found no known layout"):
        pipeline.data_io()
    path = written(tmp_path, "# a remark\n" + _BASE.replace('"\n', '"\nformat = "docx"\n', 1))
    with pytest.raises(PipelineError, match=r"p.toml, line 4: \[data\]: .*'docx' is not known"):
        Pipeline.from_file(path).data_io()


def test_both_examples_are_one_pipeline() -> None:
    toml, yaml = (Pipeline.from_file(EXAMPLES / f"pipeline.{e}") for e in ("toml", "yaml"))
    assert toml == yaml
    assert toml.to_dict()["evaluation"]["splitter"]["type"] == "SliceSortedKFold"
    assert toml.preprocessor().data_augmentation.rotation is None  # type: ignore[union-attr]


def test_keras_is_not_imported_to_read_a_pipeline() -> None:
    code = (
        "import sys, miscnn\n"
        f"p = miscnn.Pipeline.from_file({str(EXAMPLES / 'pipeline.toml')!r})\n"
        "p.preprocessor(); p.to_dict()\n"
        "print([m for m in ('keras', 'tensorflow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_classes_read_from_sources_are_those_that_are_imported() -> None:
    """The arguments found without Keras are the constructors' own."""
    import inspect

    from miscnn.neural_network.model import NeuralNetwork
    from miscnn.pipeline._kinds import ARCHITECTURES, LOSSES, METRICS
    from miscnn.pipeline._sections import bundle_arguments, network_arguments
    from miscnn.pipeline._signatures import OPEN, REQUIRED

    seen = 0
    for family in (ARCHITECTURES, LOSSES, METRICS):
        for kind in family.kinds().values():
            cls = kind.load()
            assert not inspect.isabstract(cls), kind
            real = inspect.signature(cls).parameters
            found = {n: a for n, a in kind.arguments().items() if a.default is not OPEN}
            named = [n for n, p in real.items() if p.kind is not p.VAR_KEYWORD]
            assert list(found) == [n for n in named if real[n].kind is not p_args(real[n])], kind
            for name, argument in found.items():
                expected = real[name].default
                if expected is inspect.Parameter.empty:
                    assert argument.default is REQUIRED
                else:
                    assert argument.default == expected, (kind, name)
                seen += 1
    assert seen > 100
    real = inspect.signature(NeuralNetwork).parameters
    assert set(network_arguments()) <= set(real)
    assert network_arguments()["learning_rate"].default == real["learning_rate"].default
    saved = set(inspect.signature(NeuralNetwork.save).parameters) - {"self", "scores"}
    assert set(bundle_arguments()) == saved


def p_args(parameter: Any) -> Any:
    return parameter.VAR_POSITIONAL


def test_the_defaults_by_name_are_those_of_the_network() -> None:
    from miscnn.neural_network._loss_names import as_loss
    from miscnn.neural_network.architecture import UNetStandard
    from miscnn.neural_network.optimizers import OptimizerRecipe
    from miscnn.neural_network.schedules import as_schedule

    pipeline = Pipeline(minimal())
    network = pipeline.to_dict()["network"]
    make = pipeline._maker.parts.make
    assert make(network["architecture"]) == UNetStandard()
    assert make(network["loss"]).get_config() == as_loss(None).get_config()
    assert make(network["schedule"]) == as_schedule(None)
    assert OptimizerRecipe.of(network["optimizer"]) == OptimizerRecipe.of(None)


def test_the_pipeline_is_a_public_name() -> None:
    assert miscnn.Pipeline is Pipeline
    assert "Pipeline" in dir(miscnn)
    assert repr(Pipeline(minimal(), "/x")) == "Pipeline('scans', UNetStandard, folder='/x')"


def data_set(folder: Path, subjects: int = 4) -> Path:
    """Write volumes of 8³ voxels with the labels 0, 1, 2."""
    labels = np.arange(512, dtype=np.uint8).reshape(8, 8, 8) % 3
    for number in range(subjects):
        case = folder / "scans" / f"case_{number}"
        case.mkdir(parents=True)
        nib.save(nib.Nifti1Image(labels.astype(np.float32), np.eye(4)), case / "imaging.nii.gz")
        nib.save(nib.Nifti1Image(labels, np.eye(4)), case / "segmentation.nii.gz")
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[evaluation]\nfolds = 5", "p.toml, line 8: [evaluation]: folds = 5: there are 4 subj"),
        (
            '[evaluation]\nsplitter = "slice-sorted"\nfolds = 5',
            "line 9: [evaluation]: folds = 5: there are 4 subject(s)",
        ),
        (
            '[evaluation]\nmethod = "split"\npercentage = 0.99',
            "line 9: [evaluation]: percentage: a share of 0.99 of 4 subject(s) leaves nobody",
        ),
        (
            '[evaluation]\nmethod = "leave-one-out"\nn_subjects = 9',
            "line 9: [evaluation]: n_subjects = 9: there are 4 subject(s)",
        ),
        (
            "[evaluation]\nfolds = 4\ninner_validation = 0.9",
            "line 9: [evaluation]: inner_validation: a share of 0.9 of 3 subject(s) leaves nobody",
        ),
        (
            '[[preprocessor.subfunctions]]\ntype = "Resampling"\nnew_spacing = [1, 1]',
            "line 9: [preprocessor.subfunctions #1] new_spacing = [1, 1]: has 2 entries, expected "
            "3, one for each axis of the volumes",
        ),
        (
            '[training]\nvalidation = ["nobody"]',
            "line 8: [training] validation names nobody, which is not among the 4 subjects",
        ),
    ],
)
def test_what_does_not_fit_the_data_is_told_by_the_check(
    text: str, message: str, tmp_path: Path
) -> None:
    path = written(data_set(tmp_path), _BASE + text)
    with pytest.raises(PipelineError) as caught:
        Pipeline.from_file(path).check()
    assert message in str(caught.value)


def test_a_patch_has_the_axes_of_what_the_network_sees(tmp_path: Path) -> None:
    text = _BASE.replace("[8, 8, 8]", "[8, 8]")
    pipeline = Pipeline.from_file(written(data_set(tmp_path), text))
    with pytest.raises(PipelineError, match=r"line 6: .* patch_shape must have 3 positive val"):
        pipeline.check()
    path = written(tmp_path, text + 'analysis = "slicewise"\n')
    assert len(Pipeline.from_file(path).check()[1]) == 4


def test_fewer_names_than_labels_are_told_by_the_check(tmp_path: Path) -> None:
    names = 'path = "scans"\nclass_names = ["background", "one"]'
    path = written(data_set(tmp_path), _BASE.replace('path = "scans"', names))
    with pytest.raises(PipelineError, match=r"line 3: \[data\]: class_names has 2 names, but .*2;"):
        Pipeline.from_file(path).check()
    path.write_text(path.read_text().replace('"one"]', '"one", "two"]\n[evaluation]\nfolds = 4'))
    assert len(Pipeline.from_file(path).check()[1]) == 4


@pytest.mark.parametrize(
    ("said", "made"),
    [
        ('"grouped"', {"type": "GroupedKFold", "n_splits": 4, "seed": 0, "pattern": None}),
        ('{ type = "grouped", pattern = "^(.)", n_splits = 4 }',
         {"type": "GroupedKFold", "n_splits": 4, "seed": 0, "pattern": "^(.)"}),
        ('"stratified volume"', {"type": "StratifiedVolumeKFold", "n_splits": 4, "label": None,
                                 "seed": 0}),
        ('{ type = "PercentageSplit", share = 0.3 }', {"type": "PercentageSplit", "share": 0.3,
                                                       "seed": 0}),
        ('{ type = "HoldOut", indices = ["a", "b"] }', {"type": "HoldOut", "indices": ["a", "b"]}),
        ('{ type = "DetailedSplit", folds = [[["a"], ["b"]]] }',
         {"type": "DetailedSplit", "folds": [[["a"], ["b"]]]}),
        ('"my/folds.json"', {"type": "SavedFolds", "path": "my/folds.json"}),
    ],
)  # fmt: skip
def test_splitters_are_named(said: str, made: dict[str, Any], tmp_path: Path) -> None:
    text = f"{_BASE}[evaluation]\nfolds = 4\nn_jobs = 2\nsplitter = {said}\n"
    pipeline = Pipeline.from_file(written(tmp_path, text))
    evaluation = pipeline.to_dict()["evaluation"]
    assert json.loads(json.dumps(evaluation["splitter"])) == made
    assert evaluation["n_jobs"] == 2
    (tmp_path / "deep").mkdir()
    pipeline.to_file(tmp_path / "deep" / "q.toml")
    assert Pipeline.from_file(tmp_path / "deep" / "q.toml") == pipeline
    if made["type"] == "SavedFolds":
        assert "../my/folds.json" in (tmp_path / "deep" / "q.toml").read_text()


def test_scores_are_chosen(tmp_path: Path) -> None:
    text = _BASE + "[evaluation]\nscoring = { metrics = ['dice'], lesions = true }\n"
    pipeline = Pipeline.from_file(written(tmp_path, text))
    scoring = pipeline.to_dict()["evaluation"]["scoring"]
    assert (scoring["metrics"], scoring["lesions"], scoring["calibration"]) == (
        ["dice"], True, False,
    )  # fmt: skip
    pipeline.to_file(tmp_path / "q.toml")
    assert Pipeline.from_file(tmp_path / "q.toml") == pipeline
    for wrong, told in (
        ("{ metrics = ['dcie'] }", "dcie"),
        ("{ lesion = true }", "scoring has no lesion"),
        ("'dice'", "expected a table"),
    ):
        (problem,) = problems_of(tmp_path, f"{_BASE}[evaluation]\nscoring = {wrong}\n")
        assert "line 8: [evaluation] scoring" in problem
        assert told in problem
    (problem,) = problems_of(tmp_path, f"{_BASE}[evaluation]\nn_jobs = 0\n")
    assert "line 8: [evaluation] n_jobs = 0: expected a number of processes" in problem


def test_a_share_that_validates_tears_no_patient(tmp_path: Path) -> None:
    data_set(tmp_path)
    patient = "case_[02]|case_(?=[13])"  # 0 and 2 are by themselves; 1 and 3 are one's
    for number in range(4):
        splitter = f'{{ type = "grouped", pattern = "{patient}" }}'
        text = f"{_BASE}seed = {number}\n[training]\nvalidation = 0.3\n"
        path = written(tmp_path, f"{text}[evaluation]\nfolds = 2\nsplitter = {splitter}\n")
        _, training, validation = Pipeline.from_file(path).check()
        assert sorted([*training, *validation]) == [f"case_{k}" for k in range(4)]
        assert len({"case_1", "case_3"} & set(training)) in (0, 2)
        assert len(validation) in (1, 2)


def test_too_few_folds_are_told_once(tmp_path: Path) -> None:
    text = _BASE + '[evaluation]\nsplitter = "slice-sorted"\nfolds = 1'
    assert problems_of(tmp_path, text) == [
        "p.toml, line 9: [evaluation] folds = 1: expected 2 or more"
    ]


def test_a_single_metric_is_told_which_there_are(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path, _BASE + '[network]\nmetrics = "mean-dicee"')
    assert "each the name of a metric" in told
    assert "known are DiceScore, JaccardScore, MeanDice" in told
    assert "did you mean" in told
    (told,) = problems_of(tmp_path, _BASE + '[network]\nmetrics = "mean-dice"')
    assert told.endswith("such as ['mean-dice']")


def test_of_many_keys_the_nearest_is_told_first(tmp_path: Path) -> None:
    (told,) = problems_of(tmp_path, _BASE.replace("[pre", "clases = 3\n[pre"))
    assert "[data] clases is not known; did you mean 'classes'? " in told
    assert len(told) < 160


def test_labels_are_looked_at_as_classes(tmp_path: Path) -> None:
    data = 'path = "scans"\nlabel_values = { 0 = 0, 1 = 1, 2 = 1 }\nclasses = 2'
    path = written(data_set(tmp_path), _BASE.replace('path = "scans"', data))
    assert len(Pipeline.from_file(path).check()[1]) == 4
