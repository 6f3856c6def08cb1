"""`symc tune`: measure schedules of the kernels that take the most time, and keep those that are better."""

from __future__ import annotations

import argparse

from symc.cli.inputs import load, passes_for
from symc.cli.opt import run_passes
from symc.cli.report import CliError
from symc.codegen.target import host_target
from symc.ir.loop.schedule_text import schedule_text
from symc.passes.loop.tiling.choose import Choose
from symc.passes.loop.tiling.tuned import key_of_kernel
from symc.tuned import add_tuned
from symc.tuning import Found
from symc.tuning import tune as measure


def tune(options: argparse.Namespace) -> int:
    """Tune the kernels of a net; prints a line for each that was measured."""
    loaded = load(options.input, options.shapes)
    passes = passes_for(loaded, options.train)
    at = next((at for at, pass_ in enumerate(passes) if isinstance(pass_, Choose)), None)
    if at is None:
        raise CliError("there is nothing to choose: the pass choose does not run on this input")
    choose, target = passes[at], host_target()
    assert isinstance(choose, Choose)
    module, _ = run_passes(passes[:at], loaded.module)
    better: list[Found] = []

    def tell(found: Found) -> None:
        before, after = (f"{seconds * 1e6:.1f}" for seconds in found.seconds)
        kept = found.after != found.before
        what = f"{after} us by {schedule_text(found.after)}" if kept else "as chosen"
        print(f"@{found.kernel.name}  {before} us  {what}  ({found.tried} tried)", flush=True)
        better.extend([found] if kept else [])

    try:
        measured = measure(module, choose, target, options.seconds, tell)
    finally:  # Ctrl-C keeps what was found
        schedules = {key_of_kernel(found.kernel, choose.block): found.after for found in better}
        path = add_tuned(schedules, target) if schedules else None
    said = f"{len(measured)} of {len(module.kernels)} kernels measured, better schedules for {len(better)}"
    print(f"{said}, kept in {path}" if path else said + (", not kept: SYMC_CACHE=0" if better else ""))
    return 0
