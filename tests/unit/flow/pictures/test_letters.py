from __future__ import annotations

import pytest

from handrail.flow.pictures.letters import cell_count, shortened, visible, width_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\nlines\t", "two\\nlines\\t"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\u202eevil", "\\u202eevil"),
        ("\ufffe", "\\ufffe"),
        ("\ud800", "\\ud800"),
        ("Überblick データ", "Überblick データ"),
    ],
)
def test_what_cannot_be_seen_is_spelt_out(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_wide_characters_take_two_columns_and_combining_ones_none() -> None:
    assert cell_count("abc") == 3
    assert cell_count("データ") == 6
    assert cell_count("e\u0301") == 1


def test_a_long_text_keeps_its_start_and_its_end() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("load_everything_of_2019", 12) == "load_ev…2019"
    assert cell_count(shortened("データ" * 20, 11)) <= 11


def test_a_mark_is_not_left_without_its_letter() -> None:
    cut = shortened("a" * 20 + "e\u0301" + "b" * 3, 10)
    assert cut.startswith("aaaaaa…")
    assert not cut.partition("…")[2].startswith("\u0301")


def test_widths_grow_with_letters_and_size() -> None:
    assert width_of("iii", 10) < width_of("mmm", 10) < width_of("mmm", 20)
    assert width_of("データ", 10) == pytest.approx(31.5)
    assert width_of("e\u0301", 10) == width_of("e", 10)
