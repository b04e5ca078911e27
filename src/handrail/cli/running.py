"""`handrail run` and `handrail resume`."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from rich.text import Text

from handrail.cli.output import Screen
from handrail.cli.questions import as_data, as_fields, how_to_answer
from handrail.cli.shell import Shell, shell_of
from handrail.cli.text import block, first_line, moment
from handrail.cli.values import from_word, readable, short
from handrail.errors import HandrailError, RunFailed, RunWaiting
from handrail.hooks.spec import RunView, RunWatcher
from handrail.run.failure import one_line

if TYPE_CHECKING:
    from handrail.app import Runtime
    from handrail.keep.base import RunRecord
    from handrail.run.changes import ChangePolicy
    from handrail.run.waits import Wait

#: Exit codes.
FAILED, WAITING, INTERRUPTED = 1, 3, 130

MaxWorkers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Bodies that run at the same time, per handler."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")]


def add_to(application: typer.Typer) -> None:
    """Adds the commands."""
    application.command("run")(run)
    application.command("resume")(resume)
    application.command("cancel")(cancel)


# Commands


def run(
    context: typer.Context,
    workflow: Annotated[
        str,
        typer.Argument(
            metavar="WORKFLOW",
            help="package.module:name or file.py:name; the only one needs no name.",
        ),
    ],
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input", "-i", metavar="NAME=VALUE", help="An input; VALUE is JSON, else text."
        ),
    ] = None,
    inputs_file: Annotated[
        str | None,
        typer.Option("--inputs", metavar="FILE.json", help="Inputs as a JSON object; - reads it."),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Start key: the same key runs once and is continued."),
    ] = None,
    start: Annotated[str | None, typer.Option(metavar="TASK", help="Task to start at.")] = None,
    max_workers: MaxWorkers = None,
    journal: Annotated[
        str | None, typer.Option(metavar="memory", help="'memory' keeps nothing on disk.")
    ] = None,
    is_quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Run a workflow.

    \b
    handrail run flights.py
    handrail run flights.py:weekly -i year=2013 -i 'carriers=["UA", "AA"]'

    Exit code: 0 succeeded, 1 failed, 2 wrong words, 3 waiting for an answer, 130 interrupted.
    """
    from handrail.flow.locate import load_workflow

    given = _inputs(inputs or [], inputs_file)
    shell = shell_of(context)
    with _stage(shell, is_quiet=is_quiet) as notice:
        flow = load_workflow(workflow)

        def execute() -> tuple[str, Any]:
            result, execution = shell.runtime.execute(
                flow,
                start=start,
                key=key,
                inputs=given,
                max_workers=max_workers,
                journal=journal,
                ret_context=True,
            )
            return execution.run_id, result

        outcome = _outcome(notice, flow.name, execute)
    _report(shell, outcome, as_json=as_json, is_kept=journal is None)


