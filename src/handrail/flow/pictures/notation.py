"""A picture in the languages of other programs that draw: mermaid and DOT."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from handrail.flow.pictures.letters import visible
from handrail.flow.pictures.looks import LIGHT, LOOKS, mark
from handrail.flow.pictures.picture import Picture, PictureNode

_INDENT = "    "


def mermaid(picture: Picture) -> str:
    """As a flowchart for https://mermaid.js.org."""
    ids = {node.name: f"n{number}" for number, node in enumerate(picture.nodes)}

    def node_line(node: PictureNode) -> str:
        shape = {"group": '(["{}"])', "map": '[["{}"]]'}.get(node.kind, '["{}"]')
        if picture.members.get(node.name):
            shape = '(("{}"))'  # where the members of a group join
        return f"{ids[node.name]}{shape.format(_entities(_said(node, has_note=True)))}"

    def group_line(node: PictureNode) -> str:
        return f'subgraph {ids[node.name]}g["{_entities(_said(node))}"]'

    lines = ["flowchart LR", *_nested(picture, node_line, group_line, "end")]
    for edge in picture.edges:
        arrow = "-.->" if edge.is_loop else "-->"
        lines.append(f"{_INDENT}{ids[edge.before]} {arrow} {ids[edge.after]}")
    for node in picture.nodes:
        if node.state in LOOKS:
            line, fill = LOOKS[node.state].light
            lines.append(f"{_INDENT}style {ids[node.name]} fill:{fill},stroke:{line},color:#1f2328")
    return "\n".join(lines)


def dot(picture: Picture) -> str:
    """As a digraph for Graphviz, https://graphviz.org/doc/info/lang.html."""
    ids = {node.name: f"n{number}" for number, node in enumerate(picture.nodes)}

    def node_line(node: PictureNode) -> str:
        parts = [f"label={_quoted(_said(node, has_note=True))}"]
        if picture.members.get(node.name):
            parts = ['shape=point, width=0.1, label=""']  # where the members of a group join
        elif node.kind == "map":
            parts.append("peripheries=2")
        parts += (f"tooltip={_quoted(node.name)}", *_dot_colours(node))
        return f"{ids[node.name]} [{', '.join(parts)}];"

    def group_line(node: PictureNode) -> str:
        colour = LOOKS[node.state].light[0] if node.state in LOOKS else LIGHT.box_line
        label = _quoted(_said(node))
        return f'subgraph cluster_{ids[node.name]} {{ label={label}; color="{colour}";'

    lines = [
        "digraph {",
        f'{_INDENT}graph [rankdir=LR, style=rounded, fontname="sans-serif"];',
        f'{_INDENT}node [shape=box, style="rounded,filled", fillcolor=white, '
        'fontname="sans-serif"];',
        *_nested(picture, node_line, group_line, "}"),
    ]
    for edge in picture.edges:
        # A loop must not turn the order of what it goes back over.
        style = " [style=dashed, constraint=false]" if edge.is_loop else ""
        lines.append(f"{_INDENT}{ids[edge.before]} -> {ids[edge.after]}{style};")
    return "\n".join([*lines, "}"])


def _dot_colours(node: PictureNode) -> Iterator[str]:
    if node.state in LOOKS:
        line, fill = LOOKS[node.state].light
        yield f'color="{line}", fillcolor="{fill}"'


def _nested(
    picture: Picture,
    node_line: Callable[[PictureNode], str],
    group_line: Callable[[PictureNode], str],
    end: str,
) -> Iterator[str]:
    """A line for each node, those of members within their groups."""
    waiting: list[tuple[int, str | None, bool]] = [
        (1, name, False) for name in reversed(picture.members.get(None, ()))
    ]
    while waiting:
        depth, name, is_plain = waiting.pop()
        indent = _INDENT * depth
        if name is None:
            yield f"{indent}{end}"
        elif is_plain or not picture.members.get(name):
            yield f"{indent}{node_line(picture.by_name[name])}"
        else:
            yield f"{indent}{group_line(picture.by_name[name])}"
            waiting.append((depth, None, False))
            waiting.append((depth + 1, name, True))
            waiting += ((depth + 1, inner, False) for inner in reversed(picture.members[name]))


def _said(node: PictureNode, *, has_note: bool = False) -> str:
    said = f"{mark(node.state)} {node.label}" if node.state else node.label
    return f"{said}\n{node.note}" if has_note and node.note else said


def _entities(text: str) -> str:
    # Mermaid reads Markdown and HTML in labels: everything that could mean something there is
    # written as an entity, in mermaid's own way of #number;
    shown = []
    for line in text.split("\n"):
        plain = visible(line)
        shown.append("".join(c if c.isalnum() or c in " _-.," else f"#{ord(c)};" for c in plain))
    return "<br>".join(shown)


def _quoted(text: str) -> str:
    lines = [visible(line).replace("\\", "\\\\").replace('"', '\\"') for line in text.split("\n")]
    return '"' + "\\n".join(lines) + '"'
