"""Protects what infer_shape answers where only a part is known."""

from __future__ import annotations

import pytest

import symc as mx


def test_unknown_shapes_in_numpys_terms() -> None:
    """Under np_shape -1 is an unknown dimension, and None an unknown shape."""
    x, w = mx.sym.Variable("x"), mx.sym.Variable("w")
    with mx.np_shape():
        assert mx.sym.sin(x).infer_shape_partial() == ([None], [None], [])
        assert mx.sym.dot(x, w).infer_shape_partial(x=(-1, 3, 4), w=(4, 5))[1] == [(-1, 3, 5)]
        assert mx.sym.batch_dot(x, w).infer_shape_partial(x=(-1, 3, 4), w=(-1, -1, 5))[1] == [None]
        assert mx.sym.sin(x).infer_shape(x=(2, 3))[1] == [(2, 3)]
        with pytest.raises(mx.MXNetError, match="-1 is unknown"):
            mx.sym.sin(x).infer_shape_partial(x=(0, 3))
    assert mx.sym.dot(x, w).infer_shape_partial(x=(0, 3, 4), w=(4, 5))[1] == [(0, 3, 5)]


def test_what_is_cut_follows_from_its_pieces() -> None:
    for shape, attrs, piece, whole in (
        ((0, 10), {"num_outputs": 10, "axis": 1, "squeeze_axis": True}, (5,), (5, 10)),
        ((0, 15, 0), {"num_outputs": 3}, (3, 5, 2), (3, 15, 2)),
    ):
        cut = mx.sym.SliceChannel(mx.sym.Variable("a", shape=shape), **attrs)
        assert (cut[1] + mx.sym.Variable("c", shape=piece)).infer_shape()[0] == [whole, piece]


@pytest.mark.parametrize(
    ("left", "right", "stacked"),
    [((0, 2), (3, 0), (2, 3, 2)), ((4, 5), (0, 5), (2, 4, 5)), ((4, 5), None, (2, 4, 5)), ((0, 2), (0, 2), ())],
)
def test_inputs_that_are_stacked_add_up_what_they_know(left, right, stacked) -> None:
    """The answers are MXNet's."""
    a, b = mx.sym.Variable("a", shape=left), mx.sym.Variable("b", shape=right)
    assert mx.sym.stack(a, b).infer_shape_partial()[1] == [stacked]
    with pytest.raises(mx.MXNetError, match="needed|shape"):
        mx.sym.stack(mx.sym.Variable("a"), mx.sym.Variable("b")).infer_shape(a=(2, 3), b=(2, 4))
