"""Protects the project's shape: imports go one way, modules stay small, importing is light, and the wheel works beside
a user's own modules named `ir` and `passes`."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: no module is longer, so that each can be read in one sitting
LINES = 500
#: what each layer may import of the project
LAYERS = {"ir": ("symc.ir",), "passes": ("symc.ir", "symc.passes")}


def sources(*folders: str) -> Iterator[Path]:
    """The Python files of the project's folders; ir and passes are seen under their own names only."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path.relative_to(ROOT).parts[:2] not in (("symc", "ir"), ("symc", "passes")):
                yield path


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, and every name it takes from one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_one_way(layer):
    """ir <- passes <- symc."""
    for path in sources(layer):
        for name in imported(path):
            allowed = not within(name, "symc") or any(within(name, package) for package in LAYERS[layer])
            assert allowed, f"{path.relative_to(ROOT)} imports {name}"


def test_llvm_is_known_to_code_generation_only():
    for path in sources("ir", "passes", "symc"):
        if ROOT / "symc" / "codegen" not in path.parents:
            found = [name for name in imported(path) if within(name, "llvmlite")]
            assert not found, f"{path.relative_to(ROOT)} imports {found}"


def test_locks_and_forks_have_one_home():
    """symc.ir.process knows every lock, their order, and what a forked child makes of them. It would not know those of
    a pool of threads that others own."""
    makers = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "register_at_fork"}
    makers.add("cached_property")  # has a lock before Python 3.12
    for path in sources("ir", "passes", "symc"):
        if path == ROOT / "ir" / "process.py":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)} & makers
        taken = {name for name in imported(path) if within(name, "threading") or within(name, "functools")}
        taken = {name for name in taken if name.split(".")[-1] in makers}
        pools = {n for n in imported(path) if within(n, "concurrent.futures") or within(n, "multiprocessing")}
        assert not used | taken | pools, f"{path.relative_to(ROOT)} uses {used | taken | pools}"


def test_modules_are_short():
    """Recorded questions and answers (tests/golden) are data."""
    long = {
        str(path.relative_to(ROOT)): count
        for path in sources("ir", "passes", "symc", "tests")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > LINES and "golden" not in path.parts
    }
    assert not long


def python(code: str, **options) -> subprocess.CompletedProcess[str]:
    """`code` in a fresh interpreter that finds the project's folder first."""
    command = [sys.executable, "-c", code]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, **options)


def test_importing_is_light():
    code = "import sys, symc; print(*(m for m in ('llvmlite', 'networkx', 'numpy', 'tqdm') if m in sys.modules))"
    done = python(code)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stdout + done.stderr


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_have_one_name(layer):
    """A second copy of the IR under a short name would have its own node table."""
    done = python(f"import {layer}")
    assert done.returncode and f"this package is symc.{layer}" in done.stderr


def test_every_package_is_distributed():
    """Each folder with code is listed in pyproject.toml, ir and passes once, under their import names."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = re.search(r"^packages = \[(.*?)\]", text, re.DOTALL | re.MULTILINE)
    assert block is not None
    folders = {path.parent.relative_to(ROOT) for path in sources("symc", "ir", "passes") if path.name == "__init__.py"}
    names = {".".join(f.parts if f.parts[0] == "symc" else ("symc", *f.parts)) for f in folders}
    assert set(re.findall(r'"([^"]+)"', block[1])) == names


USER = """
import ir, passes
assert ir.MINE and passes.MINE
import symc as mx
import numpy as np
import symc.ir.tensor.graph, symc.passes.registry
assert "site-packages" in mx.__file__, mx.__file__
x = mx.sym.Variable("x")
net = mx.sym.FullyConnected(x, num_hidden=2, no_bias=True, name="fc")
exe = net.bind(mx.cpu(), {"x": mx.nd.ones((3, 4)), "fc_weight": mx.nd.ones((2, 4))})
np.testing.assert_array_equal(exe.forward()[0].asnumpy(), np.full((3, 2), 4))
print("ran", mx.__version__)
"""


@pytest.mark.skipif(importlib.util.find_spec("setuptools") is None, reason="building a wheel takes setuptools")
def test_the_wheel_works_beside_modules_named_ir_and_passes(tmp_path):
    """Built from a copy of the tree, installed into a new environment, imported from a folder with its own ir.py."""
    source, place, user = tmp_path / "source", tmp_path / "env", tmp_path / "user"
    source.mkdir()
    for name in ("ir", "passes", "symc", "pyproject.toml", "README.md", "LICENSE"):
        copy = ["cp", "-a", str(ROOT / name), str(source)]
        subprocess.run(copy, check=True)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*build, "-w", str(tmp_path), str(source)], capture_output=True, text=True)
    if "bdist_wheel" in done.stderr and "invalid command" in done.stderr:
        pytest.skip("this setuptools needs the package wheel to build one")
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("symc-*.whl")
    venv.create(place, with_pip=False, symlinks=True)
    code = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    (packages,) = place.glob("lib/python*/site-packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", str(packages)]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    found = {path.name for path in packages.iterdir()}
    assert not found & {"ir", "passes", "tests"}, found
    for name in ("py.typed", "symbol/__init__.pyi", "examples/digits.npz", "docs/overview.md", "ir/prims/reduce.py"):
        assert (packages / "symc" / name).is_file(), name
    # the packages the project needs, as this interpreter has them; behind the new environment's own
    needed = {Path(importlib.util.find_spec(n).origin).parents[1] for n in ("numpy", "llvmlite", "networkx", "tqdm")}
    (packages / "needed.pth").write_text("\n".join(map(str, needed)))
    user.mkdir()
    for name in ("ir", "passes"):
        (user / f"{name}.py").write_text("MINE = True\n")
    (user / "main.py").write_text(USER)
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    ran = subprocess.run([str(code), "main.py"], cwd=user, env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0 and ran.stdout.startswith("ran"), ran.stderr
