"""Pages that open from the disk: everything they need is inside."""

from __future__ import annotations

from html import escape
from importlib.resources import files
from string import Template


def picture_page(svg: str, title: str) -> str:
    """A page with one picture to zoom, move and search in."""
    text = files("symc.views").joinpath("picture.html").read_text(encoding="utf-8")
    return Template(text).substitute(title=escape(title), svg=svg)
