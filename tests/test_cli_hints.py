from __future__ import annotations

import pytest

from miscnn._cli_hints import with_hints

_FOLDS = "fold 0: epochs was 2. Choose another evaluation_path, or begin anew with resume=False"
_CLASS = "the class 'Own' is not part of miscnn; hand it in: custom_objects={'Own': Own}"


@pytest.mark.parametrize(
    ("message", "command", "hint"),
    [
        (_FOLDS, "train", "--set evaluation.resume=false"),
        (_FOLDS, "evaluate", "--set evaluation.resume=false"),
        (_FOLDS.replace("evaluation_", "checkpoint_"), "train", "--set training.resume=false"),
        (_CLASS, "predict", "--module NAME"),
    ],
)
def test_what_python_is_advised_is_said_in_options(message: str, command: str, hint: str) -> None:
    first, second = with_hints(message, command).splitlines()
    assert first == message
    assert second.startswith("(On the command line: ")
    assert hint in second


@pytest.mark.parametrize("command", ["verify", "info", None])
def test_commands_without_these_options_add_nothing(command: str | None) -> None:
    assert with_hints(_FOLDS, command) == _FOLDS
    assert with_hints(_CLASS, command) == _CLASS
