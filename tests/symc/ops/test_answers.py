"""Protects what operators answer and refuse: MXNet 1.9.1's answers to the questions of
tests/golden/runtime/operator.txt, with the few that differ on purpose."""

from __future__ import annotations

import json

import loading
import pytest

import symc as mx

GOLDEN = loading.GOLDEN / "runtime"
ANSWERS = json.loads((GOLDEN / "operator.json").read_text())
QUESTIONS = loading.module_at(GOLDEN / "questions.py")
DIFFERENT = QUESTIONS.different("operator")


@pytest.mark.parametrize("text", ANSWERS, ids=range(len(ANSWERS)))
def test_answers_are_those_of_mxnet(text: str) -> None:
    got, want = QUESTIONS.answer(mx, text), ANSWERS[text]
    assert QUESTIONS.same(got, want) is (text not in DIFFERENT), f"{text}\nMXNet: {want}\nsymc:  {got}"


def test_the_recorded_questions_are_those_of_the_list() -> None:
    assert QUESTIONS.read("operator") == list(ANSWERS)
