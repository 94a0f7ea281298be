"""Files from strangers: nothing in them makes code run, reads other files, or is larger than it is.

Each attack is a file that Keras' own reader, or an older one's, would have followed.
"""

from __future__ import annotations

import io
import json
import stat
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import miscnn
from miscnn._keras import keras, ops
from miscnn.data_loading.interfaces import DictionaryInterface
from miscnn.exceptions import ConfigurationError, DamagedFileError
from miscnn.neural_network import _bundle_files as files
from miscnn.neural_network import architecture as architectures
from miscnn.neural_network import bundle, losses, metrics
from miscnn.neural_network._keras_file import check_keras_file, read_keras_file
from miscnn.neural_network._keras_names import check_names
from miscnn.neural_network.architecture import MSDNet, NNUNet, UNetAttention, UNetStandard
from miscnn.neural_network.architecture.base import Architecture
from miscnn.neural_network.optimizers import OptimizerRecipe

MARK = "ran.txt"


def make_model(folder: Path) -> miscnn.NeuralNetwork:
    data_io = miscnn.DataIO(DictionaryInterface({}, 1, 3, False), None, folder / "out")
    recipe = miscnn.Preprocessor(data_io, 1, analysis="fullimage", cache="memory")
    return miscnn.NeuralNetwork(recipe, UNetStandard(n_filters=2, depth=1))


