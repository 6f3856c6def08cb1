"""Protects the iterators over files of pictures beyond what is recorded from MXNet: random distortions, threads, forks,
mean pictures, refusals; MNIST's files and what stands in for them; training from records."""

from __future__ import annotations

import hashlib
import logging
import os

import numpy as np
import pytest
from golden.data.scenarios import picture_files
from native import in_child

import symc as mx
from symc.io.mnist import idx_bytes, standin
from symc.pixels.distortion import Distortion, shifted_hls


@pytest.fixture
def records(tmp_path):
    """A file of seven records."""
    pytest.importorskip("PIL")
    return picture_files(mx, str(tmp_path), 7, float)[1]


def iterate(path, **given):
    return mx.io.ImageRecordIter(**{"path_imgrec": path, "data_shape": (3, 6, 8), "batch_size": 3, **given})


def pictures(images):
    return [batch.data[0].asnumpy() for batch in images]


CHANGES = [
    {"rand_crop": True}, {"rand_mirror": True}, {"random_resized_crop": True, "min_random_area": 0.3},
    {"random_resized_crop": True, "min_random_area": 0.3, "min_aspect_ratio": 0.75, "max_aspect_ratio": 1.33},
    {"max_rotate_angle": 20}, {"max_shear_ratio": 0.2}, {"min_random_scale": 0.8, "max_random_scale": 1.2},
    {"max_aspect_ratio": 0.25}, {"brightness": 0.3, "contrast": 0.3, "saturation": 0.3}, {"pca_noise": 0.2},
    {"random_h": 20, "random_s": 30, "random_l": 30}, {"max_random_contrast": 0.3, "max_random_illumination": 20},
]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=lambda c: next(iter(c)))
def test_random_changes_follow_the_seed(records, change):
    plain, one, again, other = (
        pictures(iterate(records, **given))
        for given in ({}, change, {**change, "preprocess_threads": 1}, {**change, "seed": 3})
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, again))  # however many threads there are
    assert any(not np.array_equal(a, b) for a, b in zip(one, plain))
    assert any(not np.array_equal(a, b) for a, b in zip(one, other))
    assert all(np.isfinite(a).all() and a.shape == (3, 3, 6, 8) for a in one)


def test_every_pass_has_every_record_in_another_order(records):
    images = iterate(records, shuffle=True, batch_size=2)
    seen, orders = [], []
    for _ in range(7):
        rows = [batch.label[0].asnumpy().tolist() for batch in images]
        orders.append(rows)
        seen += [label for row in rows for label in row]
        images.reset()
    assert all(sorted(seen[at : at + 7]) == list(range(7)) for at in range(0, 49, 7)) and orders[0] != orders[1]


def test_batches_larger_than_the_file(records):
    images = iterate(records, batch_size=16)
    rows = next(images).label[0].asnumpy().tolist()
    assert rows == [*range(7), *range(7), 0, 1] and images.getpad() == 9 and next(images, None) is None
    images.reset()
    assert next(images).label[0].asnumpy().tolist()[:5] == [2, 3, 4, 5, 6]


def test_a_pass_that_is_broken_off_begins_again(records):
    images = iterate(records, batch_size=2)
    for count in (1, 2, 3):
        for _ in range(count):
            next(images)
        images.reset()
    assert [batch.label[0].asnumpy().tolist() for batch in images] == [[0, 1], [2, 3], [4, 5], [6, 0]]
    assert images.getpad() == 1 and images.getindex().tolist() == [6, 0]
    assert images.getdata().shape == (2, 3, 6, 8) and images.getlabel().shape == (2,)


def test_the_rest_of_a_batch_is_zeros(records):
    """MXNet leaves whatever was in memory there, and says that there is nothing to leave out."""
    last = list(iterate(records, batch_size=4, round_batch=False))[-1]
    assert last.pad == 1 and not last.data[0].asnumpy()[3].any() and last.label[0].asnumpy().tolist() == [4, 5, 6, 0]


def test_a_mean_picture_is_made_and_read(records, tmp_path):
    path = str(tmp_path / "mean.bin")
    first = pictures(iterate(records, mean_img=path, batch_size=7))[0]
    assert np.abs(first.mean(axis=0)).max() < 1e-3 and list(mx.nd.load(path)) == ["mean_img"]
    assert np.array_equal(pictures(iterate(records, mean_img=path, batch_size=7))[0], first)
    with pytest.raises(mx.MXNetError, match=r"mean picture of shape \(3, 6, 8\)"):
        iterate(records, mean_img=path, data_shape=(3, 5, 5))


