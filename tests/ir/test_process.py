"""Protects forked children: whatever other threads were doing, a child finds whole tables, free locks and no half
imported module; and every lock of the project stands in one order."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from native import in_child, in_new_process

from symc.ir import process
from symc.ir.op import input_node
from symc.ir.process import forks_go_on, forks_wait, lock, turns
from symc.ir.process import in_child as renew_in_child
from symc.ir.types import F32, TensorType
from symc.passes.manager import manager
from symc.passes.manager.manager import collections_paused

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


class Held:
    """A block that another thread is within, from the start of this one's until `leave` or its end."""

    def __init__(self, block, seconds: float | None = None) -> None:
        self.inside, self.left, self.out = threading.Event(), threading.Event(), threading.Event()

        def hold() -> None:
            with block:
                self.inside.set()
                self.left.wait(30 if seconds is None else seconds)
                self.out.set()

        self.thread = threading.Thread(target=hold)

    def __enter__(self) -> Held:
        self.thread.start()
        assert self.inside.wait(30)
        return self

    def __exit__(self, *exc: object) -> None:
        self.left.set()
        self.thread.join(30)
        assert not self.thread.is_alive()


def nothing() -> None: ...


@pytest.mark.parametrize("name", process.ORDER)
def test_a_fork_waits_for_every_table(name: str) -> None:
    def use() -> None:
        with lock(name):
            input_node(f"made under {name}", TensorType(F32, (3,)))

    with Held(lock(name), 0.05) as other:
        assert in_child(use) == 0
        assert other.out.is_set()
    use()


def test_a_fork_waits_for_work_that_has_begun_and_before_other_work() -> None:
    begun = threading.Event()

    def late() -> None:
        with forks_wait():
            begun.set()

    def child() -> None:
        assert first.out.is_set() and not begun.is_set()
        with forks_wait():
            pass

    with Held(forks_wait(), 0.2) as first:
        second = threading.Thread(target=lambda: (time.sleep(0.1), late()))
        second.start()
        assert in_child(child) == 0
        second.join(30)
    assert begun.is_set()


def test_a_thread_within_such_work_may_fork() -> None:
    with forks_wait(), forks_wait():
        assert in_child(lambda: forks_wait().__enter__()) == 0
    assert in_child(nothing) == 0


def test_a_part_of_such_work_may_let_forks_go_on() -> None:
    """The block goes on after the fork, and the child may enter such blocks."""

    @contextmanager
    def part() -> Iterator[None]:
        with forks_wait(), forks_wait():
            with forks_go_on():
                yield
            assert process._mine.sections == 2

    def child() -> None:
        with forks_wait():
            assert process._sections == 1

    with Held(part()) as other:
        assert in_child(child) == 0
        assert not other.out.is_set()
    assert process._sections == 0
    with forks_go_on():  # outside of such work it is nothing
        assert in_child(child) == 0


def test_a_fork_does_not_wait_for_turns_and_the_child_has_them() -> None:
    one, own = turns(), turns()

    def child() -> None:
        with one, own:
            pass

    with Held(one) as other, own:
        assert in_child(child) == 0
        assert not other.out.is_set()
    with own:
        pid = os.fork()
    if pid == 0:  # the child leaves the block that its parent entered
        os._exit(in_child(child))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_forks_of_several_threads() -> None:
    codes: list[int] = []

    def fork_often() -> None:
        for _ in range(5):
            codes.append(in_child(lambda: input_node("x", TensorType(F32, ()))))

    threads = [threading.Thread(target=fork_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert codes == [0] * 15


def test_an_exception_while_a_fork_waits_leaves_everything_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """An interrupt, say: Python reports it and forks."""

    def interrupted() -> bool:
        raise KeyboardInterrupt

    def use() -> None:
        with forks_wait(), lock("code"), lock("nodes"):
            pass

    reported: list[object] = []
    monkeypatch.setattr(process, "_importing", interrupted)
    monkeypatch.setattr(sys, "unraisablehook", lambda report: reported.append(report.exc_type))
    assert in_child(use) == 0 and reported == [KeyboardInterrupt]
    thread = threading.Thread(target=use)
    thread.start()
    thread.join(30)
    assert not thread.is_alive() and not process._forks


def test_children_renew_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_in_child", [])
    seen: list[int] = []
    renew_in_child(lambda: seen.append(1))
    renew_in_child(lambda: seen.append(2))

    def child() -> None:
        assert seen == [1, 2]

    assert in_child(child) == 0 and not seen


def test_a_fork_waits_for_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "symc_slow.py").write_text("import time\ntime.sleep(0.3)\nDONE = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process, "IMPORTED", ("symc_slow",))

    def load() -> None:
        import symc_slow

        assert symc_slow.DONE

    other = threading.Thread(target=load)
    other.start()
    while "symc_slow" not in sys.modules:
        time.sleep(0.001)
    assert in_child(load) == 0
    other.join(30)


def test_an_import_that_does_not_end_does_not_hold_a_fork_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "LONGEST_IMPORT", 0.05)
    monkeypatch.setattr(process, "_importing", lambda: True)
    assert in_child(nothing) == 0


def test_the_collector_runs_in_children() -> None:
    """Of a fork while another thread has paused it; the pause of the thread that forks goes on to its end."""
    assert gc.isenabled()

    def child() -> None:
        assert gc.isenabled()

    def paused_child() -> None:
        assert not gc.isenabled()

    with Held(collections_paused()):
        assert not gc.isenabled()
        assert in_child(child) == 0
        with collections_paused():
            assert in_child(paused_child) == 0
            pid = os.fork()
        if pid == 0:
            os._exit(0 if gc.isenabled() else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with Held(collections_paused()):
            assert in_child(paused_child) == 0  # as the user left it
    finally:
        gc.enable()


CHECKED = """
from symc.ir.process import LockOrder, forks_wait, lock, turns
def refused(outer, inner):
    try:
        with outer, inner:
            return False
    except LockOrder as problem:
        assert "the order is turns, forks_wait, programs, " in str(problem)
        return True
for outer, inner, wrong in [
    (lock("nodes"), lock("code"), True), (lock("code"), lock("nodes"), False), (lock("code"), lock("code"), False),
    (lock("nodes"), turns(), True), (turns(), lock("nodes"), False), (turns(), turns(), False),
    (lock("random"), forks_wait(), True), (forks_wait(), turns(), True), (turns(), forks_wait(), False),
    (forks_wait(), forks_wait(), False), (forks_wait(), lock("nodes"), False),
]:
    assert refused(outer, inner) == wrong
with lock("code"), lock("nodes"), lock("code"):  # held already
    pass
"""


def test_locks_out_of_order_are_refused() -> None:
    in_new_process(CHECKED, SYMC_CHECK_LOCKS="1")


def test_what_a_pause_leaves_is_old_and_what_the_user_froze_stays_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program's objects are not looked at when the pause ends, but garbage among them is found all the same."""
    monkeypatch.setattr(manager, "MANY", 10)

    class Thing:
        pass

    with collections_paused():
        kept = [Thing() for _ in range(50)]
        for thing in kept:
            thing.itself = thing  # type: ignore[attr-defined]
    assert gc.get_count()[0] < 50 and not gc.get_freeze_count()
    left = weakref.ref(kept[0])
    del kept, thing
    gc.collect()
    assert left() is None
    gc.freeze()
    try:
        frozen = gc.get_freeze_count()
        with collections_paused():
            more = [Thing() for _ in range(50)]
        assert gc.get_freeze_count() == frozen and more
    finally:
        gc.unfreeze()
