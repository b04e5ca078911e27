from __future__ import annotations

import io

from rich.console import Console

from handrail.cli.output import Screen
from handrail.cli.working import working


def screen(*, is_terminal: bool) -> tuple[Screen, io.StringIO]:
    found, file = Screen(), io.StringIO()
    found.err = Console(file=file, force_terminal=is_terminal, width=100, color_system=None)
    return found, file


def test_a_terminal_shows_how_much_is_done() -> None:
    shown, file = screen(is_terminal=True)
    with working(shown, "Reading [bold]songs") as work:
        work.begun(4000)
        work.told(1000)
        work.told(500)
    assert "Reading [bold]songs" in file.getvalue()
    assert "1.5 kB of 4.0 kB" in file.getvalue()


def test_things_are_counted_where_they_are_no_bytes() -> None:
    shown, file = screen(is_terminal=True)
    with working(shown, "Looking", is_bytes=False) as work:
        work.told(1234)
    assert "1,234" in file.getvalue()


def test_nothing_is_shown_elsewhere() -> None:
    shown, file = screen(is_terminal=False)
    with working(shown, "Reading", total=10) as work:
        work.begun(20)
        work.told(5)
    assert file.getvalue() == ""
