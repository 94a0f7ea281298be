"""What a training shows and writes down: bars, tables, events, live figures."""

from __future__ import annotations

import importlib.util
import io
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from miscnn._keras import keras
from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.callbacks import live, logs, progress
from miscnn.neural_network.callbacks.live import LiveFigure, in_notebook
from miscnn.neural_network.callbacks.logs import (
    EpochLog,
    TSVLog,
    learning_rate_of,
    tensorboard_callback,
)
from miscnn.neural_network.callbacks.progress import ProgressBar
from miscnn.neural_network.history import History


class Clock:
    """The time that a test makes pass."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """For our callbacks and for tqdm."""
    clock = Clock()
    for module in (progress, logs, live):
        monkeypatch.setattr(module, "time", types.SimpleNamespace(monotonic=clock))
    return clock


class Terminal(io.StringIO):
    """A terminal that remembers what it showed."""

    def isatty(self) -> bool:
        return True

    @property
    def lines(self) -> list[str]:
        """All that was ever shown, without what is blank."""
        parts = self.getvalue().replace("\n", "\r").split("\r")
        return [part.rstrip() for part in parts if part.strip()]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> Terminal:
    terminal = Terminal()
    monkeypatch.setattr(progress, "sys", types.SimpleNamespace(stderr=terminal))
    plain = progress.tqdm

    def on_terminal(**options: Any) -> Any:
        options |= {"dynamic_ncols": False, "ncols": 80}
        bar = plain(**options, file=terminal, ascii=" =")
        bar._time = clock
        bar.start_t = clock.now
        return bar

    on_terminal.format_interval = plain.format_interval  # type: ignore[attr-defined]
    monkeypatch.setattr(progress, "tqdm", on_terminal)
    return terminal


def model_with_rate(rate: float = 1e-3) -> Any:
    return types.SimpleNamespace(optimizer=types.SimpleNamespace(learning_rate=rate))


def run(
    bar: ProgressBar,
    clock: Clock,
    epochs: int,
    steps: int = 4,
    seconds: float = 1.0,
    values: Callable[[int], dict[str, float]] = lambda epoch: {"loss": 1.0 / (epoch + 1)},
    after_epoch: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Go through a training as Keras does."""
    bar.set_params({"steps": steps})
    bar.set_model(model_with_rate())
    bar.on_train_begin()
    for epoch in range(epochs):
        bar.on_epoch_begin(epoch)
        for batch in range(steps):
            clock.now += seconds
            bar.on_train_batch_end(batch, {})
        bar.on_epoch_end(epoch, values(epoch))
        after_epoch(epoch)
    bar.on_train_end()


def bar_of(line: str) -> float:
    """The filled share of the bar."""
    inside = line.split("|")[1]
    return inside.count("=") / len(inside)


def test_bar_runs_over_epochs_and_within_them(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(4), clock, epochs=4, seconds=15.0)
    first, *lines, last = terminal.lines
    assert first.startswith("training 0/4|")
    assert first.endswith("| starting")
    assert [line.split("|")[0] for line in lines[:3]] == ["training 1/4"] * 3
    # 15 s for one of 16 batches: 225 s are left; at the second 7 · 30 s.
    assert lines[0].endswith("| 00:15<03:45")
    assert lines[1].endswith("| 00:30<03:30")
    shares = [bar_of(line) for line in lines]
    assert shares[:4] == pytest.approx([1 / 16, 2 / 16, 3 / 16, 4 / 16], abs=0.02)
    assert shares == sorted(shares)
    assert last.split("|")[0] == "training 4/4"
    assert bar_of(last) == 1.0
    assert last.endswith("| 04:00, loss 0.250, lr 1e-3")
    assert all(len(line) <= 80 for line in terminal.lines)
    assert terminal.getvalue().endswith("\n")


