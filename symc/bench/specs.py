"""The workloads, written once for any module that offers MXNet's API. Runs under MXNet's Python, too: keep it to
Python 3.6's language and to numpy.

    python specs.py MODULE     reads "case repeats" lines, answers with the seconds of every repeat
"""

import importlib
import sys
import time

import numpy as np


def mlp(mx):
    """784-128-64-10, batch 64."""
    x = mx.sym.Variable("data")
    x = mx.sym.Activation(mx.sym.FullyConnected(x, name="fc1", num_hidden=128), act_type="relu")
    x = mx.sym.Activation(mx.sym.FullyConnected(x, name="fc2", num_hidden=64), act_type="relu")
    return mx.sym.SoftmaxOutput(mx.sym.FullyConnected(x, name="fc3", num_hidden=10), name="softmax"), (64, 784)


def lenet(mx):
    """20 and 50 5x5 filters, tanh, max pooling, 500, 10; 28x28, batch 64."""

    def block(x, name, filters):
        x = mx.sym.Activation(mx.sym.Convolution(x, name=name, kernel=(5, 5), num_filter=filters), act_type="tanh")
        return mx.sym.Pooling(x, pool_type="max", kernel=(2, 2), stride=(2, 2))

    x = block(block(mx.sym.Variable("data"), "conv1", 20), "conv2", 50)
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), name="fc1", num_hidden=500)
    x = mx.sym.FullyConnected(mx.sym.Activation(x, act_type="tanh"), name="fc2", num_hidden=10)
    return mx.sym.SoftmaxOutput(x, name="softmax"), (64, 1, 28, 28)


