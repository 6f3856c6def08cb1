"""The vector math library: every function within its stated error, right at special values, alike at every width, with
and without fused multiply-add and rounding instructions, and free of calls into a math library.

References: float64 for f32 functions, numpy's 80-bit long double for f64 ones, and the table VALUES (computed with 40
digits) for functions that neither has.
"""

from __future__ import annotations

import ctypes
import functools
import math
import platform
import re
from collections.abc import Callable

import numpy as np
import pytest
from llvmlite import binding

from symc.codegen.math.library import ERRORS, Features, arity, definition, names, required, symbol

TYPES = {"f32": ("float", 4, np.float32), "f64": ("double", 8, np.float64)}
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")
#: level: LLVM's processor, and what the library is told about it
LEVELS = {
    "fma": ("x86-64-v3" if IS_X86 else "generic", Features(fma=True, round=True)),
    "rounding": ("x86-64-v2" if IS_X86 else "generic", Features(fma=False, round=True)),
    "plain": ("x86-64" if IS_X86 else "generic", Features(fma=False, round=False)),
}
INF, NAN = math.inf, math.nan


def _host_has(level: str) -> bool:
    wanted = {"fma": ("fma", "avx2"), "rounding": ("sse4.1",), "plain": ()}[level]
    flags = binding.get_host_cpu_features() if IS_X86 else dict.fromkeys(wanted, True)
    return all(flags.get(flag, False) for flag in wanted)


# -- a harness: y[i] = f(x[i]) for arrays


def _array_function(name: str, dtype: str, width: int) -> str:
    scalar, size, _ = TYPES[dtype]
    t = f"<{width} x {scalar}>" if width > 1 else scalar
    n = range(arity(name))
    loads = "".join(
        f"  %q{i} = getelementptr i8, ptr %p{i}, i64 %o\n  %x{i} = load {t}, ptr %q{i}, align {size}\n" for i in n
    )
    return (
        f"define void @{name}({''.join(f'ptr %p{i}, ' for i in n)}ptr %y, i64 %n) nounwind {{\n"
        f"entry:\n  br label %loop\nloop:\n  %i = phi i64 [ 0, %entry ], [ %j, %loop ]\n"
        f"  %o = mul i64 %i, {size}\n{loads}"
        f"  %r = call {t} {symbol(name, dtype, width)}({', '.join(f'{t} %x{i}' for i in n)})\n"
        f"  %z = getelementptr i8, ptr %y, i64 %o\n  store {t} %r, ptr %z, align {size}\n"
        f"  %j = add i64 %i, {width}\n  %c = icmp ult i64 %j, %n\n  br i1 %c, label %loop, label %end\n"
        f"end:\n  ret void\n}}\n"
    )


@functools.cache
def _ready() -> None:
    binding.initialize_native_target()
    binding.initialize_native_asmprinter()
    binding.initialize_native_asmparser()


def _compile(
    dtype: str, width: int, level: str, model: str = "jitdefault"
) -> tuple[binding.ModuleRef, binding.TargetMachine]:
    _ready()
    processor, features = LEVELS[level]
    texts: dict[str, str] = {}
    for name in names():
        texts.update(required(name, dtype, width, features))
    text = "\n".join([*texts.values(), *(_array_function(name, dtype, width) for name in names())])
    module = binding.parse_assembly(text)
    module.verify()
    triple = binding.Target.from_default_triple()
    machine = triple.create_target_machine(cpu=processor, features="", opt=1, codemodel=model, jit=True)
    passes = binding.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    builder = binding.create_pass_builder(machine, binding.create_pipeline_tuning_options(speed_level=1))
    passes.run(module, builder)
    return module, machine


@functools.cache
def _engine(dtype: str, width: int, level: str) -> binding.ExecutionEngine:
    if not _host_has(level):
        pytest.skip(f"this processor lacks the instructions of {level}")
    engine = binding.create_mcjit_compiler(*_compile(dtype, width, level))
    engine.finalize_object()
    return engine


def run(name: str, dtype: str, level: str, *operands: np.ndarray, width: int = 8) -> np.ndarray:
    n = len(operands[0])
    padded = -(-n // width) * width
    arrays = [np.resize(np.asarray(x, TYPES[dtype][2]), padded) for x in operands]
    y = np.empty_like(arrays[0])
    pointers = [ctypes.c_void_p] * (len(arrays) + 1)
    kind = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64)
    address = _engine(dtype, width, level).get_function_address(name)
    kind(address)(*(a.ctypes.data for a in arrays), y.ctypes.data, padded)
    return y[:n]