def test_in_a_forked_process(records):
    images = iterate(records)
    want = pictures(images)[0]
    images.reset()

    def child():
        assert next(images).label[0].asnumpy().tolist() == [2, 3, 4]
        assert np.array_equal(pictures(iterate(records))[0], want)

    in_child(child)


def test_what_was_ordered_before_a_fork_is_made_in_both(records):
    """The parent's threads are not there in the child; what they were to make is made anew."""
    images = iterate(records)
    next(images)

    def child():
        assert next(images).label[0].asnumpy().tolist() == [3, 4, 5]

    in_child(child)
    assert next(images).label[0].asnumpy().tolist() == [3, 4, 5]


@pytest.mark.parametrize("given, sentence", [
    ({"data_shape": (2, 6, 8)}, "1, 3 or 4 channels"), ({"data_shape": (4, 6, 8)}, "record 0: not 4 channels"),
    ({"label_width": 3}, "record 0 has 1 labels, but label_width=3"), ({"dtype": "float16"}, "cast its batches"),
    ({"part_index": 2, "num_parts": 2}, "below num_parts=2"),
    ({"max_crop_size": 50, "min_crop_size": 40}, "do not fit"), ({"path_imgrec": "/none"}, "cannot open /none"),
])  # fmt: skip
def test_refusals_say_why(records, given, sentence):
    with pytest.raises(mx.MXNetError, match=sentence):
        next(iterate(records, **given))


def test_broken_records_are_named(records, tmp_path):
    with mx.recordio.MXRecordIO(tmp_path / "b.rec", "w") as writer:
        writer.write(mx.recordio.pack((0, 1.0, 42, 0), b"no picture"))
    with pytest.raises(mx.MXNetError, match="record 42: this is no picture"):
        next(iterate(str(tmp_path / "b.rec"), batch_size=1))
    (tmp_path / "b.rec").write_bytes(b"something else")
    with pytest.raises(mx.MXNetError, match="no file of records"):
        iterate(str(tmp_path / "b.rec"), batch_size=1)


def test_what_nobody_knows_is_said(records, caplog):
    with caplog.at_level(logging.WARNING):
        iterate(records, rand_corp=True, verbose=False)
    assert "nothing is known of rand_corp, which change nothing" in caplog.text


def test_a_turn_by_a_right_angle():
    """Turned by 90 degrees a square picture is the picture turned round."""
    import random

    square = np.arange(75, dtype=np.uint8).reshape(5, 5, 3)
    turned = Distortion(rotate=90)(square, 5, 5, random.Random(0)).astype(int)
    inner = np.rot90(square, 1).astype(int)
    assert np.abs(turned[1:-1, 1:-1] - inner[1:-1, 1:-1]).max() <= 40  # half a pixel beside it


def test_colors_come_back_from_hue_and_lightness():
    colors = np.random.RandomState(0).randint(0, 256, (6, 7, 3)).astype(np.uint8)
    assert np.abs(shifted_hls(colors, 0, 0, 0).astype(int) - colors).max() <= 1
    assert (shifted_hls(colors, 0, 255, 0) == 255).all() and (shifted_hls(colors, 0, -255, 0) == 0).all()
    gray = shifted_hls(colors, 0, 0, -255)
    assert (gray[:, :, 0] == gray[:, :, 1]).all() and (gray[:, :, 1] == gray[:, :, 2]).all()


# --------------------------------------------------------------------------------------------- MNIST


