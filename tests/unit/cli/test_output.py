from __future__ import annotations

import io
import json

from rich.console import Console

from handrail.cli.output import Column, Screen

COLUMNS = (
    Column("run"),
    Column("state", is_state=True),
    Column("note"),
    Column("reason", gives_way=True),
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def _screen(file: io.StringIO, width: int = 40) -> Screen:
    screen = Screen()
    screen.out = Console(
        file=file,
        force_terminal=file.isatty(),
        width=width,
        color_system="standard" if file.isatty() else None,
        markup=False,
        highlight=False,
        _environ={},
    )
    return screen


def test_elsewhere_a_table_is_plain_whole_and_has_all_its_columns() -> None:
    file = io.StringIO()
    _screen(file).table(COLUMNS, [("1m7z", "failed", "", "x" * 90), ("1m8", "succeeded", "", "")])
    assert file.getvalue().splitlines() == [
        "RUN   STATE      NOTE  REASON",
        f"1m7z  failed           {'x' * 90}",
        "1m8   succeeded",
    ]


def test_in_a_terminal_a_table_fits_and_leaves_empty_columns_out() -> None:
    file = Terminal()
    _screen(file).table(COLUMNS, [("1m7z", "failed", "", "x" * 90)])
    heading, row = file.getvalue().splitlines()
    assert "NOTE" not in heading
    assert "\x1b[1;31m✗ failed" in row
    assert "…" in row
    assert row.count("x") < 40


def test_cells_are_never_read_as_markup_and_cannot_act_on_the_terminal() -> None:
    file = Terminal()
    _screen(file, 80).table((Column("task"),), [("[red]evil[/red]\x1b[2J\n",)])
    assert "[red]evil[/red]\\x1b[2J\\n" in file.getvalue()


def test_fields_without_a_value_are_left_out() -> None:
    file = io.StringIO()
    _screen(file).fields([("run", "1m7z"), ("key", ""), ("workflow", "songs")])
    assert file.getvalue() == "run       1m7z\nworkflow  songs\n"


def test_states_have_a_mark_only_for_people() -> None:
    assert _screen(io.StringIO()).state("failed").plain == "failed"
    assert _screen(Terminal()).state("failed").plain == "✗ failed"


def test_json_is_ascii_so_that_it_survives_any_encoding() -> None:
    file = io.StringIO()
    _screen(file).json({"name": "für \udcff"})
    assert file.getvalue().isascii()
    assert json.loads(file.getvalue()) == {"name": "für \udcff"}
