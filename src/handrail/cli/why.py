"""Why each task of a run ran, was reused, was kept, or never started, in words.

All of it is told by the run's events; nothing is looked up anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from handrail.cli.graphs import mapped_by
from handrail.cli.text import counted, duration, first_line, moment, visible
from handrail.flow.plan import base_name

if TYPE_CHECKING:
    from handrail.run.history import AttemptHistory, EpochHistory, RunHistory, TaskHistory

#: More names than this are counted.
_MOST_NAMES = 3
_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
#: How one task, and how several, kept others from starting.
_KEPT_BACK = {
    "failed": ("failed", "failed"),
    "crashed": ("crashed", "crashed"),
    "cancelled": ("was cancelled", "were cancelled"),
    "waiting": ("waits for an answer", "wait for answers"),
}
_RUN_ENDED = {
    "failed": "the run failed first",
    "crashed": "the run crashed first",
    "cancelled": "the run was cancelled first",
    "waiting": "the run waits for an answer",
    "succeeded": "the run took another way",
}
_UNFINISHED = {
    "failed": "it had failed",
    "cancelled": "it was cancelled",
    "waiting": "it waited for an answer",
}


class Reasons:
    """Tells why each task of one run is as it is."""

    def __init__(self, run: RunHistory) -> None:
        self._run = run
        self._tasks = {task.name: task for task in run.tasks}
        self._parents: dict[str, list[str]] = {}
        for before, after in run.edges:
            self._parents.setdefault(after, []).append(before)
        self._items: dict[str, list[TaskHistory]] = {}
        for task in run.tasks:
            mapped = mapped_by(task.name, self._tasks)
            if mapped is not None:
                self._items.setdefault(mapped, []).append(task)

    def of(self, task: TaskHistory) -> str:
        """One line about a task."""
        items = self._items.get(task.name)
        if items and not task.attempts:
            return self._of_map(items)
        if task.state in ("queued", "skipped"):
            return self._not_started(task)
        if task.state == "succeeded":
            return "; ".join(self._succeeded(task))
        return self._unfinished(task)

    def _of_map(self, items: Sequence[TaskHistory]) -> str:
        reused = sum(item.reused is not None for item in items)
        failed = sum(item.state == "failed" for item in items)
        told = f", {reused:,} of them reused" if reused else ""
        told += f", {failed:,} failed" if failed else ""
        return f"mapped over {counted(len(items), 'item')}{told}"

    # What succeeded

    def _succeeded(self, task: TaskHistory) -> Iterator[str]:
        last = self._run.epochs[-1]
        made_in = task.attempts[-1].epoch if task.attempts else last.number
        if made_in < last.number:
            yield self._kept(task, made_in)
            if task.reused is None:
                return
        if task.adopted is not None:
            yield f"took over what attempt {task.adopted} had left"
        elif task.reused is not None:
            same = "code, parameters and files" if task.input_ref else "code and parameters"
            yield f"reused the result of {_maker(task.reused)}: {same} are the same"
        else:
            yield f"ran: {self._cause(task)}"
            yield from self._circumstances(task)
            if task.why is not None and task.storage == "memory":
                yield "its result is in memory only, and not kept to be reused"

    def _kept(self, task: TaskHistory, made_in: int) -> str:
        later = [epoch for epoch in self._run.epochs if epoch.number > made_in]
        although = any(base_name(task.name) in epoch.changed for epoch in later)
        changed = ", although its code has changed" if although else ""
        return f"kept from epoch {made_in}: it had finished{changed}"

    def _cause(self, task: TaskHistory) -> str:
        why = task.why
        if why is None:
            return "no cache is declared" if task.attempts else "there was nothing to map over"
        if why["cache"] == "miss":
            return _differing(why, task.started_at)
        if why["cache"] == "unclear":
            return _unclear(why["because"])
        return "what is kept of it could not be read"

    def _circumstances(self, task: TaskHistory) -> Iterator[str]:
        if not task.attempts:
            return
        last = task.attempts[-1]
        before = [attempt for attempt in task.attempts if attempt.epoch < last.epoch]
        if before:
            yield from self._again(task, before[-1])
        rounds = [a for a in task.attempts if a.epoch == last.epoch and a.state == "succeeded"]
        if len(rounds) > 1:
            yield f"{_ordinal(len(rounds))} round"
        yield from _tries(task.attempts)

    def _again(self, task: TaskHistory, before: AttemptHistory) -> Iterator[str]:
        """Why a resume ran it again."""
        epoch = self._epoch(task.attempts[-1].epoch)
        head = f"again in epoch {epoch.number}: "
        if before.state != "succeeded":
            yield head + _UNFINISHED.get(before.state, "it had not finished")
        elif epoch.policy == "rerun" and base_name(task.name) in epoch.changed:
            yield f"{head}its code has changed"
        elif epoch.policy == "rerun":
            yield f"{head}it follows {_names(epoch.changed)}, whose code has changed"
        elif before.storage == "memory":
            yield f"{head}its result was in memory only"

    def _epoch(self, number: int) -> EpochHistory:
        return next(epoch for epoch in self._run.epochs if epoch.number == number)

    # What did not succeed

    def _unfinished(self, task: TaskHistory) -> str:
        last = task.attempts[-1] if task.attempts else None
        if task.state == "waiting":
            if last is not None and last.state == "waiting":
                return "asked a question and waits for the answer"
            return f"waits for its next try: {_error(task.error or {})}"
        if task.state == "failed":
            if last is None:
                return f"failed before it began: {_error(task.error or {})}"
            tries = f" on the {_ordinal(last.try_number)} try" if last.try_number > 1 else ""
            return f"failed{tries}: {_error(task.error or last.error or {})}"
        words = {
            "running": "is running",
            "crashed": "its process died while it ran",
            "cancelled": "was cancelled while it ran",
        }
        return "; ".join([words.get(task.state, task.state), *_tries(task.attempts)])

    # What never started

    def _not_started(self, task: TaskHistory) -> str:
        found = dict(self._before(task.name))
        culprits = {name: state for name, state in found.items() if state in _KEPT_BACK}
        if self._run.state == "running" and not set(culprits.values()) - {"waiting"}:
            return f"waits for {_names(list(found))}" if found else "is about to start"
        if not culprits:
            return f"never started: {_RUN_ENDED.get(self._run.state, 'the run ended first')}"
        state = next(iter(culprits.values()))
        names = [name for name, each in culprits.items() if each == state]
        head = "not started yet" if state == "waiting" else "never started"
        return f"{head}: {_names(names)} {_KEPT_BACK[state][len(names) > 1]}"

    def _before(self, name: str) -> Iterator[tuple[str, str]]:
        """What it waited for and did not get, with states: on each way up the nearest."""
        seen, waiting = {name}, list(self._parents.get(name, ()))
        for parent in waiting:  # grows meanwhile
            if parent in seen:
                continue
            seen.add(parent)
            task = self._tasks.get(parent)
            state = task.state if task is not None else self._run.groups.get(parent, "queued")
            is_task_due = task is not None and self._run.state == "running"
            if state in ("queued", "skipped") and not is_task_due:
                waiting += self._parents.get(parent, ())
            elif state != "succeeded":
                yield parent, state


def _differing(why: dict[str, Any], started_at: int | None) -> str:
    """What is another than in a kept result."""
    changed, since = why["changed"], why.get("since")
    if since is None:
        return "no result of it is kept yet"
    if "expired" in changed:
        ago = (started_at or since["kept_at"]) - since["kept_at"] - why["ttl_seconds"] * 1000
        return f"the result of {moment(since['kept_at'])} had expired {duration(ago / 1000)} before"
    if "output" in changed:
        return f"the files that attempt {since['attempt']} left are gone"
    if "result" in changed:
        return f"the result of attempt {since['attempt']} cannot be read any more"
    words = [words for name, words in _CHANGED.items() if name in changed]
    params = [name.partition(".")[2] for name in changed if name.startswith("params.")]
    if params:
        are = "are other values" if len(params) > 1 else "is another value"
        words.append(f"{_names(params)} {are}")
    if "files" in changed:
        folder = f"the files under {why['folder']}/" if "folder" in why else "its files"
        words.append(f"{folder} are others")
    return f"{_listed(words)} since attempt {since['attempt']} of {moment(since['kept_at'])}"


_CHANGED = {"code": "its code changed", "version": "its cache has another version"}


def _unclear(because: Sequence[str]) -> str:
    params = [name.partition(".")[2] for name in because if name.startswith("params.")]
    if not params:
        return "its function has no code that could be compared"
    return f"{_names(params)} cannot be compared with earlier values, having no form as data"


def _maker(made: dict[str, Any]) -> str:
    return f"run {made['run']}, attempt {made['attempt']}, of {moment(made['kept_at'])}"


def _tries(attempts: Sequence[AttemptHistory]) -> Iterator[str]:
    last = attempts[-1] if attempts else None
    if last is not None and last.try_number > 1:
        before = attempts[-2] if len(attempts) > 1 else None
        after = f", after {_error(before.error)}" if before is not None and before.error else ""
        yield f"{_ordinal(last.try_number)} try{after}"


def _error(error: dict[str, Any]) -> str:
    kind = str(error.get("type", "")).rpartition(".")[2]
    return f"{kind}: {first_line(str(error.get('message', '')))}"


def _ordinal(number: int) -> str:
    return _ORDINALS[number - 1] if number <= len(_ORDINALS) else f"{number}th"


def _names(names: Sequence[str]) -> str:
    shown = [f"'{visible(name)}'" for name in names[:_MOST_NAMES]]
    left = len(names) - len(shown)
    return _listed([*shown, f"{left:,} more"] if left else shown)


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))
