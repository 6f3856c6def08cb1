"""Protects the Symbol interface against MXNet 1.9.1: names, JSON text, attributes, inference, classes of errors, and
the signatures of all functions, as tests/golden/symbol recorded them."""

import inspect
import json

import loading
import pytest

import symc as mx
from symc.ops.base import OPERATORS

GOLDEN = loading.GOLDEN / "symbol"
ANSWERS = json.loads((GOLDEN / "answers.json").read_text())["answers"]
FUNCTIONS = json.loads((GOLDEN / "functions.json").read_text())


SCENARIOS = loading.module_at(GOLDEN / "scenarios.py")

#: where symc answers and MXNet does not, or gives more: (scenario, number of the answer) -> reason
DIFFERENT = {
    ("method_errors", 0): "reshape takes its shape as several numbers, as NDArray.reshape does",
    ("composition", 4): "composition by position works for every Symbol",
    ("composition", 3): "composition by position works for every Symbol",
    ("composition", 20): "composition by position works for every Symbol",
    ("composition", 14): "MXNet counts a state's version up with every composition",
    ("composition", 15): "MXNet counts a state's version up with every composition",
    ("indexing", 5): "negative numbers count from the last output",
    ("indexing", 14): "negative numbers count from the last output",
    ("indexing", 41): "Symbols can be hashed",
    ("shapes", 1): "known shapes by position, which MXNet documents and then refuses",
    ("shapes", 11): "known shapes by position, which MXNet documents and then refuses",
    ("shapes", 45): "known shapes by position, which MXNet documents and then refuses",
    ("shapes", 55): "known shapes by position, which MXNet documents and then refuses",
    ("shapes", 26): "a wrong shape for a moving mean is an error; MXNet overwrites it",
    ("shapes", 70): "a wrong shape for a moving mean is an error; MXNet overwrites it",
    ("types", 2): "known types by position, which MXNet documents and then refuses",
    ("types", 7): "known types by position, which MXNet documents and then refuses",
    ("types", 33): "known types by position, which MXNet documents and then refuses",
    ("types", 38): "known types by position, which MXNet documents and then refuses",
}


def pairs():
    for name, answer in ANSWERS.items():
        keys = answer if isinstance(answer, dict) else range(len(answer))
        yield from ((name, key) for key in keys)


@pytest.fixture(scope="module")
def ours():
    made: dict = {}

    def get(name: str):
        if name not in made:
            made[name] = SCENARIOS.run(mx, name)
        return made[name]

    return get


@pytest.mark.parametrize("name, key", list(pairs()), ids=lambda v: str(v))
def test_scenario(ours, name, key):
    expected, found = ANSWERS[name], ours(name)
    assert len(found) == len(expected)
    if (name, key) in DIFFERENT:
        assert found[key] != expected[key], "no longer different: take it off the list"
    else:
        assert found[key] == expected[key]


def test_scenarios_are_all_recorded():
    assert set(SCENARIOS.SCENARIOS) == set(ANSWERS)


def namespaces():
    return {
        "": mx.sym, "contrib": mx.sym.contrib, "linalg": mx.sym.linalg, "random": mx.sym.random, "image": mx.sym.image,
        "_internal": mx.sym._internal,
    }  # fmt: skip


@pytest.mark.parametrize("space", FUNCTIONS)
def test_every_function_has_mxnets_parameters(space):
    """Functions whose operator is not there are not looked at; MXNet lists the parameters of _arange for _linspace."""
    wrong = {}
    for name, expected in FUNCTIONS[space].items():
        found = vars(namespaces()[space]).get(name)
        if not inspect.isfunction(found) or name == "_linspace":
            continue
        given = [p for p in inspect.signature(found).parameters if p not in ("name", "attr", "out", "kwargs")]
        wanted = [p for p in expected if p not in ("name", "attr", "out", "kwargs")]
        if given[:1] != ["args"] and not set(wanted) <= set(given):
            wrong[name] = (given, wanted)
    assert wrong == {}


def test_every_operator_is_where_mxnet_has_it():
    missing = []
    listed = {(space, name) for space, names in FUNCTIONS.items() for name in names}
    for name in OPERATORS:
        if name.startswith("_"):
            prefix = next((p for p in ("_contrib_", "_linalg_", "_random_", "_image_") if name.startswith(p)), None)
            where = (prefix.strip("_"), name[len(prefix) :]) if prefix else ("_internal", name)
        else:
            where = ("", name)
        if where in listed and not hasattr(namespaces()[where[0]], where[1]):
            missing.append(where)
    assert missing == []
