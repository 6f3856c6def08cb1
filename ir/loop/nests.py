"""Questions about loop nests: which loops stand directly in each other."""

from __future__ import annotations

from symc.ir.loop.nodes import For, If, Stmt, walk


def chain(outer: For) -> tuple[list[For], tuple[Stmt, ...]]:
    """Perfectly nested independent loops and the body of the innermost."""
    loops, body = [outer], outer.body
    while len(body) == 1 and isinstance(body[0], For) and body[0].kind == "parallel" and not body[0].carries:
        loops.append(body[0])
        body = body[0].body
    return loops, body


def nest_of(outer: For) -> tuple[list[For], tuple[Stmt, ...]]:
    """Perfectly nested loops of one kind (independent, or all carrying the same values) and the innermost body."""
    loops, body = [outer], outer.body
    while len(body) == 1 and isinstance(body[0], For) and bool(body[0].carries) == bool(outer.carries):
        loops.append(body[0])
        body = body[0].body
    return loops, body


def has_branches(body: tuple[Stmt, ...]) -> bool:
    return any(isinstance(s, If) for s in walk(body))


def is_reduction(loop: For) -> bool:
    """Whether every carry combines, so that lanes may hold partial results."""
    return all(carry.combine is not None for carry in loop.carries)