def copied(saved: Path, target: Path) -> Path:
    target.mkdir()
    for path in saved.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``.keras`` file as Keras writes it."""
    path = tmp_path_factory.mktemp("network") / "model.keras"
    UNetStandard(n_filters=2, depth=1).create_model_2D((None, None, 1), 3).save(path)
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    make_model(folder).save(folder / "bundle")
    return folder / "bundle"


def rewritten(
    network: Path,
    target: Path,
    config: Callable[[dict[str, Any]], Any] | None = None,
    weights: bytes | None = None,
    more: Mapping[str, bytes] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> Path:
    """The file with another description, other weights or further members."""
    with zipfile.ZipFile(network) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if config is not None:
        document = json.loads(parts["config.json"])
        changed = config(document)
        parts["config.json"] = json.dumps(document if changed is None else changed).encode()
    if weights is not None:
        parts["model.weights.h5"] = weights
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, content in {**parts, **(more or {})}.items():
            archive.writestr(name, content)
    return target


def layer(document: dict[str, Any], number: int = 1) -> dict[str, Any]:
    found: dict[str, Any] = document["config"]["layers"][number]
    return found


# ---------------------------------------------------------------------- names

LAMBDA = {
    "class_name": "__lambda__",
    "config": {"value": ["YwAAAAAAAAAA", None, None]},
}


def in_place_of_a_layer(**entry: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        layer(document).update(entry)

    return change


def as_activation(value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        layer(document)["config"]["activation"] = value

    return change


def function(module: str | None, name: str, registered: str | None = "function") -> dict[str, Any]:
    entry = {"class_name": "function", "config": name, "registered_name": registered}
    return entry if module is None else {**entry, "module": module}


ATTACKS = {
    "lambda layer": in_place_of_a_layer(module="keras.layers", class_name="Lambda"),
    "lambda layer, old style": in_place_of_a_layer(module=None, class_name="Lambda"),
    "lambda value": as_activation(LAMBDA),
    "type specification": as_activation(
        {"class_name": "__typespec__", "spec_name": "system", "module": "os", "config": []}
    ),
    "module": in_place_of_a_layer(module="os", class_name="system", registered_name="system"),
    "submodule": in_place_of_a_layer(
        module="subprocess", class_name="Popen", registered_name="Custom>Popen"
    ),
    "saved model": in_place_of_a_layer(module="keras.layers", class_name="TFSMLayer"),
    "pickled module": in_place_of_a_layer(module="keras.layers", class_name="TorchModuleWrapper"),
    "vocabulary file": in_place_of_a_layer(module="keras.layers", class_name="StringLookup"),
    "vocabulary file, old style": in_place_of_a_layer(module=None, class_name="TextVectorization"),
    "download": as_activation(function("keras.utils", "get_file")),
    "download, inside": as_activation(function("keras.src.utils.file_utils", "get_file")),
    "download, builtins": as_activation(function("builtins", "get_file")),
    "load model": as_activation(function("keras.saving", "load_model")),
    "unsafe mode": as_activation(function("keras.config", "enable_unsafe_deserialization")),
    "eval": as_activation(function("builtins", "eval")),
    "by the back door": as_activation(function("keras.activations", "deserialize")),
    "class of the tools": in_place_of_a_layer(module="keras.utils", class_name="PyDataset"),
    "class of the insides": in_place_of_a_layer(
        module="keras.src.utils.file_utils", class_name="Path", registered_name="Path"
    ),
    "disguised": in_place_of_a_layer(
        module="keras.layers", class_name="TFSMLayer", registered_name="miscnn>MixedScaleDense"
    ),
    "disguised, old style": in_place_of_a_layer(
        module=None, class_name="TFSMLayer", registered_name="miscnn>InstanceNormalization"
    ),
    "registered elsewhere": in_place_of_a_layer(
        module="keras.layers", class_name="Conv2D", registered_name="attack>Registered"
    ),
    "this library, but no part of it": in_place_of_a_layer(
        module="miscnn.__main__", class_name="main", registered_name="main"
    ),
    "this library's helpers": as_activation(
        function("miscnn.neural_network.bundle", "remove_folder")
    ),
    "no text": in_place_of_a_layer(module=["os"], class_name={"a": 1}),
    "no name of a module": in_place_of_a_layer(
        module="miscnn.neural_network...os", class_name="system", registered_name="system"
    ),
    "nested": lambda document: layer(document).update(
        build_config={"deep": [{"deeper": [LAMBDA]}]}
    ),
    "compiled inside": lambda document: layer(document).update(
        compile_config={"loss": function("os", "system")}
    ),
}


@keras.saving.register_keras_serializable(package="attack")
class Registered(keras.layers.Layer):  # type: ignore[misc]
    """Registered by somebody in this process, but not handed in."""


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_name_that_is_not_allowed_is_refused(
    attack: Callable[[dict[str, Any]], None],
    network: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = rewritten(network, tmp_path / "model.keras", attack)

    def reached(*_: Any, **__: Any) -> None:
        raise AssertionError("Keras has seen the file")

    monkeypatch.setattr(keras.models, "load_model", reached)
    monkeypatch.setattr(keras.saving, "load_model", reached)
    with pytest.raises(ConfigurationError, match="which is not loaded") as caught:
        read_keras_file(path)
    assert str(path) in str(caught.value)


def test_every_way_to_a_file_of_keras_looks_at_it(network: Path, tmp_path: Path) -> None:
    attack = rewritten(network, tmp_path / "model.keras", ATTACKS["download"])
    model = make_model(tmp_path)
    before = model.model.get_weights()
    for read in (model.load, model.load_weights):
        with pytest.raises(ConfigurationError, match=r"keras\.utils\.get_file"):
            read(attack)
    for mine, theirs in zip(model.model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


PARTS = {
    "loss": ("loss", function("os", "system")),
    "loss of a module": (
        "loss",
        {"module": "os", "class_name": "Loss", "config": {}, "registered_name": "Loss"},
    ),
    "metric": ("metrics", [function("keras.utils", "get_file")]),
    "learning rate": ("learning_rate", LAMBDA),
    "optimizer": (
        "optimizer",
        {
            "class": "miscnn.neural_network.optimizers:OptimizerRecipe",
            "config": {"optimizer": {"class_name": "Popen", "module": "subprocess", "config": {}}},
        },
    ),
    "interface": ("interface", {"class": "os:system", "config": {}}),
    "program": ("interface", {"class": "miscnn.__main__:main", "config": {}}),
    "architecture": ("architecture", {"class": "subprocess:Popen", "config": {}}),
    "step": (
        "postprocessing",
        {
            "class": "miscnn.processing.postprocessing.chain:PostProcessing",
            "config": {"steps": [{"class": "os:system", "config": {"command": "true"}}]},
        },
    ),
}


@pytest.mark.parametrize(("name", "value"), PARTS.values(), ids=PARTS)
def test_parts_of_strangers_are_refused(name: str, value: Any, saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "attack")
    document = json.loads((folder / "pipeline.json").read_text())
    (folder / "pipeline.json").write_text(json.dumps({**document, name: value}))
    files.write_sums(folder)
    with pytest.raises(ConfigurationError, match=r"not part of miscnn|which is not loaded"):
        miscnn.load(folder)


def test_members_of_an_ensemble_lie_in_it(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    copied(saved, tmp_path / "elsewhere")
    for name in ("../elsewhere", "/etc", "member_0_0/..", "", 5):
        document = {
            "format": 3,
            "versions": {"miscnn": miscnn.__version__},
            "kind": "mean ensemble",
            "networks": [[name]],
        }
        (tmp_path / "bundle" / "ensemble.json").write_text(json.dumps(document))
        files.write_sums(tmp_path / "bundle")
        with pytest.raises(DamagedFileError, match="as a member"):
            miscnn.load(tmp_path / "bundle")


# ---------------------------------------------------------------------- the user's own


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module of the user's, which leaves a file when it is imported."""
    (tmp_path / "users_own").mkdir()
    (tmp_path / "users_own" / "__init__.py").write_text("")
    (tmp_path / "users_own" / "parts.py").write_text(
        "from pathlib import Path\n"
        "import keras\n"
        "from os import system\n"
        "from miscnn.processing.subfunctions.clipping import Clipping\n"
        f"Path(__file__).with_name({MARK!r}).write_text('')\n"
        "class Twice(keras.layers.Layer):\n"
        "    def call(self, x):\n"
        "        return 2 * x\n"
        "class Limits(Clipping):\n"
        "    pass\n"
        "def halved(x):\n"
        "    return x / 2\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "users_own" / MARK
    for name in [name for name in sys.modules if name.split(".")[0] == "users_own"]:
        del sys.modules[name]


def with_users_parts(network: Path, target: Path) -> Path:
    entry = {"module": "users_own.parts", "class_name": "Twice", "registered_name": "Twice"}

    def change(document: dict[str, Any]) -> None:
        # In place of the last activation, which has no weights.
        (last,) = (
            each for each in document["config"]["layers"] if each["class_name"] == "MaxPooling2D"
        )
        name = last["config"]["name"]
        last.update(entry, config={"name": name, "trainable": True}, build_config=None)
        for each in document["config"]["layers"]:
            if each["class_name"] == "Conv2D" and "activation" in each["config"]:
                each["config"]["activation"] = function("users_own.parts", "halved", "halved")

    return rewritten(network, target, change)


def test_modules_are_imported_if_the_user_names_them(
    network: Path, tmp_path: Path, package: Path
) -> None:
    path = with_users_parts(network, tmp_path / "model.keras")
    for modules in ((), ("users_ow",), ("users_own.part",), ("parts",)):
        with pytest.raises(ConfigurationError, match=r"users_own\.parts\.\w+.*modules="):
            check_keras_file(path, modules=modules)
        assert not package.exists()
    for modules in (("users_own.parts",), ("users_own",)):
        objects = check_keras_file(path, modules=modules)
        assert sorted(objects) == ["Twice", "halved"]
    assert package.exists()
    # What a module has imported itself is not what it defines.
    stolen = rewritten(
        network, tmp_path / "stolen.keras", as_activation(function("users_own.parts", "system"))
    )
    with pytest.raises(ConfigurationError, match="defines nothing of this name"):
        check_keras_file(stolen, modules=("users_own",))


def test_bundles_with_parts_of_the_users(saved: Path, tmp_path: Path, package: Path) -> None:
    folder = copied(saved, tmp_path / "own")
    document = json.loads((folder / "pipeline.json").read_text())
    document["preprocessor"]["subfunctions"] = [
        {"class": "users_own.parts:Limits", "config": {"min": 0.0, "max": 1.0}}
    ]
    (folder / "pipeline.json").write_text(json.dumps(document))
    files.write_sums(folder)
    with pytest.raises(
        ConfigurationError, match=r"'users_own\.parts:Limits' is not part of miscnn"
    ):
        miscnn.load(folder)
    assert not package.exists()
    by_module = miscnn.load(folder, modules=("users_own",))
    (step,) = by_module.preprocessor.subfunctions
    assert (type(step).__module__, step.min, step.max) == ("users_own.parts", 0.0, 1.0)
    by_class = miscnn.load(folder, {"Limits": type(step)})
    assert by_class.preprocessor.subfunctions == [step]


def test_classes_that_are_handed_in_are_read(network: Path, tmp_path: Path) -> None:
    entry = {"module": __name__, "class_name": "Registered", "registered_name": None}
    for registered in ("attack>Registered", "Registered", "other>Registered"):
        document = {**entry, "registered_name": registered, "config": {}}
        with pytest.raises(ConfigurationError, match="hand it in"):
            check_names(document, "a file")
        objects = check_names(document, "a file", {"Registered": Registered})
        assert keras.saving.deserialize_keras_object(document, objects).__class__ is Registered


# ---------------------------------------------------------------------- what must go through


def every_architecture() -> list[type[Architecture]]:
    kinds = (getattr(architectures, name) for name in architectures.__all__)
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Architecture)]


