"""Arguments, commands and exit codes of `symc`.

Exit codes: 0 fine; 1 the answer to the question asked is "bad"; 2 usage; 3 input that cannot be read (text that does
not parse, missing files or data); 4 the verifier; 5 a pass refused the program; 6 an internal error.
Standard output holds results only; messages go to standard error, never as a bare traceback.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from symc import __version__
from symc.cli.arguments import Parser, Shapes, folder, parse_shapes, trace_file, watching
from symc.cli.report import INTERNAL, USAGE, explain
from symc.cli.streams import spoken
from symc.codegen.target import TARGET_NAMES
from symc.settings import VARIABLES, whole

Command = Callable[[argparse.Namespace], int]

#: what tells `git bisect run` that a revision cannot be judged
UNTESTABLE = 125
PASS_LEVELS = ("symbol", "tensor", "program", "loop")
LEVELS = ("symbol", "tensor", "fused", "program", "planned", "schedule", "loop", "llvm", "asm", "all")
INPUT_HELP = (
    "NAME-symbol.json, FILE.py:NAME or MODULE:NAME (a Symbol or a function returning one), a .sir file, or - (.sir on "
    "stdin)"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    with spoken():
        return _main(argv)


def _main(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]
    for name, run in (("demo", _demo), ("bench", _bench)):
        if arguments[:1] == [name]:  # these parse their own arguments
            return _guarded(lambda run=run: run(arguments[1:]))  # type: ignore[misc]
    if not arguments:
        _parser().print_help()
        return 0
    bisects = "--bisect-exit" in arguments
    try:
        parser = _parser()
        if arguments[0] not in ("-h", "--help", "--version") and arguments[0].startswith("-"):
            parser.refuse(arguments[0], "; options of a command stand behind its name")
        parsed, unknown = parser.parse_known_args(arguments)
        if unknown:
            parsed.parser.refuse(unknown[0], "; give -- before the command" if parsed.run is _trace else "")
    except SystemExit as end:
        if bisects and end.code == USAGE:
            return UNTESTABLE
        raise
    code = _guarded(lambda: _command(parsed))
    return UNTESTABLE if bisects and USAGE <= code <= INTERNAL else code


def _command(parsed: argparse.Namespace) -> int:
    """Run a command with the code from outside that it names, and its edits of the pipeline."""
    from symc.extensions import import_file, load_extensions, loaded_files

    load_extensions(getattr(parsed, "load", ()))
    if getattr(parsed, "insert", ()):  # the input's file may register passes that are named there
        file, colon, _ = parsed.input.rpartition(".py:")
        if colon:
            import_file(f"{file}.py")
    command: Command = parsed.run
    if not hasattr(parsed, "disable"):
        return command(parsed)
    from symc.debug.reproducer import kept_until_end
    from symc.passes.edits import Edits, insertion, using

    insert = tuple(pair for text in parsed.insert for pair in insertion(text))
    with using(Edits(insert, tuple(name.replace("-", "_") for name in parsed.disable))), kept_until_end(loaded_files()):
        return command(parsed)


def _guarded(run: Callable[[], int]) -> int:
    try:
        return run()
    except BrokenPipeError:
        # The reader (head, less) has seen enough; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("symc: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        text, code = explain(error)
        print(text, file=sys.stderr)
        return code


def _demo(arguments: list[str]) -> int:
    from symc.examples.demo import main as run

    return int(run(arguments) or 0)


def _bench(arguments: list[str]) -> int:
    from symc.bench.cli import main as run

    return int(run(arguments) or 0)


def _dump(options: argparse.Namespace) -> int:
    from symc.cli.dump import dump

    return dump(options)


def _opt(options: argparse.Namespace) -> int:
    from symc.cli.opt import opt

    return opt(options)


def _tune(options: argparse.Namespace) -> int:
    from symc.cli.tune import tune

    return tune(options)


def _run(options: argparse.Namespace) -> int:
    from symc.cli.run import run

    return run(options)


def _numdiff(options: argparse.Namespace) -> int:
    from symc.cli.numdiff import numdiff

    return numdiff(options)


def _bisect(options: argparse.Namespace) -> int:
    from symc.cli.bisect import bisect_command

    return bisect_command(options)


def _reduce(options: argparse.Namespace) -> int:
    from symc.cli.replay import reduce_command

    return reduce_command(options)


def _replay(options: argparse.Namespace) -> int:
    from symc.cli.replay import replay

    return replay(options)


def _why(options: argparse.Namespace) -> int:
    from symc.cli.why import why

    return why(options)


def _why_not(options: argparse.Namespace) -> int:
    from symc.cli.why import why_not_

    return why_not_(options)


def _test(options: argparse.Namespace) -> int:
    from symc.cli.testing import test_files

    return test_files(options)


def _diff(options: argparse.Namespace) -> int:
    from symc.cli.why import diff

    return diff(options)


def _report(options: argparse.Namespace) -> int:
    from symc.cli.pages import report

    return report(options)


def _trace(options: argparse.Namespace) -> int:
    from symc.cli.trace import trace

    return trace(options)


def _passes(options: argparse.Namespace) -> int:
    from symc.cli.info import show_passes

    return show_passes(options.name, options.graph, options.level)


def _ops(options: argparse.Namespace) -> int:
    from symc.cli.info import show_operators

    return show_operators(options.name)


def _fuzz(options: argparse.Namespace) -> int:
    from symc.cli.fuzz import fuzz

    return fuzz(options)


def _parser() -> Parser:
    width = max(map(len, VARIABLES))
    parser = Parser(
        prog="symc",
        description="symc: see and run what becomes of a Symbol.",
        epilog="\n".join(["environment:", *(f"  {name:{width}}  {text}" for name, text in VARIABLES.items())]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"symc {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Command, help: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, allow_abbrev=False)
        made.set_defaults(run=run, parser=made)
        made.add_argument(
            "--load", action="append", default=[], metavar="FILE.py",
            help="import this first: its passes, operators and primitives are known then (repeatable)",
        )  # fmt: skip
        made.add_argument(
            "--bisect-exit", action="store_true",
            help="for git bisect run: exit code 125 where there is no answer (2 to 6), 1 for every bad verdict",
        )  # fmt: skip
        return made

    dump = command("dump", _dump, "print a program at any level of the compiler")
    _input(dump)
    dump.add_argument(
        "--level",
        choices=LEVELS,
        help="how far to compile (default: as it is); program is planned, all writes a folder",
    )
    dump.add_argument("--after", metavar="PASS[#N]", help="stop after this pass (its N-th run, counted from 0)")
    formats = ("text", "json", "table", "dot", "svg", "png", "html")
    dump.add_argument("--format", choices=formats, help="default: text; of --memory: table (svg, png and html draw it)")
    dump.add_argument("--target", choices=TARGET_NAMES, help="compile for this machine (default: the host)")
    dump.add_argument("--memory", action="store_true", help="the memory plan instead of the program")
    dump.add_argument("--select", metavar="GLOB", help="only values and kernels whose name, or Symbol, matches")
    dump.add_argument("--locs", choices=("none", "short", "full"), help="origins (default: full)")
    dump.add_argument("--elide", type=whole(0), metavar="N", help="constants of more elements are printed as a hash")
    dump.add_argument("--focus", metavar="%VALUE", help="pictures: only what is near this value, or Symbol")
    dump.add_argument("--radius", type=whole(0), metavar="N", help="how many edges from --focus (default: 2)")
    dump.add_argument(
        "--fold", action="append", default=[], metavar="PREFIX",
        help="pictures: Symbols whose names begin so are one box (repeatable)",
    )  # fmt: skip
    dump.add_argument("-o", "--output", metavar="FILE", help="write there instead of standard output")

    opt = command("opt", _opt, "run passes on a program")
    _input(opt)
    _pipeline(opt)
    opt.add_argument("--schedule", metavar="FILE", help="schedules of kernels, as dump --level=schedule prints them")
    opt.add_argument("--print-pipeline", action="store_true", help="print the passes with their options, run nothing")
    watching(opt)
    opt.add_argument("--check", action="store_true", help="check values after every pass, as symc numdiff does")
    opt.add_argument("-o", "--output", metavar="FILE", help="write there instead of standard output")

    tune = command("tune", _tune, "measure how kernels run best here, and keep it; nothing needs it")
    _input(tune)
    tune.add_argument("--seconds", type=whole(1), default=60, metavar="S", help="how long (default: 60)")

    numdiff = command("numdiff", _numdiff, "the first pass, action and value that make a program wrong")
    _checked(numdiff)
    numdiff.add_argument("--diagnostics", choices=("text", "json"), default="text", help="json: one line")
    numdiff.add_argument(
        "--reduce", type=whole(0), default=30, metavar="S", help="seconds for making the program small (default: 30)"
    )
    numdiff.add_argument(
        "--out", type=folder, default="numdiff-found", metavar="DIR", help="where the reproducer is written"
    )

    numdiff.add_argument(
        "--split-tests", type=folder, metavar="DIR",
        help="instead: a test of every kind of kernel, on the values that it has in the program, for symc test",
    )  # fmt: skip

    bisect = command("bisect", _bisect, "the smallest set of passes and actions with which a program fails")
    _checked(bisect)
    bisect.add_argument(
        "--fails", default="any", metavar="WHAT",
        help="numerics, verify, crash, any of these (default), or a command that fails when it is given the program: "
        "{} in it is the file",
    )  # fmt: skip
    bisect.add_argument("--seconds", type=whole(1), default=60, metavar="S", help="how long (default: 60)")
    bisect.add_argument("--diagnostics", choices=("text", "json"), default="text", help="json: one line")

    reduce = command("reduce", _reduce, "make a written failure smaller; Ctrl-C keeps the best so far")
    reduce.add_argument("file", help="a .sir file of symc numdiff, reduce or fuzz, or one with a RUN line of symc opt")
    reduce.add_argument("--fails", metavar="COMMAND", help="instead: this fails when it is given the program")
    reduce.add_argument("--seconds", type=whole(1), default=60, metavar="S", help="how long (default: 60)")
    reduce.add_argument("-o", "--output", metavar="FILE", help="where to write (default: FILE-reduced.sir)")

    replay = command("replay", _replay, "run a written failure again: exit code 1 if it fails")
    replay.add_argument("file", help="a .sir file of symc numdiff, reduce or fuzz, or one with a RUN line of symc opt")
    replay.add_argument("--against", metavar="REV", help="also in this git revision of symc")

    why = command("why", _why, "the life of a value: its origins, its kernel, its memory")
    why.add_argument("value", metavar="%VALUE", help="its name")
    _input(why)
    _pipeline(why)
    why_not = command("why-not", _why_not, "why a pass did not do something with a value: the condition that failed")
    why_not.add_argument("pass_", metavar="PASS", help="such as fuse, plan_memory, simplify, own_results")
    why_not.add_argument("values", nargs="+", metavar="%VALUE [%VALUE] INPUT", help=f"names, then {INPUT_HELP}")
    _given(why_not)
    _pipeline(why_not)
    diff = command("diff", _diff, "two programs side by side, equal up to names or not (exit code 1)")
    diff.add_argument("one", metavar="A", help=INPUT_HELP)
    diff.add_argument("other", metavar="B", help="another")
    _given(diff)
    diff.add_argument("-p", "--passes", metavar="PIPELINE", help="run on both first")

    test = command("test", _test, "run .sir files that say what must come out")
    test.add_argument("paths", nargs="+", metavar="PATH", help=".sir files, or folders of them")
    test.add_argument("--update", action="store_true", help="write what is expected anew, unless numbers are wrong")

    report = command("report", _report, "write one HTML page about how a program is compiled")
    _input(report)
    report.add_argument("-o", "--output", metavar="FILE", help="write there instead of standard output")
    report.add_argument(
        "--native", type=whole(0), default=256, metavar="N",
        help="optimised LLVM and assembly of the N kernels with the most work (default: 256)",
    )  # fmt: skip

    report.add_argument(
        "--profile",
        action="store_true",
        help="run the program, and show the time of every kernel beside the machine's limits",
    )

    trace = command("trace", _trace, "run a program, and write what it compiles, level by level")
    trace.add_argument(
        "-o", "--output", type=folder, default="symc-trace", metavar="DIR", help="where to (default: symc-trace)"
    )
    trace.add_argument("program", nargs=argparse.REMAINDER, metavar="COMMAND", help="such as train.py --epochs 1")

    passes = command("passes", _passes, "list the passes, or describe one")
    passes.add_argument("name", nargs="?")
    passes.add_argument(
        "--graph", nargs="?", const="text", choices=("text", "dot"),
        help="the order of the default pipeline, and what passes require, establish and break",
    )  # fmt: skip
    passes.add_argument("--level", choices=PASS_LEVELS, help="the passes that take it, and what is legal there")
    ops = command("ops", _ops, "list MXNet's operators, or describe one")
    ops.add_argument("name", nargs="?")

    run = command("run", _run, "run a model or a program on arrays and print its outputs")
    _input(run)
    run.add_argument("--params", metavar="FILE", help="the parameters (.params)")
    run.add_argument(
        "--input", action="append", default=[], metavar="NAME=FILE", dest="values",
        help="an input (repeatable): .npy, .npz, an image, or a shape like 1x3x224x224 for zeros",
    )  # fmt: skip
    run.add_argument(
        "--inputs", action="append", default=[], metavar="KIND",
        help="values of what is not given: seed=N, ones or exact-int; or FILE.npz with arrays by name (repeatable; "
        "default: seed=0 for a .sir file, none for a model)",
    )  # fmt: skip
    run.add_argument("--save-inputs", metavar="FILE.npz", help="write all values that it ran on there, for --inputs")
    run.add_argument("--backend", choices=("native", "ref"), default="native", help="machine code or the interpreter")
    run.add_argument("--f64", action="store_true", help="interpret floats in double precision (with --backend=ref)")
    run.add_argument("--compare", choices=("ref",), help="exit code 1 if outputs are not those of the interpreter")
    run.add_argument("--nan-guard", action="store_true", help="where the first nan or inf arises; exit code 1 if any")
    run.add_argument(
        "--probe", action="append", default=[], metavar="GLOB",
        help="show inner values, too: those of that name, or of Symbols of that name (repeatable)",
    )  # fmt: skip
    run.add_argument(
        "--profile", nargs="?", const="", type=trace_file, metavar="FILE.json",
        help="time per Symbol and kernel beside the machine's limits; or write it as a trace for Perfetto",
    )  # fmt: skip
    run.add_argument("--summary", action="store_true", help="layers, shapes, parameters, work, memory; nothing is run")
    run.add_argument("--stats", action="store_true", help="range and norm of outputs, not their elements")
    run.add_argument(
        "--top", type=whole(1), default=0, metavar="N", help="the N largest values of every row of an output"
    )
    run.add_argument("--labels", metavar="FILE", help="names of the classes for --top, one a line")
    run.add_argument("-o", "--output", metavar="FILE", help="write the outputs there (.npy for one, .npz for all)")

    fuzz = command("fuzz", _fuzz, "check random programs after every pass")
    fuzz.add_argument("--seconds", type=whole(1), metavar="N", help="how long (default: 60, unless --graphs is given)")
    fuzz.add_argument("--graphs", type=whole(1), metavar="N", help="how many graphs")
    fuzz.add_argument("--seed", type=whole(0), default=1, metavar="S", help="graph i of a seed is always the same")
    fuzz.add_argument("--level", choices=("symbol", "tensor", "both"), default="both", help="default: both")
    fuzz.add_argument("--native", type=whole(0, 100), default=10, metavar="P", help="percent run as machine code too")
    fuzz.add_argument("--jobs", type=whole(1), default=1, metavar="N", help="processes")
    fuzz.add_argument("--out", type=folder, default="fuzz-found", metavar="DIR", help="where failures are written")
    fuzz.add_argument("--replay", metavar="FILE", help="run a written failure again: exit code 1 if it fails")

    commands.add_parser("demo", help="train LeNet on real digits, save, load, predict")
    commands.add_parser("bench", help="measure beside other libraries and the machine's limits")
    return parser


def _checked(parser: argparse.ArgumentParser) -> None:
    """The options of a program that is checked after every pass."""
    _input(parser)
    parser.add_argument("-p", "--passes", default="default", metavar="PIPELINE", help="as of symc opt")
    parser.add_argument(
        "--inputs", action="append", metavar="KIND",
        help="seed=N, exact-int (small whole numbers), edge (zeros, inf, nan, ties, the ends of types) or wide (of all "
        "magnitudes); repeatable (default: all)",
    )  # fmt: skip


def _pipeline(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-p", "--passes", default="default", metavar="PIPELINE",
        help="such as 'inline,fuse{max-ops=8}'; default: what the compiler runs from the input's level on",
    )  # fmt: skip


def _input(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("input", help=INPUT_HELP)
    _given(parser)


def _given(parser: argparse.ArgumentParser) -> None:
    """What goes with an input."""
    parser.add_argument(
        "--shapes", type=parse_shapes, action=Shapes, default={}, metavar="data=32x784,...",
        help="shapes of a Symbol's inputs (repeatable)",
    )  # fmt: skip
    parser.add_argument("--train", action="store_true", help="the training program: with gradients of the parameters")
    parser.add_argument(
        "--insert", action="append", default=[], metavar="PASS+NEW",
        help="run a pass right behind one of the pipeline, such as 'simplify+mypass{n=2}', or with +NEW before all of "
        "them (repeatable)",
    )  # fmt: skip
    parser.add_argument("--disable", action="append", default=[], metavar="PASS", help="leave a pass out (repeatable)")
