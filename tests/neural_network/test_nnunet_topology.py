"""The rule of strides and kernels, by the published values and by its properties."""

from __future__ import annotations

import doctest
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from miscnn.exceptions import ConfigurationError
from miscnn.neural_network.architecture import _nnunet_topology
from miscnn.neural_network.architecture._nnunet_topology import (
    plain_topology,
    topology,
)
from miscnn.neural_network.architecture.blocks import multiple_of

# Patch, spacing, strides of the stages after the first, how many kernels are 1 along axis 0.
PUBLISHED: list[tuple[Any, Any, Any, int]] = [
    ((128, 128), None, [(2, 2)] * 5, 0),
    ((16, 128, 128), (5, 3.1, 3.1), [(2, 2, 2)] * 2 + [(1, 2, 2)] * 3, 0),
    (
        (16, 512, 512),
        (5, 0.78, 0.78),
        [(1, 2, 2)] * 2 + [(2, 2, 2)] * 2 + [(1, 2, 2)] * 3,
        2,
    ),
    ((80, 160, 160), (3, 0.78, 0.78), [(1, 2, 2)] + [(2, 2, 2)] * 4, 1),
]


@pytest.mark.parametrize(("patch", "spacing", "strides", "flat"), PUBLISHED)
def test_published_values_in_any_order_of_the_axes(
    patch: Any, spacing: Any, strides: Any, flat: int
) -> None:
    axes = len(patch)
    kernels = [(1, *(3,) * (axes - 1))] * flat + [(3,) * axes] * (len(strides) + 1 - flat)
    for order in itertools.permutations(range(axes)):

        def ordered(values: Any, order: Any = order) -> Any:
            return tuple(values[axis] for axis in order)

        found = topology(ordered(patch), None if spacing is None else ordered(spacing))
        assert found.strides == ((1,) * axes, *map(ordered, strides))
        assert found.kernels == tuple(map(ordered, kernels))


@pytest.mark.parametrize(
    ("patch", "spacing", "pools"),
    [
        ((16, 512, 512), (5, 0.78, 0.78), (2, 7, 7)),
        ((80, 160, 160), (3, 0.78, 0.78), (4, 5, 5)),
        ((40, 56, 40), (1, 1, 1), (3, 3, 3)),  # the hippocampus of the Decathlon: 4 stages
        ((7, 7), None, (0, 0)),
        ((8, 7), None, (0, 0)),  # one axis alone needs 12 voxels
        ((12, 7), None, (1, 0)),
        ((11, 7), None, (0, 0)),
        ((9, 9), None, (1, 1)),  # 9 becomes 5, since the patch is padded
    ],
)
def test_number_of_poolings(patch: Any, spacing: Any, pools: Any) -> None:
    assert multiple_of(topology(patch, spacing).strides) == tuple(2**n for n in pools)


def test_a_kernel_stays_3_and_the_deepest_is_3() -> None:
    # Along axis 0 voxels are 8 times as long and are never reduced: 1 until the others caught up.
    found = topology((4, 64, 64), (8, 1, 1))
    assert [kernel[0] for kernel in found.kernels] == [1, 1, 1, 3, 3]
    # The spacing at factor 2 exactly is not alike.
    assert topology((64, 64), (2.0, 1.0)).strides[1] == (1, 2)
    assert topology((64, 64), (1.99, 1.0)).strides[1] == (2, 2)
    # Axis 1 cannot be reduced for long and becomes the finest by far; axis 0 keeps its kernel.
    found = topology((256, 8), (1.0, 1.0))
    assert found.strides == ((1, 1), (2, 2), (2, 1), (2, 1), (2, 1), (2, 1))
    assert found.kernels == ((3, 3),) * 6


@given(
    st.integers(2, 3).flatmap(
        lambda axes: st.tuples(
            st.permutations(range(axes)),
            st.tuples(*[st.integers(1, 600)] * axes),
            st.tuples(*[st.floats(0.2, 12)] * axes),
        )
    )
)
def test_properties(drawn: Any) -> None:
    order, patch, spacing = drawn
    strides, kernels = topology(patch, spacing)
    assert len(strides) == len(kernels)
    assert set(strides[0]) == {1}
    assert set(kernels[-1]) == {3}
    assert all(max(stride) == 2 for stride in strides[1:])
    for size, multiple in zip(patch, multiple_of(strides), strict=True):
        assert multiple == 1 or -(-size // multiple) >= 4
    for sizes in zip(*kernels, strict=True):
        assert list(sizes) == sorted(sizes)
    moved = topology([patch[a] for a in order], [spacing[a] for a in order])
    assert moved.strides == tuple(tuple(s[a] for a in order) for s in strides)
    assert moved.kernels == tuple(tuple(k[a] for a in order) for k in kernels)


def test_the_plain_topology() -> None:
    for axes in (2, 3):
        assert multiple_of(plain_topology(axes).strides) == (32,) * axes


@pytest.mark.parametrize(
    ("patch", "spacing", "message"),
    [
        ((), None, r"patch_shape is \(\)"),
        ((16, 0), None, r"patch_shape is \(16, 0\)"),
        ((16, 16), (1.0, 0.0), r"spacing is \(1.0, 0.0\).*mm"),
        ((16, 16), (1.0, float("nan")), "spacing"),
        ((16, 16), (1.0, 1.0, 1.0), "has 2 axes.*has 3"),
    ],
)
def test_wrong_arguments_are_named(patch: Any, spacing: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        topology(patch, spacing)


def test_examples_in_the_docstrings() -> None:
    result = doctest.testmod(_nnunet_topology)
    assert result.attempted > 0
    assert result.failed == 0
