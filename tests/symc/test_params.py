"""Protects: MXNet's array files of every age are read, and files that are no such thing are refused with a reason."""

from __future__ import annotations

import struct

import numpy as np
import pytest

import symc as mx
from symc.ndarray import files as params

DATA = np.arange(6, dtype=np.float32).reshape(2, 3)


def file_of(*arrays: bytes, names: tuple[str, ...] = ()) -> bytes:
    made = struct.pack("<QQQ", 0x112, 0, len(arrays)) + b"".join(arrays) + struct.pack("<Q", len(names))
    for name in names:
        made += struct.pack("<Q", len(name)) + name.encode()
    return made


def body(array: np.ndarray, flag: int = 0) -> bytes:
    return struct.pack("<iii", 1, 0, flag) + array.tobytes()


VERSIONS = {
    "V0": struct.pack("<III", 2, 2, 3) + body(DATA),
    "V1": struct.pack("<Iiqq", 0xF993FAC8, 2, 2, 3) + body(DATA),
    "V2": struct.pack("<Iiiqq", 0xF993FAC9, 0, 2, 2, 3) + body(DATA),
    "V3": struct.pack("<Iiiqq", 0xF993FACA, 0, 2, 2, 3) + body(DATA),
}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_is_read(version):
    with mx.np_shape(version == "V3"):
        (found,) = mx.nd.load_frombuffer(file_of(VERSIONS[version]))
    np.testing.assert_array_equal(found.asnumpy(), DATA)
    assert found.dtype == np.float32


def test_what_was_written_under_np_shape_is_read_there(tmp_path):
    """Scalars have one form only, and predictors and checkpoints take either."""
    with mx.np_shape(True), pytest.raises(mx.MXNetError, match="outside of `with mx.np_shape"):
        mx.nd.load_frombuffer(file_of(VERSIONS["V2"]))
    with pytest.raises(mx.MXNetError, match="in a block of `with mx.np_shape"):
        mx.nd.load_frombuffer(file_of(VERSIONS["V2"], VERSIONS["V3"]))
    mx.nd.save(str(tmp_path / "scalar"), [mx.nd.array(3)])
    assert mx.nd.load(str(tmp_path / "scalar"))[0].shape == ()
    (tmp_path / "net-0001.params").write_bytes(file_of(VERSIONS["V3"], names=("arg:x",)))
    assert mx.model.load_params(str(tmp_path / "net"), 1)[0]["x"].shape == (2, 3)


def test_named_arrays_become_a_dict():
    found = mx.nd.load_frombuffer(file_of(VERSIONS["V2"], VERSIONS["V1"], names=("a", "arg:b")))
    assert list(found) == ["a", "arg:b"]


def test_scalars_are_version_3():
    scalar = struct.pack("<Iii", 0xF993FACA, 0, 0) + body(np.float32(7))
    assert params.loads(file_of(scalar))[0][0].shape == ()
    assert params.dumps([np.asarray(np.float32(7))]) == file_of(scalar)


def test_arrays_without_a_shape_are_empty():
    unknown = struct.pack("<Iii", 0xF993FACA, 0, -1)
    none = struct.pack("<Iii", 0xF993FAC9, 0, 0)
    assert [a.size for a in params.loads(file_of(unknown, none, struct.pack("<I", 0)))[0]] == [0, 0, 0]


def test_bfloat16_becomes_float32():
    bits = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    data = struct.pack("<Iiiq", 0xF993FAC9, 0, 1, 2) + body(bits, 12)
    np.testing.assert_array_equal(params.loads(file_of(data))[0][0], np.array([1.5, -2.0], np.float32))


def test_row_sparse_is_read():
    # the stored values' shape is stale here, as MXNet 1.9.1 writes it
    data = struct.pack("<Iiiqqiqq", 0xF993FAC9, 1, 2, 0, 3, 2, 4, 3) + struct.pack("<iii", 1, 0, 0)
    data += struct.pack("<iiq", 6, 1, 2) + DATA.tobytes() + np.array([0, 2]).tobytes()
    expected = np.zeros((4, 3), np.float32)
    expected[[0, 2]] = DATA
    (found,) = mx.nd.load_frombuffer(file_of(data))
    assert found.stype == "row_sparse"
    np.testing.assert_array_equal(found.asnumpy(), expected)


