"""symc demo: LeNet is built with mx.sym, trained on real handwritten digits, saved, loaded again, and predicts.

The digits are the UCI "Optical Recognition of Handwritten Digits" test set (see digits.txt); every fifth image is held
out. Training sees each image shifted by up to a pixel.
"""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

import symc as mx
from symc.ir.types import Array
from symc.progress import Progress
from symc.settings import whole

CLASSES = 10
#: where the trained model goes unless the user says it
FOLDER = "symc-demo"


def lenet() -> Any:
    """A LeNet for 8x8 images, up to the class probabilities."""
    data = mx.sym.Variable("data")
    conv1 = mx.sym.Convolution(data, name="conv1", kernel=(3, 3), pad=(1, 1), num_filter=32)
    tanh1 = mx.sym.Activation(conv1, name="tanh1", act_type="tanh")
    pool1 = mx.sym.Pooling(tanh1, name="pool1", pool_type="max", kernel=(2, 2), stride=(2, 2))
    conv2 = mx.sym.Convolution(pool1, name="conv2", kernel=(3, 3), pad=(1, 1), num_filter=64)
    tanh2 = mx.sym.Activation(conv2, name="tanh2", act_type="tanh")
    pool2 = mx.sym.Pooling(tanh2, name="pool2", pool_type="max", kernel=(2, 2), stride=(2, 2))
    fc1 = mx.sym.FullyConnected(mx.sym.Flatten(pool2, name="flat"), name="fc1", num_hidden=128)
    tanh3 = mx.sym.Activation(fc1, name="tanh3", act_type="tanh")
    fc2 = mx.sym.FullyConnected(tanh3, name="fc2", num_hidden=CLASSES)
    return mx.sym.SoftmaxOutput(fc2, name="softmax")


def digits() -> tuple[Array, Array, Array, Array]:
    """(training images, labels, test images, labels): float32 (n, 1, 8, 8) in [0, 1], labels float32 (n,)."""
    with files("symc.examples").joinpath("digits.npz").open("rb") as file:
        stored = np.load(file)
        images = stored["images"].astype(np.float32)[:, None] / 16
        labels = stored["labels"].astype(np.float32)
    held = np.arange(len(labels)) % 5 == 4
    return images[~held], labels[~held], images[held], labels[held]


