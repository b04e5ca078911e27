"""How states look: a mark and colours for each. Nothing is told by colour alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Look:
    """One state in pictures."""

    #: For text.
    mark: str
    #: Strokes of the mark as drawn, each a line of points; the mark's circle has radius 1.
    strokes: tuple[tuple[tuple[float, float], ...], ...]
    #: Line and fill on white, and on black.
    light: tuple[str, str]
    dark: tuple[str, str]
    #: Is what has this state faded, since nothing came or comes of it?
    is_faint: bool = False


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of everything that has no state."""

    page: str
    ink: str
    faint_ink: str
    node: str
    node_line: str
    box: str
    box_line: str
    edge: str


LIGHT = Theme(
    page="#ffffff",
    ink="#1f2328",
    faint_ink="#59636e",
    node="#ffffff",
    node_line="#b7c0c9",
    box="#f4f6f8",
    box_line="#d1d9e0",
    edge="#818b96",
)
DARK = Theme(
    page="#0d1117",
    ink="#e6edf3",
    faint_ink="#9198a1",
    node="#161b22",
    node_line="#4a525c",
    box="#12171e",
    box_line="#30363d",
    edge="#7d8590",
)

_CROSS = (((-0.4, -0.4), (0.4, 0.4)), ((-0.4, 0.4), (0.4, -0.4)))
_GREY = (("#6e7781", "#f6f8fa"), ("#8b949e", "#161b22"))

LOOKS = {
    "queued": Look("·", (), *_GREY),
    "running": Look(
        "▶",
        (((-0.28, -0.48), (0.52, 0), (-0.28, 0.48), (-0.28, -0.48)),),
        ("#0969da", "#ddf4ff"),
        ("#4493f8", "#0f2a4a"),
    ),
    "waiting": Look(
        "↻",
        (((0, -0.55), (0, 0), (0.4, 0.22)),),
        ("#9a6700", "#fff8c5"),
        ("#d29922", "#332a0c"),
    ),
    "succeeded": Look(
        "✓",
        (((-0.45, 0.05), (-0.12, 0.4), (0.48, -0.34)),),
        ("#1a7f37", "#e6f9ea"),
        ("#3fb950", "#10291a"),
    ),
    "failed": Look("✗", _CROSS, ("#cf222e", "#ffebe9"), ("#f85149", "#3c1618")),
    "crashed": Look(
        "✗",
        (((0, -0.56), (0, 0.1)), ((0, 0.46), (0, 0.56))),
        ("#a40e26", "#ffe2de"),
        ("#ff7b72", "#45151a"),
    ),
    "cancelled": Look(
        "⊘", (((-0.45, 0.45), (0.45, -0.45)),), ("#8250df", "#fbefff"), ("#ab7df8", "#271a3d"), True
    ),
    "skipped": Look("-", (((-0.45, 0), (0.45, 0)),), *_GREY, True),
    "superseded": Look(
        "~", (((-0.5, 0.12), (-0.22, -0.14), (0.16, 0.14), (0.5, -0.12)),), *_GREY, True
    ),
}

#: A group none of whose members says more shows the first of these that one of them has.
WORST_FIRST = (
    "failed",
    "crashed",
    "cancelled",
    "running",
    "waiting",
    "queued",
    "skipped",
    "superseded",
    "succeeded",
)


def mark(state: str) -> str:
    """The mark of a state in text."""
    return LOOKS[state].mark if state in LOOKS else "?"