def csr(columns: list[int]) -> bytes:
    data = struct.pack("<Iiiqiqq", 0xF993FAC9, 2, 1, 3, 2, 2, 3) + struct.pack("<iii", 1, 0, 0)
    data += struct.pack("<iiqiiq", 6, 1, 3, 6, 1, 3) + np.array([7, 8, 9], np.float32).tobytes()
    return file_of(data + np.array([0, 2, 3]).tobytes() + np.array(columns).tobytes())


def test_csr_is_read():
    (found,) = mx.nd.load_frombuffer(csr([0, 2, 1]))
    assert found.stype == "csr"
    np.testing.assert_array_equal(found.asnumpy(), [[7, 0, 8], [0, 9, 0]])


GOOD = file_of(VERSIONS["V2"], names=("a",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not begin with"),
        (b"PK\x03\x04" + bytes(40), "does not begin with"),
        (file_of(struct.pack("<Ii", 0xF993FAC9, 9)), "storage type 9"),
        (file_of(struct.pack("<I", 0xDEADBEEF)), "0xDEADBEEF"),
        (file_of(struct.pack("<Iii", 0xF993FAC9, 0, 99)), "rank 99"),
        (file_of(struct.pack("<Iiiq", 0xF993FAC9, 0, 1, -4)), "shape"),
        (file_of(struct.pack("<Iiiq", 0xF993FAC9, 0, 1, 2) + struct.pack("<iii", 1, 0, 77)), "element type 77"),
        (file_of(struct.pack("<Iiiq", 0xF993FAC9, 0, 1, 1 << 50) + body(DATA)), "truncated"),
        (struct.pack("<QQQ", 0x112, 0, 1 << 60), "arrays"),
        (file_of(VERSIONS["V2"], names=("a", "b")), "names"),
        (GOOD[:-1] + b"\xff", "UTF-8"),
        (csr([0, 2, 5]), "outside"),
    ],
)
def test_damaged_files_are_refused(data, reason):
    with pytest.raises(mx.MXNetError, match=reason):
        mx.nd.load_frombuffer(data)


@pytest.mark.parametrize("cut", range(0, len(GOOD), 5))
def test_truncation_anywhere_is_noticed(cut):
    with pytest.raises(mx.MXNetError):
        params.loads(GOOD[:cut])


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "uint8", "int32", "int8", "int64", "bool"])
def test_round_trip(tmp_path, dtype):
    array = mx.nd.array([[0, 1], [1, 0]], dtype=dtype)
    mx.nd.save(tmp_path / "x", [array])
    (found,) = mx.nd.load(tmp_path / "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found.asnumpy(), array.asnumpy())


def test_only_arrays_are_saved(tmp_path):
    for wrong in ([1], {1: mx.nd.ones(2)}, "text"):
        with pytest.raises(TypeError):
            mx.nd.save(tmp_path / "x", wrong)
    with pytest.raises(mx.MXNetError, match="complex"):
        params.dumps([np.zeros(2, np.complex64)])


def test_impossible_sizes_are_refused():
    # V2 of a size that no product of 64 bits holds
    array = struct.pack("<Iiiqqq", 0xF993FAC9, 0, 3, 1 << 62, 1 << 62, 0) + struct.pack("<iii", 1, 0, 0)
    with pytest.raises(mx.MXNetError, match="too large"):
        mx.nd.load_frombuffer(file_of(array))


def test_a_sparse_array_too_large_for_a_dense_one_is_refused_where_it_becomes_one():
    array = struct.pack("<Ii", 0xF993FAC9, 2) + struct.pack("<iq", 1, 0) + struct.pack("<iqq", 2, 4, 1 << 46)
    array += struct.pack("<iii", 1, 0, 0) + struct.pack("<iiq", 6, 1, 5) + struct.pack("<iiq", 6, 1, 0) + bytes(40)
    (found,) = mx.nd.load_frombuffer(file_of(array))
    assert found.shape == (4, 1 << 46) and (found * 2).stype == "csr"
    with pytest.raises(mx.MXNetError, match="memory"):
        found.asnumpy()
