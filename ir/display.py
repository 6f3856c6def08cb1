"""What a notebook shows of a program. This package cannot draw: whoever can says so by `drawn_by`."""

from __future__ import annotations

from collections.abc import Callable

_drawing: list[Callable[[object], str]] = []


def drawn_by(draw: Callable[[object], str]) -> None:
    """`draw` gives the HTML or SVG of a program of any level from now on."""
    _drawing[:] = [draw]


def _shown(module: object) -> str | None:
    """The picture; None, for which a notebook takes `repr`, where nobody draws."""
    return _drawing[0](module) if _drawing else None


class Drawn:
    """A class of programs that notebooks show as a picture."""

    def _repr_svg_(self) -> str | None:
        return _shown(self)


class Described:
    """A class of programs that notebooks show as a page with pictures and tables."""

    def _repr_html_(self) -> str | None:
        return _shown(self)
