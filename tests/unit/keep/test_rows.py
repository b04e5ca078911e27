from __future__ import annotations

import dataclasses

import pytest

from handrail.contracts.event import Event, StoredEvent
from handrail.ids import Token
from handrail.keep import rows
from handrail.keep.base import Acceptance, RunRecord, Watermark
from handrail.testing.stores import acceptance, run_record


def test_the_columns_are_those_of_the_records() -> None:
    assert rows.RUN.split(", ") == [field.name for field in dataclasses.fields(RunRecord)]
    record = run_record(reference="songs:load", key="monday")
    assert RunRecord(*rows.run_values(record)) == record


@pytest.mark.parametrize(
    "asked", [acceptance(), acceptance(branch=None, input_ref=None, output_ref=None)]
)
def test_an_acceptance_comes_back_from_its_row(asked: Acceptance) -> None:
    values = rows.ledger_values(asked)
    assert len(values) == len(rows.LEDGER.split(","))
    assert rows.acceptance_of(values) == asked


def test_events_come_back_from_their_chunks_with_their_places() -> None:
    text = rows.encode_events([Event("x", 1), Event("y", 2, "t", "a", {"k": "ü\0"})])
    assert rows.stored_events([("r1", 2, 5, text, "more"), ("r1", 2, 7, text)])[1:3] == [
        StoredEvent("r1", 2, 6, Event("y", 2, "t", "a", {"k": "ü\0"})),
        StoredEvent("r1", 2, 7, Event("x", 1)),
    ]
    text.encode("ascii")  # so any database can hold it


@pytest.mark.parametrize(
    ("text", "kept"), [(None, None), ("", ""), ("ü\n", "ü\n"), ("a\udc80\0", "a\\udc80\\x00")]
)
def test_a_text_is_made_fit_for_any_database(text: str | None, kept: str | None) -> None:
    assert rows.storable(text) == kept


def test_a_token_is_shown_with_the_epoch_where_that_matters() -> None:
    assert rows.token_text(Token(2, 3)) == "2.3"
    assert rows.token_text(None, 4) == "none in epoch 4"


def test_a_watermark_that_is_where_it_was_expected_is_no_conflict() -> None:
    assert rows.moved_watermark(Watermark("p", "1", "2"), "1") is None
    conflict = rows.moved_watermark(Watermark("p", "1", "2"), None)
    assert conflict is not None
    assert (conflict.what, conflict.expected, conflict.found) == ("watermark of p", "1", None)
