"""Rounds of threads, forks and new processes that compile, bind, run, train and predict at once.

    python tests/rounds.py 100 [SEED]

Prints a line of counts at the end. Whoever hangs is ended after `PATIENCE` seconds, with what each of its threads was
doing; the exit code is 1 then, and for a wrong answer. The first round begins before anything of symc but its name is
imported, as forks while a thread imports are part of it.
"""

from __future__ import annotations

import faulthandler
import gc
import itertools
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import symc as mx

PATIENCE = 60
#: children of every round; and every how many rounds a process is started anew
FORKS, SPAWN_EVERY = 3, 10

_serial = itertools.count()
_predictor: Any = None


def number() -> int:
    """A number that no other process of this run has drawn, so that what is made from it is compiled."""
    return os.getpid() * 1000 + next(_serial)


def train_new() -> None:
    """Compile, run and train a net that nobody has compiled before."""
    import numpy as np

    scale = 1 + (number() % 999_983) / 1e6
    x = mx.sym.Variable("x")
    y = x
    for _ in range(4):
        y = mx.sym.tanh(y * scale)
    exe = mx.sym.FullyConnected(y, num_hidden=3, no_bias=True, name="fc").simple_bind(mx.cpu(), x=(5, 4))
    data = np.linspace(-1, 1, 20).reshape(5, 4)
    exe.arg_dict["fc_weight"][:] = 1
    got = exe.forward(is_train=True, x=data)[0].asnumpy()
    want = data
    for _ in range(4):
        want = np.tanh(want * scale)
    np.testing.assert_allclose(got, np.repeat(want.sum(1, keepdims=True), 3, 1), rtol=1e-4, atol=1e-5)
    exe.backward(mx.nd.ones((5, 3)))
    np.testing.assert_allclose(
        exe.grad_dict["fc_weight"].asnumpy(), np.repeat(want.sum(0, keepdims=True), 3, 0), rtol=1e-4, atol=1e-5
    )


def predict() -> None:
    """Ask the predictor that all threads share."""
    import numpy as np

    for _ in range(20):
        data = np.random.default_rng(number()).normal(size=(2, 6)).astype(np.float32)
        np.testing.assert_allclose(_predictor.predict(data=data)[0], np.maximum(data, 0) @ np.ones((6, 2)), rtol=1e-4)


def operators() -> None:
    """Imperative operators, random ones too."""
    a = mx.nd.full((3, 7), number() % 100)
    assert (mx.nd.dot(a, a, transpose_b=True).asnumpy() == (a.asnumpy() ** 2 * 7)[:, :3]).all()
    drawn = mx.nd.random.uniform(shape=(50,)).asnumpy()
    assert 0 <= drawn.min() and drawn.max() < 1


def work() -> None:
    train_new()
    predict()
    operators()


def child(depth: int) -> None:
    assert gc.isenabled(), "the garbage collector is off"
    thread = threading.Thread(target=train_new)
    thread.start()
    if depth:
        fork(depth - 1)
    work()
    thread.join()


def fork(depth: int = 1) -> None:
    """`child` in a forked process."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(PATIENCE)
            child(depth)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, f"a forked child ended with {code}"


def spawned() -> None:
    """A new process begins here."""
    watch()
    signal.alarm(PATIENCE)
    make_predictor()
    work()


def make_predictor() -> None:
    global _predictor
    x = mx.sym.Activation(mx.sym.Variable("data"), act_type="relu")
    net = mx.sym.FullyConnected(x, num_hidden=2, no_bias=True, name="fc")
    _predictor = mx.Predictor(net, {"fc_weight": mx.nd.ones((2, 6))}, {"data": (2, 6)})


def one_round(at: int, chance: random.Random) -> None:
    problems: list[BaseException] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as problem:
            traceback.print_exc()
            problems.append(problem)

    first = [make_predictor] if _predictor is None else [predict]
    threads = [threading.Thread(target=guarded, args=(task,)) for task in [*first, train_new, train_new, operators]]
    for thread in threads:
        thread.start()
    if at % SPAWN_EVERY == SPAWN_EVERY - 1:
        process = multiprocessing.get_context("spawn").Process(target=spawned)
        process.start()
        threads.append(threading.Thread(target=process.join))
        threads[-1].start()
    for _ in range(FORKS):
        time.sleep(chance.random() * 0.02)
        if _predictor is None:  # the child makes its own
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    spawned()
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        else:
            fork()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]
    if at % SPAWN_EVERY == SPAWN_EVERY - 1:
        assert process.exitcode == 0, f"a new process ended with {process.exitcode}"


def watch() -> None:
    """An alarm shows what every thread is doing, and ends the process."""
    faulthandler.register(signal.SIGALRM, all_threads=True, chain=True)


def main() -> None:
    watch()
    rounds, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    chance = random.Random(seed)
    begin = time.monotonic()
    for at in range(rounds):
        signal.alarm(3 * PATIENCE)
        one_round(at, chance)
    signal.alarm(0)
    seconds = time.monotonic() - begin
    print(f"{rounds} rounds, {rounds * FORKS} forks, {rounds // SPAWN_EVERY} new processes, {seconds:.0f} s: no hang")


if __name__ == "__main__":
    main()
