"""Protects: data iterators beyond what is recorded from MXNet: names, threads, files, errors."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from native import in_child

import symc as mx

X, Y = np.arange(14, dtype="f").reshape(7, 2), np.arange(7, dtype="f")


def rows(it):
    return [batch.data[0].asnumpy()[:, 0].tolist() for batch in it]


def test_descriptions():
    desc = mx.io.DataDesc("data", (1, 2), np.int32, "TN")
    assert desc == ("data", (1, 2)) and pickle.loads(pickle.dumps(desc)).layout == "TN"
    assert (mx.io.DataDesc.get_batch_axis("TNC"), mx.io.DataDesc.get_batch_axis(None)) == (1, 0)
    assert mx.io.DataDesc.get_list([("a", (1,))], [("a", np.int8)])[0].dtype == np.int8
    assert (
        str(mx.io.DataBatch([mx.nd.ones((2, 3))], [mx.nd.ones(2)]))
        == "DataBatch: data shapes: [(2, 3)] label shapes: [(2,)]"
    )
    with pytest.raises(AssertionError, match="list"):
        mx.io.DataBatch(mx.nd.ones(2))


def test_names():
    several = mx.io.NDArrayIter({"b": np.zeros((4, 2)), "a": np.ones((4, 1))}, [np.zeros(4), np.ones(4)], 2)
    assert [(d.name, d.shape) for d in several.provide_data] == [("a", (2, 1)), ("b", (2, 2))]
    assert [d.name for d in several.provide_label] == ["_0_softmax_label", "_1_softmax_label"]
    assert [d.name for d in mx.io.NDArrayIter(X, Y).provide_data + mx.io.NDArrayIter(X, Y).provide_label] == [
        "data",
        "softmax_label",
    ]


def test_types_and_layout():
    it = mx.io.NDArrayIter(mx.nd.array(np.arange(12).reshape(2, 6), dtype="int32"), None, 4, layout="TN")
    batch = next(it)
    assert batch.data[0].shape == (2, 4) and batch.data[0].dtype == np.int32 and batch.label == []
    assert next(it).pad == 2


@pytest.mark.parametrize("wrong", [
    lambda: mx.io.NDArrayIter(None), lambda: mx.io.NDArrayIter(X, Y[:3]),
    lambda: mx.io.NDArrayIter(X, last_batch_handle="x"),
    lambda: mx.io.NDArrayIter(3), lambda: mx.io.NDArrayIter({"a": object()}),
])  # fmt: skip
def test_refused(wrong):
    with pytest.raises((ValueError, TypeError)):
        wrong()


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("last", ["pad", "discard", "roll_over"])
def test_of_longer_labels_the_first_count(shuffle, last):
    found = []
    for labels in (np.arange(10), np.arange(17)):
        np.random.seed(0)
        it = mx.io.NDArrayIter(np.arange(10), labels, 4, shuffle=shuffle, last_batch_handle=last)
        for batch in (b for _ in range(2) for b in (it.reset(), *it)[1:]):
            assert batch.data[0].asnumpy().tolist() == batch.label[0].asnumpy().tolist()
            found.append((len(labels), batch.data[0].asnumpy().tolist(), batch.pad))
    short, long = ([b[1:] for b in found if b[0] == size] for size in (10, 17))
    assert short == long


def test_hard_reset_forgets_what_was_left():
    it = mx.io.NDArrayIter(X, Y, 3, last_batch_handle="roll_over")
    rows(it)
    it.hard_reset()
    assert rows(it)[0] == [0, 2, 4]
    ended = mx.io.NDArrayIter(X, Y, 3)
    rows(ended)
    with pytest.raises(AssertionError, match="reset"):
        ended.getdata()


def test_resize():
    it = mx.io.ResizeIter(mx.io.NDArrayIter(X, Y, 3), 5)
    assert len(rows(it)) == 5
    it.reset()
    assert rows(it)[3] == [0, 2, 4]


def test_prefetch():
    it = mx.io.PrefetchingIter(
        [mx.io.NDArrayIter(X, Y, 3), mx.io.NDArrayIter(X + 1, Y, 3)],
        rename_data=[{"data": "a"}, {"data": "b"}], rename_label=[{"softmax_label": "l"}, {"softmax_label": "m"}],
    )  # fmt: skip
    assert [d.name for d in it.provide_data + it.provide_label] == ["a", "b", "l", "m"]
    for _ in range(3):
        assert len(rows(it)) == 3
        with pytest.raises(StopIteration):
            next(it)
        it.reset()
    batch = next(it)
    assert batch.data[1][0, 0].asscalar() == 1 and len(batch.label) == 2 and (it.getpad(), it.getindex()) == (0, None)
    it.reset()
    assert rows(it)[0] == [0, 2, 4]


def test_prefetch_passes_errors_on():
    class Broken(mx.io.NDArrayIter):
        def next(self):
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        next(mx.io.PrefetchingIter(Broken(X, Y, 3)))
    with pytest.raises(AssertionError, match="mismatch"):
        rows(mx.io.PrefetchingIter([mx.io.NDArrayIter(X, Y, 3), mx.io.NDArrayIter(X[:3], Y[:3], 3)]))


def test_csv(tmp_path):
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    np.savetxt(tmp_path / "y.csv", Y, delimiter=",")
    it = mx.io.CSVIter(str(tmp_path / "x.csv"), (2, 1), str(tmp_path / "y.csv"), batch_size=4)
    batches = list(it)
    assert batches[0].data[0].shape == (4, 2, 1) and batches[1].label[0].asnumpy().tolist() == [4, 5, 6, 0]
    it.reset()
    assert next(it).pad == 0
    with pytest.raises(mx.MXNetError, match="samples"):
        mx.io.CSVIter(str(tmp_path / "x.csv"), (3,))


def test_iterators_of_ones_own():
    class Counting(mx.io.DataIter):
        provide_data, provide_label, at = [("data", (1,))], [], 0

        def iter_next(self):
            self.at += 1
            return self.at < 3

        def getdata(self):
            return [mx.nd.full(1, self.at)]

    batches = list(Counting())
    assert [(b.data[0].asscalar(), b.label, b.index) for b in batches] == [(1, None, None), (2, None, None)]
    for missing in (mx.io.DataIter().iter_next, mx.io.DataIter().getdata):
        with pytest.raises(NotImplementedError):
            missing()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_prefetching_in_a_forked_child() -> None:
    """The threads stay in the parent: the child is told so, and starts its own."""
    it = mx.io.PrefetchingIter(mx.io.NDArrayIter(X, Y, 3))

    def child() -> None:
        with pytest.raises(mx.MXNetError, match="forked from; call reset"):
            next(it)
        it.reset()
        assert sum(1 for _ in it) == 3

    assert in_child(child) == 0
    assert sum(1 for _ in it) == 3


@pytest.mark.parametrize("rounded", [True, False])
@pytest.mark.parametrize("rows, size", [(10, 4), (8, 4), (3, 8), (5, 1)])
def test_passes_over_a_csv_file(tmp_path, rows, size, rounded):
    """As in MXNet: rows that filled a batch count as read by the next pass if the batches are round."""
    np.savetxt(tmp_path / "x.csv", np.arange(rows), delimiter=",")
    it = mx.io.CSVIter(str(tmp_path / "x.csv"), (1,), batch_size=size, round_batch=rounded)
    assert it.provide_label[0].name == "softmax_label"
    start = 0
    for _ in range(4):
        found = [(b.data[0].asnumpy().ravel().astype(int).tolist(), b.pad) for b in it]
        want = [([r % rows for r in range(at, at + size)], max(at + size - rows, 0)) for at in range(start, rows, size)]
        assert found == want
        start = want[-1][1] % rows if rounded else 0
        it.reset()


@pytest.mark.parametrize("left", ["pad", "discard", "roll_over"])
def test_what_a_shuffled_iterator_holds_is_in_the_order_of_its_batches(left):
    """Programs compare predictions with `iterator.label`. Batches that were handed out keep their values."""
    np.random.seed(2)
    it = mx.io.NDArrayIter(np.arange(7.0), np.arange(7.0) * 10, 3, shuffle=True, last_batch_handle=left)
    assert it.data[0][1].asnumpy().tolist() == [4, 1, 3, 2, 6, 5, 0]
    for _ in range(3):
        data, label, first = it.data[0][1].asnumpy(), it.label[0][1].asnumpy(), None
        assert (label == data * 10).all() and sorted(data) == list(range(7))
        at = 0
        for batch in it:
            taken = 3 - batch.pad if left == "pad" else 3
            begun = batch.pad if left == "roll_over" else 0  # what was left over by the pass before comes first
            assert (batch.data[0].asnumpy()[begun:taken] == data[at : at + taken - begun]).all()
            assert (batch.label[0].asnumpy() == batch.data[0].asnumpy() * 10).all()
            at += taken - begun
            first = (batch, batch.data[0].asnumpy()) if first is None else first
        it.reset()
        assert (first[0].data[0].asnumpy() == first[1]).all()


def test_prefetching_is_one_batch_ahead():
    """As in MXNet: what iterator and program draw from one generator comes in about the same order."""

    class Counted(mx.io.NDArrayIter):
        made = 0

        def next(self):
            batch = super().next()
            self.made += 1
            return batch

    inner = Counted(np.arange(12.0), batch_size=2)
    it = mx.io.PrefetchingIter(inner)
    for taken in range(1, 6):
        next(it)
        time.sleep(0.01)
        assert inner.made <= taken + 1


def test_a_process_ends_when_its_prefetching_threads_have_finished_their_batch():
    """A thread that Python stops inside of a library, at the end of the process, may abort it."""
    script = """
        import time, symc as mx
        class Slow(mx.io.NDArrayIter):
            def next(self):
                time.sleep(0.2)
                print("made", flush=True)
                return super().next()
        it = mx.io.PrefetchingIter(Slow(mx.nd.ones(4), batch_size=2))
    """
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, cwd=root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "made\n", "")
