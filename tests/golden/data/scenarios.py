"""What is done with MXNet 1.9.1 and with symc alike, of data: records, pictures, iterators. Each scenario gives
something that JSON holds.

Run under MXNet to record the answers: `python scenarios.py` writes answers.json beside this file.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from pathlib import Path

import numpy as np

MAGIC = struct.pack("<I", 0xCED7230A)
#: bytes of records: short ones, and the magic number in all places
RECORDS = [
    b"", b"x", b"abcd", MAGIC, MAGIC + b"a", b"a" + MAGIC, b"abcd" + MAGIC + b"efgh" + MAGIC + b"z", MAGIC * 2,
    MAGIC * 3 + b"end!", b"ab" + MAGIC + MAGIC[:3], MAGIC[:2], b"abcdef" + MAGIC + b"gh" + MAGIC, b"abcd" + MAGIC,
]  # fmt: skip
#: headers, and bytes that are packed with them
PACKED = [
    ((0, 3.5, 7, 0), b"abc"), ((9, 3, 7, 1), b""), ((1, [1.0, 2.0], 2**40, 5), b"abc"), ((0, [4.0], 1, 2), b"z"),
    ((0, (), 1, 2), b"none"), ((0, np.float64(2.5), 1, 2), b"z"), ((0, np.arange(3), 1, 2), b"z"),
    ((0, np.ones((2, 2)), 1, 2), b"z"),
]  # fmt: skip


def record_file(mx, folder):
    path = os.path.join(folder, "a.rec")
    writer = mx.recordio.MXRecordIO(path, "w")
    for record in RECORDS:
        writer.write(record)
    writer.close()
    return Path(path).read_bytes().hex()


def indexed_file(mx, folder):
    index, path = os.path.join(folder, "b.idx"), os.path.join(folder, "b.rec")
    writer = mx.recordio.MXIndexedRecordIO(index, path, "w")
    told = []
    for number, record in enumerate(RECORDS):
        told.append(writer.tell())
        writer.write_idx(number * 10, record)
    writer.close()
    return [told, Path(index).read_text(), Path(path).read_bytes().hex()]


def packed(mx, folder):
    found = []
    for header, data in PACKED:
        made = mx.recordio.pack(mx.recordio.IRHeader(*header), data)
        head, rest = mx.recordio.unpack(made)
        found.append([made.hex(), head.flag, np.asarray(head.label).tolist(), head.id, head.id2, rest.hex()])
    return found


SCENARIOS = [record_file, indexed_file, packed]


if __name__ == "__main__":
    import mxnet

    with tempfile.TemporaryDirectory() as place:
        answers = {scenario.__name__: scenario(mxnet, place) for scenario in SCENARIOS}
    Path(__file__).with_name("answers.json").write_text(json.dumps(answers, indent=1) + "\n")
    sys.stdout.write(f"{len(answers)} answers\n")