def resume(
    context: typer.Context,
    run_id: Annotated[
        str | None, typer.Argument(metavar="RUN", help="By default the newest that can be.")
    ] = None,
    workflow: Annotated[
        str | None,
        typer.Option(metavar="MODULE:WORKFLOW", help="Where its workflow is by now, if it moved."),
    ] = None,
    changed: Annotated[
        str,
        typer.Option(
            metavar="POLICY",
            help="Finished tasks whose code is another now: continue keeps their results, "
            "rerun runs them and what follows again, stop refuses.",
        ),
    ] = "continue",
    max_workers: MaxWorkers = None,
    is_quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Finish a run that crashed, failed, waits or was cancelled.

    What its tasks have finished is kept, the rest runs.

    \b
    handrail resume
    handrail resume 06dx3k8c

    Exit code: 0 succeeded, 1 failed, 2 wrong words, 3 waiting for an answer, 130 interrupted.
    """
    from handrail.flow.locate import load_workflow

    policy = _change_policy(changed)
    shell = shell_of(context)
    record = shell.kept().journal.run(run_id) if run_id is not None else _newest(shell)
    if record is None:
        shell.screen.note(f"Nothing to resume in {shell.settings.home}.")
        if as_json:
            shell.screen.json(None)
        return
    with _stage(shell, is_quiet=is_quiet) as notice:
        flow = load_workflow(workflow) if workflow is not None else None

        def execute() -> tuple[str, Any]:
            result = shell.runtime.resume(
                record.run_id, flow, changed=policy, max_workers=max_workers
            )
            return record.run_id, result

        outcome = _outcome(notice, record.workflow, execute)
    _report(shell, outcome, as_json=as_json)


def cancel(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run to end.")],
    reason: Annotated[str, typer.Option(metavar="TEXT", help="Why, for whoever looks.")] = "",
    by: Annotated[str, typer.Option(metavar="NAME", help="Who wants it.")] = "",
    timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="How long to wait until it has ended."),
    ] = 60.0,
    as_json: AsJson = False,
) -> None:
    """End a run, whichever process drives it: its bodies are stopped. It can be resumed.

    \b
    handrail cancel 06dx3k8c
    handrail cancel 06dx3k8c --reason 'wrong month' --by Ada

    Exit code: 0 it is cancelled, 1 it ended otherwise or has not ended yet.
    """
    shell = shell_of(context)
    runtime = shell.kept()
    run_id = runtime.journal.run(run_id).run_id
    state = runtime.cancel(run_id, reason, by=by)
    if state == "running":
        shell.screen.note(f"Asked the process that runs {run_id} to end it.")
        state = _awaited_end(runtime, run_id, timeout)
    if as_json:
        shell.screen.json({"run_id": run_id, "state": state})
    elif state == "cancelled":
        shell.screen.say(f"Run {run_id} is cancelled.")
        shell.screen.note(f"Continue:  handrail resume {run_id}")
    elif state == "running":
        shell.screen.error(f"Run {run_id} has not ended yet. Look: handrail show {run_id}")
    else:
        shell.screen.error(f"Run {run_id} had ended already: {state}.")
    if state != "cancelled":
        raise typer.Exit(FAILED)


def _awaited_end(runtime: Runtime, run_id: str, timeout_seconds: float) -> str:
    until = time.monotonic() + timeout_seconds
    while (state := runtime.state_of(runtime.journal.run(run_id))) == "running":
        if time.monotonic() >= until:
            break
        time.sleep(0.1)
    return state


def _change_policy(word: str) -> ChangePolicy:
    from handrail.run.changes import ChangePolicy

    for policy in get_args(ChangePolicy):
        if word == policy:
            return policy  # type: ignore[no-any-return]
    expected = ", ".join(get_args(ChangePolicy))
    raise typer.BadParameter(f"{word!r}: expected one of {expected}", param_hint="--changed")


def _newest(shell: Shell) -> RunRecord | None:
    if not shell.has_home:
        return None
    records = shell.kept().unfinished()
    states = {record.run_id: shell.runtime.state_of(record) for record in records}
    crashed = [record for record in records if states[record.run_id] == "crashed"]
    record = next(iter(crashed or records), None)
    if record is not None:
        shell.screen.note(
            f"Resuming run {record.run_id} of {record.workflow}, "
            f"{states[record.run_id]}, started {moment(record.started_at)}."
        )
    return record


# Inputs


def _inputs(pairs: list[str], file: str | None) -> dict[str, Any]:
    given = _inputs_of_file(file) if file is not None else {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r}: expected NAME=VALUE", param_hint="--input")
        given[name] = from_word(text)
    return given


def _inputs_of_file(file: str) -> dict[str, Any]:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        given = json.loads(text)
    except OSError as exc:
        raise typer.BadParameter(f"{file}: {exc.strerror}", param_hint="--inputs") from exc
    except ValueError as exc:
        raise typer.BadParameter(f"{file} is no JSON: {exc}", param_hint="--inputs") from exc
    if not isinstance(given, dict):
        raise typer.BadParameter(f"{file} holds no JSON object", param_hint="--inputs")
    return given


# Running


class _Notice(RunWatcher):
    """Remembers which run it was told of, and how that ended."""

    run: RunView | None = None
    state = "running"
    reason: str | None = None

    def on_run_started(self, run: RunView) -> None:
        self.run = run

    def on_run_finished(self, run: RunView, state: str, reason: str | None) -> None:
        self.state, self.reason = state, reason


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a run ended."""

    run_id: str
    workflow: str
    state: str
    seconds: float
    result: Any = None
    reason: str | None = None
    error: BaseException | None = None

    @property
    def waits(self) -> list[Wait]:
        """What it waits for."""
        return self.error.waits if isinstance(self.error, RunWaiting) else []


@contextmanager
def _stage(shell: Shell, *, is_quiet: bool) -> Iterator[_Notice]:
    """What a run needs around it: its progress on the screen, and standard output kept clean."""
    from handrail.cli.progress import Progress

    notice = _Notice()
    with ExitStack() as stack:
        # What bodies print is no result: it goes where progress goes.
        stack.enter_context(redirect_stdout(sys.stderr))
        stack.enter_context(shell.logging())
        runtime = stack.enter_context(shell.as_default_runtime())
        watchers: list[RunWatcher] = [notice]
        if not is_quiet:
            progress = Progress(shell.screen.err)
            stack.callback(progress.close)
            watchers.append(progress)
        runtime.watchers = tuple(watchers)
        yield notice


def _outcome(notice: _Notice, flow_name: str, execute: Callable[[], tuple[str, Any]]) -> _Outcome:
    """Runs and says how it ended. What is refused before there is a run is raised."""
    began = time.monotonic()
    try:
        run_id, result = execute()
    except (HandrailError, KeyboardInterrupt) as error:
        if notice.run is None:
            raise
        return _Outcome(
            run_id=notice.run.run_id,
            workflow=notice.run.workflow,
            state=notice.state,
            seconds=time.monotonic() - began,
            reason=_reason(error),
            error=error,
        )
    return _Outcome(run_id, flow_name, "succeeded", time.monotonic() - began, result)


def _reason(error: BaseException) -> str | None:
    if isinstance(error, RunWaiting):
        return None  # its questions are shown
    if isinstance(error, RunFailed) and error.cause is not None:
        return f"task '{error.task_id}' failed: {one_line(error.cause)}"
    return "interrupted" if isinstance(error, KeyboardInterrupt) else first_line(str(error))


# Reporting


def _report(shell: Shell, outcome: _Outcome, *, as_json: bool, is_kept: bool = True) -> None:
    """Tells the outcome, and ends the command with its exit code."""
    screen = shell.screen
    error = outcome.error
    if shell.is_debugging and error is not None:
        screen.note(block("".join(traceback.format_exception(error))).rstrip())
    if as_json:
        screen.json(_as_json(outcome))
    else:
        screen.fields(_fields(screen, outcome))
    if error is None:
        return
    if is_kept:
        for line in _next_steps(outcome):
            screen.note(line)
    raise typer.Exit(_exit_code(error))


def _next_steps(outcome: _Outcome) -> list[str]:
    first = [f"Look:      handrail show {outcome.run_id}"]
    if outcome.waits:
        first = how_to_answer(outcome.run_id, outcome.waits)
    return [*first, f"Continue:  handrail resume {outcome.run_id}"]


def _exit_code(error: BaseException) -> int:
    if isinstance(error, RunWaiting):
        return WAITING
    return INTERRUPTED if isinstance(error, KeyboardInterrupt) else FAILED


def _fields(screen: Screen, outcome: _Outcome) -> list[tuple[str, str | Text]]:
    from handrail.contracts.values import encode

    result = short(encode(outcome.result)) if outcome.error is None else ""
    return [
        ("run", outcome.run_id),
        ("state", screen.state(outcome.state)),
        ("result", result),
        ("reason", outcome.reason or ""),
        *as_fields(outcome.waits),
    ]


def _as_json(outcome: _Outcome) -> dict[str, Any]:
    from handrail.contracts.values import encode

    return {
        "run_id": outcome.run_id,
        "workflow": outcome.workflow,
        "state": outcome.state,
        "took_seconds": round(outcome.seconds, 3),
        "result": readable(encode(outcome.result)),
        "reason": outcome.reason,
        "waits": [as_data(wait) for wait in outcome.waits],
    }
