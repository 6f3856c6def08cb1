"""Protects the drop-in: programs that say `mxnet` run on symc untouched, and never over a real MXNet."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import symc as mx
from symc.ghosts import GHOSTS

#: what programs import, by the places MXNet 1.9.1 has it at
INNER = {
    "executor_manager": [
        "_split_input_slice",
        "_load_data",
        "_load_label",
        "_check_arguments",
        "DataDesc",
        "mx_real_t",
    ],
    "module.base_module": ["BaseModule", "_check_input_names", "_parse_data_desc", "_as_list", "cpu"],
    "module.bucketing_module": ["BucketingModule", "_check_input_names"],
    "module.executor_group": ["DataParallelExecutorGroup", "_load_data", "_load_label", "_merge_multi_context"],
    "module.module": [
        "Module",
        "DataParallelExecutorGroup",
        "InitDesc",
        "_check_input_names",
        "_parse_data_desc",
        "zeros",
    ],
    "model": ["BatchEndParam", "_create_kvstore", "_initialize_kvstore", "_update_params", "load_params", "_load_data"],
    "gluon.block": ["Block", "HybridBlock", "SymbolBlock", "DeferredInitializationError", "Symbol", "NDArray"],
    "gluon.loss": ["Loss", "_apply_weighting", "_reshape_like"],
    "initializer": ["Uniform", "InitDesc"],
    "context": ["Context", "cpu", "gpu"],
    "base": ["_as_list", "MXNetError", "string_types"],
    "ndarray.ndarray": ["NDArray", "zeros", "array"],
    "ndarray.random": ["uniform"],
    "symbol.symbol": ["Symbol", "Group", "Variable", "load", "load_json", "zeros", "maximum", "AttrScope", "Executor"],
    "io.io": ["DataDesc", "NDArrayIter", "DataBatch", "_init_data"],
    "io.utils": ["_init_data"],
    "rnn.rnn_cell": ["LSTMCell", "BaseRNNCell", "_normalize_sequence"],
    "optimizer.optimizer": ["SGD", "Optimizer"],
    "kvstore.kvstore": ["KVStore"],
    "metric": ["EvalMetric"],
    "contrib.symbol": ["MultiBoxPrior"],
    "contrib.ndarray": ["box_nms"],
    "lr_scheduler": ["FactorScheduler"],
    "libinfo": ["__version__"],
    "runtime": ["Features"],
    "util": ["is_np_array"],
}


def run(folder, text, *arguments, command=("-m", "symc.as_mxnet", "script.py"), **settings):
    (folder / "script.py").write_text(textwrap.dedent(text))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **settings}
    return subprocess.run(
        [sys.executable, *command, *arguments], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_a_script_runs_untouched(tmp_path):
    """Its arguments, its own folder on the path, inner modules, and GPUs that mean the CPU, with one warning."""
    (tmp_path / "beside.py").write_text("from mxnet import nd\n\ndef three():\n    return nd.ones((3,))\n")
    done = run(
        tmp_path,
        f"""
        import importlib, sys
        import mxnet as mx
        from mxnet import __file__, sym, gluon
        from mxnet.module import Module
        from mxnet.gluon.model_zoo import vision
        import mxnet.io.io, mxnet.contrib.symbol
        from beside import three
        assert mx.__version__ == mx.libinfo.__version__ == "1.9.1" and sys.argv == ["script.py", "--epochs", "3"]
        for place, names in {INNER!r}.items():
            for name in names:
                getattr(importlib.import_module("mxnet." + place), name)
        assert __file__ == mx.__file__ and importlib.import_module("os").path.exists(__file__)
        assert mx.mod.Module is Module and mx.io.io.NDArrayIter is mx.io.NDArrayIter
        assert (mx.nd.ones((3,), mx.gpu(1)) + three()).asnumpy().tolist() == [2, 2, 2]
        assert mx.gpu(1) == mx.cpu(1) == mx.Context("gpu", 1)
        try:
            vision.resnet18_v1()
        except mx.MXNetError as error:
            print(error, __name__)
        """,
        "--epochs",
        "3",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("symc has no mx.gluon.model_zoo.vision.resnet18_v1: build the net")
    assert done.stdout.endswith("__main__\n") and done.stderr.count("means the CPU") == 1


def test_no_module_runs_twice(tmp_path):
    """Whatever inner place a program imports first: one NDArray, one BaseModule, one contrib with all its operators."""
    done = run(
        tmp_path,
        f"""
        import importlib, pkgutil, sys
        places = {sorted(INNER)!r} + ["symbol.contrib", "ndarray.contrib", "symbol.random"]
        places += ["ndarray.sparse", "symbol.sparse"]
        for place in places:
            importlib.import_module("mxnet." + place)
        import mxnet as mx, mxnet.mod.python_module, mxnet.nd.sparse
        for package in (mx.module, mx.ndarray, mx.symbol, mx.gluon, mx.rnn, mx.image, mx.metric, mx.optimizer, mx.io):
            for found in pkgutil.iter_modules(getattr(package, "__path__", [])):
                inner = package.__name__.partition(".")[2] + "." + found.name
                assert importlib.import_module("mxnet." + inner) is sys.modules["symc." + inner], inner
        copies = [name for name, module in sys.modules.items() if module.__name__.startswith("mxnet.")]
        print(copies, mx.sym.contrib.MultiBoxPrior.__name__, mx.nd.contrib.box_nms.__name__)
        from mxnet.module.base_module import BaseModule
        from mxnet.ndarray.ndarray import NDArray
        assert issubclass(mx.mod.Module, BaseModule) and isinstance(mx.nd.ones((1,)), NDArray)
        """,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[] MultiBoxPrior box_nms\n"


def test_a_module_runs_untouched(tmp_path):
    done = run(
        tmp_path, "import sys, mxnet\nprint(sys.argv[1:], mxnet.__version__)", "x",
        command=("-m", "symc.as_mxnet", "-m", "script"),
    )  # fmt: skip
    assert done.stdout == "['x'] 1.9.1\n", done.stderr


def test_it_is_a_plugin_of_pytest(tmp_path):
    text = "import mxnet.symbol as S\n\ndef test_it():\n    assert S.Variable('x').name == 'x'\n"
    done = run(tmp_path, text, command=("-m", "pytest", "-q", "-p", "symc.as_mxnet", "script.py"))
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout


def test_it_never_hides_an_mxnet(tmp_path):
    """Neither one that is installed nor a file of the program's own."""
    (tmp_path / "mxnet.py").write_text("")
    done = run(tmp_path, "print('ran')")
    assert done.returncode == 1 and "there is an mxnet already" in done.stderr and "ran" not in done.stdout


