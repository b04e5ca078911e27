"""What happened in a run, folded from its events. Pure: reads nothing, decides nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

from handrail.contracts import event as kinds
from handrail.contracts.event import FINAL_STATES, Event, StoredEvent
from handrail.contracts.values import storage_of
from handrail.keep.base import RunRecord

#: A mapped task is in the first of these states that one of its items is in.
_MAP_STATES = ("failed", "crashed", "cancelled", "running", "waiting", "queued", "skipped")


@dataclass(frozen=True, slots=True)
class EpochHistory:
    """One opening of the run: the first start or a resume. Times as in `RunHistory`."""

    number: int
    #: Process that drove it.
    owner: str | None
    opened_at: int
    #: "running" until the next epoch or the record says otherwise.
    state: str = "running"
    finished_at: int | None = None
    reason: str | None = None
    #: Finished tasks whose code had changed when it was opened, and what became of them:
    #: "continue" (their results were kept) or "rerun".
    changed: tuple[str, ...] = ()
    policy: str | None = None


@dataclass(frozen=True, slots=True)
class AttemptHistory:
    """One try of one task. Times as in `RunHistory`."""

    attempt_id: str
    #: 1 for the first try within its epoch, or within one round of a loop.
    try_number: int
    epoch: int
    #: "running", "succeeded", "failed"; "waiting" if it ended with a question; "crashed" or
    #: "cancelled" if its epoch ended without it.
    state: str
    #: None if it was refused before it began.
    started_at: int | None = None
    finished_at: int | None = None
    error: dict[str, Any] | None = None
    input_ref: str | None = None
    #: How its result is kept; as in `TaskHistory`.
    storage: str | None = None
    #: Folder of `input_ref` that was its workspace; `"/"`: all of it.
    prefix: str = "/"


@dataclass(frozen=True, slots=True)
class TaskHistory:
    """One task of the run. Times as in `RunHistory`."""

    name: str
    #: "queued", "running", "waiting" (for its next try), or how it ended.
    state: str = "queued"
    #: Handler type: where its bodies run.
    handler: str | None = None
    attempts: tuple[AttemptHistory, ...] = ()
    #: Start of its first attempt in the last epoch that ran it.
    started_at: int | None = None
    finished_at: int | None = None
    input_ref: str | None = None
    output_ref: str | None = None
    #: As JSON text; see `handrail.contracts.values`.
    result: str | None = None
    #: How the result is kept: "data", "pickle" (read on this machine only), or "memory" (gone
    #: with its process; the task runs again on resume).
    storage: str | None = None
    #: Earlier attempt whose result was taken over in place of another execution of the body.
    adopted: str | None = None
    #: Whose result was taken in place of running the body: `{"run", "attempt", "kept_at"}`.
    reused: dict[str, Any] | None = None
    #: Of a task with a cache: why its body ran or not; see `handrail.contracts.event`.
    why: dict[str, Any] | None = None
    metrics: dict[str, int] = field(default_factory=dict)
    #: Why it did not succeed: `{"type", "message", "traceback"}`.
    error: dict[str, Any] | None = None

    @property
    def tries(self) -> int:
        """How many attempts there were, over all epochs."""
        return len(self.attempts)

    @property
    def duration_seconds(self) -> float | None:
        """From `started_at` to `finished_at`, waits between tries included."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at) / 1000


@dataclass(frozen=True, slots=True)
class RunHistory:
    """A run with all that its events tell.

    All times are milliseconds since 1970, UTC.
    """

    run_id: str
    workflow: str
    state: str
    reference: str | None
    key: str | None
    #: As JSON text; see `handrail.contracts.values`.
    inputs: str
    started_at: int
    finished_at: int | None
    #: One line: why it did not succeed.
    reason: str | None
    epochs: tuple[EpochHistory, ...]
    #: Branch that it publishes to, written `repository@branch`.
    target: str | None
    base_ref: str | None
    #: Commit that it published.
    ref: str | None
    pipeline: str | None
    #: The pipeline's before and after the run, as JSON text.
    watermark: str | None
    next_watermark: str | None
    #: In the plan's order.
    tasks: tuple[TaskHistory, ...]
    #: `(task, the task that follows it)`; groups are among them, and tasks made by other tasks.
    edges: tuple[tuple[str, str], ...]
    #: Where the run went or may go back: loops, further rounds of a task, jumps.
    loops: tuple[tuple[str, str], ...] = ()
    #: `{task or group: the innermost group it belongs to}`.
    within: dict[str, str] = field(default_factory=dict)
    #: `{group: how its policy judged}`, of those that were judged.
    groups: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, record: RunRecord, events: Iterable[StoredEvent]) -> RunHistory:
        """Folds a run's events, in order.

        `record.state` rules: with a final state nothing is left running, so hand in a record
        that says `crashed` for a run whose process is known to be gone.
        """
        fold = _Fold()
        for stored in events:
            fold.add(stored)
        if record.state in FINAL_STATES:
            fold.close(record.state, record.finished_at)
        opening = fold.opening
        return cls(
            run_id=record.run_id,
            workflow=record.workflow,
            state=record.state,
            reference=record.reference,
            key=record.key,
            inputs=opening.get("inputs", "{}"),
            started_at=record.started_at,
            finished_at=record.finished_at,
            reason=record.reason,
            epochs=tuple(fold.epochs),
            target=opening.get("target"),
            base_ref=opening.get("base_ref"),
            ref=fold.ref,
            pipeline=opening.get("pipeline"),
            watermark=opening.get("watermark"),
            next_watermark=opening.get("next_watermark"),
            tasks=_with_maps([task.history() for task in fold.tasks.values()]),
            edges=tuple((before, after) for before, after in fold.edges),
            loops=tuple((before, after) for before, after in fold.loops),
            within=dict(opening.get("within", {})),
            groups=fold.groups,
        )

    def task(self, name: str) -> TaskHistory | None:
        """The task of that name, if the run has it."""
        return next((task for task in self.tasks if task.name == name), None)

    def to_json(self) -> dict[str, Any]:
        """As JSON values. Encoded ones are shown as data, pickles without their bytes."""
        shown: dict[str, Any] = _as_json(self)
        for name in ("inputs", "watermark", "next_watermark"):
            shown[name] = _shown(shown[name])
        for task, row in zip(self.tasks, shown["tasks"], strict=True):
            row["result"] = _shown(task.result)
            row["tries"] = task.tries
            row["duration_seconds"] = task.duration_seconds
        return shown


