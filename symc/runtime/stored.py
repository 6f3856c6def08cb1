"""Compiled programs on disk, beside their kernels: a later process that binds the same Symbol runs no pass.

A program is known by all that the passes see (the Symbol's nodes with their attributes, the types, how it is compiled,
the target) and by what they are: the sources of the compiler, as Python knows whether its bytecode is current, and the
versions of Python, numpy and LLVM. Names and lines say nothing of what a program computes: a Symbol that differs only
in them gets the same program, under its own names (symc.ir.program.renaming). Of a tensor graph names and origins
count, too. Not kept are programs with operators that are not symc's own, or that hold Symbols or functions in Python.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import symc.ir
import symc.ops
import symc.passes
from symc.codegen.emit.description import NativeKernel
from symc.codegen.jit.cache import default_cache, sources
from symc.codegen.jit.compile import target_fingerprint
from symc.codegen.target import Target
from symc.ir.modules import Calls, SymbolModule
from symc.ir.origins import SymOrigin
from symc.ir.program.nodes import Program
from symc.ir.program.packed import Unpackable, content, pack, unpack
from symc.ir.program.renaming import Clash, Renaming
from symc.ir.tensor.graph import Graph
from symc.passes.manager.manager import Pass

_PLAIN = (type(None), bool, int, float, str)


class Key(NamedTuple):
    """What a program is found by, and what it was or will be made of: names and Symbols, each in the order in which
    they are met, so that those of another Symbol with the same digest stand in their places."""

    digest: bytes
    names: tuple[str, ...] = ()
    symbols: tuple[tuple[str, str, str, int, bool], ...] = ()


class _Numbers:
    """Names by the order in which they are met: two are one where they are equal."""

    def __init__(self) -> None:
        self._found: dict[str, int] = {}

    def __call__(self, name: str) -> int:
        return self._found.setdefault(name, len(self._found))

    def all(self, names: Iterable[str]) -> tuple[int, ...]:
        return tuple(map(self, names))

    def of(self, named: Mapping[str, object]) -> list[tuple[int, object]]:
        return sorted((self(name), value) for name, value in named.items())

    def names(self) -> tuple[str, ...]:
        return tuple(self._found)


def key_of(
    module: SymbolModule, wrt: Sequence[str], add: Sequence[str], options: Sequence[object], target: Target
) -> Key | None:
    """What a program is known by that is compiled of the module for these gradients, with these options (all that have
    a plain text, and no names in it); None if it cannot be kept, or nothing is."""
    if default_cache() is None:
        return None
    nodes = module.graph.nodes()
    at = {node: i for i, node in enumerate(nodes)}
    texts: dict[int, str | None] = {}
    number = _Numbers()
    listed: list[object] = []
    for node in nodes:
        definition = node.definition
        text = texts.get(id(definition))
        if text is None:
            text = texts[id(definition)] = _text(definition)
            if text is None:
                return None
        sources = [(at[source], output) for source, output in node.inputs]
        listed.append((number(node.name), node.op, text, node.strict, sources))
    whole = (
        *(number(module.name), number.all(module.output_names)),
        *([(at[node], output) for node, output in module.graph.outputs], listed),
        *(number.of(part) for part in (module.types, module.roles, module.shapes)),
        *(number.all(wrt), number.all(add), *options),
    )
    symbols = tuple([_told(node.origin()) for node in nodes])
    return Key(_digest(b"symbol", whole, target), number.names(), symbols)


def key_of_graph(graph: Graph, passes: Sequence[Pass], target: Target) -> Key | None:
    """What a program is known by that these passes make of a tensor graph; None if it cannot be kept, or nothing is."""
    if default_cache() is None:
        return None
    try:
        whole = content(graph), [pass_.spelled() for pass_ in passes]
    except Unpackable:
        return None
    return Key(_digest(b"graph", whole, target))


def _digest(kind: bytes, whole: object, target: Target) -> bytes:
    digest = hashlib.sha256(kind + target_fingerprint(target) + _compiler())
    digest.update(repr(whole).encode())
    return digest.digest()


def _text(definition: Any) -> str | None:
    """The class and the attributes of an operator; None where they do not say all."""
    if definition is None:
        return ""
    cls = type(definition)
    own = cls.__module__.startswith("symc.ops.") and not cls.__module__.startswith("symc.ops.embedded.")
    if not own or not dataclasses.is_dataclass(definition) or vars(definition).keys() - _names(cls):
        return None
    values = [getattr(definition, name) for name in _names(cls)]
    return f"{cls.__module__}.{cls.__qualname__}{values!r}" if all(map(_plain, values)) else None


@functools.cache
def _names(cls: Any) -> dict[str, None]:
    return dict.fromkeys(field.name for field in dataclasses.fields(cls))


def _plain(value: object) -> bool:
    return type(value) in _PLAIN or type(value) is tuple and all(map(_plain, value))


@functools.cache
def _compiler() -> bytes:
    """A digest of the compiler: the sizes and times of its sources, and the versions of what it computes with. Those
    of code generation are in the fingerprint of the target."""
    found = [sources(os.path.dirname(str(module.__file__))) for module in (symc.ir, symc.passes, symc.ops)]
    own = os.path.dirname(__file__)
    status = [os.stat(path) for path in (__file__, os.path.join(os.path.dirname(own), "compile.py"))]
    found.append([("", s.st_size, s.st_mtime_ns) for s in status])
    return hashlib.sha256(repr((sys.version, np.__version__, found)).encode()).digest()


def load(key: Key) -> tuple[Program, Calls, tuple[NativeKernel, ...]] | None:
    """The program kept under the key, by the names that stand in it, and what running its kernels needs to know; None
    if there is none."""
    cache = default_cache()
    data = cache.get(key.digest) if cache is not None else None
    if data is None:
        return None
    end = int.from_bytes(data[:8], "little")
    facts, names, symbols = json.loads(data[8:end])
    kernels = tuple(NativeKernel(*words, tuple(shifts), tuple(numbers)) for *words, shifts, numbers in facts)
    renaming = None
    before, after = [tuple(symbol) for symbol in symbols], key.symbols
    try:
        if tuple(names) != key.names or tuple(before) != after:
            pairs = zip(map(_symbol, before), map(_symbol, after), strict=True)
            renaming = Renaming(zip(names, key.names, strict=True), pairs)
        return *unpack(data[end:], renaming), kernels
    except Clash:
        return None


#: what an origin tells, in the order that makes it again (dataclasses.astuple copies in depth: ten times as long)
_told: Callable[[SymOrigin], tuple[str, str, str, int, bool]] = operator.attrgetter(
    *(field.name for field in dataclasses.fields(SymOrigin))
)


def _symbol(packed: tuple[str, str, str, int, bool]) -> SymOrigin:
    return SymOrigin(*packed)


def save(key: Key, program: Program, called: Calls, kernels: Sequence[NativeKernel]) -> None:
    """Keep a program, unless it holds what means something in this process only."""
    cache = default_cache()
    if cache is None:
        return
    try:
        packed = pack(program, called)
    except Unpackable:
        return
    facts = json.dumps([[dataclasses.astuple(kernel) for kernel in kernels], key.names, key.symbols]).encode()
    cache.put(key.digest, (8 + len(facts)).to_bytes(8, "little") + facts + packed)