def errors(y: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """In units in the last place of the rounded reference; infinite where one is finite or a nan and the other not."""
    with np.errstate(all="ignore"):
        rounded = reference.astype(y.dtype)
        unit = np.spacing(np.abs(rounded)).astype(np.longdouble)
        error = np.abs(y.astype(np.longdouble) - reference.astype(np.longdouble)) / unit
    same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
    return np.where(np.isfinite(rounded) & np.isfinite(y), error, np.where(same, 0.0, np.inf))


# -- accuracy

WIDE = np.longdouble


def _softrelu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    e = np.exp(-np.abs(x))
    return np.where(x < 0, e, 1) / (1 + e)


REFERENCES: dict[str, Callable[..., np.ndarray]] = {
    "exp": np.exp, "exp2": np.exp2, "expm1": np.expm1, "log": np.log, "log2": np.log2, "log10": np.log10,
    "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
    "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh, "asinh": np.arcsinh, "acosh": np.arccosh,
    "atanh": np.arctanh, "sigmoid": _sigmoid, "softrelu": _softrelu, "cbrt": np.cbrt, "rcbrt": lambda x: 1 / np.cbrt(x),
    "rsqrt": lambda x: 1 / np.sqrt(x), "pow": np.power, "atan2": np.arctan2, "hypot": np.hypot,
}  # fmt: skip


def _log_uniform(rng: np.random.Generator, low: float, high: float, n: int = 4000) -> np.ndarray:
    return np.exp(rng.uniform(math.log(low), math.log(high), n))


def _everywhere(rng: np.random.Generator, dtype: str) -> np.ndarray:
    """Both signs, all sizes from the denormals to the largest, and more from the middle."""
    ends = (2e-45, 3.4e38) if dtype == "f32" else (1e-323, 1.79e308)
    sizes = [_log_uniform(rng, *ends), rng.uniform(0, 10, 4000), _log_uniform(rng, 1e-3, 1e3)]
    x = np.concatenate(sizes)
    return np.concatenate([x, -x])


def _operands(name: str, dtype: str) -> list[np.ndarray]:
    rng = np.random.default_rng(len(name))
    x = _everywhere(rng, dtype)
    if name in ("exp", "exp2", "expm1", "sigmoid", "softrelu", "tanh", "sinh", "cosh"):
        ends = (-104, 89) if dtype == "f32" else (-746, 711)
        return [np.concatenate([x, rng.uniform(*ends, 8000), rng.uniform(-1, 1, 8000)])]
    if name in ("log", "log2", "log10", "rsqrt"):
        return [np.concatenate([np.abs(x), rng.uniform(0.5, 2, 8000)])]
    if name == "log1p":
        return [np.concatenate([x[x > -1], -rng.uniform(0, 1, 4000)])]
    if name in ("sin", "cos", "tan"):
        near_zeros = np.arange(-10000, 10000) * (math.pi / 2)
        return [np.concatenate([x, near_zeros, rng.uniform(-100, 100, 4000), rng.uniform(-2e6, 2e6, 4000)])]
    if name in ("asin", "acos", "atanh"):
        near_ends = 1 - _log_uniform(rng, 1e-16, 0.1)
        return [np.concatenate([x[np.abs(x) <= 1], rng.uniform(-1, 1, 8000), near_ends, -near_ends])]
    if name == "acosh":
        return [1 + np.concatenate([np.abs(x), _log_uniform(rng, 1e-15, 1)])]
    if name == "pow":
        a = np.concatenate([np.abs(x), rng.uniform(0.5, 2, 8000), 1 + _log_uniform(rng, 1e-12, 1e-3)])
        b = rng.uniform(-1, 1, len(a)) * rng.choice([1, 10, 300, 1e5], len(a))
        return [a, b]
    if arity(name) == 2:
        return [np.concatenate([v, rng.uniform(-3, 3, 8000)]) for v in (x, rng.permutation(x))]
    return [x]


levels = pytest.mark.parametrize("level", list(LEVELS))
dtypes = pytest.mark.parametrize("dtype", list(TYPES))


@levels
@dtypes
@pytest.mark.parametrize("name", list(REFERENCES))
def test_error_is_within_the_stated_bound(name: str, dtype: str, level: str) -> None:
    if dtype == "f64" and np.finfo(WIDE).nmant < 63:
        pytest.skip("long double is no wider than double here")
    kind = TYPES[dtype][2]
    operands = [x.astype(kind) for x in _operands(name, dtype)]
    # float64 reaches all of the library's f32 arguments; long double all of its f64 ones
    wide = np.float64 if dtype == "f32" else WIDE
    with np.errstate(all="ignore"):
        reference = REFERENCES[name](*(x.astype(wide) for x in operands))
    error = errors(run(name, dtype, level, *operands), reference)
    worst = int(np.argmax(error))
    bound = ERRORS[name][0 if dtype == "f32" else 1]
    assert error[worst] <= bound + 0.01, (name, [float(x[worst]) for x in operands], float(reference[worst]))


#: values of 22 digits, at arguments that f32 holds too, but for a few
VALUES: dict[str, list[tuple[float, str]]] = {
    "erf": [
        (8.673617379884035e-19, "9.787129154818710023504e-19"), (0.25, "0.2763263901682369329851"),
        (0.75, "0.7111556336535151315989"), (0.90625, "0.8000278941642329837616"),
        (0.9375, "0.815102401034399804177"), (0.984375, "0.8361128700503964839583"),
        (1.0, "0.8427007929497148693412"), (1.25, "0.9229001282564582301365"), (2.0, "0.9953222650189527341621"),
        (3.0, "0.9999779095030014145586"), (3.90625, "0.9999999669144919152604"), (5.5, "0.9999999999999926421521"),
    ],
    "erfinv": [
        (8.470329472543003e-22, "7.506634046023667372132e-22"), (0.015625, "0.01384818089091429021647"),
        (0.25, "0.225312055012178104725"), (0.5, "0.4769362762044698733814"), (0.75, "0.8134198475976185416903"),
        (0.875, "1.084787040069283141307"), (0.9375, "1.317150334986130748884"), (0.99, "1.821386367718449455873"),
        (0.998, "2.185124219133004079184"), (0.9990234375, "2.331467773621947672321"),
        (0.99993896484375, "2.834630285571394087312"), (0.9999990463256836, "3.465505025803330717256"),
        (0.9999999403953552, "3.832506856900710909458"), (0.9999998807907104, "3.743921162776799624889"),
        (0.9999999999990905, "5.051254085249389967072"), (0.9999999999999999, "5.863584748755167927208"),
    ],
    "gamma": [
        (7.888609052210118e-31, "1.267650600228229401497e+30"), (0.015625, "63.43802046989131098729"),
        (0.5, "1.772453850905516027298"), (0.75, "1.225416702465177645129"), (1.25, "0.9064024770554770779827"),
        (1.75, "0.9190625268488832338468"), (3.5, "3.323350970447842551184"), (9.75, "207358.599890248676458"),
        (11.984375, "38422426.48250026208444"), (12.0, "39916800.0"), (34.5, "5.044620868349451339916e+37"),
        (100.5, "9.320963104082716608349e+156"), (171.5, "9.483367566824799336253e+307"),
        (-7.888609052210118e-31, "-1.267650600228229401497e+30"), (-0.25, "-4.901666809860710580516"),
        (-0.5, "-3.544907701811032054596"), (-2.75, "-1.004497983230312259583"),
        (-11.984375, "1.390446298600035811801e-7"), (-12.25, "-4.920321482662801364527e-9"),
        (-30.5, "-2.135797443694174559898e-33"), (-100.25, "-1.503087709322750908902e-158"),
        (-170.5, "-3.31273952153860731481e-308"), (-177.5, "6.726961882550982780194e-324"),
    ],
    "gammaln": [
        (7.174648137343064e-43, "97.04060527839234331841"), (0.25, "1.288022524698077457371"),
        (0.484375, "0.6036581274540324874815"), (0.5, "0.5723649429247000870717"),
        (0.984375, "0.009221337197578781045045"), (1.015625, "-0.008819709705733069204889"),
        (1.5, "-0.1207822376352452223455"), (1.984375, "-0.006527019770560387562504"),
        (2.015625, "0.006684476830232184945965"), (2.484375, "0.2737560568203758550137"),
        (2.5, "0.2846828704729191596325"), (5.0, "3.178053830347945619647"), (9.984375, "12.76665669059582632038"),
        (10.0, "12.80182748008146961121"), (100.25, "360.2845596377642349684"),
        (1.152921504606847e+18, "46795735914903111728.33"), (1.329227995784916e+36, "1.092328485161744407543e+38"),
    ],
    "digamma": [
        (7.888609052210118e-31, "-1.267650600228229401497e+30"), (0.015625, "-64.55180297316785667097"),
        (0.5, "-1.963510026021423479441"), (0.984375, "-0.6032154221232298998658"),
        (1.0, "-0.5772156649015328606065"), (1.25, "-0.2274535333762654080895"),
        (1.4609375, "-0.0006724023902428804043781"), (1.4616321449683622, "-9.241265521729427516792e-17"),
        (1.46875, "0.006865411470735776728139"), (1.75, "0.2474724535468611637064"),
        (2.0, "0.4227843350984671393935"), (3.5, "1.103156640645243187226"), (9.984375, "2.250108014738118100274"),
        (10.0, "2.251752589066721107647"), (25.5, "3.218942472883919766545"), (1000.25, "6.907505289414428258109"),
        (1.152921504606847e+18, "41.5888308335967185646"), (-0.25, "2.914139120213527830373"),
        (-1.75, "-2.322691628614360646185"), (-5.25, "4.892046180473529266845"), (-20.375, "4.339938134101686280318"),
    ],
    "trigamma": [
        (9.094947017729282e-13, "1.208925819614629174706e+24"), (0.015625, "4097.608146981232547114"),
        (0.5, "4.934802200544679309417"), (1.0, "1.644934066848226436472"), (1.5, "0.9348022005446793094172"),
        (2.75, "0.4375712576489307614362"), (5.0, "0.2213229557371153253613"), (9.984375, "0.1053392730090205188404"),
        (10.0, "0.1051663356816857461222"), (30.25, "0.03361028174425329869021"),
        (1000.5, "0.0009999999166666958333103"), (1.152921504606847e+18, "8.673617379884035475821e-19"),
        (-0.25, "18.5418796476716064984"), (-0.5, "8.934802200544679309417"), (-1.75, "19.30163754452978647623"),
        (-10.375, "11.47107138575603347652"),
    ],
}  # fmt: skip


@levels
@dtypes
@pytest.mark.parametrize("name", list(VALUES))
def test_error_against_the_table(name: str, dtype: str, level: str) -> None:
    kind = TYPES[dtype][2]
    with np.errstate(all="ignore"):
        rows = [(x, WIDE(text)) for x, text in VALUES[name] if float(kind(x)) == x]
    x = np.array([row[0] for row in rows])
    reference = np.array([row[1] for row in rows], dtype=WIDE)
    bound = ERRORS[name][0 if dtype == "f32" else 1]
    error = errors(run(name, dtype, level, x), reference)
    worst = int(np.argmax(error))
    assert error[worst] <= bound + 0.01, (x[worst], reference[worst])
    if name in ("erf", "erfinv"):
        np.testing.assert_array_equal(run(name, dtype, level, -x), -run(name, dtype, level, x))


@levels
@pytest.mark.parametrize("name", ["erf", "gamma", "gammaln"])
def test_f32_against_pythons_math(name: str, level: str) -> None:
    reference = {"erf": math.erf, "gamma": math.gamma, "gammaln": math.lgamma}[name]
    x = np.linspace({"erf": -5, "gamma": -34.97, "gammaln": 0.003}[name], 34.99, 20011, dtype=np.float32)
    x = x[x != np.floor(x)] if name == "gamma" else x
    expected = np.array([reference(float(v)) for v in x])
    assert errors(run(name, "f32", level, x), expected).max() <= ERRORS[name][0] + 0.01


@levels
def test_gammaln_and_digamma_of_negative_numbers(level: str) -> None:
    """Both have zeros between the poles, near which only the absolute error is small."""
    x = -np.random.default_rng(0).uniform(0, 30, 2000)
    expected = np.array([math.lgamma(v) for v in x])
    assert np.max(np.abs(run("gammaln", "f64", level, x) - expected) / np.maximum(np.abs(expected), 1)) < 16 * 2.0**-52
    # psi(x + 1) = psi(x) + 1/x
    above, below = run("digamma", "f64", level, x + 1), run("digamma", "f64", level, x)
    scale = np.maximum(np.abs(above) + np.abs(1 / x), 1)
    distance = np.abs(x - np.rint(x))
    good = distance > 1e-3
    assert np.max((np.abs(above - below - 1 / x) / scale)[good]) < 1e-11


# -- special values

TINY = {"f32": 1e-45, "f64": 5e-324}
LARGE = {"f32": 3.4028234663852886e38, "f64": 1.7976931348623157e308}
HALF_PI, PI = math.pi / 2, math.pi
#: function: results at nan, inf, -inf, 0, -0
AT_ENDS: dict[str, tuple[float, float, float, float, float]] = {
    "exp": (NAN, INF, 0, 1, 1), "exp2": (NAN, INF, 0, 1, 1), "expm1": (NAN, INF, -1, 0, -0.0),
    "log": (NAN, INF, NAN, -INF, -INF), "log2": (NAN, INF, NAN, -INF, -INF), "log10": (NAN, INF, NAN, -INF, -INF),
    "log1p": (NAN, INF, NAN, 0, -0.0), "sin": (NAN, NAN, NAN, 0, -0.0), "cos": (NAN, NAN, NAN, 1, 1),
    "tan": (NAN, NAN, NAN, 0, -0.0), "asin": (NAN, NAN, NAN, 0, -0.0), "acos": (NAN, NAN, NAN, HALF_PI, HALF_PI),
    "atan": (NAN, HALF_PI, -HALF_PI, 0, -0.0), "sinh": (NAN, INF, -INF, 0, -0.0), "cosh": (NAN, INF, INF, 1, 1),
    "tanh": (NAN, 1, -1, 0, -0.0), "asinh": (NAN, INF, -INF, 0, -0.0), "acosh": (NAN, INF, NAN, NAN, NAN),
    "atanh": (NAN, NAN, NAN, 0, -0.0), "erf": (NAN, 1, -1, 0, -0.0), "erfinv": (NAN, NAN, NAN, 0, -0.0),
    "sigmoid": (NAN, 1, 0, 0.5, 0.5), "softrelu": (NAN, INF, 0, math.log(2), math.log(2)),
    "gamma": (NAN, INF, NAN, INF, -INF), "gammaln": (NAN, INF, INF, INF, INF), "digamma": (NAN, INF, INF, INF, INF),
    "trigamma": (NAN, 0, NAN, NAN, NAN), "cbrt": (NAN, INF, -INF, 0, -0.0), "rcbrt": (NAN, 0, -0.0, INF, -INF),
    "rsqrt": (NAN, 0, NAN, INF, -INF), "floor": (NAN, INF, -INF, 0, -0.0), "ceil": (NAN, INF, -INF, 0, -0.0),
    "trunc": (NAN, INF, -INF, 0, -0.0), "round": (NAN, INF, -INF, 0, -0.0), "rint": (NAN, INF, -INF, 0, -0.0),
}  # fmt: skip


def _check(name: str, dtype: str, level: str, operands: list[list[float]], expected: list[float]) -> None:
    kind = TYPES[dtype][2]
    with np.errstate(all="ignore"):
        y = run(name, dtype, level, *(np.array(x).astype(kind) for x in operands))
        wanted = np.array(expected).astype(kind)
    np.testing.assert_array_equal(y, wanted)
    signed = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(y)[signed], np.signbit(wanted)[signed])


