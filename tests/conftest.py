"""What all tests share."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("miscnn", deadline=None)
settings.load_profile("miscnn")

_REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real volumes; tests that ask for it carry the marker ``realdata``."""
    if not _REAL_DATA.is_dir():
        pytest.skip("the folder with real volumes is not there")
    return _REAL_DATA


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