@pytest.mark.parametrize(
    "architecture",
    [
        UNetStandard(n_filters=2, depth=1, normalization="batch", dropout=0.2),
        UNetAttention(n_filters=2, depth=2, normalization="group"),
        NNUNet(strides=((1, 1), (2, 2), (2, 2)), base_features=2),
        MSDNet(depth=3, width=2),
    ],
    ids=lambda a: type(a).__name__,
)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_networks_of_the_library_are_read(
    architecture: Architecture, policy: str, tmp_path: Path
) -> None:
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = architecture.create_model_2D((None, None, 1), 3)
    finally:
        keras.config.set_dtype_policy(before)
    model.save(tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras")
    image = np.random.default_rng(0).normal(size=(1, 16, 16, 1)).astype(np.float32)
    for mine, theirs in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    one, two = (ops.convert_to_numpy(ops.cast(_first(m(image)), "float32")) for m in (again, model))
    np.testing.assert_array_equal(one, two)


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, list) else output


def test_all_parts_of_the_library_may_be_named() -> None:
    assert len(every_architecture()) > 8
    for kind in vars(losses).values():
        if isinstance(kind, type) and issubclass(kind, keras.losses.Loss):
            document = {
                "module": kind.__module__,
                "class_name": kind.__name__,
                "config": {},
                "registered_name": keras.saving.get_registered_name(kind),
            }
            if document["registered_name"] != kind.__name__:  # not an abstract base
                check_names(document, "loss")
    for loss in (losses.TverskyCrossEntropy(), keras.losses.Dice(), keras.losses.dice):
        check_names(keras.losses.serialize(loss), "loss")
    for metric in (metrics.MeanDice(3), keras.metrics.MeanIoU(3), metrics.dice_soft):
        check_names(keras.saving.serialize_keras_object(metric), "metric")
    rate = keras.optimizers.schedules.CosineDecay(0.1, 100)
    check_names(keras.saving.serialize_keras_object(rate), "learning_rate")
    recipe = OptimizerRecipe.of(keras.optimizers.SGD(rate, momentum=0.9))
    check_names(recipe.get_config(), "optimizer")