@levels
@dtypes
def test_values_at_nan_infinities_and_zeros(dtype: str, level: str) -> None:
    assert set(AT_ENDS) == {name for name in names() if arity(name) == 1}
    for name, expected in AT_ENDS.items():
        _check(name, dtype, level, [[NAN, INF, -INF, 0.0, -0.0]], list(expected))


@levels
@dtypes
def test_values_outside_domains_and_at_range_ends(dtype: str, level: str) -> None:
    tiny, large = TINY[dtype], LARGE[dtype]
    for name in ("log", "log2", "log10", "rsqrt"):
        _check(name, dtype, level, [[-1.0, -tiny, -large]], [NAN] * 3)
    _check("log1p", dtype, level, [[-1.0, -1.5, tiny, -tiny]], [-INF, NAN, tiny, -tiny])
    for name in ("asin", "acos", "erfinv", "atanh"):
        _check(name, dtype, level, [[1.0001, -1.0001, large]], [NAN] * 3)
    _check("erfinv", dtype, level, [[1.0, -1.0]], [INF, -INF])
    _check("atanh", dtype, level, [[1.0, -1.0]], [INF, -INF])
    _check("acosh", dtype, level, [[1.0, 0.999, -large]], [0.0, NAN, NAN])
    _check("exp", dtype, level, [[large, -large, tiny]], [INF, 0.0, 1.0])
    _check("exp2", dtype, level, [[3.0, -2.0, 0.0, 10.0, large, -large]], [8.0, 0.25, 1.0, 1024.0, INF, 0.0])
    _check("log2", dtype, level, [[8.0, 0.25, 1.0, tiny]], [3.0, -2.0, 0.0, -149.0 if dtype == "f32" else -1074.0])
    _check("tanh", dtype, level, [[large, -large, 50.0]], [1.0, -1.0, 1.0])
    _check("sigmoid", dtype, level, [[large, -large]], [1.0, 0.0])
    _check("softrelu", dtype, level, [[large, -large]], [large, 0.0])
    _check("cosh", dtype, level, [[large, -large]], [INF, INF])
    _check("sinh", dtype, level, [[large, -large]], [INF, -INF])
    _check("gamma", dtype, level, [[1.0, 2.0, 5.0, 7.0, -1.0, -30.0, large]], [1.0, 1.0, 24.0, 720.0, NAN, NAN, INF])
    _check("gammaln", dtype, level, [[1.0, 2.0, -1.0, -30.0]], [0.0, 0.0, INF, INF])
    _check("digamma", dtype, level, [[-1.0, -30.0]], [INF, INF])
    for name in ("sin", "tan", "asin", "atan", "sinh", "tanh", "asinh", "atanh", "expm1"):
        _check(name, dtype, level, [[tiny, -tiny, 3 * tiny]], [tiny, -tiny, 3 * tiny])


