"""What the functions of `mx.sym` and `mx.nd` have in common: their docstrings, signatures and namespaces, all from the
registry of operators."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from typing import Any

from symc.base import near
from symc.ops.base import OPERATORS, Operator, parameters

#: prefix of an operator's name -> sub-namespace of mx.sym
NAMESPACES = {
    "_contrib_": "contrib", "_linalg_": "linalg", "_random_": "random", "_image_": "image", "_sparse_": "sparse",
}  # fmt: skip

#: operators that are in the sub-namespace `sparse` too, as in MXNet
SPARSE = frozenset(
    """ElementWiseSum Embedding FullyConnected LinearRegressionOutput LogisticRegressionOutput MAERegressionOutput
    _contrib_round_ste _contrib_sign_ste abs adam_update add_n arccos arccosh arcsin arcsinh arctan arctanh
    broadcast_add broadcast_div broadcast_minus broadcast_mul broadcast_plus broadcast_sub cast_storage cbrt ceil clip
    concat cos cosh degrees dot elemwise_add elemwise_div elemwise_mul elemwise_sub exp expm1 fix floor ftrl_update
    gamma gammaln log log10 log1p log2 make_loss mean negative norm radians relu rint round rsqrt sgd_mom_update
    sgd_update sigmoid sign sin sinh slice sqrt square stop_gradient sum tan tanh trunc where zeros_like""".split()
)


#: operators that are methods of Symbols and arrays too (the first input is the object)
METHODS = """
abs arccos arccosh arcsin arcsinh arctan arctanh argmax argmax_channel argmin argsort broadcast_axes broadcast_like
broadcast_to cbrt ceil clip cos cosh degrees depth_to_space diag exp expand_dims expm1 fix flatten flip floor log log10
log1p log2 log_softmax max mean min nanprod nansum norm one_hot ones_like pad pick prod radians rcbrt reciprocal relu
repeat reshape reshape_like rint round rsqrt shape_array sigmoid sign sin sinh size_array slice slice_axis slice_like
softmax softmin sort space_to_depth split split_v2 sqrt square squeeze sum swapaxes take tan tanh tile topk transpose
trunc zeros_like
""".split()


def describe(cls: type[Operator]) -> str:
    """The docstring of an operator's function."""
    lines = [inspect.cleandoc(cls.__doc__ or cls.op_name), "", "Parameters", "----------"]
    if cls.variadic:
        lines.append("*args : Symbols")
    else:
        lines += [f"{n} : Symbol" for n in (*cls.input_names, *cls.aux_names)]
    for p in parameters(cls):
        kind = getattr(p.annotation, "__name__", None) or str(p.annotation).replace("typing.", "")
        lines.append(f"{p.name} : {kind}, {'required' if p.required else f'default {p.default!r}'}")
    return "\n".join(lines)


def signature(cls: type[Operator], inputs: type) -> inspect.Signature:
    """The Python signature of an operator's function, whose operands and result are of the type `inputs`."""
    kinds = inspect.Parameter
    made: list[inspect.Parameter] = []
    if cls.variadic:
        made.append(kinds("args", kinds.VAR_POSITIONAL, annotation=inputs))
    else:
        for n in (*cls.input_names, *cls.aux_names):
            made.append(kinds(n, kinds.POSITIONAL_OR_KEYWORD, default=None, annotation=inputs))
    after = kinds.KEYWORD_ONLY if cls.variadic else kinds.POSITIONAL_OR_KEYWORD
    for p in parameters(cls):
        if p.name == cls.variadic and cls.counts_itself:
            continue
        default = inspect.Parameter.empty if p.required else p.default
        if p.required and after is kinds.POSITIONAL_OR_KEYWORD and made:
            default = None
        made.append(kinds(p.name, after, default=default, annotation=p.annotation))
    taken = {m.name for m in made}
    made += [kinds(n, kinds.KEYWORD_ONLY, default=None) for n in ("name", "attr") if n not in taken]
    made.append(kinds("kwargs", kinds.VAR_KEYWORD))
    return inspect.Signature(made, return_annotation=inputs)


def install(namespace: dict[str, Any], package: str, make: Callable[[type[Operator], str], Any]) -> None:
    """Put a function for every operator into a namespace and its sub-namespaces (modules `package.contrib`, ...)."""
    internal = submodule(namespace, package, "_internal")
    everything = submodule(namespace, package, "op")
    for called, cls in OPERATORS.items():
        function = make(cls, called)
        setattr(everything, called, function)
        for prefix, sub in NAMESPACES.items():
            if called.startswith(prefix):
                short = called[len(prefix) :]
                setattr(submodule(namespace, package, sub), short, make(cls, short))
                break
        if called in SPARSE:
            setattr(submodule(namespace, package, "sparse"), called, function)
        if called.startswith("_"):
            setattr(internal, called, function)
        else:
            namespace.setdefault(called, function)


def suggestion(name: str) -> str:
    """ "; did you mean ...?" for a name that is close to an operator's."""
    close = near(name, OPERATORS)
    return f"; did you mean {close[0]}?" if close else ""


def submodule(namespace: dict[str, Any], package: str, name: str) -> types.ModuleType:
    """The sub-namespace `name` of a package of functions, made when it is first asked for."""
    found = namespace.get(name)
    if not isinstance(found, types.ModuleType):
        found = types.ModuleType(f"{package}.{name}", f"Functions of {package}.{name}.")
        namespace[name] = found
        sys.modules[f"{package}.{name}"] = found
    return found
