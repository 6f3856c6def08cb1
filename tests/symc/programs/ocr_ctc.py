"""Text of several characters read column by column: convolution, a recurrent layer, and CTC's loss."""

import mxnet as mx
import numpy as np
from common import fill, finish

BATCH, HEIGHT, WIDTH, CHARS, LABELS, HIDDEN = 8, 8, 24, 4, 3, 16


def pictures(count):
    """Strips of three characters, which are fixed patterns of 8 x 6, at places that differ a little; 0 is blank."""
    rng = np.random.RandomState(9)
    glyphs = rng.rand(CHARS, HEIGHT, 6) > 0.5
    for _ in range(count):
        data, label = 0.1 * rng.randn(BATCH, 1, HEIGHT, WIDTH), rng.randint(0, CHARS, (BATCH, LABELS))
        for row, chars in zip(data, label):
            for at, char in enumerate(chars):
                left = 8 * at + rng.randint(0, 3)
                row[0, :, left : left + 6] += glyphs[char]
        yield mx.io.DataBatch([mx.nd.array(data)], [mx.nd.array(label + 1)])


def network():
    data, label = mx.sym.Variable("data"), mx.sym.Variable("label")
    found = mx.sym.Convolution(data, kernel=(3, 3), pad=(1, 1), num_filter=8, name="conv")
    found = mx.sym.Pooling(mx.sym.Activation(found, act_type="relu"), kernel=(2, 2), stride=(2, 2), pool_type="max")
    columns = mx.sym.SliceChannel(found, axis=3, num_outputs=WIDTH // 2, squeeze_axis=True, name="columns")
    steps = [mx.sym.Flatten(columns[i]) for i in range(WIDTH // 2)]
    cell = mx.rnn.BidirectionalCell(mx.rnn.GRUCell(HIDDEN, prefix="l_"), mx.rnn.GRUCell(HIDDEN, prefix="r_"))
    outputs, _ = cell.unroll(WIDTH // 2, inputs=steps, merge_outputs=False)
    joined = mx.sym.Concat(*outputs, dim=0)
    scores = mx.sym.FullyConnected(joined, num_hidden=CHARS + 1, name="cls")
    scores = mx.sym.Reshape(scores, shape=(WIDTH // 2, -1, CHARS + 1))
    loss = mx.sym.MakeLoss(mx.sym.contrib.ctc_loss(scores, label, blank_label="first"), name="ctc")
    return mx.sym.Group([loss, mx.sym.BlockGrad(mx.sym.softmax(scores, axis=2), name="found")])


def read(found):
    """The best text of each strip."""
    texts = []
    for row in found.argmax(axis=2).T:
        kept = [c for at, c in enumerate(row) if c and (at == 0 or row[at - 1] != c)]
        texts.append([int(c) for c in kept])
    return texts


def main():
    model = mx.mod.Module(network(), label_names=("label",), context=mx.cpu())
    model.bind([("data", (BATCH, 1, HEIGHT, WIDTH))], [("label", (BATCH, LABELS))])
    fill(model, 10, 0.2)
    model.init_optimizer("local", "adam", {"learning_rate": 0.02, "clip_gradient": 5.0})
    losses, right = [], 0
    for batch in pictures(90):
        model.forward(batch, is_train=True)
        loss, found = [o.asnumpy() for o in model.get_outputs()]
        losses.append(float(loss.mean()))
        model.backward()
        model.update()
        right = sum(a == [int(c) for c in b] for a, b in zip(read(found), batch.label[0].asnumpy()))
    assert right >= BATCH // 2, right
    finish(losses, 0.3)


main()