@levels
def test_tanh_erf_and_sigmoid_stay_within_their_ranges(level: str) -> None:
    x = np.linspace(-20, 20, 40001, dtype=np.float32)
    for name in ("tanh", "erf", "sigmoid"):
        assert np.abs(run(name, "f32", level, x)).max() <= 1


@levels
@dtypes
def test_pow_follows_the_c_standard(dtype: str, level: str) -> None:
    some = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5, 3.0, -3.0, 1.5, -1.5, 1e30, -1e30, 9.0, 1e-30]
    a, b = np.array([(a, b) for a in some for b in some]).T
    kind = TYPES[dtype][2]
    with np.errstate(all="ignore"):
        expected = np.power(a.astype(kind), b.astype(kind))
    exact = ~np.isfinite(expected) | (expected == np.rint(expected)) & (np.abs(expected) < 1e5)
    _check("pow", dtype, level, [list(a[exact]), list(b[exact])], list(expected[exact].astype(np.float64)))
    # the rest are negative bases, too: the sign must be right, the size as accurate as elsewhere
    error = errors(run("pow", dtype, level, a[~exact], b[~exact]), expected[~exact].astype(WIDE))
    assert error.max() <= 2


@levels
@dtypes
def test_atan2_at_zeros_and_infinities(dtype: str, level: str) -> None:
    some = [NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, LARGE[dtype], -LARGE[dtype], TINY[dtype], -TINY[dtype]]
    a, b = np.array([(a, b) for a in some for b in some]).astype(TYPES[dtype][2]).T
    expected = np.arctan2(a, b)
    y = run("atan2", dtype, level, a, b)
    assert errors(y, expected.astype(WIDE)).max() <= 1
    real = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(y[real]), np.signbit(expected[real]))


