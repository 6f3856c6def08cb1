"""A net in the manner of Faster R-CNN: a region proposal net, targets made in Python, and a head on pooled regions."""

import mxnet as mx
import numpy as np
from common import fill, finish

SIZE, STRIDE, SCALES, ROIS, CLASSES = 64, 8, (2, 3), 16, 3
ANCHORS, CELLS = len(SCALES), SIZE // STRIDE


def overlaps(boxes, others):
    """Shares of common area, [box, other]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:4], others[None, :, 2:4])
    inner = np.prod(np.maximum(high - low + 1, 0), axis=2)
    areas = [np.prod(b[:, 2:4] - b[:, :2] + 1, axis=1) for b in (boxes, others)]
    return inner / (areas[0][:, None] + areas[1][None] - inner)


def anchor_boxes():
    """The anchors of every cell, as Proposal makes them: [cell, anchor], 4 numbers."""
    middle = (STRIDE - 1) / 2.0
    sides = STRIDE * np.array(SCALES)
    base = np.stack([middle - (sides - 1) / 2.0] * 2 + [middle + (sides - 1) / 2.0] * 2, axis=1)
    rows, columns = np.meshgrid(np.arange(CELLS), np.arange(CELLS), indexing="ij")
    shift = STRIDE * np.stack([columns, rows, columns, rows], axis=2).reshape(-1, 1, 4)
    return (shift + base[None]).reshape(-1, 4)


def moves(boxes, others):
    """From boxes to others: the shifts and logarithms that a net learns."""
    size, other = boxes[:, 2:4] - boxes[:, :2] + 1, others[:, 2:4] - others[:, :2] + 1
    middle, moved = boxes[:, :2] + 0.5 * (size - 1), others[:, :2] + 0.5 * (other - 1)
    return np.concatenate([(moved - middle) / size, np.log(other / size)], axis=1)


class ProposalTarget(mx.operator.CustomOp):
    """Of the proposals (and the true boxes) those that are learned from, with their classes and moves."""

    def forward(self, is_train, req, in_data, out_data, aux):
        rois, truth = in_data[0].asnumpy()[:, 1:], in_data[1].asnumpy()[0]
        rois = np.concatenate([truth[:, :4], rois])[:ROIS]
        shares = overlaps(rois, truth)
        best = shares.argmax(axis=1)
        label = np.where(shares.max(axis=1) >= 0.5, truth[best, 4], 0)
        target, weight = np.zeros((ROIS, 4 * CLASSES)), np.zeros((ROIS, 4 * CLASSES))
        for at in np.flatnonzero(label):
            columns = slice(4 * int(label[at]), 4 * int(label[at]) + 4)
            target[at, columns] = moves(rois[at : at + 1], truth[best[at] : best[at] + 1])[0]
            weight[at, columns] = 1
        for at, value in enumerate((np.hstack([np.zeros((ROIS, 1)), rois]), label, target, weight)):
            self.assign(out_data[at], req[at], mx.nd.array(value))

    def backward(self, req, out_grad, in_data, out_data, in_grad, aux):
        for at in range(2):
            self.assign(in_grad[at], req[at], 0)


@mx.operator.register("test_proposal_target")
class ProposalTargetProp(mx.operator.CustomOpProp):
    def __init__(self):
        super().__init__(need_top_grad=False)

    def list_arguments(self):
        return ["rois", "gt_boxes"]

    def list_outputs(self):
        return ["rois_output", "label", "bbox_target", "bbox_weight"]

    def infer_shape(self, in_shape):
        return in_shape, [[ROIS, 5], [ROIS], [ROIS, 4 * CLASSES], [ROIS, 4 * CLASSES]], []

    def create_operator(self, ctx, shapes, dtypes):
        return ProposalTarget()


def network():
    data, info, truth = mx.sym.Variable("data"), mx.sym.Variable("im_info"), mx.sym.Variable("gt_boxes")
    label, target, weight = [mx.sym.Variable(n) for n in ("label", "bbox_target", "bbox_weight")]
    for at, filters in enumerate((8, 16, 16)):
        data = mx.sym.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=filters, name=f"conv{at}")
        data = mx.sym.Activation(data, act_type="relu")
        data = mx.sym.Pooling(data, kernel=(2, 2), stride=(2, 2), pool_type="max")
    rpn = mx.sym.Activation(
        mx.sym.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=16, name="rpn_conv"), act_type="relu"
    )
    scores = mx.sym.Convolution(rpn, kernel=(1, 1), num_filter=2 * ANCHORS, name="rpn_cls_score")
    shifts = mx.sym.Convolution(rpn, kernel=(1, 1), num_filter=4 * ANCHORS, name="rpn_bbox_pred")
    pairs = mx.sym.Reshape(scores, shape=(0, 2, -1, 0), name="rpn_pairs")
    rpn_cls = mx.sym.SoftmaxOutput(
        pairs, label, multi_output=True, normalization="valid", use_ignore=True, ignore_label=-1, name="rpn_cls_prob"
    )
    rpn_box = mx.sym.MakeLoss(
        weight * mx.sym.smooth_l1(shifts - target, scalar=3.0), grad_scale=0.05, name="rpn_bbox_loss"
    )
    act = mx.sym.Reshape(mx.sym.SoftmaxActivation(pairs, mode="channel"), shape=(0, 2 * ANCHORS, -1, 0), name="rpn_act")
    rois = mx.sym.contrib.Proposal(
        cls_prob=mx.sym.BlockGrad(act), bbox_pred=mx.sym.BlockGrad(shifts), im_info=info, feature_stride=STRIDE,
        scales=SCALES, ratios=(1,), rpn_pre_nms_top_n=64, rpn_post_nms_top_n=ROIS, threshold=0.7, rpn_min_size=STRIDE,
        name="rois",
    )  # fmt: skip
    group = mx.sym.Custom(rois, truth, op_type="test_proposal_target", name="targets")
    pooled = mx.sym.ROIPooling(data, group[0], pooled_size=(3, 3), spatial_scale=1.0 / STRIDE, name="pool")
    hidden = mx.sym.Activation(mx.sym.FullyConnected(mx.sym.Flatten(pooled), num_hidden=24, name="fc"), act_type="relu")
    cls = mx.sym.SoftmaxOutput(
        mx.sym.FullyConnected(hidden, num_hidden=CLASSES, name="cls_score"), group[1], normalization="batch",
        name="cls_prob",
    )  # fmt: skip
    found = mx.sym.FullyConnected(hidden, num_hidden=4 * CLASSES, name="bbox_pred")
    box = mx.sym.MakeLoss(group[3] * mx.sym.smooth_l1(found - group[2], scalar=1.0), grad_scale=0.1, name="bbox_loss")
    return mx.sym.Group([rpn_cls, rpn_box, cls, box, mx.sym.BlockGrad(group[1], name="label_of_rois")])


def batches(count):
    """A picture of one bright square (class 1) or one with a hole (class 2), and the targets of its anchors."""
    rng, anchors = np.random.RandomState(11), anchor_boxes()
    for _ in range(count):
        kind, side = rng.randint(1, CLASSES), rng.randint(14, 26)
        left, top = rng.randint(0, SIZE - side, 2)
        data = 0.1 * rng.randn(1, 3, SIZE, SIZE)
        data[:, :, top : top + side, left : left + side] += 1
        if kind == 2:
            data[:, :, top + 4 : top + side - 4, left + 4 : left + side - 4] -= 1
        truth = np.array([[left, top, left + side - 1, top + side - 1, kind]], dtype="float32")
        share = overlaps(anchors, truth)[:, 0]
        label = np.where(share >= 0.5, 1, np.where(share < 0.3, 0, -1))
        label[share.argmax()] = 1
        target, weight = moves(anchors, np.repeat(truth, len(anchors), axis=0)), (label == 1)[:, None] * np.ones(4)

        def spread(values):
            """[cell, anchor] numbers, as the net's channels lie."""
            return values.reshape(CELLS, CELLS, ANCHORS, -1).transpose(2, 3, 0, 1)

        given = {
            "data": data, "im_info": np.array([[SIZE, SIZE, 1.0]]), "gt_boxes": truth[None],
            "label": spread(label).reshape(1, -1, CELLS), "bbox_target": spread(target).reshape(1, -1, CELLS, CELLS),
            "bbox_weight": spread(weight).reshape(1, -1, CELLS, CELLS),
        }  # fmt: skip
        arrays = {name: mx.nd.array(value) for name, value in given.items()}
        yield mx.io.DataBatch(
            [arrays[n] for n in ("data", "im_info", "gt_boxes")],
            [arrays[n] for n in ("label", "bbox_target", "bbox_weight")],
        )


