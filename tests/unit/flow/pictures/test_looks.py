from __future__ import annotations

import pytest

from handrail.cli.text import MARKS
from handrail.contracts.event import STATES
from handrail.flow.pictures.looks import DARK, LIGHT, LOOKS, WORST_FIRST, mark


def test_every_state_has_a_look_and_a_rank() -> None:
    assert set(LOOKS) == set(WORST_FIRST) == set(STATES)


def test_marks_are_those_of_the_command_line() -> None:
    assert {state: mark(state) for state in STATES} == {state: MARKS[state] for state in STATES}
    assert mark("melted") == "?"


def luminance(colour: str) -> float:
    """Relative luminance, https://www.w3.org/TR/WCAG22/#dfn-relative-luminance."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("state", STATES)
def test_text_and_marks_can_be_read_on_their_ground(state: str) -> None:
    look = LOOKS[state]
    for theme, (line, fill) in ((LIGHT, look.light), (DARK, look.dark)):
        assert contrast(theme.ink, fill) >= 7
        assert contrast(line, fill) >= 3.6
        assert contrast(line, theme.page) >= 4.5
