from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from handrail.tracking import ExecutionEvent, State
from handrail.tracking.news import News, joined, news_of
from handrail.tracking.wire import ErrorDetail, Metrics

NOON = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)
MICROSECONDS = int(NOON.timestamp()) * 1_000_000


def test_an_event_is_told_by_what_it_says() -> None:
    event = ExecutionEvent(
        key="r",
        pipeline="nightly",
        state=State.FAILED,
        at=NOON,
        ended_at=NOON + timedelta(microseconds=1),
        metrics=Metrics(inserts=0),
        next_watermark=date(2024, 5, 1),
        metadata={"a": 1},
        error=ErrorDetail(type="ValueError", message="no"),
        parent_key="p",
        lease_seconds=3,
    )
    assert news_of(event) == News(
        key="r",
        pipeline="nightly",
        pipeline_type_name="workflow",
        state=State.FAILED,
        at=MICROSECONDS,
        ended_at=MICROSECONDS + 1,
        columns={
            "inserts": 0,
            "next_watermark": '{"date": "2024-05-01"}',
            "error_type": "ValueError",
            "error_message": "no",
        },
        metadata={"a": 1},
        parent_key="p",
        lease_seconds=3.0,
    )


def test_of_two_pieces_of_news_the_later_one_counts_and_adds() -> None:
    before = News(
        "r", "p", "task", State.RUNNING, 1, 1, None, {"inserts": 1, "updates": 1}, {"a": 1, "b": 1},
        parent_key="parent", continues_key="before", lease_seconds=3.0,
    )  # fmt: skip
    after = News("r", "p", "task", State.FAILED, 2, None, 2, {"inserts": 2}, {"b": 2})
    assert joined(before, after) == News(
        "r", "p", "task", State.FAILED, 2, 1, 2, {"inserts": 2, "updates": 1}, {"a": 1, "b": 2},
        parent_key="parent", continues_key="before", lease_seconds=3.0,
    )  # fmt: skip


def test_news_that_says_nothing_leaves_what_was_told() -> None:
    before = News("r", "p", "task", State.RUNNING, 1, 1, columns={"inserts": 1}, metadata={"a": 1})
    after = News("r", "p", "task", State.WAITING, 2)
    assert joined(before, after) == before._replace(state=State.WAITING, at=2)