def users_loss(truth: Any, found: Any) -> Any:
    return ops.mean(found - truth)


def test_graphs_of_operations_and_nested_models_are_read(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 1))
    inner = keras.Sequential([keras.layers.Conv2D(2, 1, kernel_regularizer="l2")])
    hidden = ops.nn.relu(inner(inputs) * 2.0 + ops.mean(inputs, axis=1, keepdims=True))
    model = keras.Model(inputs, keras.layers.Activation("softmax")(hidden))
    model.compile("adam", users_loss)  # is not read
    model.save(tmp_path / "model.keras")
    again = read_keras_file(tmp_path / "model.keras")
    image = np.random.default_rng(0).normal(size=(1, 8, 8, 1)).astype(np.float32)
    np.testing.assert_array_equal(again(image), model(image))


# ---------------------------------------------------------------------- the archive


@pytest.mark.parametrize(
    "name", ["../evil.txt", "/tmp/evil.txt", "assets/vocabulary.txt", "a\\..\\evil.txt", "x" * 300]
)
def test_other_members_are_refused(name: str, network: Path, tmp_path: Path) -> None:
    path = rewritten(network, tmp_path / "model.keras", more={name: b"evil"})
    with pytest.raises(DamagedFileError, match=r"it holds '.*expected config\.json, metadata"):
        read_keras_file(path)
    assert not any(found.name.startswith("evil") for found in tmp_path.rglob("*"))