def loss_of(outputs, label):
    rpn, rpn_box, cls, box, wanted = [o.asnumpy() for o in outputs]
    kept = label.ravel() >= 0
    chosen = rpn.reshape(2, -1)[label.ravel().astype(int), np.arange(label.size)][kept]
    found = cls[np.arange(ROIS), wanted.astype(int)]
    logs = [-np.log(np.maximum(part, 1e-12)).mean() for part in (chosen, found)]
    return float(sum(logs) + rpn_box.sum() * 0.05 + box.sum() * 0.1)


def main():
    data_names, label_names = ["data", "im_info", "gt_boxes"], ["label", "bbox_target", "bbox_weight"]
    model = mx.mod.Module(network(), data_names, label_names, context=mx.cpu(), fixed_param_names=["conv0_bias"])
    first = next(batches(1))
    model.bind(
        [(n, a.shape) for n, a in zip(data_names, first.data)], [(n, a.shape) for n, a in zip(label_names, first.label)]
    )
    fill(model, 12, 0.12)
    model.init_optimizer("local", "sgd", {"learning_rate": 0.02, "momentum": 0.9, "clip_gradient": 5.0})
    losses = []
    for batch in batches(80):
        model.forward(batch, is_train=True)
        losses.append(loss_of(model.get_outputs(), batch.label[0].asnumpy()))
        model.backward()
        model.update()
    finish(losses, 0.6)


main()