def test_an_empty_folder_is_no_mxnet(tmp_path):
    """Programs come with `mxnet/`, a place for MXNet's sources that was never filled; what fills it is found."""
    (tmp_path / "mxnet" / "python").mkdir(parents=True)
    text = """
    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "mxnet", "python"))
    import mxnet as mx
    print(mx.__version__)
    """
    done = run(tmp_path, text)
    assert done.stdout == "1.9.1\n", done.stderr
    (tmp_path / "mxnet" / "python" / "mxnet.py").write_text("__version__ = 'its own'")
    assert run(tmp_path, text).stdout == "its own\n"


@pytest.mark.parametrize("arguments", [(), ("-m",), ("absent.py",)])
def test_mistakes_on_the_command_line_are_told(tmp_path, arguments):
    done = run(tmp_path, "", *arguments, command=("-m", "symc.as_mxnet"))
    assert done.returncode == 2 and "usage" in done.stdout + done.stderr and "Traceback" not in done.stderr


def test_a_switch_makes_gpus_the_cpu(tmp_path):
    text = "import symc as mx\nprint(mx.nd.zeros((1,), mx.gpu()).context)"
    refused = run(tmp_path, text, command=("script.py",))
    assert "mx.cpu() instead of mx.gpu()" in refused.stderr
    assert run(tmp_path, text, command=("script.py",), SYMC_GPU="cpu").stdout == "cpu(0)\n"
    assert "SYMC_GPU='tpu': expected cpu" in run(tmp_path, text, command=("script.py",), SYMC_GPU="tpu").stderr


