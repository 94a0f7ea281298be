"""Phantoms, and public data sets to download."""

from __future__ import annotations

from miscnn.datasets.fetch import FetchedDataset, fetch_chaos, fetch_kits19, fetch_msd

__all__ = ["FetchedDataset", "fetch_chaos", "fetch_kits19", "fetch_msd"]
