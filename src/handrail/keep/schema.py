"""The tables of `handrail.db`."""

from __future__ import annotations

#: Kept in the file as `user_version`; a file with a larger one is refused.
VERSION = 2

#: What is there since version 2, after the tables of version 1.
_SINCE_2 = (
    # Who asked for the end of the run's present epoch, and why; null: nobody.
    "ALTER TABLE runs ADD COLUMN cancel_reason TEXT",
    # Results of tasks that may be taken again. `code`, `params` ({name: digest}) and `files`
    # (the tree that was read) are what `result_key` is made of, kept to say what changed.
    """CREATE TABLE kept_results (
        result_key TEXT PRIMARY KEY, task TEXT NOT NULL, code TEXT NOT NULL,
        params TEXT NOT NULL, files TEXT, result TEXT NOT NULL, output_ref TEXT,
        run_id TEXT NOT NULL, attempt_id TEXT NOT NULL, kept_at INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE INDEX kept_results_by_task ON kept_results (task, kept_at)",
    # Places under a limit, held as long as the epoch of their run holds its lease.
    """CREATE TABLE places (
        tag TEXT NOT NULL, attempt_id TEXT NOT NULL, run_id TEXT NOT NULL,
        epoch INTEGER NOT NULL, PRIMARY KEY (tag, attempt_id)
    ) WITHOUT ROWID""",
    # Publications outside of runs: who won the place after a commit of a branch.
    """CREATE TABLE claims (
        repository TEXT NOT NULL, branch TEXT NOT NULL, input_ref TEXT NOT NULL,
        output_ref TEXT NOT NULL, logical_key TEXT NOT NULL, result TEXT NOT NULL,
        attempt_id TEXT NOT NULL, PRIMARY KEY (repository, branch, input_ref)
    ) WITHOUT ROWID""",
    # `due_at`: when the next start under a rate is due if starts were spread evenly,
    # in microseconds since 1970, UTC.
    "CREATE TABLE rates (tag TEXT PRIMARY KEY, due_at INTEGER NOT NULL) WITHOUT ROWID",
)

#: Statements that bring a database of the version before to each version.
MIGRATIONS = {2: _SINCE_2}

SCHEMA = (
    # `moves_seen`: the last head move when the run was created.
    """CREATE TABLE runs (
        run_id TEXT PRIMARY KEY, workflow TEXT NOT NULL, reference TEXT, key TEXT,
        state TEXT NOT NULL, epoch INTEGER NOT NULL, started_at INTEGER NOT NULL,
        finished_at INTEGER, reason TEXT, lease_owner TEXT, lease_expires_at INTEGER,
        moves_seen INTEGER NOT NULL
    ) WITHOUT ROWID""",
    "CREATE UNIQUE INDEX runs_by_key ON runs (workflow, key) WHERE key IS NOT NULL",
    "CREATE INDEX runs_by_time ON runs (started_at, run_id)",
    # Writers follow one another, so `chunk_id` is the order of commit: the outbox's cursor.
    # `events` is a JSON array of events; the first has index `first` in its run.
    """CREATE TABLE events (
        chunk_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,
        epoch INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL,
        events TEXT NOT NULL
    )""",
    "CREATE UNIQUE INDEX events_by_run ON events (run_id, first, count)",
    # The current token of each piece of work, and the last head move when it was taken.
    """CREATE TABLE attempts (
        run_id TEXT NOT NULL, logical_key TEXT NOT NULL, epoch INTEGER NOT NULL,
        sequence INTEGER NOT NULL, moves_seen INTEGER NOT NULL,
        PRIMARY KEY (run_id, logical_key)
    ) WITHOUT ROWID""",
    """CREATE TABLE ledger (
        ledger_id INTEGER PRIMARY KEY AUTOINCREMENT, run_id TEXT NOT NULL,
        logical_key TEXT NOT NULL, task_id TEXT NOT NULL, attempt_id TEXT NOT NULL,
        epoch INTEGER NOT NULL, sequence INTEGER NOT NULL, result TEXT NOT NULL,
        repository TEXT, branch TEXT, input_ref TEXT, output_ref TEXT,
        accepted_at INTEGER NOT NULL, UNIQUE (run_id, logical_key)
    )""",
    """CREATE TABLE heads (
        repository TEXT NOT NULL, branch TEXT NOT NULL, commit_id TEXT NOT NULL,
        PRIMARY KEY (repository, branch)
    ) WITHOUT ROWID""",
    # Every move of every head. A head that left a commit and came back is found here.
    """CREATE TABLE head_moves (
        move_id INTEGER PRIMARY KEY AUTOINCREMENT, repository TEXT NOT NULL,
        branch TEXT NOT NULL, before TEXT, after TEXT, moved_at INTEGER NOT NULL,
        moved_by TEXT NOT NULL
    )""",
    "CREATE INDEX head_moves_by_branch ON head_moves (repository, branch, move_id)",
    """CREATE TABLE watermarks (
        pipeline TEXT PRIMARY KEY, value TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE watermark_moves (
        move_id INTEGER PRIMARY KEY AUTOINCREMENT, pipeline TEXT NOT NULL, before TEXT,
        after TEXT, moved_at INTEGER NOT NULL, run_id TEXT NOT NULL
    )""",
    *_SINCE_2,
)