class _Fold:
    """Takes in events one after another."""

    def __init__(self) -> None:
        self.opening: dict[str, Any] = {}
        self.epochs: list[EpochHistory] = []
        self.tasks: dict[str, _Task] = {}
        self.groups: dict[str, str] = {}
        #: In order, each once.
        self.edges: dict[tuple[str, str], None] = {}
        self.loops: dict[tuple[str, str], None] = {}
        self.ref: str | None = None

    def add(self, stored: StoredEvent) -> None:
        event = stored.event
        data = event.data or {}
        if event.kind in (kinds.RUN_STARTED, kinds.RUN_RESUMED):
            self._open(stored.epoch, event, data)
        elif event.kind == kinds.RUN_FINISHED:
            self.ref = data.get("ref")
            self.close(data["state"], event.at, data.get("reason"))
        elif event.kind == kinds.GROUP_FINISHED:
            self.groups[event.task] = data["state"]
            if data["state"] == "succeeded" and data["failed"]:
                self._accept_failures(event.task)
        elif event.task:
            if event.task not in self.tasks:
                self.tasks[event.task] = _Task(event.task)
            self.tasks[event.task].add(stored.epoch, event, data)
            for request in data.get("then", ()):
                self._ask(event.task, request)

    def _accept_failures(self, group: str) -> None:
        """What failed within a group that succeeded all the same stays as it is."""
        within = self.opening.get("within", {})
        for name, task in self.tasks.items():
            outer = within.get(name)
            while outer is not None and outer != group:
                outer = within.get(outer)
            if outer == group:
                task.accept_failure()

    def _ask(self, task: str, request: list[Any]) -> None:
        """Notes where a body sent the run; see `handrail.run.control.to_data`."""
        if request[0] == "next":
            self.edges[task, request[1]] = None
        elif request[0] in ("goto", "again"):
            self.loops[task, request[1] if request[0] == "goto" else task] = None

    def _open(self, epoch: int, event: Event, data: dict[str, Any]) -> None:
        if event.kind == kinds.RUN_STARTED:
            self.opening = data
            self.edges = dict.fromkeys((one, other) for one, other in data.get("edges", ()))
            self.loops = dict.fromkeys((one, other) for one, other in data.get("loops", ()))
            handlers = data.get("handlers", {})
            names = data.get("tasks", ())
            self.tasks = {name: _Task(name, handlers.get(name)) for name in names}
        else:
            self.close("crashed", None)
            for task in self.tasks.values():
                task.reopen()
        changed = tuple(data.get("changed", ()))
        self.epochs.append(
            EpochHistory(
                epoch,
                data.get("owner"),
                event.at,
                changed=changed,
                policy=data.get("policy"),
            )
        )

    def close(self, state: str, at: int | None, reason: str | None = None) -> None:
        """Ends the epoch that is open, if one is, and what was running in it."""
        if not self.epochs or self.epochs[-1].state != "running":
            return
        epoch = self.epochs[-1]
        self.epochs[-1] = replace(epoch, state=state, finished_at=at, reason=reason)
        for task in self.tasks.values():
            task.close(state, at)


