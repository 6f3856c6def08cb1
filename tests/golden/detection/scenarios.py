"""Cases of the detection operators: equal scores and overlaps that lie on the thresholds, boxes turned round, rows that
do not count, and every attribute.

Run under MXNet 1.9.1 to record the answers: `python scenarios.py` writes answers.npz beside this file.
"""

from __future__ import annotations

import numpy as np

EACH = 12


class Draw:
    """Random inputs on a grid of eighths, so that numbers are equal often and arithmetic is exact."""

    def __init__(self, seed):
        self.random = np.random.RandomState(seed)

    def one(self, *options):
        return options[self.random.randint(len(options))]

    def some(self, **attrs):
        return {k: v for k, v in attrs.items() if self.random.uniform() < 0.6}

    def eighths(self, low, high, shape):
        return np.round(self.random.uniform(low, high, shape) * 8) / 8

    def boxes(self, *shape, turned=0.1):
        low, size = self.eighths(0, 0.6, (*shape, 2)), self.eighths(0.1, 0.5, (*shape, 2))
        made = np.concatenate([low, low + size], -1)
        which = self.random.uniform(size=shape) < turned
        made[which] = made[which][:, [2, 3, 0, 1]]
        return made


def box_nms(d):
    shape = d.one((6,), (1, 8), (2, 7), (2, 2, 5), (1, 20))
    ids = d.random.randint(-1, 3, (*shape, 1))
    rows = np.concatenate([ids, d.eighths(-0.2, 1, (*shape, 1)), d.boxes(*shape)], -1)
    attrs = d.some(overlap_thresh=d.one(0.0, 0.25, 0.5, 0.9, -0.1), valid_thresh=d.one(0.25, 0.4, -1.0, 2.0))
    attrs.update(d.some(topk=d.one(0, 1, 2, 3, 100), background_id=d.one(0, 1), force_suppress=d.one(True, False)))
    attrs.update(d.some(id_index=0, in_format=d.one("corner", "center"), out_format=d.one("corner", "center")))
    return [rows], attrs


def box_iou(d):
    left, right = d.one((3,), (2, 2), (1,)), d.one((2,), (4,), (2, 3))
    return [d.boxes(*left), d.boxes(*right)], {"format": d.one("corner", "center")}


def bipartite_matching(d):
    attrs = d.some(topk=d.one(0, 1, 2), is_ascend=d.one(True, False))
    shape = d.one((3, 4), (2, 3, 2), (5, 5), (1, 6))
    return [d.eighths(-0.5, 1, shape)], {"threshold": d.one(0.0, 0.25, 0.375, 0.5, 1e-12), **attrs}


def MultiBoxPrior(d):
    attrs = d.some(sizes=d.one((0.4,), (0.4, 0.2)), ratios=d.one((1.0, 2.0, 0.5), (2.0,)), clip=d.one(True, False))
    attrs.update(d.some(steps=d.one((0.3, 0.25), (-1.0, -1.0), (0.0, 0.0)), offsets=d.one((0.3, 0.7), (0.0, 0.0))))
    return [np.zeros((1, 2, *d.one((3, 2), (1, 1), (2, 5))))], attrs


def MultiBoxTarget(d):
    batch, count, most, classes = d.one(1, 3), d.one(4, 12), d.one(1, 5), d.one(2, 4)
    label = np.full((batch, most, d.one(5, 6)), -1.0)
    for rows in label:
        filled = rows[: d.random.randint(most + 1)]
        filled[:, 0], filled[:, 1:5] = d.random.randint(0, classes - 1, len(filled)), d.boxes(len(filled), turned=0)
    attrs = d.some(overlap_threshold=d.one(0.25, 0.2, 0.0, 1.0), ignore_label=-2.0, minimum_negative_samples=2)
    attrs.update(d.some(negative_mining_ratio=d.one(1.0, 3.0, 0.5), variances=(0.5, 0.25, 1.0, 2.0)))
    return [d.boxes(1, count, turned=0.05), label, d.eighths(-1, 1, (batch, classes, count))], attrs


def MultiBoxDetection(d):
    batch, count, classes = d.one(1, 2), d.one(4, 6, 20), d.one(1, 2, 5)
    offsets = d.eighths(-1, 1, (batch, count * 4)) * d.one(0, 1)
    attrs = d.some(threshold=d.one(0.25, 0.5, 0.0, 2.0), nms_threshold=d.one(0.25, 0.2, 0.0, 1.0, 1.5))
    attrs.update(d.some(clip=d.one(True, False), nms_topk=d.one(0, 1, 2, 5), force_suppress=d.one(True, False)))
    attrs.update(d.some(background_id=1, variances=(0.5, 0.25, 1.0, 2.0)))
    return [d.eighths(0, 1, (batch, classes, count)), offsets, d.boxes(1, count, turned=0.05)], attrs


def Proposal(d, batch=1):
    height, width = d.one((3, 3), (2, 5), (1, 1))
    scales, ratios, stride = d.one((2.0, 4.0), (8.0, 1.0)), d.one((0.5, 1.0), (0.33, 3.0)), d.one(4, 16, 3)
    info = [[height * stride * d.one(1, 0.7), width * stride * d.one(1, 0.6), d.one(1, 1.5)] for _ in range(batch)]
    attrs = {"scales": scales, "ratios": ratios, "feature_stride": stride, "rpn_min_size": d.one(0, 2, 5)}
    attrs.update(rpn_pre_nms_top_n=d.one(12, 6, -1), rpn_post_nms_top_n=d.one(4, 10))
    attrs.update(d.some(threshold=d.one(0.3, 0.0, 1.0), output_score=True, iou_loss=d.one(True, False)))
    scores, moves = d.eighths(0, 1, (batch, 8, height, width)), d.eighths(-1, 1, (batch, 16, height, width))
    return [scores, moves, np.array(info)], attrs


def MultiProposal(d):
    return Proposal(d, 2)


OPERATORS = [
    *(box_nms, box_iou, bipartite_matching, MultiBoxPrior, MultiBoxTarget, MultiBoxDetection, Proposal, MultiProposal)
]


def cases():
    """(name, operator, inputs, attributes) of every case."""
    for make in OPERATORS:
        for at in range(EACH):
            inputs, attrs = make(Draw(at))
            yield f"{make.__name__}/{at}", make.__name__, [np.asarray(i, np.float32) for i in inputs], attrs


if __name__ == "__main__":
    import os

    import mxnet as mx

    answers = {}
    for name, op, inputs, attrs in cases():
        made = getattr(mx.nd.contrib, op)(*map(mx.nd.array, inputs), **attrs)
        for at, out in enumerate(made if isinstance(made, list) else [made]):
            try:
                answers[f"{name}/{at}"] = out.asnumpy()
            except mx.base.MXNetError as problem:
                print(name, attrs, problem)
    np.savez_compressed(os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers.npz"), **answers)
