"""Patch and voxel size as the network will see them."""

from __future__ import annotations

import numpy as np

import miscnn
from miscnn.processing.network_grid import network_grid
from miscnn.processing.subfunctions import Resampling, Resize


def recipe(data_io, **options) -> miscnn.Preprocessor:
    return miscnn.Preprocessor(data_io, 1, data_aug=None, **options)


def test_patches_have_the_spacing_after_the_chain(make_data_io) -> None:
    data_io = make_data_io([(20, 20, 10), (40, 40, 20)], spacing=(1.0, 1.0, 5.0))
    resampled = recipe(data_io, subfunctions=[Resampling((2.0, 2.0, 5.0))], patch_shape=(8, 8, 8))
    patch, spacing = network_grid(resampled)
    assert patch == (8, 8, 8)
    np.testing.assert_allclose(spacing, (2, 2, 5))


def test_whole_images_have_the_median_shape(make_data_io) -> None:
    data_io = make_data_io([(20, 20, 10), (40, 40, 20), (30, 24, 12)], spacing=(1.0, 1.0, 5.0))
    assert network_grid(recipe(data_io, analysis="fullimage")) == ((30, 24, 12), (1.0, 1.0, 5.0))


def test_stacks_are_as_coarse_as_the_volume_divided_by_the_stack(make_data_io) -> None:
    """The slices are the first axis of the file and the last of the network."""
    data_io = make_data_io([(40, 64, 32)], spacing=(5.0, 1.0, 1.0))
    stacks = recipe(data_io, analysis="slice-stack", subfunctions=[Resize((16, 16))])
    # The slices are the file's first axis; their foreground is taken for half of the volume.
    assert network_grid(stacks) == ((16, 16, 16), (4.0, 2.0, 6.25))
    told = recipe(data_io, analysis="slice-stack", slice_gap=2)
    assert network_grid(told) == ((64, 32, 16), (1.0, 1.0, 10.0))
    slices = recipe(data_io, analysis="slicewise", slice_axis=0)
    assert network_grid(slices) == ((64, 32), (1.0, 1.0))
    other = recipe(data_io, analysis="slicewise", slice_axis=1)
    assert network_grid(other) == ((40, 32), (5.0, 1.0))


def test_without_subjects_only_the_patch_is_known() -> None:
    recipe = miscnn.Preprocessor(None, 1, data_aug=None, patch_shape=(8, 8, 8))
    assert network_grid(recipe) == ((8, 8, 8), None)
