"""Whether the text of every level of models reads back: printed, parsed, verified, and printed again as the same bytes.

    python tests/round_trips.py FOLDER [GLOB]

FOLDER holds NAME-symbol.json files (or .json.gz) and a meta.json that says of each model the shapes and types of its
inputs. Every model is compiled for inference and for training.
"""

from __future__ import annotations

import argparse
import difflib
import fnmatch
import gzip
import json
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import symc as mx
from symc.cli.inputs import definition
from symc.compile import remaining
from symc.ir.parse import parse
from symc.ir.text import collect_constants, level_of, print_module
from symc.ir.types import TensorType, dtype_of
from symc.ir.verify import verify
from symc.passes.manager.manager import Manager, Module
from symc.typed import complete, module_of, roles_of


def read_back(module: Module, name: str) -> None:
    """Print, read, verify and print again. AssertionError where the text is another one."""
    text = print_module(module)
    made = parse(text, collect_constants(module), definition)
    again = print_module(made)
    if again != text:
        lines = difflib.unified_diff(
            text.splitlines(), again.splitlines(), "printed", "read and printed", "", "", 1, ""
        )
        raise AssertionError("\n".join([f"{name} ({level_of(module)}) reads back as another text:", *list(lines)[:20]]))
    verify(made)


def check(module: Module, train: bool) -> int:
    """Every level of a symbol module, by way of the compiler's passes; the number of texts."""
    arguments = [n.name for n in module.graph.variables()[0]]
    floats = [n for n in arguments if module.types[n].dtype.is_float and module.roles.get(n, "arg") == "arg"]
    manager, texts = Manager(verify=False), 1
    read_back(module, "the Symbol")
    for pass_ in remaining(module, train, floats if train else ()):
        before, module = module, manager.step(pass_, module)
        if module is not before:
            read_back(module, f"after {pass_.name}")
            texts += 1
    return texts


def models(folder: Path, pattern: str) -> Iterator[tuple[str, Module]]:
    """The models of a folder with the types of their variables."""
    for row in json.loads((folder / "meta.json").read_text())["models"]:
        name = row["name"]
        if not fnmatch.fnmatchcase(name, pattern):
            continue
        path = folder / f"{name}-symbol.json"
        packed = path.with_name(f"{path.name}.gz")
        symbol = mx.sym.load(str(path)) if path.exists() else mx.sym.load_json(gzip.open(packed, "rt").read())
        arguments: list[str] = symbol.list_arguments()
        known: dict[str, Any] = {n: tuple(s) for n, s in row.get("shapes", {}).items() if n in arguments}
        for n, spec in row["inputs"].items():
            if n in arguments:
                known[n] = TensorType(dtype_of(spec.get("dtype", "float32")), tuple(spec["shape"]))
        types, missing = complete(symbol, known)
        assert not missing, f"{name}: the shapes of {missing} are not known"
        yield name, module_of(symbol, types, roles_of(types, row["inputs"]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("glob", nargs="?", default="*")
    options = parser.parse_args()
    failed = texts = 0
    for name, module in models(options.folder, options.glob):
        for train in (False, True):
            begin, how = time.monotonic(), "training" if train else "inference"
            try:
                count = check(module, train)
            except Exception:
                failed += 1
                print(f"{name} {how}: FAILED\n{traceback.format_exc(limit=-3)}", flush=True)
                continue
            texts += count
            print(f"{name} {how}: {count} texts, {time.monotonic() - begin:.1f} s", flush=True)
    print(f"{texts} texts read back, {failed} compilations failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
