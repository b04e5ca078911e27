"""One HTML page that shows a run: complete in itself, without scripts, without a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from handrail.cli.gantt import gantt
from handrail.cli.graphs import mapped_by, picture_of
from handrail.cli.questions import how_to_answer, sentence
from handrail.cli.text import block, clock, counted, duration, first_line, moment, took, visible
from handrail.cli.values import pretty, short, type_of
from handrail.flow.pictures.looks import LOOKS, Look

if TYPE_CHECKING:
    from handrail.run.history import AttemptHistory, RunHistory, TaskHistory
    from handrail.run.output import LogEntry
    from handrail.run.waits import Wait

#: Most that is shown of each kind.
_MOST_NODES, _MOST_EDGES, _MOST_ROWS, _MOST_ERRORS = 1500, 6000, 1000, 50
_RESULT_LENGTH, _LONGEST_RESULT, _LONGEST_TEXT = 110, 20_000, 40_000
#: Characters of a task's name beside a line of the log.
_WIDEST_NAME = 28
_ENDED_BADLY = ("failed", "crashed", "cancelled")
_LOG_CLASSES = {"stderr": "stderr", "log": "log-record"}


def page(
    run: RunHistory,
    log: Sequence[LogEntry],
    now: int,
    *,
    waits: Sequence[Wait] = (),
    log_is_cut: bool = False,
) -> str:
    """The page of a run, as an HTML document.

    Args:
        log: what its tasks printed and logged, the last of it.
        now: milliseconds since 1970, UTC; the end of what still runs.
        waits: questions that it asks.
        log_is_cut: was there more in the log?
    """
    tasks = {task.name: task for task in run.tasks}
    shown = _shown_tasks(run, tasks)
    links = {task.name: f"task-{number}" for number, task in enumerate(shown, 1)}
    sections = [
        ("questions", "Questions", "", _questions(run, waits)),
        ("graph", "Graph", "", _graph(run, links)),
        ("time", "Time", "", gantt(run, now, links)),
        ("errors", "Errors", "", _errors(run)),
        ("tasks", "Tasks", counted(len(tasks), "task"), _table(run, shown, links, now)),
        ("log", "Log", "the end of it" if log_is_cut else "", _log(log)),
    ]
    filled = [section for section in sections if section[3]]
    return _template().substitute(
        title=_text(f"{run.workflow}: {run.state}"),
        icon=_icon(run.state),
        style=_style(),
        workflow=_text(run.workflow),
        state=_text(run.state),
        state_mark=_mark(run.state),
        reason=f'<p class="reason">{_text(run.reason)}</p>' if run.reason else "",
        facts="\n".join(_facts(run, now)),
        counts="\n".join(_counts(run, tasks)),
        navigation="\n".join(f'<a href="#{name}">{title}</a>' for name, title, _, _ in filled),
        sections="\n".join(
            f'<section>\n<h2 id="{name}">{title}{_beside(beside)}</h2>\n{body}\n</section>'
            for name, title, beside, body in filled
        ),
        footer=f"As of {moment(now)}, told by Handrail.",
    )


# The frame


@cache
def _template() -> Template:
    return Template(files("handrail.cli").joinpath("page.html").read_text(encoding="utf-8"))


@cache
def _style() -> str:
    style = files("handrail.cli").joinpath("page.css").read_text(encoding="utf-8")
    light = "\n".join(_colours(state, look.light) for state, look in LOOKS.items())
    dark = "\n".join(_colours(state, look.dark) for state, look in LOOKS.items())
    warning = LOOKS["waiting"]
    return (
        f"{style}{light}\n:root {{ --warning: {warning.light[0]} }}\n"
        f"@media (prefers-color-scheme: dark) {{\n{dark}\n"
        f":root {{ --warning: {warning.dark[0]} }}\n}}"
    )


def _colours(state: str, colours: tuple[str, str]) -> str:
    return f".{state} {{ --s: {colours[0]}; --b: {colours[1]} }}"


def _icon(state: str) -> str:
    colour = LOOKS[state].light[0] if state in LOOKS else "#59636e"
    drawn = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1.2 -1.2 2.4 2.4">'
        f'<circle r="1.1" fill="{colour}"/>'
        f'<path d="{_strokes(state)}" fill="none" stroke="white" stroke-width=".26" '
        'stroke-linecap="round"/></svg>'
    )
    return quote(drawn)


def _mark(state: str) -> str:
    return (
        f'<svg class="icon {escape(state)}" viewBox="-1.1 -1.1 2.2 2.2" aria-hidden="true">'
        f'<circle r="1"/><path d="{_strokes(state)}"/></svg>'
    )


def _strokes(state: str) -> str:
    look: Look | None = LOOKS.get(state)
    strokes = look.strokes if look else ()
    return "".join("M" + "L".join(f"{x:g},{y:g}" for x, y in stroke) for stroke in strokes)


def _state(state: str) -> str:
    return f'<span class="state {escape(state)}">{_mark(state)} {_text(state)}</span>'


def _beside(text: str) -> str:
    return f' <span class="faint">{_text(text)}</span>' if text else ""


def _text(text: str) -> str:
    return escape(visible(text))


# The head


def _facts(run: RunHistory, now: int) -> Iterator[str]:
    is_running = run.finished_at is None and run.state == "running"
    length = (
        f"{took(run.started_at, now)} so far"
        if is_running
        else took(run.started_at, run.finished_at)
    )
    yield from _fact("Run", f"<code>{_text(run.run_id)}</code>")
    yield from _fact("Started", moment(run.started_at))
    yield from _fact("Took", length)
    if len(run.epochs) > 1:
        states = ", then ".join(epoch.state for epoch in run.epochs)
        yield from _fact("Epochs", _text(f"{len(run.epochs)}: {states}"))
    yield from _fact("Workflow", f"<code>{_text(run.reference)}</code>" if run.reference else "")
    yield from _fact("Key", _text(run.key or ""))
    yield from _fact("Workspace", _workspace(run))
    yield from _fact("Watermark", _watermark(run))
    if run.inputs != "{}":
        yield from _fact("Inputs", f"<code>{_value(run.inputs)}</code>", is_wide=True)
    if run.state in _ENDED_BADLY:
        yield from _fact("Continue", f"<code>handrail resume {_text(run.run_id)}</code>")


def _fact(name: str, value: str, *, is_wide: bool = False) -> Iterator[str]:
    if value:
        wide = ' class="wide"' if is_wide else ""
        yield f"<div{wide}><dt>{name}</dt><dd>{value}</dd></div>"


def _workspace(run: RunHistory) -> str:
    if run.target is None:
        return ""
    refs = [f"<code>{ref[:8]}</code>" for ref in (run.base_ref, run.ref) if ref]
    return f"{_text(run.target)} {' → '.join(dict.fromkeys(refs))}"


def _watermark(run: RunHistory) -> str:
    before = _value(run.watermark) if run.watermark is not None else "none"
    if run.next_watermark is None:
        return before if run.watermark is not None else ""
    after = _value(run.next_watermark)
    moves = "→" if run.state == "succeeded" else "would move to"
    return f"{before} {moves} {after}"


def _value(encoded: str) -> str:
    return _text(short(encoded))


def _counts(run: RunHistory, tasks: dict[str, TaskHistory]) -> Iterator[str]:
    counts = Counter(task.state for task in run.tasks if mapped_by(task.name, tasks) is None)
    for state in LOOKS:
        if counts[state]:
            yield f"<li>{_mark(state)} {counts[state]:,} {state}</li>"


# Questions


def _questions(run: RunHistory, waits: Sequence[Wait]) -> str:
    commands = how_to_answer(run.run_id, list(waits)) if waits else []
    return "\n".join(
        f'<p class="question waiting">{_text(sentence(wait))}'
        f"<code>{_text(command.partition(':')[2].strip())}</code></p>"
        for wait, command in zip(waits, commands, strict=True)
    )


# Graph


def _graph(run: RunHistory, links: dict[str, str]) -> str:
    from handrail.flow.pictures.layout import lay_out
    from handrail.flow.pictures.svg import svg

    picture = picture_of(run)
    if not picture.nodes:
        return ""
    if len(picture.nodes) > _MOST_NODES or len(picture.edges) > _MOST_EDGES:
        size = f"{counted(len(picture.nodes), 'node')} and {counted(len(picture.edges), 'edge')}"
        command = f"handrail graph {run.run_id} -o graph.svg"
        return (
            f"<p>{size} are too many for a page. Draw them alone: <code>{_text(command)}</code></p>"
        )

    def link(name: str) -> str | None:
        return f"#{links[name]}" if name in links else None

    drawn = svg(lay_out(picture), title=f"Graph of {run.workflow}", link=link, has_page=False)
    return f'<div class="graph" role="region" tabindex="0" aria-label="Graph">\n{drawn}</div>'


# Tasks


def _shown_tasks(run: RunHistory, tasks: dict[str, TaskHistory]) -> list[TaskHistory]:
    """Without the items of mapped tasks that ended well, and without too many."""
    found = [
        task
        for task in run.tasks
        if task.state != "succeeded" or mapped_by(task.name, tasks) is None
    ]
    if len(found) > _MOST_ROWS:
        found.sort(key=lambda task: task.state in ("succeeded", "queued", "skipped"))
    return found[:_MOST_ROWS]


def _table(run: RunHistory, shown: Sequence[TaskHistory], links: dict[str, str], now: int) -> str:
    tasks = {task.name: task for task in run.tasks}
    items = Counter(mapped_by(name, tasks) for name in tasks)
    rows = "\n".join(_row(task, items[task.name], links[task.name], now) for task in shown)
    heads = ("Task", "State", "Handler", "Tries", "Took", "Result")
    head = "".join(
        f'<th scope="col"{_class(name in ("Tries", "Took"))}>{name}</th>' for name in heads
    )
    table = f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"
    left_out = len(run.tasks) - len(shown) - _well_ended_items(run, tasks)
    if left_out <= 0:
        return table
    return f'{table}\n<p class="faint">and {counted(left_out, "more task")}, not shown here</p>'


def _well_ended_items(run: RunHistory, tasks: dict[str, TaskHistory]) -> int:
    return sum(
        task.state == "succeeded" and bool(mapped_by(task.name, tasks)) for task in run.tasks
    )


def _class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""


def _row(task: TaskHistory, item_count: int, link: str, now: int) -> str:
    length = task.duration_seconds
    if task.state == "running":
        spent = took(task.started_at, now)
    else:
        spent = "" if length is None else duration(length)
    started = f' title="started {moment(task.started_at)}"' if task.started_at else ""
    return (
        f'<tr id="{link}"><td class="name">{_text(task.name)}</td>'
        f"<td>{_state(task.state)}</td>"
        f'<td data-label="handler">{_text(task.handler or "")}</td>'
        f'<td class="number" data-label="tries">{task.tries or ""}</td>'
        f'<td class="number" data-label="took"{started}>{spent}</td>'
        f'<td class="result">{_result(task) or _items(item_count)}</td></tr>'
    )


def _items(count: int) -> str:
    return f'<span class="faint">{counted(count, "item")}</span>' if count else ""


def _result(task: TaskHistory) -> str:
    if task.error is not None and task.state != "succeeded":
        return _text(_error_line(task.error))
    if task.result is None or task.result == "null":
        return ""
    line = f"<code>{_text(short(task.result, _RESULT_LENGTH))}</code>"
    whose = "adopted" if task.adopted else "reused" if task.reused else ""
    notes = [note for note in (_kept(task), whose) if note]
    note = f' <span class="faint">{_text(", ".join(notes))}</span>' if notes else ""
    whole = block(pretty(task.result))
    if len(short(task.result, _LONGEST_RESULT)) <= _RESULT_LENGTH:
        return line + note
    return f"<details><summary>{line}{note}</summary><pre>{_cut(whole)}</pre></details>"


def _kept(task: TaskHistory) -> str:
    assert task.result is not None
    kind = (type_of(task.result) or "").rpartition(":")[2]
    storage = {"pickle": "kept as a pickle", "memory": "not kept"}.get(task.storage or "", "")
    return ", ".join(part for part in (kind, storage) if part)


def _cut(text: str) -> str:
    if len(text) <= _LONGEST_TEXT:
        return escape(text)
    return f"{escape(text[:_LONGEST_TEXT])}\n… ({len(text) - _LONGEST_TEXT:,} more characters)"


# Errors


def _errors(run: RunHistory) -> str:
    """Of each task that did not succeed the last one, open; of retried attempts, closed."""
    found: list[tuple[str, str, dict[str, Any], bool]] = []
    for task in run.tasks:
        last = task.error if task.state != "succeeded" else None
        for attempt in task.attempts:
            if attempt.error is not None and attempt.error != last:
                found.append((task.name, _which(attempt), attempt.error, False))
        if last is not None:
            found.append((task.name, "", last, True))
    found.sort(key=lambda entry: not entry[3])
    parts = [_error(*entry) for entry in found[:_MOST_ERRORS]]
    if len(found) > _MOST_ERRORS:
        left_out = counted(len(found) - _MOST_ERRORS, "more error")
        parts.append(f'<p class="faint">and {left_out}, not shown here</p>')
    return "\n".join(parts)


def _which(attempt: AttemptHistory) -> str:
    epoch = f", epoch {attempt.epoch}" if attempt.epoch > 1 else ""
    return f"try {attempt.try_number}{epoch}"


def _error(name: str, which: str, error: dict[str, Any], is_last: bool) -> str:
    kind = str(error.get("type", "")).rpartition(".")[2]
    message = first_line(str(error.get("message", "")))
    traceback = block(str(error.get("traceback") or error.get("message") or "")).rstrip()
    said = (
        f'<strong>{_text(name)}</strong> <span class="kind">{_text(kind)}</span>: {_text(message)}'
    )
    return (
        f'<details class="error {"failed" if is_last else "waiting"}"{" open" if is_last else ""}>'
        f"<summary>{said}{_beside(which)}</summary><pre>{_cut(traceback)}</pre></details>"
    )


def _error_line(error: dict[str, Any]) -> str:
    kind = str(error.get("type", "")).rpartition(".")[2]
    return f"{kind}: {first_line(str(error.get('message', '')))}"


# Log


def _log(log: Sequence[LogEntry]) -> str:
    if not log:
        return ""
    lines = "".join(map(_log_line, log))
    width = min(max(len(visible(entry.task)) for entry in log), _WIDEST_NAME)
    return (
        f'<div class="log" role="region" tabindex="0" aria-label="Log" style="--who:{width}ch">'
        f"{lines}</div>"
    )


def _log_line(entry: LogEntry) -> str:
    stream = _LOG_CLASSES.get(entry.stream, "stdout")
    text = escape(block(entry.text.removesuffix("\n")[:_LONGEST_TEXT]))
    return (
        f'<div class="{stream}"><time>{clock(entry.at)}</time>'
        f'<span class="who">{_text(entry.task)}</span><span class="what">{text}</span></div>'
    )