def test_what_is_shown_and_what_is_left_out_where_there_is_no_room(
    terminal: Terminal, clock: Clock
) -> None:
    def values(epoch: int) -> dict[str, float]:
        return {
            "loss": 0.91249,
            "mean_dice": 0.8,
            "dice_class_1": 0.3,
            "val_loss": 1.02,
            "val_mean_dice": 0.711,
            "val_volume_dice": 0.6149 if epoch == 0 else math.nan,
        }

    run(ProgressBar(2, description="fold 2/5"), clock, 2, seconds=600.0, values=values)
    assert terminal.lines[-1].startswith("fold 2/5 2/2|")
    assert terminal.lines[-1].endswith("| 1:20:00, loss 0.912/1.020, Dice 0.80/0.71, volumes 0.61")
    assert len(terminal.lines[-1]) == 80
    parts = ["12:00", "loss 0.9", "Dice 0.8"]
    assert progress._fitting(parts, None) == "12:00, loss 0.9, Dice 0.8"
    assert progress._fitting(parts, 15) == "12:00, loss 0.9"
    assert progress._fitting(parts, 14) == "12:00"
    assert progress._fitting(parts, 0) == "12:00"


@pytest.mark.parametrize(
    ("value", "shown"), [(0.25, "0.250"), (0.0, "0.000"), (1234.5, "1.2e+03"), (2e-5, "2.0e-05")]
)
def test_numbers(value: float, shown: str) -> None:
    assert progress._number(value, 3) == shown
    assert progress._number(math.nan, 3) == "nan"
    assert progress._number(2e-5, 2) == "0.00"


def test_bar_says_that_a_training_stopped_early(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(10), clock, epochs=3)
    last = terminal.lines[-1]
    assert last.startswith("training 3/10|")
    assert bar_of(last) == pytest.approx(0.3, abs=0.05)
    assert last.endswith("| 00:12, stopped early, loss 0.333, lr 1e-3")


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_bar_is_closed_when_a_training_breaks_off(
    terminal: Terminal, clock: Clock, error: type[BaseException]
) -> None:
    def fail(epoch: int) -> None:
        if epoch == 1:
            raise error

    with pytest.raises(error), ProgressBar(10) as bar:
        run(bar, clock, epochs=10, after_epoch=fail)
    assert terminal.lines[-1].startswith("training 2/10|")
    assert terminal.lines[-1].endswith("| 00:08, interrupted, loss 0.500, lr 1e-3")
    assert terminal.getvalue().endswith("\n")
    shown = terminal.getvalue()
    bar.close()
    assert terminal.getvalue() == shown


def test_bar_of_a_training_that_goes_on(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(10, initial=8), clock, epochs=2, seconds=15.0)
    first, second, *_, last = terminal.lines
    assert first.startswith("training 8/10|")
    assert bar_of(second) == pytest.approx(0.8 + 0.025, abs=0.02)
    assert second.endswith("| 00:15<01:45")  # what was done before took none of this time
    assert last.startswith("training 10/10|")
    assert bar_of(last) == 1.0
    assert "stopped" not in last


def test_bar_runs_over_the_minutes_of_a_budget(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(minutes=10.0), clock, epochs=3, seconds=50.0)
    # The time counts from the end of the first batch: 11 · 50 s = 9.2 min; another epoch takes 3.
    first, *lines, last = terminal.lines
    assert first.startswith("training epoch 1|")
    assert bar_of(lines[5]) == pytest.approx(5 * 50 / 600, abs=0.05)
    assert lines[5].endswith("| 4.2 of 10 min, loss 1.000, lr 1e-3")
    assert lines[5].startswith("training epoch 2|")
    assert last.startswith("training 3 epochs|")
    assert last.endswith("| 9.2 of 10 min, loss 0.333, lr 1e-3")
    assert bar_of(last) == 1.0


def test_a_budget_that_was_not_used_up(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(minutes=10.0), clock, epochs=2, seconds=15.0)
    assert terminal.lines[-1].endswith("| 1.8 of 10 min, stopped early, loss 0.500, lr 1e-3")
    run(ProgressBar(2, minutes=10.0), clock, epochs=2, seconds=15.0)  # both epochs are done
    assert terminal.lines[-1].endswith("| 1.8 of 10 min, loss 0.500, lr 1e-3")
    run(ProgressBar(minutes=10.0, elapsed=lambda: 540.0, initial=7), clock, 2, seconds=40.0)
    assert terminal.lines[-1].startswith("training 9 epochs|")
    assert terminal.lines[-1].endswith("| 9.0 of 10 min, loss 0.500, lr 1e-3")


def test_at_most_ten_updates_a_second(terminal: Terminal, clock: Clock) -> None:
    run(ProgressBar(5), clock, epochs=5, steps=1000, seconds=0.001)
    assert 5 * 10 - 5 <= len(terminal.lines) <= 5 * 10 + 2


