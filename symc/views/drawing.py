"""Pictures as files: Graphviz text, and SVG."""

from __future__ import annotations

import json
from html import escape

from symc.views.layout import LINE, MARGIN, lay_out
from symc.views.picture import COLOURS, Picture, labels_of


def _quoted(text: str) -> str:
    """A string of Graphviz, which knows no escapes for letters."""
    return json.dumps(text, ensure_ascii=False)


def to_dot(picture: Picture, title: str) -> str:
    """Graphviz text."""
    style = 'shape=box style="rounded,filled" fontname="monospace" fontsize=10'
    lines = [f"digraph {_quoted(title)} {{", f"  node [{style}];"]
    for key, box in picture.boxes.items():
        text = _quoted("\n".join(box.lines))
        lines.append(f"  {_quoted(key)} [label={text} fillcolor={_quoted(COLOURS[box.kind])}];")
    for source, target, label in picture.edges:
        attribute = f" [label={_quoted(label)} fontsize=8]" if label else ""
        lines.append(f"  {_quoted(source)} -> {_quoted(target)}{attribute};")
    return "\n".join([*lines, "}"])


def to_svg(picture: Picture, title: str) -> str:
    """A self-contained SVG: operands above users, edges around boxes, the type of every value where it leaves its box.

    Boxes are groups with `data-key` (and `data-symbol`), edges have `data-from` and `data-to`."""
    layout = lay_out(picture)
    width, height = f"{layout.width:.0f}", f"{layout.height:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="monospace" font-size="12" style="background:#fff">',
        f"<title>{escape(title)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#6b7480"/></marker></defs>',
        '<g fill="none" stroke="#6b7480" stroke-width="1.2">',
    ]
    for number, path in layout.paths:
        source, target, label = picture.edges[number]
        ends = f'data-from="{escape(source)}" data-to="{escape(target)}"'
        tip = f"{source} → {target}{': ' if label else ''}{label}"
        lines.append(f'<path {ends} d="{path}" marker-end="url(#tip)"><title>{escape(tip)}</title></path>')
    lines.append("</g>")
    for key, box in picture.boxes.items():
        at = layout.boxes[key]
        size = f'x="{at.x:.1f}" y="{at.y:.1f}" width="{at.width:.1f}" height="{at.height:.1f}"'
        far = layout.references.get(key, [])
        names = [picture.boxes[name].lines[0] for name in far]
        tip = f"<title>also reads {escape(', '.join(names))}</title>" if far else ""
        dashes = ' stroke-dasharray="5 3"' if far else ""
        symbol = f' data-symbol="{escape(box.symbol)}"' if box.symbol else ""
        lines.append(f'<g data-key="{escape(key)}"{symbol}>{tip}')
        lines.append(f'<rect {size} rx="5" fill="{COLOURS[box.kind]}" stroke="#777"{dashes}/>')
        for row, text in enumerate(box.lines):
            weight = ' font-weight="bold"' if row == 0 else ""
            place = f'x="{at.x + MARGIN:.1f}" y="{at.y + LINE * (row + 1):.1f}"'
            lines.append(f"<text {place}{weight}>{escape(text)}</text>")
        lines.append("</g>")
    # on a rim of white, for an edge may leave the box to the right
    lines.append('<g font-size="10" fill="#454d56" stroke="#fff" stroke-width="3" paint-order="stroke">')
    for key, labels in labels_of(picture).items():
        at = layout.boxes[key]
        for row, label in enumerate(labels, 1):
            place = f'x="{layout.asides[key]:.1f}" y="{at.y + at.height + 1 + 11 * row:.1f}"'
            lines.append(f"<text {place}>{escape(label)}</text>")
    return "\n".join([*lines, "</g>", "</svg>"])