def test_what_stands_in_for_mnist(tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    images, labels = standin(False)
    assert images.shape == (10000, 28, 28) and set(labels) == set(range(10)) and images.max() == 255
    with caplog.at_level(logging.WARNING):
        test = mx.io.MNISTIter("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte", 100, shuffle=False)
    assert "the handwritten digits that symc ships stand in for MNIST" in caplog.text
    batches = list(test)
    assert len(batches) == 100 and batches[0].data[0].shape == (100, 1, 28, 28)
    assert np.array_equal(batches[3].data[0].asnumpy()[:, 0], images[300:400] / np.float32(256))
    with pytest.raises(mx.MXNetError, match="there is no file other; mx.test_utils.get_mnist_ubyte"):
        mx.io.MNISTIter("other", "t10k-labels-idx1-ubyte")


def test_files_of_mnist_are_read_where_they_are(tmp_path, monkeypatch):
    """The four files in data/ are made once; real ones in their place are what is read, compressed as well."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name, count in (("train", 20), ("t10k", 10)):
        images = np.random.RandomState(count).randint(0, 256, (count, 28, 28))
        (tmp_path / f"data/{name}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"data/{name}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(count) % 10))
    train, test = mx.test_utils.get_mnist_iterator(5, (784,))
    assert len(list(train)) == 4 and test.provide_data == [("data", (5, 784))]
    found = mx.test_utils.get_mnist()
    assert found["train_data"].shape == (20, 1, 28, 28) and found["test_label"].tolist() == list(range(10))
    assert (
        found["train_data"].dtype == np.float32
        and found["train_data"].max() <= 1
        and found["test_label"].dtype == np.int8
    )


def test_stand_ins_for_cifar(tmp_path, monkeypatch):
    pytest.importorskip("PIL")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("symc.test_utils.datasets.standin", lambda train: tuple(v[:5000] for v in standin(False)))
    mx.test_utils.get_cifar10()
    images = mx.io.ImageRecordIter("data/cifar/test.rec", (3, 28, 28), 100, rand_crop=True)
    assert len(list(images)) == 10 and (tmp_path / "data/cifar/train.lst").read_text().count("\n") == 5000


def test_nothing_is_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for asked in (mx.test_utils.get_mnist_pkl, lambda: mx.test_utils.download("http://a/b.zip")):
        with pytest.raises(mx.MXNetError, match="symc downloads nothing"):
            asked()
    (tmp_path / "b.zip").write_bytes(b"here")
    assert mx.test_utils.download("http://a/b.zip") == "b.zip"


def test_files_that_were_fetched_beforehand_are_found(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    download, sha1 = mx.gluon.utils.download, hashlib.sha1(b"here").hexdigest()
    for place in ("b.zip", "other", "folder/b.zip"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"here")
    assert download("http://a/b.zip") == "b.zip" and download("http://a/b.zip", "other", sha1_hash=sha1) == "other"
    assert download("http://a/b.zip", "folder") == os.path.join("folder", "b.zip")
    for words, asked in (
        ("put http://a/c.zip at c.zip", lambda: download("http://a/c.zip")),
        ("nothing from the network", lambda: download("http://a/b.zip", overwrite=True)),
        ("its SHA-1 is not 12", lambda: download("http://a/b.zip", sha1_hash="12")),
    ):
        with pytest.raises(mx.MXNetError, match=words):
            asked()


def test_checkpoints_of_models_are_found_by_name(tmp_path):
    found, folder = mx.test_utils.download_model, str(tmp_path)
    net = {"net": {"symbol": "http://a/x.json", "params": "http://a/x.params"}}
    assert found("other", folder, net) == (None, 0)
    with pytest.raises(mx.MXNetError, match="symc downloads nothing"):
        found("net", folder, net)
    for end in ("-symbol.json", "-0000.params"):
        (tmp_path / f"net{end}").write_bytes(b"here")
    prefix = os.path.join(folder, "net")
    assert found("net", folder, net) == found("net", folder) == (prefix, 0)
    with pytest.raises(AssertionError, match="no params of net"):
        found("net", folder, {"net": {"symbol": "http://a/x.json"}})


def test_the_stand_in_can_be_learned():
    """A linear net tells many digits apart after two passes over a tenth of them; by chance it were a tenth."""
    images, labels = standin(True)
    data = mx.io.NDArrayIter(images[:6000].reshape(-1, 784).astype("f") / 256, labels[:6000].astype("f"), 100)
    net = mx.sym.SoftmaxOutput(mx.sym.FullyConnected(mx.sym.Variable("data"), num_hidden=10), name="softmax")
    mx.random.seed(0)
    model = mx.mod.Module(net)
    model.fit(data, num_epoch=2, optimizer_params={"learning_rate": 0.1, "rescale_grad": 1 / 100})
    assert dict(model.score(data, "acc"))["accuracy"] > 0.4