def test_few_lines_in_a_file(terminal: Terminal, clock: Clock) -> None:
    terminal.isatty = lambda: False  # type: ignore[method-assign]
    run(ProgressBar(5), clock, epochs=5, steps=100, seconds=0.1)  # 50 s
    assert 5 <= len(terminal.lines) <= 7


def test_the_clock_of_the_bar_goes_on_in_validation(terminal: Terminal, clock: Clock) -> None:
    bar = ProgressBar(2)
    bar.set_params({"steps": 1})
    bar.set_model(model_with_rate())
    bar.on_train_begin()
    bar.on_epoch_begin(0)
    clock.now += 60.0
    bar.on_train_batch_end(0, {})
    clock.now += 60.0
    bar.on_test_batch_end(0, {})
    assert terminal.lines[-1].endswith("| 02:00<02:00")
    bar.close()


def test_a_bar_needs_an_end() -> None:
    with pytest.raises(ConfigurationError, match="needs epochs or minutes"):
        ProgressBar()


def make_keras_model(rate: Any = 0.5) -> Any:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(rate), "mse", metrics=["mae"])
    return model


def fit(model: Any, *callbacks: Any, epochs: int = 2, initial_epoch: int = 0) -> Any:
    x = np.array([[1.0, 2.0], [3.0, 1.0]], "float32")
    y = np.array([[1.0], [2.0]], "float32")
    return model.fit(
        x,
        y,
        validation_data=(x[:1], y[:1]),
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=list(callbacks),
        verbose=0,
    )


def test_bar_in_a_training_of_keras(terminal: Terminal) -> None:
    logged = fit(make_keras_model(0.01), ProgressBar(3), epochs=3)
    loss, checked = logged.history["loss"][-1], logged.history["val_loss"][-1]
    last = terminal.lines[-1]
    assert f"loss {loss:.3f}/{checked:.3f}, lr 1e-2" in last
    assert last.startswith("training 3/3|")


def test_learning_rate_of() -> None:
    decay = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.1)
    model = make_keras_model(decay)
    assert learning_rate_of(model) == pytest.approx(0.5)
    fit(model, epochs=2)  # one step each
    assert learning_rate_of(model) == pytest.approx(0.005)
    assert learning_rate_of(types.SimpleNamespace(optimizer=None)) is None


