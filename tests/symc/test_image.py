"""Protects mx.image beyond what is recorded from MXNet (test_data_golden): names, outputs given by the user, files that
are broken, augmenters of one's own, drawing, training from pictures."""

from __future__ import annotations

import numpy as np
import pytest
from golden.data.scenarios import BOXES, picture_files, png, soft

import symc as mx

pytest.importorskip("PIL")


def test_names():
    from symc.image.image import ImageIter

    import symc.image.detection as detection

    assert mx.img is mx.image and mx.image.det is detection and ImageIter is mx.image.ImageIter
    internal = mx.nd._internal
    whole = mx.nd.array(soft(0, 4, 5), dtype="uint8")
    assert internal._cvimresize(whole, w=3, h=2).shape == (2, 3, 3)
    assert internal._cvcopyMakeBorder(whole, 1, 1, 1, 1).shape == (6, 7, 3)
    assert internal._cvimdecode(mx.nd.array(np.frombuffer(png(soft(0, 4, 5)), "uint8"), dtype="uint8")).shape == (
        4,
        5,
        3,
    )


def test_into_an_array():
    out = mx.nd.zeros((4, 5, 3), dtype="float32")
    assert mx.image.imdecode(png(soft(0, 4, 5)), out=out) is out
    assert np.array_equal(out.asnumpy(), soft(0, 4, 5))
    with pytest.raises(mx.MXNetError, match=r"out has shape \(2, 2, 3\), but the picture \(3, 3, 3\)"):
        mx.image.imresize(out, 3, 3, out=mx.nd.zeros((2, 2, 3)))


@pytest.mark.parametrize("wrong, sentence", [
    (lambda a: mx.image.imresize(a[0], 2, 2), r"\(height, width, channels\), this one \(5, 3\)"),
    (lambda a: mx.image.imresize(a, 0, 2), "width of 0"), (lambda a: mx.image.imresize(a, 2, 2, 9), "interp=9"),
    (lambda a: mx.image.imresize(a.astype("int32"), 2, 2), "int32 can only be resized with interp=0"),
    (lambda a: mx.image.copyMakeBorder(a, -1, 0, 0, 0), "narrower than 0"),
    (lambda a: mx.image.copyMakeBorder(a, 1, 0, 0, 0, type=9), "type=9 is no border"),
    (lambda a: mx.image.imdecode(png(soft(0, 40, 50))[:-60]), "PNG picture is damaged"),
])  # fmt: skip
def test_refusals_say_why(wrong, sentence):
    with pytest.raises(mx.MXNetError, match=sentence):
        wrong(mx.nd.array(soft(0, 4, 5), dtype="uint8"))


def test_broken_pictures_are_named(tmp_path):
    (tmp_path / "a.png").write_bytes(b"nothing")
    images = mx.image.ImageIter(1, (3, 4, 4), imglist=[[0.0, "a.png"]], path_root=str(tmp_path))
    with pytest.raises(RuntimeError, match=r"the picture of filename: a\.png cannot be read"):
        next(images)


def test_pictures_that_are_left_out(tmp_path):
    """Code of one's own in the places that subclasses may change."""
    picture_files(mx, str(tmp_path), 4, float)

    class Small(mx.image.ImageIter):
        def check_valid_image(self, data):
            if data.shape[0] > 13:
                raise RuntimeError("too high")

        def postprocess_data(self, datum):
            return super().postprocess_data(datum) / 255

    class Half(mx.image.Augmenter):
        def __call__(self, src):
            return src * 0.5

    augmenters = [*mx.image.CreateAugmenter((3, 8, 8)), Half()]
    images = Small(3, (3, 8, 8), path_imgrec=str(tmp_path / "p.rec"), aug_list=augmenters)
    batch = next(images)
    assert batch.label[0].asnumpy().tolist() == [0, 1, 3] and batch.data[0].max().asscalar() < 0.51


def test_labels_without_boxes_are_left_out(tmp_path):
    empty = np.array([[0, 0.5, 0.5, 0.5, 0.9]], np.float32)
    index, path, _ = picture_files(
        mx, str(tmp_path), 3, lambda n: np.concatenate([[2, 5], *(empty if n == 1 else BOXES)]).astype("f")
    )
    with pytest.raises(RuntimeError, match="all boxes of a label are empty"):
        mx.image.ImageDetIter(2, (3, 8, 8), path_imgrec=path, path_imgidx=index)
    with pytest.raises(RuntimeError, match="a head of two numbers"):
        picture_files(mx, str(tmp_path), 1, lambda n: np.ones(3, "f"))
        mx.image.ImageDetIter(1, (3, 8, 8), path_imgrec=path, path_imgidx=index)


def test_boxes_are_drawn(tmp_path):
    label = np.array([2, 5, 0, 0.25, 0.25, 0.75, 0.75], np.float32)
    _, path, _ = picture_files(mx, str(tmp_path), 2, lambda n: label)
    images = mx.image.ImageDetIter(1, (3, 40, 40), path_imgrec=path)
    drawn = list(images.draw_next(color=(255, 0, 10)))
    assert len(drawn) == 2 and drawn[0].shape == (40, 40, 3)
    assert drawn[0][10, 20].tolist() == [10, 0, 255] and drawn[0][20, 20].tolist() != [10, 0, 255]


def test_ranges_that_cannot_be_satisfied_warn():
    with pytest.warns(UserWarning, match="no area_range is in"):
        crop = mx.image.DetRandomCropAug(area_range=(0.9, 0.1))
    with pytest.warns(UserWarning, match="no aspect_ratio_range is in"):
        mx.image.DetRandomPadAug(aspect_ratio_range=(-1, 1))
    whole = mx.nd.array(soft(0, 8, 8), dtype="uint8")
    assert crop(whole, BOXES)[0] is whole and not crop.enabled
    with pytest.raises(ValueError, match="among DetAugmenters"):
        mx.image.DetRandomSelectAug([mx.image.CastAug()])
    with pytest.raises(TypeError, match="an Augmenter of pictures"):
        mx.image.DetBorrowAug(crop)
