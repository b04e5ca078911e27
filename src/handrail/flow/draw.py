"""Pictures of a graph, without a network: text, mermaid, DOT, SVG and PNG."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from handrail.errors import WorkflowDefinitionError
from handrail.flow.graph import TaskGraph

if TYPE_CHECKING:
    from handrail.flow.pictures.picture import Picture

# What draws is imported late: most runs draw nothing.


def _text(picture: Picture, title: str) -> str:
    from handrail.flow.pictures.text import text_lines

    return "\n".join(map(str, text_lines(picture)))


def _mermaid(picture: Picture, title: str) -> str:
    from handrail.flow.pictures.notation import mermaid

    return mermaid(picture)


def _dot(picture: Picture, title: str) -> str:
    from handrail.flow.pictures.notation import dot

    return dot(picture)


def _svg(picture: Picture, title: str) -> str:
    from handrail.flow.pictures.layout import lay_out
    from handrail.flow.pictures.svg import svg

    return svg(lay_out(picture), title=title)


def _png(picture: Picture, title: str) -> bytes:
    from handrail.flow.pictures.layout import lay_out
    from handrail.flow.pictures.png import png

    return png(lay_out(picture))


_FORMATS: dict[str, Callable[[Picture, str], str | bytes]] = {
    "text": _text,
    "mermaid": _mermaid,
    "dot": _dot,
    "svg": _svg,
    "png": _png,
}
FORMATS = tuple(_FORMATS)
_SUFFIXES = {
    ".txt": "text",
    ".mmd": "mermaid",
    ".mermaid": "mermaid",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "svg",
    ".png": "png",
}


def draw(
    graph: TaskGraph,
    format: str | None = None,
    states: Mapping[str, str] | None = None,
    path: str | Path | None = None,
    *,
    title: str = "",
    without: Collection[str] = (),
) -> str | bytes:
    """Draws a graph, as `workflow.draw` says; `without` the nodes of those names."""
    from handrail.flow.pictures.picture import Picture

    return draw_picture(Picture.of(graph, states, without), format, path, title=title)


def draw_picture(
    picture: Picture,
    format: str | None = None,
    path: str | Path | None = None,
    *,
    title: str = "",
) -> str | bytes:
    """Draws a picture, and writes it to `path` if there is one.

    Args:
        format: one of `FORMATS`; by default what the path ends in, else `"text"`.
        title: what it is, for those who hear it read.

    Raises:
        WorkflowDefinitionError: no such format, or the path ends in none that is known.
        NotInstalledError: the format is PNG, and the extra `draw` is missing.
        OSError: the file cannot be written.
    """
    drawn = _FORMATS[_format(format, path)](picture, title)
    if path is not None:
        ended = drawn if isinstance(drawn, bytes) else f"{drawn.rstrip()}\n".encode()
        Path(path).write_bytes(ended)
    return drawn


def _format(format: str | None, path: str | Path | None) -> str:
    if format is None and path is not None:
        suffix = Path(path).suffix
        if suffix.lower() not in _SUFFIXES:
            raise WorkflowDefinitionError(
                f"cannot tell the format from {str(path)!r}: let it end in one of "
                f"{', '.join(_SUFFIXES)}, or say which of {', '.join(FORMATS)} is meant"
            )
        return _SUFFIXES[suffix.lower()]
    if format is None:
        return "text"
    if format not in _FORMATS:
        raise WorkflowDefinitionError(
            f"unknown format {format!r}: expected one of {', '.join(FORMATS)}"
        )
    return format
