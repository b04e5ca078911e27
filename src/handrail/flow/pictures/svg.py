"""A layout as SVG: one file without references, light or dark as the reader's system is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from xml.sax.saxutils import escape, quoteattr

from handrail.flow.pictures.layout import (
    NAME_SIZE,
    NOTE_SIZE,
    TEXT_START,
    TEXT_START_MARKED,
    TITLE_HEIGHT,
    TITLE_SIZE,
    Curve,
    Layout,
    Rectangle,
)
from handrail.flow.pictures.letters import visible
from handrail.flow.pictures.looks import DARK, LIGHT, LOOKS, Look, Theme
from handrail.flow.pictures.picture import PictureNode
from handrail.flow.pictures.routes import Point

_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','DejaVu Sans',sans-serif"
_MARK_RADIUS = 8.0
_BASE = f"""
.hg{{color-scheme:light dark}}
.hg text{{font-family:{_FONT}}}
.hg .name{{font-size:{NAME_SIZE:g}px;font-weight:500}}
.hg .note{{font-size:{NOTE_SIZE:g}px}}
.hg .title{{font-size:{TITLE_SIZE:g}px;font-weight:600}}
.hg .node rect{{stroke-width:1.25}}
.hg .box>rect{{stroke-width:1}}
.hg .edge{{fill:none;stroke-width:1.4}}
.hg .loop{{stroke-dasharray:5 4}}
.hg .faint>*{{opacity:.7}}
.hg .faint rect{{stroke-dasharray:4 3}}
.hg .mark{{fill:none;stroke-width:1.8;stroke-linecap:round;stroke-linejoin:round}}
.hg a:focus{{outline:none}}
.hg a:focus rect,.hg a:hover rect{{stroke-width:2.5}}
"""


def svg(
    layout: Layout,
    *,
    title: str = "",
    link: Callable[[str], str | None] | None = None,
    has_page: bool = True,
) -> str:
    """The picture as an SVG document.

    Args:
        title: what it is, for those who hear it read.
        link: where the node of that name leads, if anywhere.
        has_page: paint the ground, too.
    """
    width, height = _number(layout.width), _number(layout.height)
    states = {node.state for node, _ in (*layout.nodes, *layout.boxes)}
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="hg" role="img" width="{width}" '
        f'height="{height}" viewBox="0 0 {width} {height}" '
        f"aria-label={quoteattr(visible(title) or 'graph')}>",
        f"<style>{_style(states)}</style>",
        '<defs><marker id="hg-arrow" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="7" '
        'markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
        '<path class="head" d="M0,0.5L8,4L0,7.5z"/></marker></defs>',
    ]
    if has_page:
        lines.append('<rect class="page" width="100%" height="100%"/>')
    lines += (_box(node, rectangle) for node, rectangle in layout.boxes)
    lines += (_edge(curve) for curve in layout.curves)
    lines += (_join(node, rectangle) for node, rectangle in layout.joins)
    for node, rectangle in layout.nodes:
        target = link(node.name) if link is not None else None
        drawn = _node(node, rectangle)
        lines.append(f"<a href={quoteattr(target)}>{drawn}</a>" if target else drawn)
    return "\n".join([*lines, "</svg>", ""])


def _style(states: set[str | None]) -> str:
    looks = {state: LOOKS[state] for state in LOOKS if state in states}
    light = "".join(_coloured(LIGHT, {state: look.light for state, look in looks.items()}))
    dark = "".join(_coloured(DARK, {state: look.dark for state, look in looks.items()}))
    return f"{_BASE}{light}@media (prefers-color-scheme:dark){{\n{dark}}}\n"


def _coloured(theme: Theme, states: dict[str, tuple[str, str]]) -> Iterator[str]:
    yield f".hg .page{{fill:{theme.page}}}\n"
    yield f".hg text{{fill:{theme.ink}}}\n.hg .note{{fill:{theme.faint_ink}}}\n"
    yield f".hg .node rect{{fill:{theme.node};stroke:{theme.node_line}}}\n"
    yield f".hg .box>rect{{fill:{theme.box};stroke:{theme.box_line}}}\n"
    yield f".hg .edge{{stroke:{theme.edge}}}\n.hg .head,.hg .join{{fill:{theme.edge}}}\n"
    for state, (line, fill) in states.items():
        yield f".hg .node.{state} rect{{fill:{fill};stroke:{line}}}\n"
        yield f".hg .box.{state}>rect{{stroke:{line}}}\n"
        yield f".hg .{state} .disc,.hg .join.{state}{{fill:{line}}}\n"
        yield f".hg .{state} .mark{{stroke:{theme.page}}}\n"


def _box(node: PictureNode, place: Rectangle) -> str:
    x, y = place.x + 12, place.y + TITLE_HEIGHT * 0.68
    mark = ""
    if node.state in LOOKS:
        mark = _mark(LOOKS[node.state], (x + 6, y - 4), 6.5)
        x += 18
    return (
        f'<g class="box {_state_class(node)}">{_hover(node)}{_rectangle(place, 10)}'
        f'{mark}<text class="title" x="{_number(x)}" y="{_number(y)}">{_text(node.label)}'
        "</text></g>"
    )


def _node(node: PictureNode, place: Rectangle) -> str:
    middle = place.y + place.height / 2
    start = place.x + (TEXT_START_MARKED if node.state else TEXT_START)
    base = middle + NAME_SIZE * 0.36
    note = ""
    if node.note:
        note = (
            f'<text class="note" x="{_number(start)}" y="{_number(middle + 13.5)}">'
            f"{_text(node.note)}</text>"
        )
        base = middle - 2.5
    mark = ""
    if node.state in LOOKS:
        mark = _mark(LOOKS[node.state], (place.x + 18, middle), _MARK_RADIUS)
    radius = place.height / 2 if node.kind == "group" else 8
    behind = _rectangle(_moved(place, 4), radius) if node.kind == "map" else ""
    return (
        f'<g class="node {node.kind} {_state_class(node)}">{_hover(node)}{behind}'
        f"{_rectangle(place, radius)}{mark}"
        f'<text class="name" x="{_number(start)}" y="{_number(base)}">{_text(node.label)}</text>'
        f"{note}</g>"
    )


def _join(node: PictureNode, place: Rectangle) -> str:
    x, y = place.x + place.width / 2, place.y + place.height / 2
    state = node.state if node.state in LOOKS else ""
    centre = f'cx="{_number(x)}" cy="{_number(y)}"'
    return f'<circle class="join {state}" {centre} r="4">{_hover(node)}</circle>'


def _mark(look: Look, centre: Point, radius: float) -> str:
    x, y = centre
    strokes = "".join(
        "M" + "L".join(f"{_number(x + a * radius)},{_number(y + b * radius)}" for a, b in stroke)
        for stroke in look.strokes
    )
    drawn = f'<path class="mark" d="{strokes}"/>' if strokes else ""
    return f'<circle class="disc" cx="{_number(x)}" cy="{_number(y)}" r="{radius:g}"/>{drawn}'


def _edge(curve: Curve) -> str:
    parts = [f"M{_pair(curve.start)}"]
    for piece in curve.pieces:
        parts.append(("L" if len(piece) == 1 else "C") + " ".join(map(_pair, piece)))
    loop = " loop" if curve.is_loop else ""
    arrow = ' marker-end="url(#hg-arrow)"' if curve.has_arrow else ""
    return f'<path class="edge{loop}" d="{"".join(parts)}"{arrow}/>'


def _hover(node: PictureNode) -> str:
    said = [visible(node.name), node.state or "", node.note]
    return f"<title>{_text(', '.join(part for part in said if part))}</title>"


def _state_class(node: PictureNode) -> str:
    if node.state not in LOOKS:
        return ""
    return f"{node.state} faint" if LOOKS[node.state].is_faint else node.state


def _rectangle(place: Rectangle, radius: float) -> str:
    return (
        f'<rect x="{_number(place.x)}" y="{_number(place.y)}" width="{_number(place.width)}" '
        f'height="{_number(place.height)}" rx="{radius:g}"/>'
    )


def _moved(place: Rectangle, by: float) -> Rectangle:
    return Rectangle(place.x + by, place.y + by, place.width, place.height)


def _text(text: str) -> str:
    return escape(visible(text))


def _pair(point: Point) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