def resnet18(mx, batch=8, image=32):
    """ResNet-18 for small images."""

    def conv(x, name, filters, kernel, stride):
        pad = (kernel // 2,) * 2
        x = mx.sym.Convolution(
            x, name=name, kernel=(kernel,) * 2, stride=(stride,) * 2, pad=pad, num_filter=filters, no_bias=True
        )
        return mx.sym.BatchNorm(x, name=name + "_bn", fix_gamma=False)

    x = mx.sym.Activation(conv(mx.sym.Variable("data"), "conv0", 64, 3, 1), act_type="relu")
    for stage, filters in enumerate((64, 128, 256, 512)):
        for unit in range(2):
            stride = 2 if stage and not unit else 1
            name = f"s{stage}u{unit}"
            y = mx.sym.Activation(conv(x, name + "a", filters, 3, stride), act_type="relu")
            y = conv(y, name + "b", filters, 3, 1)
            if stride != 1:
                x = conv(x, name + "s", filters, 1, stride)
            x = mx.sym.Activation(x + y, act_type="relu")
    x = mx.sym.Pooling(x, global_pool=True, pool_type="avg", kernel=(1, 1))
    x = mx.sym.FullyConnected(mx.sym.Flatten(x), name="fc", num_hidden=10)
    return mx.sym.SoftmaxOutput(x, name="softmax"), (batch, 3, image, image)


NETS = {"mlp": mlp, "lenet": lenet, "resnet18": resnet18}


def trainable(mx, name):
    """A Module that is ready to train, and the shape of its data."""
    net, shape = NETS[name](mx)
    module = mx.mod.Module(net, label_names=["softmax_label"], context=mx.cpu())
    module.bind([("data", shape)], [("softmax_label", shape[:1])])
    module.init_params(mx.init.Uniform(0.05))
    module.init_optimizer(optimizer="sgd", optimizer_params={"learning_rate": 0.001, "momentum": 0.9})
    return module, shape


def training(mx, name):
    """A step of a Module on one batch."""
    module, shape = trainable(mx, name)
    rs = np.random.RandomState(0)
    batch = mx.io.DataBatch([mx.nd.array(rs.uniform(size=shape))], [mx.nd.array(rs.randint(0, 10, shape[:1]))])

    def step():
        module.forward_backward(batch)
        module.update()
        mx.nd.waitall()

    return step


def prediction(mx, name):
    """A bound net that predicts one batch."""
    return bound(mx, *NETS[name](mx))


def bound(mx, net, shape):
    """A run of a net on data of a shape, with some numbers as parameters."""
    exe = net.simple_bind(mx.cpu(), grad_req="null", data=shape)
    rs = np.random.RandomState(0)
    for array in exe.arg_dict.values():
        array[:] = rs.uniform(-0.05, 0.05, array.shape)
    for key, array in exe.aux_dict.items():
        array[:] = 1 if key.endswith("var") else 0

    def run():
        exe.forward(is_train=False)
        exe.outputs[0].wait_to_read()

    return run


#: convolutions of well-known nets, each with a normalization and a clip: channels, extent of the maps, filters, kernel,
#: stride, groups
LAYERS = {
    "3-224-32k3s2": (3, 224, 32, 3, 2, 1),
    "dw32-112": (32, 112, 32, 3, 1, 32),
    "dw96-112s2": (96, 112, 96, 3, 2, 96),
    "dw144-56": (144, 56, 144, 3, 1, 144),
    "dw384-14": (384, 14, 384, 3, 1, 384),
    "dw960-7": (960, 7, 960, 3, 1, 960),
    "16-112-96": (16, 112, 96, 1, 1, 1),
    "144-56-24": (144, 56, 24, 1, 1, 1),
    "64-14-384": (64, 14, 384, 1, 1, 1),
    "160-7-960": (160, 7, 960, 1, 1, 1),
    "256-56-64": (256, 56, 64, 1, 1, 1),
    "1024-14-256": (1024, 14, 256, 1, 1, 1),
    "512-7-2048": (512, 7, 2048, 1, 1, 1),
    "64-56k3": (64, 56, 64, 3, 1, 1),
    "256-14k3": (256, 14, 256, 3, 1, 1),
    "512-7k3": (512, 7, 512, 3, 1, 1),
}


def layer(mx, name):
    """One of LAYERS on one image."""
    channels, size, filters, kernel, stride, groups = LAYERS[name]
    x = mx.sym.Convolution(
        mx.sym.Variable("data"), name="conv", kernel=(kernel,) * 2, stride=(stride,) * 2, pad=(kernel // 2,) * 2,
        num_filter=filters, num_group=groups, no_bias=True,
    )  # fmt: skip
    x = mx.sym.clip(mx.sym.BatchNorm(x, name="bn", fix_gamma=False), a_min=0, a_max=6)
    return bound(mx, x, (1, channels, size, size))


def layer_flops(name):
    """Floating-point operations of a layer's convolution."""
    channels, size, filters, kernel, stride, groups = LAYERS[name]
    places = (size + 2 * (kernel // 2) - kernel) // stride + 1
    return 2.0 * places**2 * filters * channels // groups * kernel**2


def call(mx, name):
    """A*B + C on 3 elements: the cost of a call."""
    a, b, c = (mx.sym.Variable(k) for k in "ABC")
    exe = (a * b + c).bind(mx.cpu(), {k: mx.nd.ones((3,)) for k in "ABC"})

    def run():
        exe.forward()
        exe.outputs[0].wait_to_read()

    return run


CASES = {
    "call/abc": (call, "abc"),
    "train/mlp": (training, "mlp"),
    "train/lenet": (training, "lenet"),
    "train/resnet18": (training, "resnet18"),
    "predict/mlp": (prediction, "mlp"),
    "predict/lenet": (prediction, "lenet"),
    "predict/resnet18": (prediction, "resnet18"),
}
CASES.update(("layer/" + name, (layer, name)) for name in LAYERS)


def measure(run, repeats):
    """Seconds of every repeat (short ones in batches)."""
    run()
    start = time.perf_counter()
    run()
    once = max(time.perf_counter() - start, 1e-7)
    inner = max(1, int(2e-3 / once))
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            run()
        found.append((time.perf_counter() - start) / inner)
    return found


def main():
    mx = importlib.import_module(sys.argv[1])
    ready = {}
    for line in sys.stdin:
        case, repeats = line.split()
        if case not in ready:
            make, name = CASES[case]
            ready[case] = make(mx, name)
        sys.stdout.write(" ".join(f"{s:.9g}" for s in measure(ready[case], int(repeats))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
