"""`handrail show`: what happened in a run, or in one of its tasks."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from handrail.cli.output import Column, Screen
from handrail.cli.questions import as_data, as_fields, how_to_answer
from handrail.cli.runs import with_state
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import block, counted, duration, first_line, moment, took, visible
from handrail.cli.timeline import timeline
from handrail.cli.values import pretty, readable, short, type_of
from handrail.errors import RuntimeConfigError

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.run.history import AttemptHistory, RunHistory, TaskHistory
    from handrail.run.waits import Wait

#: More tasks than this are summed up.
_MOST_TASKS = 100
_RESULT_LENGTH = 60
#: Lines of the log on a page, the last ones.
_MOST_LINES = 500
_QUIET_STATES = ("succeeded", "queued", "skipped")
_ENDED_BADLY = ("failed", "crashed", "cancelled")

_TASK_COLUMNS = (
    Column("task", gives_way=True),
    Column("state", is_state=True),
    Column("handler", style="dim"),
    Column("tries", is_right=True),
    Column("took", is_right=True),
    Column("refs"),
    Column("result", gives_way=True, style="dim"),
)
_REASON_COLUMNS = (Column("task", gives_way=True), Column("state", is_state=True), Column("why"))
_ATTEMPT_COLUMNS = (
    Column("attempt"),
    Column("epoch", is_right=True),
    Column("try", is_right=True),
    Column("state", is_state=True),
    Column("started"),
    Column("took", is_right=True),
    Column("error", gives_way=True, style="dim"),
)


def add_to(application: typer.Typer) -> None:
    """Adds the command."""
    application.command("show")(show)


def show(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(metavar="RUN", help="A run, or RUN/TASK for one of its tasks.")
    ],
    is_all: Annotated[bool, typer.Option("--all", help="Every task, however many.")] = False,
    is_why: Annotated[
        bool, typer.Option("--why", help="Why each task ran, was reused, or never started.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write it as a page to look at.")
    ] = None,
) -> None:
    """Show what happened in a run, or in one of its tasks.

    \b
    handrail show 06dx3k8c
    handrail show 06dx3k8c/clean
    handrail show 06dx3k8c --why
    handrail show 06dx3k8c --html run.html
    """
    shell = shell_of(context)
    run_id, _, task_name = what.partition("/")
    run = history_of(shell.kept(), run_id)
    if html is not None:
        _write_page(shell, run, html)
        return
    if task_name:
        task = _task(run, task_name)
        if as_json:
            shell.screen.json(_task_data(run, task, is_why))
        elif is_why:
            _show_reasons(shell.screen, run, [task])
        else:
            _show_task(shell.screen, run, task)
        return
    waits = shell.runtime.waits(run.run_id) if run.state in ("waiting", "running") else []
    if as_json:
        shell.screen.json({**_run_data(run, is_why), "waits": [as_data(wait) for wait in waits]})
    elif is_why:
        _show_why(shell.screen, run, most=None if is_all else _MOST_TASKS)
    else:
        _show_run(shell.screen, run, waits, most=None if is_all else _MOST_TASKS)


def history_of(runtime: Runtime, run_id: str) -> RunHistory:
    """The history of the run with that id, or with the only one that begins so."""
    from handrail.run.history import RunHistory

    record = with_state(runtime, runtime.journal.run(run_id))
    return RunHistory.of(record, runtime.journal.events(record.run_id))


def _write_page(shell: Shell, run: RunHistory, path: Path) -> None:
    from handrail.cli.page import page
    from handrail.run.output import read_log

    entries = read_log(shell.kept().home.run_log(run.run_id))
    log = deque(entries, _MOST_LINES + 1)
    is_cut = len(log) > _MOST_LINES
    waits = shell.runtime.waits(run.run_id) if run.state in ("waiting", "running") else []
    shown = list(log)[-_MOST_LINES:]
    written = page(run, shown, _now(), waits=waits, log_is_cut=is_cut)
    try:
        path.write_text(written, encoding="utf-8")
    except OSError as error:
        raise RuntimeConfigError(f"Cannot write {path}: {error.strerror or error}") from error
    shell.screen.note(f"Wrote {path}.")


def _task(run: RunHistory, name: str) -> TaskHistory:
    from handrail.errors import UnknownTaskError

    task = run.task(name)
    if task is None:
        raise UnknownTaskError(name, [task.name for task in run.tasks])
    return task


# A run


def _show_run(screen: Screen, run: RunHistory, waits: list[Wait], most: int | None) -> None:
    screen.fields([*_run_fields(screen, run), *as_fields(waits)])
    screen.say()
    _show_tasks(screen, run, most)
    lines = timeline(run, screen.out.width, _now()) if screen.is_terminal else []
    if lines:
        screen.say()
    for line in lines:
        screen.say(line)
    for task in run.tasks:
        if task.error is not None and task.state != "succeeded":
            _show_error(screen, f"{task.name}: ", task.error)
    _show_next(screen, run, waits)


def _run_fields(screen: Screen, run: RunHistory) -> list[tuple[str, str | Text]]:
    return [
        ("run", Text(run.run_id, "bold")),
        ("workflow", _workflow_text(run)),
        ("state", screen.state(run.state)),
        ("started", moment(run.started_at)),
        ("took", _took(run)),
        ("epochs", _epochs_text(run)),
        ("key", visible(run.key or "")),
        ("inputs", short(run.inputs) if run.inputs != "{}" else ""),
        ("workspace", _workspace_text(run)),
        ("watermark", _watermark_text(run)),
        ("reason", first_line(run.reason or "")),
    ]


def _workflow_text(run: RunHistory) -> str:
    return f"{visible(run.workflow)}  ({visible(run.reference)})" if run.reference else run.workflow


def _took(run: RunHistory) -> str:
    if run.finished_at is None and run.state == "running":
        return f"{took(run.started_at, _now())} so far"
    return took(run.started_at, run.finished_at)


def _epochs_text(run: RunHistory) -> str:
    if len(run.epochs) < 2:
        return ""
    states = ", then ".join(epoch.state for epoch in run.epochs)
    return f"{len(run.epochs)}: {states}"


def _workspace_text(run: RunHistory) -> str:
    if run.target is None:
        return ""
    before = _short_ref(run.base_ref)
    if run.ref is None:
        how = "not published yet" if run.state == "running" else "nothing published"
        return f"{run.target}  {before}  ({how})" if run.state != "succeeded" else run.target
    if run.ref == run.base_ref:
        return f"{run.target}  {before}  (unchanged)"
    return f"{run.target}  {before} → {_short_ref(run.ref)}"


def _watermark_text(run: RunHistory) -> str:
    before = short(run.watermark) if run.watermark is not None else "none"
    if run.next_watermark is None:
        return before if run.watermark is not None else ""
    after = short(run.next_watermark)
    if run.state == "succeeded":
        return f"{before} → {after}"
    return f"{before}  (moves to {after} when the run succeeds)"


def _short_ref(ref: str | None) -> str:
    return ref[:8] if ref else ""


def _show_tasks(screen: Screen, run: RunHistory, most: int | None) -> None:
    tasks = list(run.tasks)
    if most is not None and len(tasks) > most:
        tasks = [task for task in tasks if task.state not in _QUIET_STATES][:most]
        counts = Counter(task.state for task in run.tasks)
        counted_states = ", ".join(f"{count:,} {state}" for state, count in counts.most_common())
        screen.say(f"{counted(len(run.tasks), 'task')}: {counted_states}")
        screen.say(Text(f"All of them: handrail show {run.run_id} --all", "dim"))
    if tasks:
        screen.table(_TASK_COLUMNS, [_task_row(task) for task in tasks])


def _task_row(task: TaskHistory) -> tuple[str, ...]:
    return (
        task.name,
        task.state,
        task.handler or "",
        str(task.tries) if task.tries else "",
        _task_took(task),
        _refs_text(task),
        _result_text(task),
    )


def _task_took(task: TaskHistory) -> str:
    if task.state == "running":
        return took(task.started_at, _now())
    return "" if task.duration_seconds is None else duration(task.duration_seconds)


def _refs_text(task: TaskHistory) -> str:
    before, after = _short_ref(task.input_ref), _short_ref(task.output_ref)
    return f"{before} → {after}" if after and after != before else before


def _result_text(task: TaskHistory) -> str:
    if task.result is None:
        return ""
    text = "" if task.result == "null" else short(task.result, _RESULT_LENGTH)
    note = "(adopted)" if task.adopted else "(reused)" if task.reused else ""
    return f"{text} {note}".strip()


def _show_error(screen: Screen, what: str, error: dict[str, Any]) -> None:
    kind = str(error.get("type", "")).rpartition(".")[2]
    message = first_line(str(error.get("message", "")))
    screen.say()
    screen.say(Text(visible(what), "bold").append(f"{kind}: {message}", "bold red"))
    for line in block(str(error.get("traceback", ""))).rstrip().splitlines():
        screen.say(Text(f"  {line}", "dim"))


def _show_next(screen: Screen, run: RunHistory, waits: list[Wait]) -> None:
    lines = how_to_answer(run.run_id, waits) if waits else []
    if run.state in _ENDED_BADLY:
        lines.append(f"Output:    handrail logs {run.run_id}")
    if run.state in (*_ENDED_BADLY, "waiting"):
        lines.append(f"Continue:  handrail resume {run.run_id}")
    if lines:
        screen.say()
    for line in lines:
        what, gap, command = line.partition("handrail ")
        screen.say(Text(what, "dim").append(gap + command, "not dim"))


def _run_data(run: RunHistory, is_why: bool = False) -> dict[str, Any]:
    data = run.to_json()
    data["inputs"] = readable(run.inputs)
    for name, text in (("watermark", run.watermark), ("next_watermark", run.next_watermark)):
        data[name] = None if text is None else readable(text)
    for task, row in zip(run.tasks, data["tasks"], strict=True):
        row["result"] = None if task.result is None else readable(task.result)
    if is_why:
        from handrail.cli.why import Reasons

        reasons = Reasons(run)
        for task, row in zip(run.tasks, data["tasks"], strict=True):
            row["because"] = reasons.of(task)
    return data


# Reasons


def _show_why(screen: Screen, run: RunHistory, most: int | None) -> None:
    screen.fields(
        [
            ("run", Text(run.run_id, "bold")),
            ("workflow", _workflow_text(run)),
            ("state", screen.state(run.state)),
            ("epochs", _epochs_text(run)),
        ]
    )
    screen.say()
    _show_reasons(screen, run, run.tasks[:most])
    if most is not None and len(run.tasks) > most:
        screen.say(Text(f"All of them: handrail show {run.run_id} --why --all", "dim"))


def _show_reasons(screen: Screen, run: RunHistory, tasks: Sequence[TaskHistory]) -> None:
    from handrail.cli.why import Reasons

    reasons = Reasons(run)
    rows = [(task.name, task.state, reasons.of(task)) for task in tasks]
    screen.table(_REASON_COLUMNS, rows)


# A task


def _show_task(screen: Screen, run: RunHistory, task: TaskHistory) -> None:
    metrics = ", ".join(f"{name} {count:,}" for name, count in task.metrics.items())
    screen.fields(
        [
            ("task", Text(visible(task.name), "bold")),
            ("run", run.run_id),
            ("state", screen.state(task.state)),
            ("handler", task.handler or ""),
            ("started", moment(task.started_at)),
            ("took", _task_took(task)),
            ("refs", _refs_text(task)),
            ("metrics", metrics),
            ("adopted", f"what attempt {task.adopted} left" if task.adopted else ""),
            ("reused", _reused_text(task)),
        ]
    )
    if task.attempts:
        screen.say()
        screen.table(_ATTEMPT_COLUMNS, [_attempt_row(attempt) for attempt in task.attempts])
    if task.result is not None:
        screen.say()
        screen.say(Text("result", "bold").append(f"  ({_kept_as(task)})", "not bold dim"))
        screen.say(block(pretty(task.result)))
    for attempt in task.attempts:
        if attempt.error is not None:
            _show_error(screen, f"attempt {attempt.attempt_id}: ", attempt.error)


def _reused_text(task: TaskHistory) -> str:
    if task.reused is None:
        return ""
    return f"what attempt {task.reused['attempt']} left on {moment(task.reused['kept_at'])}"


def _attempt_row(attempt: AttemptHistory) -> tuple[str, ...]:
    error = attempt.error or {}
    kind = str(error.get("type", "")).rpartition(".")[2]
    return (
        attempt.attempt_id,
        str(attempt.epoch),
        str(attempt.try_number),
        attempt.state,
        moment(attempt.started_at),
        took(attempt.started_at, _now() if attempt.state == "running" else attempt.finished_at),
        f"{kind}: {first_line(str(error.get('message', '')))}" if error else "",
    )


def _kept_as(task: TaskHistory) -> str:
    assert task.result is not None
    kept = {
        "data": "kept as data",
        "pickle": "kept as a pickle, read on this machine only",
        "memory": "was kept in memory only; its task runs again on resume",
    }[task.storage or "data"]
    kind = type_of(task.result)
    return f"{kind}, {kept}" if kind else kept


def _task_data(run: RunHistory, task: TaskHistory, is_why: bool) -> dict[str, Any]:
    rows = _run_data(run, is_why)["tasks"]
    found: dict[str, Any] = rows[run.tasks.index(task)]
    return {"run_id": run.run_id, **found}


def _now() -> int:
    return time.time_ns() // 1_000_000