class _Task:
    """What is known of a task so far."""

    def __init__(self, name: str, handler: str | None = None) -> None:
        self._attempts: list[AttemptHistory] = []
        self._places: dict[str, int] = {}
        self._known: dict[str, Any] = {"name": name, "handler": handler}
        self._is_accepted = False
        self._set("queued")

    def history(self) -> TaskHistory:
        return TaskHistory(attempts=tuple(self._attempts), **self._known)

    def add(self, epoch: int, event: Event, data: dict[str, Any]) -> None:
        if event.kind == kinds.TASK_STARTED:
            self._start(epoch, event, data)
        elif event.kind == kinds.TASK_RETRIED:
            self._end_attempt("failed", event, data)
            self._set("waiting", error=data.get("error"))
        elif event.kind == kinds.WAIT_ASKED:
            self._end_attempt("waiting", event, data)
            self._set("waiting")
        elif event.kind == kinds.TASK_SUCCEEDED:
            self._finish("succeeded", event, data)
        elif event.kind == kinds.TASK_FAILED:
            self._finish("failed", event, data)

    def close(self, state: str, at: int | None) -> None:
        """At the end of an epoch that ended in `state`."""
        lost = "cancelled" if state == "cancelled" else "crashed"
        if self._known["state"] == "running":
            self._attempts = [
                replace(attempt, state=lost, finished_at=at)
                if attempt.state == "running"
                else attempt
                for attempt in self._attempts
            ]
            self._set(lost, finished_at=at)
        elif self._known["state"] == "waiting" and self._attempts[-1].state != "waiting":
            self._set("failed", finished_at=self._attempts[-1].finished_at)
        elif self._known["state"] == "queued" and state == "succeeded":
            self._set("skipped")

    def reopen(self) -> None:
        """At the opening of another epoch: what is not done is to be done again."""
        if self._known["state"] != "succeeded" and not self._is_accepted:
            self._known = {"name": self._known["name"], "handler": self._known["handler"]}
            self._set("queued")

    def accept_failure(self) -> None:
        """Its group succeeded: if it failed, it is not to be done again."""
        self._is_accepted = self._known["state"] == "failed"

    def _set(self, state: str, **known: Any) -> None:
        self._known.update(known, state=state)

    def _start(self, epoch: int, event: Event, data: dict[str, Any]) -> None:
        is_first = not self._attempts or self._attempts[-1].epoch != epoch
        attempt = AttemptHistory(
            attempt_id=event.attempt,
            try_number=data.get("try", 1),
            epoch=epoch,
            state="running",
            started_at=event.at,
            input_ref=data.get("ref"),
            prefix=data.get("prefix", "/"),
        )
        self._is_accepted = False
        self._places[event.attempt] = len(self._attempts)
        self._attempts.append(attempt)
        started_at = event.at if is_first else self._known.get("started_at")
        handler = data.get("handler", self._known["handler"])
        self._set(
            "running",
            handler=handler,
            started_at=started_at,
            finished_at=None,
            input_ref=attempt.input_ref,
        )

    def _end_attempt(self, state: str, event: Event, data: dict[str, Any]) -> None:
        place = self._places.get(event.attempt)
        if place is not None:
            self._attempts[place] = replace(
                self._attempts[place],
                state=state,
                finished_at=event.at,
                error=data.get("error"),
                storage=_storage(data.get("result")),
            )

    def _finish(self, state: str, event: Event, data: dict[str, Any]) -> None:
        self._end_attempt(state, event, data)
        result = data.get("result")
        self._set(
            state,
            finished_at=event.at,
            output_ref=data.get("ref"),
            result=result,
            storage=_storage(result),
            adopted=data.get("adopted"),
            reused=data.get("reused"),
            why=data.get("why"),
            metrics=data.get("metrics", {}),
            error=data.get("error"),
        )


def _storage(result: str | None) -> str | None:
    return storage_of(result) if result is not None else None


def _with_maps(tasks: list[TaskHistory]) -> tuple[TaskHistory, ...]:
    """With the states of mapped tasks, of which only the items, `name[0]` and on, have events."""
    places = {task.name: place for place, task in enumerate(tasks)}
    items: dict[int, list[TaskHistory]] = {}
    for task in tasks:
        name, bracket, position = task.name.rpartition("[")
        if bracket and name in places and position[:-1].isdigit() and position[-1] == "]":
            items.setdefault(places[name], []).append(task)
    for place, many in items.items():
        if not tasks[place].attempts:
            tasks[place] = _summed(tasks[place], many)
    return tuple(tasks)


def _summed(task: TaskHistory, items: list[TaskHistory]) -> TaskHistory:
    states = {item.state for item in items}
    state = next((state for state in _MAP_STATES if state in states), "succeeded")
    started = [item.started_at for item in items if item.started_at is not None]
    finished = [item.finished_at for item in items if item.finished_at is not None]
    is_over = state not in ("running", "waiting", "queued")
    return replace(
        task,
        state=state,
        started_at=min(started, default=None),
        finished_at=max(finished, default=None) if is_over else None,
    )


# JSON


def _as_json(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _as_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, (list, tuple)):
        return [_as_json(item) for item in value]
    return value


def _shown(text: str | None) -> Any:
    return None if text is None else _without_bytes(json.loads(text))


def _without_bytes(data: Any) -> Any:
    if isinstance(data, list):
        return [_without_bytes(item) for item in data]
    if not isinstance(data, dict):
        return data
    is_pickle = data.get("!") == "pickle"
    return {
        key: _without_bytes(item) for key, item in data.items() if not (is_pickle and key == "v")
    }
