"""Names as people see them: harmless, not too long, and about so wide."""

from __future__ import annotations

import unicodedata

#: Marks of direction: harmless in their place, misleading in a name on a screen.
_DIRECTIONS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNSHOWN = ("Cc", "Cs", "Zl", "Zp")
#: No characters; XML must not hold them.
_NO_CHARACTERS = frozenset("\ufffe\uffff")

# Advance widths of DejaVu Sans, in em. Of the sans-serif fonts that systems come with it is among
# the widest, so what fits here fits everywhere.
_WIDTHS = {
    character: width
    for width, characters in (
        (0.25, "'"),
        (0.3, " ,.IJijl"),
        (0.35, "-/:;\\f|"),
        (0.4, "!()[]rt"),
        (0.5, '"*_`sz'),
        (0.55, "?Lc"),
        (0.6, "FPTYaekovxy"),
        (0.65, "$0123456789EKSbdghnpqu{}"),
        (0.7, "ABCRVXZ"),
        (0.75, "DGHNU"),
        (0.8, "&OQw"),
        (0.85, "#+<=>M^~"),
        (0.95, "%m"),
        (1.0, "@W"),
    )
    for character in characters
}
_OTHER_WIDTH, _FULL_WIDTH = 0.68, 1.05


def visible(text: str) -> str:
    """`text` on one line, with control characters, marks of direction and the like spelt out."""
    if text.isprintable() and text.isascii():
        return text
    return "".join(map(_spelt, text))


def _spelt(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    is_unshown = character in _DIRECTIONS or character in _NO_CHARACTERS
    if is_unshown or unicodedata.category(character) in _UNSHOWN:
        return character.encode("unicode_escape").decode("ascii")
    return character


def cell_count(text: str) -> int:
    """How many columns `text` takes in a terminal."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def width_of(text: str, size: float) -> float:
    """About how wide `text` is, set in a sans-serif font of that size."""
    return size * sum(_WIDTHS.get(c) or _other_width(c) for c in text)


def _other_width(character: str) -> float:
    return (0.0, _OTHER_WIDTH, _FULL_WIDTH)[_cells(character)]


def shortened(text: str, cells: int) -> str:
    """`text`, or its start and its end around an ellipsis, in at most so many columns."""
    if cell_count(text) <= cells:
        return text
    end_length = (cells - 1) * 3 // 8
    start, end = _first(text, cells - 1 - end_length), _first(text[::-1], end_length)[::-1]
    while end and not _cells(end[0]):
        end = end[1:]  # what combines with a character that is cut
    return f"{start}…{end}"


def _first(text: str, cells: int) -> str:
    taken = []
    for character in text:
        cells -= _cells(character)
        if cells < 0:
            break
        taken.append(character)
    return "".join(taken)