def shifted(images: Array, rng: np.random.Generator) -> Array:
    """Every image moved by -1, 0 or 1 pixels in both directions."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    moves = rng.integers(0, 3, (len(images), 2))
    return np.stack([p[:, i : i + 8, j : j + 8] for p, (i, j) in zip(padded, moves)])


def train(epochs: int, batch: int, seed: int) -> tuple[Any, float]:
    """A trained Module and its accuracy on the held-out images."""
    mx.random.seed(seed)
    np.random.seed(seed)
    rng = np.random.default_rng(seed)
    images, labels, test_images, test_labels = digits()
    steps = len(images) // batch
    module = mx.mod.Module(lenet(), context=mx.cpu())
    module.bind([("data", (batch, 1, 8, 8))], [("softmax_label", (batch,))])
    module.init_params(mx.init.Xavier(factor_type="in", magnitude=2.34))
    schedule = mx.lr_scheduler.CosineScheduler(max_update=epochs * steps, base_lr=0.002, final_lr=1e-5)
    module.init_optimizer(
        optimizer="adam", optimizer_params={"learning_rate": 0.002, "lr_scheduler": schedule, "wd": 1e-4}
    )
    print("compiling the training program", flush=True)
    step = 0
    with closing(Progress(epochs * steps, sys.stdout)) as progress:
        for _ in range(epochs):
            order = rng.permutation(len(images))
            moved = shifted(images, rng)
            right, loss = 0, 0.0
            for at in range(steps):
                chosen = order[at * batch : (at + 1) * batch]
                target = labels[chosen]
                module.forward_backward(mx.io.DataBatch([mx.nd.array(moved[chosen])], [mx.nd.array(target)]))
                module.update()
                probabilities = module.get_outputs()[0].asnumpy()
                right += int((probabilities.argmax(1) == target).sum())
                loss += float(-np.log(np.maximum(probabilities[np.arange(batch), target.astype(int)], 1e-10)).mean())
                step += 1
                shown = [
                    f"step {step:{len(str(progress.total))}}/{progress.total}",
                    f"loss {loss / (at + 1):.4f}",
                    f"accuracy {100 * right / ((at + 1) * batch):.2f} %",
                ]
                progress.show(step, shown.copy)
                if at == steps - 1 and not progress.live:
                    print("  ".join(shown), flush=True)
        progress.say("  ".join(shown))
    return module, accuracy(module, test_images, test_labels, batch)


def accuracy(module: Any, images: Array, labels: Array, batch: int) -> float:
    """Share of the images that the module classifies right."""
    probabilities = module.predict(mx.io.NDArrayIter(images, batch_size=batch)).asnumpy()
    return float((probabilities.argmax(1) == labels).mean())


def picture(image: Array) -> list[str]:
    """An image as text, two characters a pixel."""
    shades = "  ..::--==++**##%%@@"
    return ["".join(2 * shades[2 * min(9, int(10 * v))] for v in row) for row in image[0]]


def show_predictions(module: Any, images: Array, labels: Array, count: int) -> None:
    """A few digits beside each other with what the loaded model says."""
    padded = np.zeros((module.data_shapes[0].shape[0], 1, 8, 8), np.float32)
    padded[:count] = images[:count]
    module.forward(mx.io.DataBatch([mx.nd.array(padded)]), is_train=False)
    probabilities = module.get_outputs()[0].asnumpy()[:count]
    print()
    for row in zip(*(picture(i) for i in images[:count])):
        print("   " + "  ".join(row))
    said = [
        f"{p.argmax()} ({100 * p.max():.0f} %)" + ("" if p.argmax() == label else f", is {label:.0f}")
        for p, label in zip(probabilities, labels)
    ]
    print("   " + "  ".join(f"{s:<16}" for s in said))


def folder_for(path: str) -> Path:
    """The folder that the model is saved in, made if there is none. OSError, before anything is trained, if nothing can
    be written there."""
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(errno.EACCES, "nothing can be written there", path)
    if path == FOLDER:  # the demo's own folder is nothing that a repository around it should speak of
        (folder / ".gitignore").write_text("*\n")
    return folder


def main(argv: Sequence[str] | None = None) -> int:
    """Entry of `symc demo`."""
    parser = argparse.ArgumentParser(
        prog="symc demo", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=whole(1), default=30)
    parser.add_argument("--batch", type=whole(1, 359), default=32)
    parser.add_argument("--seed", type=whole(0, 2**32 - 1), default=7)
    parser.add_argument(
        "--out", default=FOLDER, help=f"folder for digits-symbol.json and digits-NNNN.params (default: {FOLDER})"
    )
    options = parser.parse_args(argv)
    folder = folder_for(options.out)
    start = time.perf_counter()
    print("LeNet on 1,797 handwritten digits (8x8, UCI)\nevery fifth is held out for the test")
    module, score = train(options.epochs, options.batch, options.seed)
    print(f"test accuracy {100 * score:.2f} % after {time.perf_counter() - start:.1f} s with compilation")
    prefix = str(folder / "digits")
    module.save_checkpoint(prefix, options.epochs)
    _, _, images, labels = digits()
    symbol, arguments, states = mx.model.load_checkpoint(prefix, options.epochs)
    loaded = mx.mod.Module(symbol, context=mx.cpu())
    loaded.bind([("data", (options.batch, 1, 8, 8))], [("softmax_label", (options.batch,))], for_training=False)
    loaded.set_params(arguments, states)
    again = accuracy(loaded, images, labels, options.batch)
    print(f"saved {prefix}-symbol.json\nand   {prefix}-{options.epochs:04d}.params\nloaded again: {100 * again:.2f} %")
    width = shutil.get_terminal_size().columns
    # a digit takes 18 columns, and the margin 3
    show_predictions(loaded, images, labels, min(5, options.batch, max(1, (width - 3) // 18)))
    print("\nSee what ran:")
    for command, more in (
        ("dump", "--level=tensor"),
        ("dump", "--train --memory"),
        ("report", "--train -o digits.html"),
    ):
        first, rest = f"   symc {command} {prefix}-symbol.json", f"--shapes data={options.batch}x1x8x8 {more}"
        fits = len(first) + 1 + len(rest) < width
        print(f"{first} {rest}" if fits else f"{first} \\\n      {rest}")
    return 0 if again == score else 1


if __name__ == "__main__":
    sys.exit(main())