@levels
@dtypes
def test_hypot_at_infinities(dtype: str, level: str) -> None:
    large, tiny = LARGE[dtype], TINY[dtype]
    a = [INF, NAN, NAN, 0, -INF, large, -3, tiny]
    b = [NAN, -INF, 1, -0.0, 1, large, 4, 0]
    _check("hypot", dtype, level, [a, b], [INF, INF, NAN, 0, INF, INF, 5, tiny])


@levels
@dtypes
def test_mod_is_exact_and_has_the_sign_of_the_divisor(dtype: str, level: str) -> None:
    a = [5.5, -5.5, 5.5, -5.5, 1, INF, 1, -1, 1, -1, NAN, 0.0, 4, -4, 0, 1, 6]
    b = [3, 3, -3, -3, 0, 2, INF, INF, -INF, -INF, 1, 3, 2, 2, 0, NAN, 0.0]
    expected = [2.5, 0.5, -0.5, -2.5, 0, NAN, 1, INF, -INF, -1, NAN, 0, 0, 0, 0, NAN, 0]
    y = run("mod", dtype, level, np.array(a), np.array(b))
    np.testing.assert_array_equal(y, np.array(expected))
    x = _everywhere(np.random.default_rng(1), dtype).astype(TYPES[dtype][2])
    z = np.random.default_rng(2).permutation(x)
    rest = np.fmod(x, z)
    rest = np.where((rest != 0) & (np.signbit(rest) != np.signbit(z)), rest + z, rest)
    np.testing.assert_array_equal(run("mod", dtype, level, x, z), np.where(z == 0, 0, rest))


