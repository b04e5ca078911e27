"""What the journal holds: events of runs, as data.

An event is a short JSON array, so that a journal stays small and any later release can read
it. `data` holds only JSON values; what each kind puts there is written beside the kind.
"""

from __future__ import annotations

from typing import Any, NamedTuple

#: {"workflow", "reference", "inputs", "key", "tasks", "target", "base_ref", "watermark",
#:  "next_watermark", "pipeline", "handlers": {task: handler type}, "edges": [[node, node after]],
#:  "loops": [[node, node it goes back to]], "within": {node: innermost group}}
RUN_STARTED = "run.started"
#: {"owner", "before": state of the run, "digests", "changed"?, "policy"?}: another epoch began.
RUN_RESUMED = "run.resumed"
#: {"reason", "by"}: somebody asked for the end of the run.
RUN_CANCEL_ASKED = "run.cancel_asked"
#: {"state", "error"?, "ref"?, "result"?}: the run's epoch is over.
RUN_FINISHED = "run.finished"
#: {}, to watchers alone: its turn has come, a free thread or worker will take it; or
#: {"limit": tag, "seconds"}: the task waits for a limit; told once for each wait.
TASK_QUEUED = "task.queued"
#: {"handler", "try", "ref"?, "prefix"?: folder of the ref that is its workspace, if not all of it}
TASK_STARTED = "task.started"
#: {"error", "delay_seconds"}: this attempt failed, another is due.
TASK_RETRIED = "task.retried"
#: {"result", "ref"?, "adopted"?, "metrics"?, "then"?: what the body asked for next,
#:  "reused"?: {"run", "attempt", "kept_at"} of the result that was taken in place of a body, and
#:  of tasks with a cache "why"?: one of
#:    {"cache": "hit"}
#:    {"cache": "miss", "changed": ["first"]}: no result of the task is kept
#:    {"cache": "miss", "changed", "since": {"run", "attempt", "kept_at"}, "folder"?,
#:     "ttl_seconds"?}: what differs from the kept result most like it: "code", "version",
#:      "params.NAME", "files" (of that folder); or it is "expired", its "output" files are gone,
#:      its "result" cannot be read
#:    {"cache": "unclear", "because"}: "code" or "params.NAME" that have no form to compare
#:    {"cache": "fault"}: what is kept could not be read}
TASK_SUCCEEDED = "task.succeeded"
#: {"error", "group"?: the group whose policy judges the failure}
TASK_FAILED = "task.failed"
#: {"state", "succeeded", "failed"}: a group's policy has judged; names of its members.
GROUP_FINISHED = "group.finished"
#: The question, as `run.waits.Wait` writes it: the attempt ended and its task waits.
WAIT_ASKED = "wait.asked"
#: {"wait_id", "value", "by"}
WAIT_ANSWERED = "wait.answered"
#: {"key", "value"?, "verb"?, "expires_at"?: milliseconds since 1970}: a key of the channel was set,
#: or deleted where there is no value; the verbs "append" and "prepend" added an item to a list.
CHANNEL_CHANGED = "channel.changed"

#: States of runs, attempts and executions.
STATES = (
    "queued",
    "running",
    "waiting",
    "succeeded",
    "failed",
    "crashed",
    "cancelled",
    "skipped",
    "superseded",
)
FINAL_STATES = frozenset(STATES[3:])


class Event(NamedTuple):
    """One line of the journal."""

    kind: str
    #: Milliseconds since 1970, UTC.
    at: int
    #: Task path; empty for events of the run itself.
    task: str = ""
    #: Attempt id; empty where no attempt is meant.
    attempt: str = ""
    data: dict[str, Any] | None = None


class StoredEvent(NamedTuple):
    """An event with its place in the journal."""

    run_id: str
    epoch: int
    #: Place within the run, from 0, without gaps.
    position: int
    event: Event

    @property
    def key(self) -> str:
        """Idempotency key for whoever is told of this event."""
        return f"{self.run_id}/{self.position}"
