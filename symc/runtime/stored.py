"""Compiled programs on disk, beside their kernels: a later process that binds the same Symbol runs no pass.

A program is known by all that the passes see (the Symbol's nodes with their names, attributes and lines, the types, how
it is compiled, the target) and by what they are: the sources of the compiler, as Python knows whether its bytecode is
current, and the versions of Python, numpy and LLVM. Not kept are programs with operators that are not symc's own, or
that hold Symbols or functions in Python.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import symc.codegen
import symc.ir
import symc.ops
import symc.passes
from symc.codegen.emit.description import NativeKernel
from symc.codegen.jit.cache import default_cache
from symc.codegen.jit.compile import target_fingerprint
from symc.codegen.target import Target
from symc.ir.modules import Calls, SymbolModule
from symc.ir.program.nodes import Program
from symc.ir.program.packed import Unpackable, pack, unpack

_PLAIN = (type(None), bool, int, float, str)


def key_of(module: SymbolModule, options: Sequence[object], target: Target) -> bytes | None:
    """What a program is known by that is compiled of the module with these options (all that have a plain text); None
    if it cannot be kept, or nothing is."""
    if default_cache() is None:
        return None
    nodes = module.graph.nodes()
    at = {node: i for i, node in enumerate(nodes)}
    texts: dict[int, str | None] = {}
    listed: list[object] = []
    for node in nodes:
        definition = node.definition
        text = texts.get(id(definition))
        if text is None:
            text = texts[id(definition)] = _text(definition)
            if text is None:
                return None
        listed.append((node.name, node.op, node.where, text, [(at[source], output) for source, output in node.inputs]))
    whole = (
        *(module.name, module.output_names, [(at[node], output) for node, output in module.graph.outputs], listed),
        *(sorted(part.items()) for part in (module.types, module.roles, module.shapes)),
        *options,
    )
    digest = hashlib.sha256(b"program" + target_fingerprint(target) + _compiler())
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
    """A digest of the compiler: the sizes and times of its sources, and the versions of what it computes with."""
    found: list[tuple[str, int, int]] = []
    waiting = [os.path.dirname(str(module.__file__)) for module in (symc.ir, symc.passes, symc.ops, symc.codegen)]
    own = os.path.dirname(__file__)
    files = [__file__, os.path.join(os.path.dirname(own), "compile.py")]
    for folder in waiting:
        with os.scandir(folder) as listing:
            for entry in listing:
                if entry.name.endswith(".py"):
                    files.append(entry.path)
                elif entry.name != "__pycache__" and entry.is_dir():
                    waiting.append(entry.path)
    for path in sorted(files):
        status = os.stat(path)
        found.append((os.path.basename(path), status.st_size, status.st_mtime_ns))
    return hashlib.sha256(repr((sys.version, np.__version__, found)).encode()).digest()


def load(key: bytes) -> tuple[Program, Calls, tuple[NativeKernel, ...]] | None:
    """The program kept under the key, and what running its kernels needs to know; None if there is none."""
    cache = default_cache()
    data = cache.get(key) if cache is not None else None
    if data is None:
        return None
    end = int.from_bytes(data[:8], "little")
    kernels = [NativeKernel(*words, tuple(shifts)) for *words, shifts in json.loads(data[8:end])]
    return *unpack(data[end:]), tuple(kernels)


def save(key: bytes, program: Program, called: Calls, kernels: Sequence[NativeKernel]) -> None:
    """Keep a program, unless it holds what means something in this process only."""
    cache = default_cache()
    if cache is None:
        return
    try:
        packed = pack(program, called)
    except Unpackable:
        return
    facts = json.dumps([dataclasses.astuple(kernel) for kernel in kernels]).encode()
    cache.put(key, (8 + len(facts)).to_bytes(8, "little") + facts + packed)