@levels
@dtypes
def test_rounding(dtype: str, level: str) -> None:
    below_half = float(np.nextafter(TYPES[dtype][2](0.5), TYPES[dtype][2](0)))
    odd = 2.0**23 + 1 if dtype == "f32" else 2.0**52 + 1
    x = [0.5, 1.5, 2.5, -0.5, -1.5, -0.2, below_half, -below_half, odd, -odd, TINY[dtype], -TINY[dtype], 2.4, -2.6]
    _check("rint", dtype, level, [x], [0, 1, 2, -1, -2, -0.0, 0, -0.0, odd, -odd, 0, -0.0, 2, -3])
    _check("round", dtype, level, [x], [1, 2, 3, -1, -2, -0.0, 0, -0.0, odd, -odd, 0, -0.0, 2, -3])
    everywhere = np.concatenate([_everywhere(np.random.default_rng(3), dtype), x])
    with np.errstate(over="ignore"):
        everywhere = everywhere.astype(TYPES[dtype][2])
    for name, function in (("floor", np.floor), ("ceil", np.ceil), ("trunc", np.trunc)):
        _check(name, dtype, level, [list(everywhere)], list(function(everywhere).astype(np.float64)))


# -- the texts


@dtypes
@pytest.mark.parametrize("width, level", [(1, "fma"), (1, "plain"), (4, "plain"), (16, "fma")])
def test_all_widths_give_the_same_bits(dtype: str, width: int, level: str) -> None:
    rng = np.random.default_rng(4)
    x = np.concatenate([_everywhere(rng, dtype)[::61], [0.0, -0.0, INF, -INF, NAN, 1.0, -1.0], rng.uniform(-3, 3, 200)])
    z = rng.permutation(x)
    for name in names():
        operands = (x, z)[: arity(name)]
        one, other = run(name, dtype, level, *operands), run(name, dtype, level, *operands, width=width)
        np.testing.assert_array_equal(one, other, err_msg=name)
        real = ~np.isnan(one)
        np.testing.assert_array_equal(np.signbit(one[real]), np.signbit(other[real]), err_msg=name)


