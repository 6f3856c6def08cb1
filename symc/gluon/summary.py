"""The table that Block.summary prints."""

from __future__ import annotations

from typing import Any

from symc.gluon.block import Block, blocks_of
from symc.gluon.nested import flatten
from symc.gluon.parameter import Parameter


def print_summary(block: Block, inputs: tuple[Any, ...]) -> None:
    """Run the block on inputs, and print every layer's outputs and parameters."""
    rows: list[tuple[str, str, int]] = [("Input", _shapes(list(inputs)), 0)]
    seen: dict[Parameter, int] = {}
    trained = repeated = 0

    def note(layer: Block, _: Any, outputs: Any) -> None:
        nonlocal trained, repeated
        count = 0
        for parameter in layer.params.values():
            size = parameter.data().size
            count += size
            trained += size if parameter.grad_req != "null" else 0
            repeated += size if parameter in seen else 0
            seen[parameter] = size
        rows.append((f"{type(layer).__name__}-{len(rows)}", _shapes(outputs), count))

    handles = []
    try:
        for layer in blocks_of(block):
            if getattr(layer, "_active", False):
                raise AssertionError(f'"{layer.name}" must not be hybridized to print summary.')
            if not type(layer).__name__.endswith("Sequential"):
                handles.append(layer.register_forward_hook(note))
        block(*inputs)
    finally:
        for handle in handles:
            handle.detach()
    total = sum(count for _, _, count in rows)
    print("-" * 80, f"{'Layer (type)':>20}  {'Output Shape':>42} {'Param #':>15}", "=" * 80, sep="\n")
    for name, shapes, count in rows:
        print(f"{name:>20}  {shapes:>42} {count:>15}")
    print("=" * 80)
    print("Parameters in forward computation graph, duplicate included")
    print(f"   Total params: {total}")
    print(f"   Trainable params: {trained}")
    print(f"   Non-trainable params: {total - trained}")
    print(f"Shared params in forward computation graph: {repeated}")
    print(f"Unique parameters in model: {total - repeated}")
    print("-" * 80)


def _shapes(values: Any) -> str:
    return ", ".join(str(x.shape) for x in flatten(values)[0] if x is not None)
