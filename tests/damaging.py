"""Damage to files, the same for the same random numbers: bits, lengths, numbers, names, structure."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

#: numbers at the edges of what files hold
NUMBERS = (0, 1, -1, 65, 4097, 10**6, 10**9, 10**18, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64, -(2**63))
#: texts where a number, a tuple or a name is expected
TEXTS = (
    "1000000000000000000", "1000000000", "99999", "-1", "0", "-9223372036854775808", "9223372036854775807", "nan",
    "inf", "-inf", "1e400", "None", "True", "", "()", "(0, 0)", "(-1, -1)", "(1000000000, 1000000000)", "(3, 3, 3)",
    "(2,", "(None, 2)", "(1e18, 2)", "1_0", "0x10", "float16", "\x00", "\u00e9", "(" * 500, "[" * 100000, "9" * 5000,
)  # fmt: skip
#: values where JSON has something else
VALUES: tuple[Any, ...] = (
    None, True, 1.5, float("inf"), float("nan"), "", "\ud800", [], {}, [[]], 10**400, *NUMBERS, *TEXTS,
)  # fmt: skip
MARKS = '{}[]()<>,:;"%@#=-+*/\\ \n\x00\u00e9a1'
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_WORD = re.compile(r"\w+|\W")


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Bits flipped, parts lost, doubled or put in, lengths made huge."""
    made = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(made) + 1)
        kind = rng.randrange(6)
        if kind == 0 and at < len(made):
            made[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del made[at:]
        elif kind == 2:
            del made[at : at + rng.randrange(1, 9)]
        elif kind == 3:
            made[at:at] = rng.randbytes(rng.randrange(1, 9))
        elif kind == 4:
            width = rng.choice((4, 8))
            made[at : at + width] = (rng.choice(NUMBERS) % (1 << 8 * width)).to_bytes(width, "little")
        else:
            made[at:at] = made[at : at + rng.randrange(1, 64)]
    return bytes(made)


def damaged_text(text: str, rng: random.Random) -> str:
    """Numbers made huge, characters lost or put in, lines and words moved."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        kind = rng.randrange(5)
        numbers = list(_NUMBER.finditer(text))
        if kind <= 1 and numbers:
            found = rng.choice(numbers)
            other = str(rng.choice(NUMBERS)) if rng.random() < 0.5 else rng.choice(TEXTS)
            text = text[: found.start()] + other + text[found.end() :]
        elif kind == 2:
            at = rng.randrange(len(text) + 1)
            text = text[:at] + text[at + rng.randrange(1, 9) :]
        elif kind == 3:
            at = rng.randrange(len(text) + 1)
            text = (
                text[:at] + rng.choice('{}[]()<>,:;"%@#=-+*/\\ \n\x00\u00e9a1') * rng.choice((1, 1, 2, 9)) + text[at:]
            )
        elif text:
            words = (_WORD.findall if rng.random() < 0.5 else str.splitlines)(text)
            words[rng.randrange(len(words))] = rng.choice(words)
            text = ("" if len(words) > text.count("\n") + 1 else "\n").join(words)
    return text


def damaged_document(document: Any, rng: random.Random) -> str:
    """The JSON text of a symbol document with attributes, references or members that are something else."""
    made = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 2))):
        places = list(_places(made))
        attributes = [p for p in places if len(p) > 1 and p[-2] == "attrs" and "nodes" in p]
        place = rng.choice(attributes) if attributes and rng.random() < 0.6 else rng.choice(places)
        holder = made
        for key in place[:-1]:
            holder = holder[key]
        key, kind = place[-1], rng.randrange(8)
        if place in attributes:
            holder[key] = rng.choice(TEXTS)
        elif kind == 0:
            holder.pop(key)
        elif kind == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(rng.choice(holder)))
        elif kind == 2 and isinstance(holder, dict):
            holder[rng.choice(("op", "name", "inputs", "attrs", "subgraphs", "attr"))] = holder[key]
        else:
            holder[key] = rng.choice(VALUES)
    return json.dumps(made)


def _places(value: Any, at: tuple[Any, ...] = ()) -> Any:
    """The way to every part of a document."""
    if at:
        yield at
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in pairs:
        yield from _places(part, (*at, key))
