"""The tables in Postgres: those of `handrail.db`, and what several writers at once need besides.

They lie in a schema of their own, so the database may hold other things too.
"""

from __future__ import annotations

#: Kept in the table `format`; a database with a larger one is refused.
VERSION = 2

#: Names are compared by their bytes, so that order and ranges are those of SQLite.
_TEXT = 'TEXT COLLATE "C"'
_NUMBER = "BIGINT GENERATED ALWAYS AS IDENTITY"

#: What is there since version 2, after the tables of version 1; see `handrail.keep.schema`.
_SINCE_2 = (
    "ALTER TABLE runs ADD COLUMN cancel_reason TEXT",
    f"""CREATE TABLE kept_results (
        result_key {_TEXT} PRIMARY KEY, task {_TEXT} NOT NULL, code TEXT NOT NULL,
        params TEXT NOT NULL, files TEXT, result TEXT NOT NULL, output_ref TEXT,
        run_id TEXT NOT NULL, attempt_id TEXT NOT NULL, kept_at BIGINT NOT NULL
    )""",
    "CREATE INDEX kept_results_by_task ON kept_results (task, kept_at)",
    f"""CREATE TABLE places (
        tag {_TEXT} NOT NULL, attempt_id {_TEXT} NOT NULL, run_id TEXT NOT NULL,
        epoch BIGINT NOT NULL, PRIMARY KEY (tag, attempt_id)
    )""",
    f"""CREATE TABLE claims (
        repository {_TEXT} NOT NULL, branch {_TEXT} NOT NULL, input_ref {_TEXT} NOT NULL,
        output_ref TEXT NOT NULL, logical_key TEXT NOT NULL, result TEXT NOT NULL,
        attempt_id TEXT NOT NULL, PRIMARY KEY (repository, branch, input_ref)
    )""",
    f"CREATE TABLE rates (tag {_TEXT} PRIMARY KEY, due_at BIGINT NOT NULL)",
)

#: Statements that bring a database of the version before to each version.
MIGRATIONS = {2: (*_SINCE_2, "UPDATE format SET version = 2")}

SCHEMA = (
    "CREATE TABLE format (version INTEGER NOT NULL)",
    # `moves_seen`: the last head move when the run was created. `event_count`: the place of
    # the next event; whoever appends changes it first and so waits for others that append.
    f"""CREATE TABLE runs (
        run_id {_TEXT} PRIMARY KEY, workflow {_TEXT} NOT NULL, reference TEXT,
        key {_TEXT}, state TEXT NOT NULL, epoch BIGINT NOT NULL, started_at BIGINT NOT NULL,
        finished_at BIGINT, reason TEXT, lease_owner TEXT, lease_expires_at BIGINT,
        moves_seen BIGINT NOT NULL, event_count BIGINT NOT NULL DEFAULT 0
    ) WITH (fillfactor = 50)""",
    "CREATE UNIQUE INDEX runs_by_key ON runs (workflow, key) WHERE key IS NOT NULL",
    "CREATE INDEX runs_by_time ON runs (started_at, run_id)",
    # `events` is a JSON array of events; the first has index `first` in its run. `place` is
    # the outbox's cursor: numbers of a sequence are taken before the commit and so do not
    # tell its order; places are given afterwards, to chunks that are seen to be committed.
    f"""CREATE TABLE events (
        chunk_id {_NUMBER} PRIMARY KEY, run_id {_TEXT} NOT NULL, epoch BIGINT NOT NULL,
        first BIGINT NOT NULL, count BIGINT NOT NULL, events TEXT NOT NULL, place BIGINT
    )""",
    "CREATE UNIQUE INDEX events_by_run ON events (run_id, first)",
    "CREATE UNIQUE INDEX events_by_place ON events (place) WHERE place IS NOT NULL",
    "CREATE INDEX events_without_place ON events (chunk_id) WHERE place IS NULL",
    # The current token of each piece of work, and the last head move when it was taken.
    f"""CREATE TABLE attempts (
        run_id {_TEXT} NOT NULL, logical_key {_TEXT} NOT NULL, epoch BIGINT NOT NULL,
        sequence BIGINT NOT NULL, moves_seen BIGINT NOT NULL,
        PRIMARY KEY (run_id, logical_key)
    )""",
    f"""CREATE TABLE ledger (
        ledger_id {_NUMBER} PRIMARY KEY, run_id {_TEXT} NOT NULL,
        logical_key {_TEXT} NOT NULL, task_id TEXT NOT NULL, attempt_id TEXT NOT NULL,
        epoch BIGINT NOT NULL, sequence BIGINT NOT NULL, result TEXT NOT NULL,
        repository TEXT, branch TEXT, input_ref TEXT, output_ref TEXT,
        accepted_at BIGINT NOT NULL, UNIQUE (run_id, logical_key)
    )""",
    f"""CREATE TABLE heads (
        repository {_TEXT} NOT NULL, branch {_TEXT} NOT NULL, commit_id TEXT NOT NULL,
        PRIMARY KEY (repository, branch)
    )""",
    # Every move of every head. A head that left a commit and came back is found here.
    f"""CREATE TABLE head_moves (
        move_id {_NUMBER} PRIMARY KEY, repository {_TEXT} NOT NULL, branch {_TEXT} NOT NULL,
        before TEXT, after TEXT, moved_at BIGINT NOT NULL, moved_by TEXT NOT NULL
    )""",
    "CREATE INDEX head_moves_by_branch ON head_moves (repository, branch, move_id)",
    f"CREATE TABLE watermarks (pipeline {_TEXT} PRIMARY KEY, value TEXT NOT NULL)",
    f"""CREATE TABLE watermark_moves (
        move_id {_NUMBER} PRIMARY KEY, pipeline TEXT NOT NULL, before TEXT, after TEXT,
        moved_at BIGINT NOT NULL, run_id TEXT NOT NULL
    )""",
    # One for each transaction that must not be done twice. It begins with the time in
    # milliseconds, so old ones are removed by range.
    "CREATE TABLE receipts (receipt UUID PRIMARY KEY)",
    *_SINCE_2,
    f"INSERT INTO format VALUES ({VERSION})",
)
