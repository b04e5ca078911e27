"""A layout as PNG, drawn by matplotlib: as the SVG is, on white."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable
from typing import Any

from handrail.errors import NotInstalledError
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
from handrail.flow.pictures.looks import LIGHT, LOOKS, Look
from handrail.flow.pictures.picture import PictureNode
from handrail.flow.pictures.routes import Point

#: Pixels of the image for one of the layout; less where the image would get too large.
_SCALE = 2.0
_MOST_PIXELS, _LONGEST_SIDE = 60e6, 60_000
#: Pixels of the layout in an inch, as CSS has it; and the points of letters in a pixel.
_PER_INCH, _POINT = 96.0, 0.75
_ARROW_LENGTH, _ARROW_HALF = 6.5, 3.1
#: Has Latin, Greek and Cyrillic letters and comes with matplotlib; others come from what is
#: installed.
_FONTS = (
    "DejaVu Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans JP",
    "WenQuanYi Zen Hei",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Devanagari",
    "Hiragino Sans",
    "PingFang SC",
    "Arial Unicode MS",
    "Malgun Gothic",
    "Microsoft YaHei",
    "Noto Emoji",
    "Symbola",
)


def png(layout: Layout) -> bytes:
    """The picture as a PNG image.

    Raises:
        NotInstalledError: matplotlib, of the extra `draw`, is missing.
    """
    try:
        import matplotlib
    except ImportError as exc:
        raise NotInstalledError("Drawing PNG images", "draw") from exc
    assert matplotlib is not None
    return _Painter(layout).image()


class _Painter:
    def __init__(self, layout: Layout) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._layout = layout
        size = (max(layout.width, 1.0), max(layout.height, 1.0))
        scale = min(_SCALE, math.sqrt(_MOST_PIXELS / (size[0] * size[1])))
        scale = min(scale, _LONGEST_SIDE / max(size))
        self._figure: Any = Figure(
            figsize=(size[0] / _PER_INCH, size[1] / _PER_INCH),
            dpi=_PER_INCH * scale,
            facecolor=LIGHT.page,
        )
        self._canvas: Any = FigureCanvasAgg(self._figure)
        self._axes: Any = self._figure.add_axes((0, 0, 1, 1), frameon=False)
        self._axes.set(xlim=(0, size[0]), ylim=(size[1], 0), autoscale_on=False)
        self._axes.set_axis_off()
        self._letters = _Letters()

    def image(self) -> bytes:
        for node, place in self._layout.boxes:
            self._box(node, place)
        self._edges([curve for curve in self._layout.curves if not curve.is_loop], "solid")
        self._edges([curve for curve in self._layout.curves if curve.is_loop], (0, (3.5, 2.8)))
        for node, place in self._layout.joins:
            look = LOOKS.get(node.state or "")
            centre = (place.x + place.width / 2, place.y + place.height / 2)
            self._disc(centre, 4.0, look.light[0] if look else LIGHT.edge, 1.0)
        for node, place in self._layout.nodes:
            self._node(node, place)
        file = io.BytesIO()
        self._canvas.print_png(file)
        return file.getvalue()

    # Parts

    def _box(self, node: PictureNode, place: Rectangle) -> None:
        look = LOOKS.get(node.state or "")
        self._rectangle(place, 10, LIGHT.box, look.light[0] if look else LIGHT.box_line, 1.0)
        x, y = place.x + 12, place.y + TITLE_HEIGHT * 0.68
        if look:
            self._mark(look, (x + 6, y - 4), 6.5, 1.0)
            x += 18
        self._text(node.label, (x, y), TITLE_SIZE, LIGHT.ink, "bold", 1.0)

    def _node(self, node: PictureNode, place: Rectangle) -> None:
        look = LOOKS.get(node.state or "")
        line, fill = look.light if look else (LIGHT.node_line, LIGHT.node)
        opacity, style = (0.7, (0, (3, 2.2))) if look and look.is_faint else (1.0, "solid")
        radius = place.height / 2 if node.kind == "group" else 8
        if node.kind == "map":
            behind = Rectangle(place.x + 4, place.y + 4, place.width, place.height)
            self._rectangle(behind, radius, fill, line, opacity, style)
        self._rectangle(place, radius, fill, line, opacity, style)
        middle = place.y + place.height / 2
        start = place.x + (TEXT_START_MARKED if node.state else TEXT_START)
        if look:
            self._mark(look, (place.x + 18, middle), 8.0, opacity)
        base = middle - 2.5 if node.note else middle + NAME_SIZE * 0.36
        self._text(node.label, (start, base), NAME_SIZE, LIGHT.ink, "normal", opacity)
        if node.note:
            note_at = (start, middle + 13.5)
            self._text(node.note, note_at, NOTE_SIZE, LIGHT.faint_ink, "normal", opacity)

    def _edges(self, curves: list[Curve], style: Any) -> None:
        from matplotlib.collections import PathCollection, PolyCollection
        from matplotlib.path import Path

        paths, arrows = [], []
        for curve in curves:
            points, codes = [curve.start], [Path.MOVETO]
            for piece in curve.pieces:
                points += piece
                codes += [Path.LINETO] if len(piece) == 1 else [Path.CURVE4] * 3
            paths.append(Path(points, codes))
            if curve.has_arrow:
                arrows.append(_arrow(points[-2], points[-1]))
        width = 1.4 * _POINT
        lines = PathCollection(
            paths, facecolors="none", edgecolors=LIGHT.edge, linewidths=width, linestyles=[style]
        )
        heads = PolyCollection(arrows, facecolors=LIGHT.edge, linewidths=0)
        self._axes.add_collection(lines, autolim=False)
        self._axes.add_collection(heads, autolim=False)

    # Shapes

    def _rectangle(
        self,
        place: Rectangle,
        radius: float,
        fill: str,
        line: str,
        opacity: float,
        style: Any = "solid",
    ) -> None:
        from matplotlib.patches import FancyBboxPatch

        self._axes.add_artist(
            FancyBboxPatch(
                (place.x, place.y),
                place.width,
                place.height,
                boxstyle=f"round,pad=0,rounding_size={radius}",
                facecolor=fill,
                edgecolor=line,
                linewidth=1.2 * _POINT,
                linestyle=style,
                alpha=opacity,
            )
        )

    def _mark(self, look: Look, centre: Point, radius: float, opacity: float) -> None:
        from matplotlib.lines import Line2D

        self._disc(centre, radius, look.light[0], opacity)
        for stroke in look.strokes:
            self._axes.add_artist(
                Line2D(
                    [centre[0] + x * radius for x, _ in stroke],
                    [centre[1] + y * radius for _, y in stroke],
                    color=LIGHT.page,
                    linewidth=1.8 * _POINT,
                    solid_capstyle="round",
                    solid_joinstyle="round",
                    marker="",
                )
            )

    def _disc(self, centre: Point, radius: float, colour: str, opacity: float) -> None:
        from matplotlib.patches import Circle

        self._axes.add_artist(Circle(centre, radius, color=colour, linewidth=0, alpha=opacity))

    def _text(
        self, text: str, at: Point, size: float, colour: str, weight: str, opacity: float
    ) -> None:
        self._axes.text(
            *at,
            self._letters.known(text),
            size=size * _POINT,
            family=self._letters.families,
            weight=weight,
            color=colour,
            alpha=opacity,
            parse_math=False,
            usetex=False,
            va="baseline",
            ha="left",
        )


class _Letters:
    """What the fonts of this machine can show."""

    def __init__(self) -> None:
        from matplotlib import font_manager

        installed = set(font_manager.fontManager.get_font_names())
        self.families = [family for family in _FONTS if family in installed]
        self._fonts = [
            font_manager.get_font(font_manager.findfont(family)) for family in self.families
        ]

    def known(self, text: str) -> str:
        """`text` with a box in place of each character that no font has."""
        if text.isascii():
            return text
        return "".join(c if self._has(ord(c)) else "\u25a1" for c in text)

    def _has(self, code: int) -> bool:
        return any(font.get_char_index(code) for font in self._fonts)


def _arrow(before: Point, tip: Point) -> Iterable[Point]:
    length = math.dist(before, tip) or 1.0
    x, y = (tip[0] - before[0]) / length, (tip[1] - before[1]) / length
    base = (tip[0] - x * _ARROW_LENGTH, tip[1] - y * _ARROW_LENGTH)
    return (
        tip,
        (base[0] - y * _ARROW_HALF, base[1] + x * _ARROW_HALF),
        (base[0] + y * _ARROW_HALF, base[1] - x * _ARROW_HALF),
    )