@pytest.mark.skipif(not IS_X86, reason="reads x86 assembly")
@dtypes
@pytest.mark.parametrize("level, width", [("plain", 1), ("plain", 8), ("rounding", 4), ("fma", 16)])
def test_no_call_leaves_the_library(dtype: str, level: str, width: int) -> None:
    """LLVM makes calls to libm of intrinsics the target lacks: there must be none, on any level."""
    # the JIT's default model calls through registers
    module, machine = _compile(dtype, width, level, "small")
    targets = re.findall(r"^\s+(?:call|jmp)q?\s+([^.\s]\S*)", machine.emit_assembly(module), re.MULTILINE)
    assert targets
    assert not [t for t in targets if "symc." not in t]


@dtypes
@pytest.mark.parametrize("features", [Features(), Features(fma=False), Features(fma=False, round=False)])
def test_required_texts_are_complete(dtype: str, features: Features) -> None:
    for name in names():
        for width in (1, 8):
            texts = required(name, dtype, width, features)
            defined = set(re.findall(r"^(?:define|declare).*?(@[\w.]+)\(", "\n".join(texts.values()), re.MULTILINE))
            used = set(re.findall(r"call [^@]*(@[\w.]+)\(", "\n".join(texts.values())))
            assert used <= defined, name
            assert definition(name, dtype, width, features) == texts[symbol(name, dtype, width)]
            if not features.fma:
                assert "llvm.fma" not in " ".join(texts)


def test_hot_f32_functions_are_short_enough_to_inline() -> None:
    for name in ("exp", "log", "tanh", "sigmoid", "erf", "sin", "cos", "softrelu"):
        for features in (Features(), Features(fma=False, round=False)):
            assert "alwaysinline" in definition(name, "f32", 8, features), name


def test_unknown_function() -> None:
    with pytest.raises(KeyError):
        required("nothing", "f64", 4, Features())
