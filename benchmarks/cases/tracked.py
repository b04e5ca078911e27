"""What the tracking decorator adds to a call, with the embedded tracker."""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Callable

from benchmarks.case import Case, Contender, Figure, Figures, expect

_TIMES = 300


def _handrail() -> Figures:
    from handrail import ETLResults, Pipeline, PipelineConfig, Watcher

    watcher = Watcher()
    config = PipelineConfig(pipeline=Pipeline(name="bench", pipeline_type_name="bench"))
    synced = watcher.sync_pipeline_config(config)
    results = ETLResults(completed_successfully=True, inserts=1)

    def plain() -> ETLResults:
        return results

    tracked = watcher.track_pipeline_execution(
        pipeline_id=synced.pipeline.id, active=synced.pipeline.active
    )(plain)
    found = _each(tracked)
    bare = _each(plain)
    page = watcher.transport.executions(limit=1)
    expect([seen.state.value for seen in page.executions], ["succeeded"])
    return {name: found[name] - bare[name] for name in found}


def _bare() -> Figures:
    """A row is written at the start and changed at the end: two commits (WAL, NORMAL)."""
    connection = sqlite3.connect("bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, text TEXT NOT NULL)")

    def call() -> None:
        text = "x" * 90
        made = connection.execute("INSERT INTO rows (text) VALUES (?)", (text,)).lastrowid
        connection.execute("UPDATE rows SET text = ? WHERE id = ?", (text[1:], made))

    return _each(call)


def _each(call: Callable[[], object]) -> Figures:
    call()
    spans = []
    cpu = time.process_time()
    for _ in range(_TIMES):
        start = time.perf_counter()
        call()
        spans.append(time.perf_counter() - start)
    cpu = time.process_time() - cpu
    return {"added": statistics.median(spans) * 1000, "added, CPU": cpu * 1000 / _TIMES}


CASE = Case(
    "tracked_call",
    "A tracked function that does nothing: what its decorator adds, with the embedded tracker.",
    (
        Figure("added", "ms", "≤ 5 ms synchronous", at_most=5.0),
        Figure("added, CPU", "ms CPU"),
    ),
    (
        Contender("handrail", _handrail),
        Contender("bare SQLite, two commits", _bare),
    ),
)
