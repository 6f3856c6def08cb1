"""Protects the native runner with its thread pool.

Programs must give the same result for any number of threads, any number of callers and in a forked child; errors of
callbacks must come out as Python exceptions.
"""

from __future__ import annotations

import ctypes
import threading
import time
import traceback
from collections.abc import Iterator

import numpy as np
import pytest
from native import (
    FAIL,
    FAIL_LAST,
    HEAD,
    STEP,
    check_steps,
    compile_one,
    in_child,
    in_new_process,
    stepped,
    table_of,
)

from symc.codegen.errors import KernelError
from symc.codegen.target import default_threads
from symc.compile import compile_graph
from symc.ir.op import input_node
from symc.ir.prims.control import host_call, register_host
from symc.ir.prims.elementwise import add
from symc.ir.tensor.graph import finish, with_origins
from symc.ir.types import F32, TensorType
from symc.ndarray.pool import Pool
from symc.runtime import runner
from symc.runtime import table as runtime
from symc.runtime.table import Entry, host_callback, make_table

pytestmark = [
    pytest.mark.usefixtures("own_cache"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
]


@pytest.fixture(params=[1, 2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = runtime.num_threads()
    runtime.set_num_threads(request.param)
    yield request.param
    runtime.set_num_threads(before)


# ---- runner and pool


@pytest.mark.parametrize("extent", [0, 1, 2, 3, 13, 14, 1000])
def test_results_do_not_depend_on_threads(threads: int, extent: int) -> None:
    array = np.arange(1000, dtype=np.int64)
    table_of(compile_one(STEP), array, extent, 7, times=50).run()
    want = np.arange(1000, dtype=np.int64)
    want[:extent] = stepped(extent, 50)
    np.testing.assert_array_equal(array, want)


def test_each_part_runs_once_with_its_own_scratch(threads: int) -> None:
    # every part stores (hi - lo) at out[lo] and its scratch address at out[lo + n]
    text = HEAD + (
        "  %q = getelementptr i64, ptr %p, i64 %lo\n  %n = sub i64 %hi, %lo\n  store i64 %n, ptr %q\n"
        "  %r = getelementptr i64, ptr %q, i64 60\n  %s = ptrtoint ptr %scratch to i64\n  store i64 %s, ptr %r\n"
        "  ret i32 0\n}\n"
    )
    out = np.zeros(120, np.int64)
    make_table([Entry(compile_one(text), [out.ctypes.data], 60, 10)], scratch_bytes=100, keep=[out]).run()
    starts = np.flatnonzero(out[:60])
    used = min(threads, 6) if runner.has_pool() else 1
    assert out[:60].sum() == 60 and len(starts) == used
    places = out[60:][starts]
    assert len(set(places)) == used and not (places % 64).any()
    assert used == 1 or np.diff(np.sort(places)).min() >= 100


def test_ranges_and_rebinding() -> None:
    a, b = np.ones(4, np.int64), np.ones(4, np.int64)
    table = table_of(compile_one(STEP), a, 4, 0, times=3)
    table.run(1, 2)
    np.testing.assert_array_equal(a, [3, 4, 5, 6])
    table.arguments(2)[0] = b.ctypes.data
    last = table.runner(2)
    last()
    np.testing.assert_array_equal(b, [3, 4, 5, 6])
    table.run(1, 1)
    np.testing.assert_array_equal(a, [3, 4, 5, 6])
    with pytest.raises(IndexError, match=r"range 1:4 is not within the table's 3 entries"):
        table.run(1, 4)


@pytest.mark.parametrize("text", [FAIL, FAIL_LAST])
def test_a_failing_kernel_stops_the_program(text: str) -> None:
    runtime.set_num_threads(2)
    if text is FAIL_LAST and not runner.has_pool():
        pytest.skip("one part only")
    array = np.zeros(100, np.int64)
    step = Entry(compile_one(STEP), [array.ctypes.data], 100, 10)
    table = make_table([step, step._replace(fn=compile_one(text)), step], scratch_bytes=8, keep=[array])
    with pytest.raises(KernelError, match="kernel 1 stopped the program"):
        table.run()
    np.testing.assert_array_equal(array, np.arange(100))


def test_workers_sleep_and_wake(threads: int) -> None:
    for _ in range(10):
        check_steps()
        time.sleep(0.002)


def test_threads_that_never_spin(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "default_spins", lambda: 0)  # read by the child's new pool

    def many_steps() -> None:
        for _ in range(50):
            check_steps(times=30)

    assert in_child(many_steps) == 0


def test_many_python_threads_at_once(threads: int) -> None:
    kernel, errors = compile_one(STEP), []

    def work() -> None:
        try:
            array = np.arange(3000, dtype=np.int64)
            table_of(kernel, array, 3000, 10, times=200).run()
            np.testing.assert_array_equal(array, stepped(3000, 200))
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(5)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert not errors and not any(worker.is_alive() for worker in workers)


def test_a_forked_child_starts_its_own_workers(threads: int) -> None:
    check_steps()
    assert in_child(check_steps) == 0
    check_steps()

    def fork_again() -> None:
        check_steps()
        assert in_child(check_steps) == 0

    assert in_child(fork_again) == 0


def test_fork_while_the_pool_runs(threads: int) -> None:
    kernel, stop = compile_one(STEP), threading.Event()

    def keep_busy() -> None:
        array = np.zeros(20_000, np.int64)
        busy = table_of(kernel, array, 20_000, 10, times=20).runner()
        while not stop.is_set():
            busy()

    worker = threading.Thread(target=keep_busy)
    worker.start()
    try:
        assert [in_child(check_steps) for _ in range(10)] == [0] * 10
    finally:
        stop.set()
        worker.join(30)
    assert not worker.is_alive()


def test_thread_count_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for wrong in (0, -1, 100_000):
        with pytest.raises(ValueError, match=f"set_num_threads\\({wrong}\\): expected 1 to"):
            runtime.set_num_threads(wrong)
    code = "from symc.runtime import table as runtime; print(runtime.num_threads())"
    if runner.has_pool():
        assert in_new_process(code, SYMC_NUM_THREADS="3") == "3\n"
    monkeypatch.setenv("SYMC_NUM_THREADS", "two")
    with pytest.raises(ValueError, match="SYMC_NUM_THREADS='two': expected a whole number"):
        default_threads()


def test_without_a_pool_programs_run_on_the_calling_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def serial() -> None:
        monkeypatch.setattr(runner, "has_pool", lambda: False)
        runtime._native_launch.cache_clear()
        runtime.launch_address.cache_clear()
        runtime.set_num_threads(3)
        assert runtime.num_threads() == 1
        check_steps()
        assert runtime._pool._words[runner.STARTED // 4] == 0

    assert in_child(serial) == 0


def test_the_interpreter_exits_while_workers_spin_or_sleep() -> None:
    code = (
        "import sys, time; sys.argv=['']; import numpy as np\n"
        "from symc.codegen.jit import compile as jit; from symc.runtime import table as runtime\n"
        "from symc.codegen.target import host_target\n"
        f"text = {STEP!r}\n"
        "fn = jit.compile_kernels([('k', 'kernel', text)], host_target())['k']\n"
        "a = np.zeros(1000, np.int64)\nruntime.set_num_threads(4)\n"
        "t = runtime.make_table([runtime.Entry(fn, [a.ctypes.data], 1000, 1)] * 9, 8, [a])\nt.run()\n"
        "time.sleep({pause})\nprint('ran')"
    )
    for pause in (0, 0.05):
        assert in_new_process(code.replace("{pause}", str(pause))) == "ran\n"


# ---- host callbacks


def test_callbacks_get_their_arguments_in_order(threads: int) -> None:
    array = np.zeros(100, np.int64)
    seen: list[list[int]] = []

    def look(args: int) -> None:
        first = ctypes.cast(args, ctypes.POINTER(ctypes.c_uint64))[0]
        assert first == array.ctypes.data
        seen.append(array[:3].tolist())
        array[0] = 100

    step = Entry(compile_one(STEP), [array.ctypes.data], 100, 10)
    make_table([step, Entry(host_callback(look), [array.ctypes.data]), step], scratch_bytes=8, keep=[array]).run()
    assert seen == [[0, 1, 2]]
    np.testing.assert_array_equal(array[:3], [300, 4, 8])


def test_a_callback_error_comes_back_with_its_traceback() -> None:
    def raise_it(args: int) -> None:
        raise LookupError("from inside")

    array = np.zeros(10, np.int64)
    step = Entry(compile_one(STEP), [array.ctypes.data], 10)
    table = make_table([step, Entry(host_callback(raise_it), []), step], scratch_bytes=8, keep=[array])
    for times in (1, 2):
        with pytest.raises(LookupError, match="from inside") as caught:
            table.run()
        assert "raise_it" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
        np.testing.assert_array_equal(array, np.arange(10) * (1, 4)[times - 1])
    with pytest.raises(KernelError):  # no error is left behind for an unrelated failure
        table_of(compile_one(FAIL), array, 1, 0).run()


def test_a_callback_may_run_programs_itself(threads: int) -> None:
    def divide(args: int) -> None:
        raise ZeroDivisionError

    def nested(args: int) -> None:
        check_steps()
        with pytest.raises(ZeroDivisionError):
            make_table([Entry(host_callback(divide), [])]).run()

    make_table([Entry(host_callback(nested), [])] * 3).run()
    check_steps()


def test_callbacks_may_not_be_divided() -> None:
    with pytest.raises(ValueError, match=r"entry 0 calls Python.*expected grain 0"):
        make_table([Entry(host_callback(lambda args: None), [], 10, 1)])


# ---- memory


@pytest.mark.parametrize("nbytes", [0, 1, 1000, (2 << 20) - 1, 2 << 20, 5_000_001])
def test_aligned_memory(nbytes: int) -> None:
    memory = runtime.aligned_empty(nbytes)
    assert memory.nbytes == nbytes and memory.flags.writeable
    memory[:] = 7
    if nbytes:  # numpy gives an empty array no address of its own
        assert memory.ctypes.data % (2 << 20 if nbytes >= 2 << 20 else 64) == 0
        assert runtime.aligned_empty(nbytes, 4096).ctypes.data % 4096 == 0


def test_what_runs_in_python_moves_to_other_arrays():
    """A program with steps in the host is bound once; its steps find the arrays by the addresses in the table."""
    node = input_node("x", TensorType(F32, (3,)))
    register_host("test/doubled_and_one", lambda x: (x * 2, x + 1))
    doubled, one = host_call("test/doubled_and_one", [node], [node.tensor, node.tensor])
    graph = finish("net", [node], [("doubled", doubled), ("one", add(one, node))])
    executable = compile_graph(with_origins(graph))
    pool = Pool(executable)
    for _ in range(3):
        x, outs = np.random.rand(3).astype("f"), [np.zeros(3, "f"), np.zeros(3, "f")]
        pool.run({"x": x}, outs)
        np.testing.assert_allclose(outs[0], 2 * x, rtol=1e-6)
        np.testing.assert_allclose(outs[1], 2 * x + 1, rtol=1e-6)
