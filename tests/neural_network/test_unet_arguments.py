"""Arguments of networks that make no network, and what is said about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from miscnn._files import atomic_folder
from miscnn._keras import keras, tensorflow
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network import _precision
from miscnn.neural_network.architecture.nnunet import NNUNet
from miscnn.neural_network.architecture.nnunet_resenc import NNUNetResEnc
from miscnn.neural_network.architecture.unet import UNetPlain, UNetResidual, UNetStandard


@pytest.mark.parametrize("name", ["kernel_size", "pool_size"])
@pytest.mark.parametrize(
    "sizes",
    [
        0,
        -1,
        2.5,
        "3",
        (),
        (2,),
        (2, 2, 2, 2),
        (2, 0),
        (2.0, 2.0),
        ((2, 2), (2, 2), (2, 2), (2, 2), (2, 2)),  # a level too many for both
        ((2, 2, 1), (2, 2)),
        ((2, 2), 2),
        ((),),
    ],
)
@pytest.mark.parametrize("cls", [UNetStandard, UNetPlain])
def test_sizes_that_fit_no_network_are_named_at_once(cls: Any, name: str, sizes: Any) -> None:
    with pytest.raises(ConfigurationError, match=rf"^{name} is "):
        cls(n_filters=2, depth=3, **{name: sizes})


@pytest.mark.parametrize(
    ("sizes", "multiple"),
    [
        (2, 4),
        ((2, 1), (4, 1)),
        ((2, 2, 1), (4, 4, 1)),
        (((2, 2, 1), (2, 2, 2)), (4, 4, 2)),
        ([[2, 1], [2, 2]], (4, 2)),
    ],
)
def test_sizes_that_fit_are_taken(sizes: Any, multiple: Any) -> None:
    unet = UNetResidual(n_filters=2, depth=2, pool_size=sizes, kernel_size=(3, 1))
    assert unet.required_multiple == multiple


@pytest.mark.parametrize("cls", [NNUNet, NNUNetResEnc, UNetStandard])
def test_activations_are_checked_at_once(cls: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"activation is 'softmaxx'"):
        cls(activation="softmaxx")


@pytest.mark.parametrize("cls", [UNetStandard, NNUNet])
def test_one_class_needs_a_sigmoid(cls: Any) -> None:
    small = {"n_filters": 2, "depth": 1} if cls is UNetStandard else {"base_features": 2}
    if cls is NNUNet:
        small["strides"] = ((1, 1), (2, 2))  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match=r"n_labels is 1.*'sigmoid'"):
        cls(**small).create_model_2D((None, None, 1), n_labels=1)
    model = cls(**small, activation="sigmoid").create_model_2D((None, None, 1), n_labels=1)
    assert model.output_shape == (None, None, None, 1)


# ------------------------------------------------------------------ precision


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    class Device:
        def __init__(self, kind: str) -> None:
            self.device_type = kind

    def pretend(*kinds: str) -> None:
        class Config:
            @staticmethod
            def list_physical_devices() -> list[Device]:
                return [Device(kind) for kind in kinds]

        class TensorFlow:
            config = Config

        monkeypatch.setattr(_precision, "tensorflow", lambda: TensorFlow)

    return pretend


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a gap of TensorFlow's")
def test_half_precision_in_3d_needs_a_graphics_card(devices: Callable[..., None]) -> None:
    pooled = {}
    for precision in ("mixed_float16", "mixed_bfloat16"):
        with _precision.precision_scope(precision):
            network = UNetStandard(n_filters=2, depth=1)
            pooled[precision] = network.create_model_3D((None, None, None, 1))
            flat, strided = (
                network.create_model_2D((None, None, 1)),
                NNUNet(base_features=2).create_model_3D((None, None, None, 1)),
            )
    devices("CPU")
    with pytest.raises(ConfigurationError, match="mixed_bfloat16"):
        _precision.check_device(pooled["mixed_float16"])
    for model in (pooled["mixed_bfloat16"], flat, strided):
        _precision.check_device(model)
    devices("CPU", "GPU")
    _precision.check_device(pooled["mixed_float16"])


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="a gap of TensorFlow's")
def test_tensorflow_has_that_gap_still() -> None:
    tf = tensorflow()
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("has a graphics card")
    with pytest.raises((tf.errors.OpError, NotImplementedError)):
        tf.nn.max_pool3d(tf.zeros((1, 4, 4, 4, 1), tf.float16), 2, 2, "VALID")


# ------------------------------------------------------------------ exported folders


def _write_new(target: Path) -> None:
    with atomic_folder(target) as temporary:
        temporary.mkdir()
        (temporary / "saved_model.pb").write_text("new")


def test_a_failed_renaming_leaves_the_old_export(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "network"
    target.mkdir()
    (target / "saved_model.pb").write_text("old")
    rename = Path.rename

    def failing(self: Path, other: Path) -> Path:
        if "replaced" not in self.name and other == target:
            raise OSError("disk is gone")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match="disk is gone"):
        _write_new(target)
    assert (target / "saved_model.pb").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
    monkeypatch.undo()
    _write_new(target)
    assert (target / "saved_model.pb").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
