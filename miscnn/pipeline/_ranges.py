"""Numbers that cannot be, told when a document is read: their constructors would need Keras."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeGuard

from miscnn.pipeline._problems import Place, Problems, told

_LEAST = {
    "network": {
        "batch_queue_size": 1,
        "workers": 1,
        "gradient_accumulation": 1,
        "weight_decay": 0,
        "seed": 0,
    },
    "training": {
        "epochs": 1,
        "iterations": 1,
        "checkpoint_every": 1,
        "early_stopping": 1,
        "validate_volumes": 1,
    },
    "evaluation": {
        "epochs": 1,
        "iterations": 1,
        "folds": 2,
        "n_subjects": 1,
        "seed": 0,
        "early_stopping": 1,
        "validate_volumes": 1,
        "inner_validation": 0,
    },
}
_POSITIVE = {
    "network": {
        "learning_rate": "a positive number, such as 1e-3",
        "gradient_clipping": "a positive norm",
        "ema": "a momentum between 0 and 1, such as 0.999",
    },
    "training": {"max_minutes": "a positive number of minutes"},
    "evaluation": {
        "max_minutes": "a positive number of minutes",
        "percentage": "a share between 0 and 1",
    },
}
_BELOW_ONE = ("ema", "percentage", "inner_validation")


def check_ranges(table: Mapping[str, Any], section: str, problems: Problems) -> None:
    """Note the numbers of a section that cannot be; texts and None are looked at elsewhere."""
    place: Place = (section,)
    for name, least in _LEAST.get(section, {}).items():
        value: Any = table.get(name)
        if _is_number(value) and not (least <= value < _end(name)):
            upto = " and less than 1" if name in _BELOW_ONE else ""
            problems.add((*place, name), f"= {told(value)}: expected {least} or more{upto}")
    for name, words in _POSITIVE.get(section, {}).items():
        value = table.get(name)
        if _is_number(value) and not (0 < value < _end(name)):
            problems.add((*place, name), f"= {told(value)}: expected {words}")


def _end(name: str) -> float:
    return 1.0 if name in _BELOW_ONE else math.inf


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
