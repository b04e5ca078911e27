"""Batches of events from producers that keep the truth of their executions themselves.

The functions work inside a transaction of the caller; `now` is in microseconds.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from handrail.tracking import endings, executions, pipelines, rules, watermark
from handrail.tracking.batch import Row, Rows
from handrail.tracking.news import News, news_of
from handrail.tracking.rows import error_of, json_object, json_text, moment
from handrail.tracking.wire import (
    OPEN_STATES,
    EndExecution,
    ExecutionEvent,
    Ingested,
    Metrics,
    State,
)


def cursor(connection: sqlite3.Connection, producer: str) -> int:
    """Where the producer stands; 0 if it has never delivered."""
    query = "SELECT position FROM cursors WHERE producer = ?"
    row = connection.execute(query, (producer,)).fetchone()
    return row["position"] if row else 0


def ingest(
    connection: sqlite3.Connection,
    producer: str,
    position: int,
    events: Iterable[ExecutionEvent | News],
    now: int,
) -> Ingested:
    """Applies a batch and moves the cursor; a batch behind the cursor changes nothing."""
    stands_at = cursor(connection, producer)
    if position <= stands_at:
        return Ingested(cursor=stands_at)
    told = [event if isinstance(event, News) else news_of(event) for event in events]
    created_count = _Batch(connection, told, now).apply() if told else 0
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?)"
        " ON CONFLICT (producer) DO UPDATE SET position = excluded.position",
        (producer, position),
    )
    return Ingested(
        cursor=position, created_count=created_count, updated_count=len(told) - created_count
    )


#: Columns that decide what news does to an execution.
_JUDGED = (
    "pipeline_id",
    "parent_id",
    "parent_key",
    "continues_id",
    "continues_key",
    "state",
    "state_at",
    "started_at",
    "next_watermark",
    "base_watermark",
    "compare_watermark",
    "execution_metadata",
    "lease_expires_at",
    "superseded_end",
)


class _Batch:
    """The executions and pipelines that news tells of."""

    def __init__(self, connection: sqlite3.Connection, told: Sequence[News], now: int) -> None:
        self._connection = connection
        self._told = told
        self._now = now
        self._executions = Rows(connection, "executions", "key", _JUDGED)
        self._pipelines = Rows(connection, "pipelines", "name", pipelines.MOVED)
        #: By identity: executions of one kind share what is told about them.
        self._texts: dict[int, str | None] = {}

    def apply(self) -> int:
        """Writes what the news tells; how many executions it created."""
        mentioned = [(news.key, news.parent_key, news.continues_key) for news in self._told]
        self._executions.read(key for keys in mentioned for key in keys if key is not None)
        self._pipelines.read(rules.normalised(news.pipeline) for news in self._told)
        for news in self._told:
            row = self._executions.get(news.key)
            if row is None:
                self._create(news)
            else:
                self._executions.change(row["id"], self._columns(row, news))
        self._pipelines.write()
        self._executions.write()
        created = {row["key"]: row["id"] for row in self._executions.added}
        executions.link_waiting(self._connection, created)
        return len(created)

    def _create(self, news: News) -> None:
        row: Row = {
            "pipeline_id": self._pipeline_id(news),
            "state": State.QUEUED.value,
            "state_at": 0,
            "created_at": self._now,
        }
        row |= self._columns(row, news)
        self._executions.add(news.key, row)

    def _pipeline_id(self, news: News) -> int:
        name = rules.normalised(news.pipeline)
        known = self._pipelines.id_of(name)
        if known is not None:
            return known
        return self._pipelines.add(name, pipelines.made(news.pipeline_type_name, self._now))

    def _columns(self, row: Row, news: News) -> Row:
        """The columns of an execution that the news changes."""
        if row["state"] not in OPEN_STATES:
            return _late_end(row, news)
        columns = dict(news.columns)
        if news.started_at is not None:
            columns["started_at"] = news.started_at
        if news.ended_at is not None:
            columns["ended_at"] = news.ended_at
        if news.metadata is not None:
            columns["execution_metadata"] = self._metadata_text(row, news.metadata)
        if news.parent_key is not None:
            columns |= self._link(row, "parent", news.parent_key)
        if news.continues_key is not None:
            columns |= self._link(row, "continues", news.continues_key)
        if news.state in OPEN_STATES:
            columns |= self._opened(row, news, columns)
        else:
            columns.setdefault("ended_at", news.at)
            columns |= self._ended(row, news.state, columns)
        return columns

    def _metadata_text(self, row: Row, told: Mapping[str, Any]) -> str | None:
        """What was told before and what is told now."""
        if row.get("execution_metadata") is not None:
            before = json_object(row["execution_metadata"]) or {}
            return json_text({**before, **told})
        text = self._texts.get(id(told))
        if text is None:
            text = self._texts[id(told)] = json_text(told)
        return text

    def _link(self, row: Row, link: str, key: str) -> Row:
        """The column of a link, unless it was told before."""
        by_id, by_key = f"{link}_id", f"{link}_key"
        if row.get(by_id) is not None or row.get(by_key) is not None:
            return {}
        linked_id = self._executions.id_of(key)
        return {by_key: key} if linked_id is None else {by_id: linked_id}

    def _opened(self, row: Row, news: News, columns: Row) -> Row:
        opened = executions.lease_columns(news.lease_seconds, self._now)
        if news.state is State.RUNNING and row.get("started_at") is None:
            opened["started_at"] = columns.get("started_at", news.at)
        if news.at >= row["state_at"]:
            opened |= {"state": news.state.value, "state_at": news.at}
        return opened

    def _ended(self, row: Row, state: State, columns: Row) -> Row:
        ended = endings.ended(row, state, self._now)
        if state is State.SUCCEEDED:
            pipeline = self._pipelines.with_id(row["pipeline_id"])
            moved = endings.moved(row, pipeline, columns)
            differing = pipelines.differing(pipeline, moved, self._now)
            if differing:
                self._pipelines.change(pipeline["id"], differing)
            if "watermark" in moved:
                ended["watermark_promoted"] = 1
        return ended


def _late_end(row: Row, news: News) -> Row:
    """The columns that keep an end which comes after the verdict that the execution crashed."""
    crashed = row["state"] == State.CRASHED and news.state is not State.CRASHED
    if not (crashed and news.state.final) or row.get("superseded_end") is not None:
        return {}
    columns = news.columns
    late = EndExecution(
        key=news.key,
        execution_id=row["id"],
        completed_successfully=news.state is State.SUCCEEDED,
        cancelled=news.state is State.CANCELLED,
        ended_at=moment(news.at if news.ended_at is None else news.ended_at),
        **{name: columns.get(name) for name in Metrics.model_fields},
        execution_metadata=news.metadata,
        next_watermark=watermark.load(columns.get("next_watermark")),
        error=error_of(columns),
    )
    return endings.superseded(late)