@pytest.mark.parametrize("place", INNER)
def test_inner_places_exist_under_the_own_name(place):
    module = __import__(f"symc.{place}", fromlist=INNER[place])
    assert not [name for name in INNER[place] if not hasattr(module, name)]


def test_what_stands_elsewhere_is_the_same_object():
    assert mx.gluon.block.HybridBlock is mx.gluon.HybridBlock and mx.model.DataDesc is mx.io.DataDesc
    assert mx.module.module.DataParallelExecutorGroup is mx.module.executor_group.DataParallelExecutorGroup
    with pytest.raises(AttributeError, match="'symc.gluon.block' has no attribute 'HybridBlok'"):
        _ = mx.gluon.block.HybridBlok


def test_what_programs_call_inside_of_modules_does_what_they_expect():
    """Their own iterators, cells and losses are built on these."""
    pairs = mx.io._init_data({"b": mx.nd.ones((2,)), "a": mx.nd.zeros((2,))}, False, "data")
    assert [name for name, _ in pairs] == ["a", "b"] and mx.io._init_data(None, True, "data") == []
    assert [name for name, _ in mx.io._init_data([[1], [2]], False, "data")] == ["_0_data", "_1_data"]
    with pytest.raises(AssertionError):
        mx.io._init_data(None, False, "data")
    steps, axis = mx.rnn.rnn_cell._normalize_sequence(3, mx.sym.var("data"), "NTC", False)
    assert len(steps) == 3 and axis == 1
    loss = mx.gluon.loss._apply_weighting(mx.nd, mx.nd.array([[1.0], [2.0]]), 3, mx.nd.array([[0.5], [2.0]]))
    assert loss.asnumpy().tolist() == [[1.5], [12.0]]
    assert mx.gluon.loss._reshape_like(mx.nd, mx.nd.ones((6,)), mx.nd.ones((2, 3))).shape == (2, 3)


@pytest.mark.parametrize("name", GHOSTS)
def test_what_is_absent_says_what_to_do(name):
    """It can be imported, asked isinstance of and derived from; using it raises."""
    above, _, last = name.rpartition(".")
    module = operator.attrgetter(above)(mx) if above else mx
    if hasattr(module, "__path__"):  # below a package it is a module, too
        ghost = __import__(f"symc.{name}.something", fromlist=["x"])
    else:
        ghost = getattr(module, last).something
    assert not isinstance(3, ghost.Class)
    with pytest.raises(mx.MXNetError, match=f"symc has no mx.{name}.something: .* "):
        ghost()
    with pytest.raises(mx.MXNetError, match=r"Class: "):

        class Derived(ghost.Class):
            pass

        Derived()

    @ghost.decorator
    def function(x):
        return x

    assert function.__name__ == "function"
    with pytest.raises(mx.MXNetError, match="decorator: "):
        function(3)


def test_modules_have_stand_ins_for_what_programs_import_from_there_only():
    with pytest.raises(AttributeError, match=r"module 'symc.base' has no attribute '_NOTHING'"):
        mx.base._NOTHING()
    assert not hasattr(mx.model, "_LIB") and not hasattr(mx.base, "contrib") and hasattr(mx.base, "_LIB")
    with pytest.raises(mx.MXNetError, match=r"symc has no mx.base._LIB.MXGetVersion: there is no library"):
        mx.base._LIB.MXGetVersion(3)


def test_operators_that_are_absent_say_so_where_they_are_called():
    for space in (mx.nd.contrib, mx.sym.contrib):
        with pytest.raises(mx.MXNetError, match="the net that is not quantized"):
            space.quantized_conv(mx.nd.ones((1,)))
        assert not hasattr(space, "no_such_operator")
    with pytest.raises(mx.MXNetError, match="NumPy-like"):
        mx.util.set_np()


