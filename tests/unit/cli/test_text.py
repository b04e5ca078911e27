from __future__ import annotations

import pytest

from handrail.cli import text


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain", "plain"),
        ("für [bold]", "für [bold]"),
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("lone \udcff", "lone \\udcff"),
        ("\x9b2J", "\\x9b2J"),
        ("\u2028", "\\u2028"),
    ],
)
def test_what_could_act_on_a_terminal_is_spelt_out(raw: str, shown: str) -> None:
    assert text.visible(raw) == shown


def test_a_block_keeps_its_lines_and_nothing_else() -> None:
    assert text.block("a\tb\n\x1b[2Jc") == "a   b\n\\x1b[2Jc"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0 ms"),
        (0.0124, "12 ms"),
        (0.0999, "0.1 s"),
        (1.23, "1.2 s"),
        (59.96, "1 min 00 s"),
        (184, "3 min 04 s"),
        (7500, "2 h 05 min"),
        (90_000, "1 d 01 h"),
    ],
)
def test_lengths_of_time_have_the_unit_that_suits_them(seconds: float, shown: str) -> None:
    assert text.duration(seconds) == shown


@pytest.mark.parametrize(
    ("size_bytes", "shown"),
    [(0, "0 B"), (999, "999 B"), (1234, "1.2 kB"), (999_960, "1.0 MB"), (5 * 10**16, "50.0 PB")],
)
def test_sizes_are_in_powers_of_ten(size_bytes: int, shown: str) -> None:
    assert text.size(size_bytes) == shown


def test_short_ids_are_as_long_as_they_must_be() -> None:
    ids = ["0123456789aaaaaa", "0123456789abbbbb", "9999999999999999"]
    assert text.short_ids(ids) == {
        "0123456789aaaaaa": "0123456789aa",
        "0123456789abbbbb": "0123456789ab",
        "9999999999999999": "99999999",
    }
    assert text.short_ids([]) == {}


def test_the_first_line_is_the_first_that_says_something() -> None:
    assert text.first_line("\n  \n boom \nmore") == "boom"
    assert text.first_line("") == ""