def test_table_after_each_epoch(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "deep" / "history.tsv"
    seen: list[str] = []

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            clock.now += 2.5

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            seen.append(path.read_text())

    log = TSVLog(path)
    logged = fit(make_keras_model(0.01), log, Watch(), epochs=2).history
    assert len(seen[0].splitlines()) == 2
    assert path.read_text() == seen[1]
    rows = [line.split("\t") for line in seen[1].splitlines()]
    assert rows[0] == [*("epoch", "loss", "mae", "val_loss", "val_mae", "learning_rate", "seconds")]
    for number in (1, 2):
        expected = [logged[name][number - 1] for name in rows[0][1:5]]
        assert [float(cell) for cell in rows[number][1:5]] == expected
        assert rows[number][0] == str(number)
        assert float(rows[number][5]) == pytest.approx(0.01)
        assert float(rows[number][6]) == 2.5
    assert History.from_tsv(path) == log.history


def test_table_of_a_training_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "history.tsv"
    log = TSVLog(path)
    fit(make_keras_model(0.01), log, epochs=3)
    goes_on = TSVLog(path)
    goes_on.set_state(log.get_state())
    fit(make_keras_model(0.01), goes_on, epochs=4, initial_epoch=3)
    table = History.from_tsv(path)
    assert table.epochs == 4
    assert table["loss"][:3] == log.history["loss"]
    assert table["loss"][3] == log.history["loss"][0]  # the same model began anew


def test_what_an_epoch_lacks_is_nan() -> None:
    log = EpochLog()
    log.set_state({"epochs": [{"loss": 3.0}]})
    log.set_model(model_with_rate(0.25))
    log.on_epoch_end(1, {"loss": 2.0, "val_volume_dice": np.float32(0.5)})
    log.on_epoch_end(2, {"loss": 1.0, "learning_rate": 0.125})
    history = log.history
    assert history["loss"] == [3.0, 2.0, 1.0]
    np.testing.assert_array_equal(history["val_volume_dice"], [np.nan, 0.5, np.nan])
    np.testing.assert_array_equal(history["learning_rate"], [np.nan, 0.25, 0.125])


def read_events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util import tensor_util

    events = EventAccumulator(str(folder))
    events.Reload()
    return {
        tag: [
            (e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)
        ]
        for tag in events.Tags()["tensors"]
    }


@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
@pytest.mark.filterwarnings("ignore::DeprecationWarning:google")
def test_events_for_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")

    class Volumes(keras.callbacks.Callback):  # type: ignore[misc]
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            logs["val_volume_dice"] = 0.5 if epoch == 1 else math.nan

    callback = tensorboard_callback(tmp_path / "events")
    assert isinstance(callback, keras.callbacks.TensorBoard)
    logged = fit(make_keras_model(0.25), Volumes(), callback, epochs=2).history
    training = read_events(tmp_path / "events" / "train")
    assert set(training) == {"epoch_loss", "epoch_mae", "epoch_learning_rate"}
    assert training["epoch_loss"] == [
        (epoch, pytest.approx(value, rel=1e-6)) for epoch, value in enumerate(logged["loss"])
    ]
    assert training["epoch_learning_rate"] == [(0, 0.25), (1, 0.25)]
    validation = read_events(tmp_path / "events" / "validation")
    assert validation["epoch_loss"][1] == (1, pytest.approx(logged["val_loss"][1], rel=1e-6))
    assert validation["epoch_volume_dice"] == [(1, 0.5)]


def test_without_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'miscnn\[tensorboard\]'"):
        tensorboard_callback(tmp_path)


class Display:
    """A place in a notebook."""

    def __init__(self) -> None:
        self.pictures: list[bytes] = []
        self.places = 0

    def __call__(self, picture: bytes) -> Callable[[bytes], None]:
        self.places += 1
        self.pictures.append(picture)
        return self.pictures.append


def epochs_of(figure: LiveFigure, count: int) -> None:
    figure.set_model(model_with_rate())
    figure.on_train_begin()
    for epoch in range(count):
        figure.on_epoch_end(epoch, {"loss": 1.0 / (epoch + 1)})
    figure.on_train_end()


def test_live_figure_is_redrawn_in_place(clock: Clock) -> None:
    display = Display()
    figure = LiveFigure(display=display)
    epochs_of(figure, 3)
    assert display.places == 1
    assert len(display.pictures) == 3
    assert all(picture.startswith(b"\x89PNG") for picture in display.pictures)
    assert len(set(display.pictures)) == 3
    assert figure.history["loss"] == [1.0, 0.5, 1 / 3]
    epochs_of(figure, 1)  # another training has another place
    assert display.places == 2


def test_drawing_takes_its_share_of_the_time(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(history: History) -> bytes:
        clock.now += 1.0
        return str(history.epochs).encode()

    monkeypatch.setattr(live, "_picture", draw)
    display = Display()
    figure = LiveFigure(display=display, share=0.25)
    figure.set_model(model_with_rate())
    figure.on_train_begin()
    for epoch in range(10):
        figure.on_epoch_end(epoch, {"loss": 1.0})
        clock.now += 1.0
    figure.on_train_end()
    # One second of drawing, three without: epochs 1, 4, 7, 10.
    assert display.pictures == [b"1", b"4", b"7", b"10"]
    with pytest.raises(ConfigurationError, match="share is 0"):
        LiveFigure(share=0.0)


def test_live_figure_does_nothing_outside_of_notebooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_picture", lambda history: pytest.fail("it was drawn"))
    epochs_of(LiveFigure(), 2)


def test_live_figure_in_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[Any] = []

    class Handle:
        def update(self, image: Any) -> None:
            shown.append(("update", image))

    def display(image: Any, display_id: bool) -> Handle:
        assert display_id is True
        shown.append(("display", image))
        return Handle()

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module = types.ModuleType("IPython.display")
    module.display = display  # type: ignore[attr-defined]
    module.Image = lambda data, format: (format, data)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    assert in_notebook()
    epochs_of(LiveFigure(share=1.0), 2)
    assert [kind for kind, _ in shown] == ["display", "update"]
    assert {image[0] for _, image in shown} == {"png"}
    # In the shell of a terminal there is no kernel; without IPython there is not even a shell.
    ipython.get_ipython = lambda: types.SimpleNamespace()  # type: ignore[attr-defined]
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()
