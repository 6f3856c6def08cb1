"""A detector in the manner of SSD: anchors at two scales, targets from MultiBoxTarget, detections at the end."""

import mxnet as mx
import numpy as np
from common import fill, finish

BATCH, SIZE, CLASSES = 4, 32, 2


def pictures(count):
    """Bright squares (class 0) and dark ones (class 1) on grey, with [class, left, top, right, bottom] of each."""
    rng = np.random.RandomState(1)
    for _ in range(count):
        data, label = 0.1 * rng.randn(BATCH, 3, SIZE, SIZE), np.full((BATCH, 2, 5), -1.0)
        for at in range(BATCH):
            for k in range(rng.randint(1, 3)):
                kind, side = rng.randint(CLASSES), rng.randint(8, 14)
                left, top = rng.randint(0, SIZE - side, 2)
                data[at, :, top : top + side, left : left + side] += 1.0 if kind == 0 else -1.0
                label[at, k] = [kind, left / SIZE, top / SIZE, (left + side) / SIZE, (top + side) / SIZE]
        yield mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label)])


def block(data, filters, name):
    data = mx.sym.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=filters, name=name + "_conv")
    data = mx.sym.Activation(mx.sym.BatchNorm(data, fix_gamma=False, name=name + "_bn"), act_type="relu")
    return mx.sym.Pooling(data, kernel=(2, 2), stride=(2, 2), pool_type="max")


def network(train):
    data, label = mx.sym.Variable("data"), mx.sym.Variable("label")
    first = block(block(data, 8, "b1"), 16, "b2")
    second = block(first, 16, "b3")
    classes, places, anchors = [], [], []
    for at, (layer, sizes) in enumerate(((first, (0.25, 0.35)), (second, (0.4, 0.5)))):
        count = 3  # two sizes, and one more ratio
        scores = mx.sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), num_filter=count * (CLASSES + 1), name=f"cls{at}")
        moves = mx.sym.Convolution(layer, kernel=(3, 3), pad=(1, 1), num_filter=count * 4, name=f"loc{at}")
        classes.append(mx.sym.Flatten(mx.sym.transpose(scores, axes=(0, 2, 3, 1))))
        places.append(mx.sym.Flatten(mx.sym.transpose(moves, axes=(0, 2, 3, 1))))
        anchors.append(mx.sym.Flatten(mx.sym.contrib.MultiBoxPrior(layer, sizes=sizes, ratios=(1, 2), clip=False)))
    scores = mx.sym.Reshape(mx.sym.Concat(*classes, dim=1), shape=(0, -1, CLASSES + 1))
    scores = mx.sym.transpose(scores, axes=(0, 2, 1))
    moves = mx.sym.Concat(*places, dim=1)
    boxes = mx.sym.Reshape(mx.sym.Concat(*anchors, dim=1), shape=(0, -1, 4))
    if not train:
        found = mx.sym.SoftmaxActivation(scores, mode="channel")
        return mx.sym.contrib.MultiBoxDetection(found, moves, boxes, nms_threshold=0.5, threshold=0.1)
    targets = mx.sym.contrib.MultiBoxTarget(
        boxes, label, scores, overlap_threshold=0.5, ignore_label=-1, negative_mining_ratio=3,
        minimum_negative_samples=0, negative_mining_thresh=0.5, variances=(0.1, 0.1, 0.2, 0.2), name="target",
    )  # fmt: skip
    moved, mask, wanted = targets[0], targets[1], targets[2]
    class_loss = mx.sym.SoftmaxOutput(
        scores, wanted, ignore_label=-1, use_ignore=True, multi_output=True, normalization="valid", name="cls_prob"
    )
    place_loss = mx.sym.MakeLoss(
        mx.sym.smooth_l1(mask * (moves - moved), scalar=1.0), normalization="valid", name="loc_loss"
    )
    return mx.sym.Group([class_loss, place_loss, mx.sym.BlockGrad(wanted, name="wanted")])


def loss_of(outputs):
    found, moves, wanted = [o.asnumpy() for o in outputs]
    rows, columns = np.nonzero(wanted >= 0)
    chosen = found[rows, wanted[rows, columns].astype(int), columns]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean() + moves.sum() / max((wanted > 0).sum(), 1))


def main():
    model = mx.mod.Module(network(True), label_names=("label",), context=mx.cpu())
    model.bind([("data", (BATCH, 3, SIZE, SIZE))], [("label", (BATCH, 2, 5))])
    fill(model)
    model.init_optimizer("local", "sgd", {"learning_rate": 0.1, "momentum": 0.9, "wd": 5e-4, "rescale_grad": 1.0})
    losses = []
    for batch in pictures(60):
        model.forward(batch, is_train=True)
        losses.append(loss_of(model.get_outputs()))
        model.backward()
        model.update()
    detector = mx.mod.Module(network(False), label_names=None, context=mx.cpu())
    detector.bind([("data", (BATCH, 3, SIZE, SIZE))], for_training=False)
    detector.set_params(*model.get_params(), allow_extra=True)
    detector.forward(batch, is_train=False)
    found = detector.get_outputs()[0].asnumpy()
    assert found.shape[2] == 6 and (found[:, :, 0] >= 0).any(axis=1).all()
    finish(losses, 0.5)


main()
