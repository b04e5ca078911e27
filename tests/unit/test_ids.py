from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from handrail.ids import Ids, Token

milliseconds = st.integers(min_value=0, max_value=32**9 - 1)


def fixed_ids(now: int, chance: bytes = bytes(5)) -> Ids:
    return Ids(lambda: now, lambda length: chance[:length])


@given(milliseconds, milliseconds, st.binary(min_size=5, max_size=5))
def test_ids_sort_by_their_time_whatever_the_chance(first: int, second: int, chance: bytes) -> None:
    earlier = fixed_ids(first, b"\xff" * 5).new()
    later = fixed_ids(second, chance).new()

    assert (earlier[:9] < later[:9]) == (first < second)
    if first < second:
        assert earlier < later


@given(st.binary(min_size=5, max_size=5), st.binary(min_size=5, max_size=5))
def test_ids_of_one_millisecond_differ_by_chance(one: bytes, other: bytes) -> None:
    pair = fixed_ids(7, one).new()[9:], fixed_ids(7, other).new()[9:]

    # Seven characters of five bits hold the lower 35 of the 40 random bits.
    low_bits = [int.from_bytes(value, "big") & (1 << 35) - 1 for value in (one, other)]
    assert (pair[0] == pair[1]) == (low_bits[0] == low_bits[1])


def test_an_id_has_sixteen_characters_of_the_crockford_alphabet() -> None:
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{16}", Ids().new())


def test_an_id_is_the_same_for_the_same_clock_and_chance() -> None:
    assert fixed_ids(33, b"\x00\x00\x00\x00\x01").new() == "0000000110000001"


def test_a_thousand_ids_are_all_different() -> None:
    ids = Ids()

    assert len({ids.new() for _ in range(1000)}) == 1000


def test_the_ids_of_a_test_are_in_order(ids: Ids) -> None:
    made = [ids.new() for _ in range(50)]

    assert made == sorted(made)


def test_a_later_attempt_has_the_larger_token() -> None:
    assert Token(1, 1) < Token(1, 2)


def test_a_resume_outranks_every_attempt_before_it() -> None:
    assert Token(epoch=2, sequence=1) > Token(epoch=1, sequence=10_000)


def test_equal_tokens_name_the_same_attempt() -> None:
    assert Token(3, 4) == Token(epoch=3, sequence=4)
    assert len({Token(3, 4), Token(3, 4), Token(3, 5)}) == 2
