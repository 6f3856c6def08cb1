"""Threads and forks: every lock of the process in one order, and what a forked child finds.

A child has the memory of its parent as it was at the fork, but of its threads only the one that forked. What another
thread was in the middle of stays as it was, for ever. So everything that threads share is of one of four kinds:

    lock(name)      guards a table for microseconds. A fork takes all of them, in the order below, so that the child
                    finds every table whole.
    forks_wait()    work that must not be cut in two but takes milliseconds: calls of LLVM. A fork waits for the end of
                    what has begun, and what has not begun waits for the fork.
    turns()         a lock that is held for long: a run, a compilation. A fork does not wait; in the child nobody holds
                    it. What it guards must be of use whatever its holder was doing.
    in_child(f)     what has to be made anew in a child: workers, claims of threads that are not there.

A fork also waits while another thread imports a module of this project or of those below it, as Python does not: the
child would find the module half made, and wait for its import to end.

The order of locks: turns, then `forks_wait`, then the locks of `ORDER`. Whoever holds a lock takes only locks behind
it. With SYMC_CHECK_LOCKS=1 everything else raises LockOrder, whether or not it would have met another thread.
"""

from __future__ import annotations

import importlib
import logging  # noqa: F401  (see the end)
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

ORDER = (
    "programs",  # compiled programs by Symbol and types (symc.compile)
    "random",  # the seed and how many keys were drawn (symc.runtime.keys)
    "code",  # addresses of kernels, and which threads make which (symc.codegen.jit.compile)
    "trace",  # the index of what was compiled (symc.tracing)
    "known kernels",  # what kernels were described (symc.runtime.known)
    "collector",  # how many threads have paused the garbage collector (symc.passes.manager.manager)
    "nodes",  # interned nodes (symc.ir.tensor.graph); last, as a node may die while any lock is held
)

#: packages whose imports forks wait for, and for how many seconds at most
IMPORTED, LONGEST_IMPORT = ("symc", "numpy", "llvmlite"), 10.0

Lock = AbstractContextManager[Any]


class LockOrder(RuntimeError):
    """A lock was taken while another one was held that comes behind it."""


class _Mine(threading.local):
    """What the running thread is within, and what it holds."""

    sections = 0
    forks = False

    def __init__(self) -> None:
        self.ranks: list[tuple[int, str]] = []


_mine = _Mine()
_checked = os.environ.get("SYMC_CHECK_LOCKS") == "1"
_TURNS, _SECTION = -2, -1


class _Checked:
    """A lock that knows its place in the order."""

    def __init__(self, held: Any, rank: int, name: str) -> None:
        self.held, self.rank, self.name = held, rank, name

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *exc: object) -> None:
        self.release()

    def acquire(self, blocking: bool = True) -> bool:
        own = (self.rank, self.name)
        if blocking and own not in _mine.ranks:
            _check(self.rank, self.name)
        if not self.held.acquire(blocking):
            return False
        _mine.ranks.append(own)
        return True

    def release(self) -> None:
        own = (self.rank, self.name)
        _mine.ranks.remove(own)
        self.held.release()

    def _at_fork_reinit(self) -> None:
        self.held._at_fork_reinit()


def _check(rank: int, name: str) -> None:
    held = max(_mine.ranks, default=(rank, name))
    if held[0] > rank:
        order = ", ".join(("turns", "forks_wait", *ORDER))
        raise LockOrder(f"{name} is taken by a thread that holds {held[1]}; the order is {order}")


# --------------------------------------------------------------------------------------------- locks

_locks: dict[str, Any] = {}
_turns: weakref.WeakSet[Any] = weakref.WeakSet()
#: how many threads are within `forks_wait`, how many want to fork; guarded by `_quiet`, which a fork holds throughout
_quiet = threading.Condition(threading.RLock())
_sections = 0
_forks = 0


def lock(name: str) -> Lock:
    """The process's lock of that name in `ORDER`, re-entrant."""
    if name not in _locks:
        made: Any = threading.RLock()
        _locks[name] = _Checked(made, ORDER.index(name), name) if _checked else made
    found: Lock = _locks[name]
    return found