def test_archives_that_are_not_what_they_seem_are_refused(network: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.keras"
    rewritten(network, path, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(DamagedFileError, match="is compressed, and may be of any size"):
        read_keras_file(path)

    rewritten(network, path)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(DamagedFileError, match=r"'config\.json' twice"):
        read_keras_file(path)

    link = zipfile.ZipInfo("model.weights.h5")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr(link, "/etc/hostname")
    with pytest.raises(DamagedFileError, match=r"'model\.weights\.h5' is a link"):
        read_keras_file(path)

    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(DamagedFileError, match=r"holds no model\.weights\.h5"):
        read_keras_file(path)

    for content in (b"[]", b"{", b"[" * 100_000, b"\xff\xfe\x00"):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", content)
            archive.writestr("model.weights.h5", b"")
        with pytest.raises(DamagedFileError, match=r"config\.json is no JSON"):
            read_keras_file(path)


def test_sizes_beyond_the_file_are_refused(network: Path, tmp_path: Path) -> None:
    content = bytearray(network.read_bytes())
    place = content.rindex(b"model.weights.h5") - 46  # its entry in the directory
    assert content[place : place + 4] == b"PK\x01\x02"
    for field in (20, 24):  # stored and true size
        content[place + field : place + field + 4] = (2**31).to_bytes(4, "little")
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(DamagedFileError):
        read_keras_file(path)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(share: float, network: Path, tmp_path: Path) -> None:
    content = network.read_bytes()
    path = tmp_path / "model.keras"
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DamagedFileError, match="cannot be read as a Keras model"):
        read_keras_file(path)


# ---------------------------------------------------------------------- the weights


def weights(write: Callable[[h5py.File], None]) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        write(file)
    return buffer.getvalue()


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((4,), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", (4,))
    file.create_virtual_dataset("a", layout)


def in_a_loop(file: h5py.File) -> None:
    group = file.create_group("a").create_group("b")
    group["c"] = file["a"]


WEIGHTS: dict[str, tuple[Callable[[h5py.File], Any], str]] = {
    "external link": (
        lambda file: file.update({"a": h5py.ExternalLink("/etc/hostname", "/x")}),
        "is a ExternalLink",
    ),
    "soft link": (lambda file: file.update({"a": h5py.SoftLink("/b")}), "is a SoftLink"),
    "deep link": (
        lambda file: file.create_group("a/b/c").update({"d": h5py.ExternalLink("x.h5", "/x")}),
        "model.weights.h5: /a/b/c/d is a ExternalLink",
    ),
    "external storage": (
        lambda file: file.create_dataset(
            "a", (4,), "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)]
        ),
        "takes its values from other files",
    ),
    "virtual": (virtual, "takes its values from other files"),
    "huge": (
        lambda file: file.create_dataset("a", (2**20, 2**20), "f4", chunks=(64, 64)),
        "claims 4398046511104 bytes of values, but holds 0",
    ),
    "compressed": (
        lambda file: file.create_dataset("a", data=np.zeros(10**6, "f4"), compression="gzip"),
        "claims 4000000 bytes of values, but holds",
    ),
    "texts": (lambda file: file.create_dataset("a", data="text"), "holds no numbers"),
    "references": (
        lambda file: file.create_dataset("a", data=file.ref, dtype=h5py.ref_dtype),
        "holds no numbers",
    ),
    "type": (lambda file: file.update({"a": np.dtype("f4")}), "is a Datatype"),
    "loop": (in_a_loop, "is there twice"),
}


@pytest.mark.parametrize(("write", "message"), WEIGHTS.values(), ids=WEIGHTS)
def test_weights_that_are_not_in_the_file_are_refused(
    write: Callable[[h5py.File], Any], message: str, network: Path, tmp_path: Path
) -> None:
    path = rewritten(network, tmp_path / "model.keras", weights=weights(write))
    with pytest.raises(DamagedFileError, match=message):
        read_keras_file(path)


def test_weights_that_are_none_are_refused(network: Path, tmp_path: Path) -> None:
    for content in (b"", b"\x89HDF\r\n\x1a\n" + b"\xff" * 500, b"text"):
        path = rewritten(network, tmp_path / "model.keras", weights=content)
        with pytest.raises(DamagedFileError, match="cannot be read"):
            read_keras_file(path)


def test_changed_bytes_never_do_more_than_raise(network: Path, tmp_path: Path) -> None:
    """Each is refused with an error of this library, or passes the look at it."""
    content = network.read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / "model.keras"
    refused = 0
    for _ in range(300):
        changed = bytearray(content)
        for place in rng.integers(len(content), size=rng.integers(1, 6)):
            changed[place] = rng.integers(256)
        path.write_bytes(changed)
        try:
            check_keras_file(path)
        except (DamagedFileError, ConfigurationError):
            refused += 1
    assert refused > 100


def test_a_bundle_names_its_network_when_it_is_refused(saved: Path, tmp_path: Path) -> None:
    folder = copied(saved, tmp_path / "attack")
    rewritten(saved / "model.keras", folder / "model.keras", ATTACKS["lambda layer"])
    with pytest.raises(DamagedFileError, match=r"Changed: model\.keras"):
        miscnn.load(folder)
    files.write_sums(folder)
    with pytest.raises(ConfigurationError, match=r"model\.keras: config\.json names 'keras"):
        miscnn.load(folder)
    assert bundle.describe(folder)["kind"] == "network"
