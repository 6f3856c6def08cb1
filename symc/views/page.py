"""Pages that open from the disk: everything they need is inside."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template


def picture_page(svg: str, title: str) -> str:
    """A page with one picture to zoom, move and search in."""
    page, *scripts = (
        files("symc.views").joinpath(name).read_text(encoding="utf-8")
        for name in ("picture.html", "canvas.js", "picture.js")
    )
    return Template(page).substitute(title=escape(title), svg=svg, script="".join(scripts))