def test_every_listed_name_exists():
    for name in dir(mx):
        getattr(mx, name)
    assert not set(GHOSTS) & set(dir(mx))


def test_batches_are_split_by_work_load():
    split = mx.executor_manager._split_input_slice
    assert split(8, [1, 1, 2]) == [slice(0, 2), slice(2, 4), slice(4, 8)]
    assert split(10, [1, 1]) == [slice(0, 5), slice(5, 10)] and split(5, [1, 1]) == [slice(0, 2), slice(2, 5)]
    with pytest.raises(ValueError, match="1 rows for 2 devices"):
        split(1, [1, 1])


@pytest.mark.parametrize(
    "thing, name",
    [(mx.nd.ones((1,)), n) for n in ("handle", "as_np_ndarray", "_scatter_set_nd")]
    + [(mx.sym.var("x"), n) for n in ("handle", "as_np_ndarray")],
)
def test_arrays_and_symbols_say_what_they_lack(thing, name):
    assert not hasattr(thing, name) and getattr(thing, name, 3) == 3
    with pytest.raises(mx.MXNetError, match=rf"symc has no {type(thing).__name__}\.{name}: "):
        getattr(thing, name)


@pytest.mark.parametrize(
    "module", ["ndarray", "ndarray.ndarray", "ndarray.sparse", "symbol.symbol", "operator", "autograd"]
)
def test_numbers_of_types_are_where_programs_import_them(module):
    found = operator.attrgetter(module)(mx)
    assert found._DTYPE_NP_TO_MX[np.float16] == 2 and found._DTYPE_MX_TO_NP[-1] is None
    assert all(found._DTYPE_MX_TO_NP[n] == t for t, n in found._DTYPE_NP_TO_MX.items())
    assert found._GRAD_REQ_MAP == {"null": 0, "write": 1, "add": 3}
    assert found._STORAGE_TYPE_ID_TO_STR[found._STORAGE_TYPE_CSR] == "csr"


def test_errors_are_registered_by_name():
    @mx.error.register
    class OwnError(mx.MXNetError):
        pass

    @mx.error.register("Other")
    class Named(OwnError):
        pass

    assert mx.base.register_error("Third", KeyError) is KeyError
    known = mx.base.error_types
    assert known["OwnError"] is OwnError and known["Other"] is Named and known["Third"] is KeyError
    assert known["TypeError"] is TypeError and issubclass(mx.error.InternalError, mx.MXNetError)


def test_the_rates_of_the_earliest_programs():
    """Expected values: MXNet's mx.misc.FactorScheduler(3)."""
    rate = mx.misc.FactorScheduler(3)
    assert np.allclose([rate(at) for at in (0, 2, 3, 7)], [0.01, 0.01, 0.001, 0.0001])
    for step, factor in ((0, 0.1), (1, 1.0)):
        with pytest.raises(ValueError, match="must be"):
            mx.misc.FactorScheduler(step, factor)
    with pytest.raises(NotImplementedError):
        mx.misc.LearningRateScheduler()(1)
    with pytest.raises(DeprecationWarning, match="set_lr_mult"):
        mx.optimizer.SGD().set_lr_scale({})


def test_a_subgraph_as_text_is_applied():
    a, b = mx.sym.var("a"), mx.sym.var("b")
    net = mx.sym.BatchNorm(mx.sym.FullyConnected(a * b, num_hidden=3, name="fc"), name="bn")
    inputs = [mx.sym.var("p") + 1, *(mx.sym.var(name) for name in net.list_inputs()[1:])]
    made = mx.sym._internal._CachedOp(*inputs, subgraph=net.tojson()) * 2
    assert made.list_arguments() == ["p", "b", "fc_weight", "fc_bias", "bn_gamma", "bn_beta"]
    assert made.list_auxiliary_states() == ["bn_moving_mean", "bn_moving_var"]
    assert made.infer_shape(p=(4, 5))[1] == [(4, 3)]
    with pytest.raises(mx.MXNetError, match="8 inputs"):
        mx.sym._internal._CachedOp(a, subgraph=net.tojson())
