"""Finding out how a data set is laid out, and opening it."""

from __future__ import annotations

from miscnn.data_loading.layouts._finding import find_layout
from miscnn.data_loading.layouts._layout import Layout
from miscnn.data_loading.layouts._opening import open_dataset

__all__ = ["Layout", "find_layout", "open_dataset"]
