"""`parse(text)`: the module that a `.sir` text describes, of whatever level. See symc.ir.text and the modules
symc.ir.text_* for the grammar."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Union

import numpy as np

import symc.ir.prims  # noqa: F401  (registers the primitives)
from symc.ir.loop.parse import parse_loops
from symc.ir.modules import LoopModule, SymbolModule
from symc.ir.op import Recorder
from symc.ir.program.nodes import Program
from symc.ir.program.parse import parse_program
from symc.ir.symbol.parse import Definitions, parse_symbols
from symc.ir.syntax.tokens import END, ONE_PROGRAM, Reader
from symc.ir.tensor.graph import Graph
from symc.ir.tensor.parse import parse_graph
from symc.ir.types import Array

Module = Union[SymbolModule, Graph, Program, LoopModule]
LEVELS = ("symbol", "tensor", "fused", "planned", "loop")
VERSION = 1


def parse(
    text: str,
    data: Mapping[str, Array] | str | PathLike[str] | None = None,
    definitions: Definitions | None = None,
) -> Module:
    """Read a `.sir` text.

    `data` holds the constants the text elides, by hash (a mapping, or the path of an .npz); `definitions(op, attrs)`
    gives the rules of a symbol graph's operators (without it nodes have none). ParseError, with the place, for text
    that is not IR; MissingData for an elided constant that is not in `data`.
    """
    if isinstance(data, (str, PathLike)):
        with np.load(data) as archive:
            data = {key: archive[key] for key in archive.files}
    p = Reader(text, data)
    try:
        return _module(p, definitions)
    except RecursionError:
        raise p.error("the text is nested too deeply") from None


def _module(p: Reader, definitions: Definitions | None) -> Module:
    if p.peek == END:
        raise p.error(f"there is no program in the text, which begins with: symc ir {VERSION} level=...")
    for token in ("symc", "ir"):
        p.expect(token)
    version = p.integer()
    if version != VERSION:
        raise p.error(f"version {version} of the text form is not known; this is version {VERSION}", p.at - 1)
    for token in ("level", "="):
        p.expect(token)
    level = p.word()
    if level not in LEVELS:
        p.suggest("level", level, LEVELS, p.at - 1)
    start = p.at
    p.read_origins()
    p.at = start
    # The nodes read here are not part of a program that somebody else is building.
    with Recorder():
        module: Module
        if level == "symbol":
            module = parse_symbols(p, definitions)
        elif level == "tensor":
            module = parse_graph(p)
        elif level == "loop":
            module = parse_loops(p)
        else:
            module = parse_program(p)
    if p.peek == "symc":
        raise p.error(f"another program begins here, and {ONE_PROGRAM}")
    if p.peek != END:
        p.unexpected("the end of the text or the table of origins")
    return module