def turns() -> Lock:
    """A new re-entrant lock for threads that take turns with one object. In a forked child it is free, unless the
    thread that forked holds it."""
    made: Any = threading.RLock()
    if _checked:
        _check(_SECTION, "turns")
        made = _Checked(made, _TURNS, "turns")
    with _quiet:
        _turns.add(made)
    return made  # type: ignore[no-any-return]


@contextmanager
def forks_wait() -> Iterator[None]:
    """A fork by another thread waits for the end of the block, and the block begins after a fork that waits. Long work
    is many blocks, so that no fork waits for long."""
    _enter(1)
    try:
        yield
    finally:
        _leave(1)


@contextmanager
def forks_go_on() -> Iterator[None]:
    """A part of `forks_wait` that forks need not wait for, as nothing that others share is in use."""
    depth = _mine.sections
    _leave(depth)
    try:
        yield
    finally:
        _enter(depth)


def _enter(depth: int) -> None:
    """Go into `depth` blocks of `forks_wait`."""
    global _sections
    if depth and not _mine.sections:
        if _checked:
            _check(_SECTION, "forks_wait")
            _mine.ranks.append((_SECTION, "forks_wait"))
        with _quiet:
            _quiet.wait_for(lambda: not _forks)
            _sections += 1
    _mine.sections += depth


def _leave(depth: int) -> None:
    global _sections
    _mine.sections -= depth
    if depth and not _mine.sections:
        with _quiet:
            _sections -= 1
            if _forks:
                _quiet.notify_all()
        if _checked:
            _mine.ranks.remove((_SECTION, "forks_wait"))


T = TypeVar("T")


class once(Generic[T]):
    """A property computed when it is first read. As functools.cached_property, without the lock that is held meanwhile
    before Python 3.12, for all objects of the class, and stays locked in a child that is forked meanwhile. Threads that
    read it at once may compute it each."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> T:
        if instance is None:
            return self  # type: ignore[return-value]
        value = self.compute(instance)
        instance.__dict__[self.name] = value
        return value


# --------------------------------------------------------------------------------------------- forks

_in_child: list[Callable[[], None]] = []
#: what the thread that forks has taken, beside `_quiet`
_taken: list[Any] = []


def in_child(renew: Callable[[], None]) -> None:
    """Call `renew` in every forked child, in the order of these calls, before its program goes on."""
    _in_child.append(renew)


def _before_fork() -> None:
    global _forks
    _quiet.acquire()
    _forks += 1
    _mine.forks = True
    patience = time.monotonic() + LONGEST_IMPORT
    while True:
        _quiet.wait_for(lambda: _sections == bool(_mine.sections))
        for name in ORDER:
            if name in _locks:
                _take(_locks[name])
        if not _importing() or time.monotonic() > patience:
            break
        _give_back()
        _quiet.wait(0.001)
    for held in _turns:
        _take(held, blocking=False)


def _take(held: Any, blocking: bool = True) -> None:
    if held.acquire(blocking):
        _taken.append(held)


def _give_back() -> None:
    while _taken:
        _taken.pop().release()


def _importing() -> bool:
    """Whether a module is being imported that a child could need."""
    under_way = list(getattr(importlib._bootstrap, "_module_locks", ()))
    return any(name.partition(".")[0] in IMPORTED for name in under_way)


def _forked_here() -> bool:
    """Whether `_before_fork` of this thread has begun: not if this module was imported during the fork, or if a signal
    came before, whose exception Python lets pass."""
    begun, _mine.forks = _mine.forks, False
    return begun


def _after_fork_in_parent() -> None:
    global _forks
    if _forked_here():
        _forks -= 1
        _give_back()
        _quiet.notify_all()
        _quiet.release()


def _after_fork_in_child() -> None:
    global _forks
    if _forked_here():
        _forks = 0
        free = {id(held) for held in _taken}
        for held in _turns:
            if id(held) not in free:  # its holder is not in this process
                held._at_fork_reinit()
        _give_back()
        _quiet.notify_all()
        _quiet.release()
        for renew in _in_child:
            renew()


# Hooks that are registered later run before ours. Those of logging take a lock that modules take too when they are
# imported, and must not hold it while we wait for imports: so logging has been imported by now.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
