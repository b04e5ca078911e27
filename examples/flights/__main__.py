"""Runs the pipeline on a year of flights: `python -m examples.flights`.

Four runs in order: January to June, July to December, nothing new, and a damaged month that a
guardrail refuses. Everything is kept in one folder, `.demo/`.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from examples.flights.feed import DAMAGED, deliver
from examples.flights.pipeline import flights
from handrail import HandrailError, PostGuardrailViolation, RunFailed, Runtime, load_settings
from handrail.run.history import RunHistory

_FOLDER = Path(".demo")
#: Tells a folder of the demo from anything else.
_MARK = ".made-by-examples-flights"


class Run(NamedTuple):
    """One of the runs, and what is to come of it."""

    #: Start key: a second call with the same key continues the run, or gives its result.
    key: str
    title: str
    next_watermark: str
    publishes: bool = True
    is_refused: bool = False


RUNS = (
    Run("2013-06", "January to June 2013", "2013-06"),
    Run("2013-12", "July to December 2013", "2013-12"),
    Run("2013-12-again", "nothing new", "2013-12", publishes=False),
    Run(DAMAGED, "January 2014, damaged", DAMAGED, publishes=False, is_refused=True),
)


class Outcome(NamedTuple):
    """What came of a run. `problems` is empty if all went as told."""

    run: Run
    history: RunHistory
    months: int
    problems: list[str]


class Demo:
    """The four runs over one folder."""

    def __init__(self, folder: Path, runtime: Runtime, console: Console) -> None:
        self._folder = folder
        self._runtime = runtime
        self._console = console

    def play(self, sample: int) -> list[Outcome]:
        """Makes the delivery if it is not there, and does all runs."""
        delivery = self._folder / "delivery"
        count = deliver(delivery, every=sample)
        self._say(f"Delivery  {_shown(delivery)}, {count:,} flights in 13 monthly files")
        self._say(f"Home      {_shown(self._runtime.settings.home)}")
        self._say("If this is interrupted or killed, finish the run and then the others with")
        self._say(f"    {_handrail(self._runtime)} resume", "bold")
        self._say(f"    {self.again(sample)}", "bold")
        return [self._do(run, number) for number, run in enumerate(RUNS, 1)]

    def _do(self, run: Run, number: int) -> Outcome:
        self._say(f"\nRun {number} of {len(RUNS)}: {run.title}", "bold cyan")
        before = self._published()
        feed = str(self._folder.absolute() / "delivery")
        inputs = {"next_watermark": run.next_watermark, "feed": feed}
        error, months = None, 0
        try:
            _, context = self._runtime.execute(
                flights, key=run.key, inputs=inputs, progress=True, ret_context=True
            )
            run_id, months = context.run_id, len(context.get_result("ingest").months)
        except RunFailed as failure:
            run_id, error = failure.run_id, failure.cause
        history = self._runtime.history(run_id)
        problems = list(_problems(run, history, error))
        if not run.publishes and self._published() != before:
            problems.append("the branch or the watermark moved")
        self._tell(run, history, problems)
        return Outcome(run, history, months, problems)

    def _published(self) -> tuple[str | None, str | None]:
        """The branch's commit and the pipeline's watermark, as they are now."""
        head = self._runtime.repository("flights").branches().get("main")
        return head, self._runtime.journal.watermark("flights")

    def _tell(self, run: Run, history: RunHistory, problems: list[str]) -> None:
        if history.reason:
            label = "Refused" if run.is_refused else "Failed"
            self._say(f"{label}: {history.reason}", "red")
        if problems:
            self._say(f"Not as told: {'; '.join(problems)}.", "bold red")
        elif run.publishes:
            self._say(
                f"Published {_short(history.ref)}, watermark {_decoded(history.next_watermark)}.",
                "green",
            )
        else:
            head, watermark = self._published()
            self._say(
                f"Published nothing: main is still {_short(head)}, "
                f"watermark {_decoded(watermark)}.",
                "green",
            )

    def check_out_report(self) -> Path:
        """Writes the published report into the demo's folder; returns its page."""
        place = self._folder / "report"
        shutil.rmtree(place, ignore_errors=True)
        self._runtime.repository("flights").checkout("main", place, "report")
        return place / "index.html"

    def summarize(self, outcomes: list[Outcome], page: Path) -> None:
        """Prints the table of runs, where the report lies, and how to look further."""
        self._console.print()
        self._console.print(_table(outcomes))
        self._say(f"Report    {_shown(page)}")
        self._say("\nLook further:")
        refused = outcomes[-1].history.run_id
        for command in ("runs", "workspace log flights", f"show {refused}"):
            self._say(f"    {_handrail(self._runtime)} {command}", "bold")

    def again(self, sample: int) -> str:
        """The command that goes on where this one ended."""
        command = f"{_program(Path(sys.executable))} -m examples.flights --keep"
        if self._folder != _FOLDER:
            command += f" --folder {_quoted(self._folder)}"
        return command if sample == 1 else f"{command} --sample {sample}"

    def _say(self, text: str, style: str = "") -> None:
        # One line stays one line, however long.
        self._console.print(Text(text, style), soft_wrap=True)


def _problems(run: Run, history: RunHistory, error: BaseException | None) -> Iterator[str]:
    if run.is_refused:
        if not isinstance(error, PostGuardrailViolation):
            yield f"a guardrail was to refuse it, and it is {history.state}"
    elif history.state != "succeeded":
        yield f"it is {history.state}"
    elif run.publishes == (history.ref == history.base_ref):
        yield "it published nothing" if run.publishes else "it published something"


_NUMBERS = ("months", "rows", "seconds")


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for name in ("run", "of", "state", "months", "rows", "seconds", "published"):
        table.add_column(name, justify="right" if name in _NUMBERS else "left", no_wrap=True)
    for number, (run, history, months, problems) in enumerate(outcomes, 1):
        ingest = history.task("ingest")
        rows = ingest.metrics.get("inserts", 0) if ingest is not None and months else 0
        took = (history.finished_at or history.started_at) - history.started_at
        state = "refused" if run.is_refused and not problems else history.state
        published = _short(history.ref) if history.ref != history.base_ref else None
        table.add_row(
            str(number),
            run.title,
            Text(state, "red" if history.state == "failed" else "green"),
            str(months),
            f"{rows:,}",
            f"{took / 1000:.1f}",
            published or "nothing",
        )
    return table


# How things are spelt


def _short(ref: str | None) -> str | None:
    return ref[:12] if ref else None


def _decoded(watermark: str | None) -> str:
    return str(json.loads(watermark)) if watermark is not None else "none"


def _shown(path: Path) -> Path:
    path = path.absolute()
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _quoted(path: Path) -> str:
    return shlex.quote(str(_shown(path)))


def _program(file: Path) -> str:
    """How to call a program from here: by its name if that means the same file."""
    found = shutil.which(file.name)
    return file.name if found is not None and Path(found) == file else _quoted(file)


def _handrail(runtime: Runtime) -> str:
    program = _program(Path(sys.executable).with_name("handrail"))
    return f"{program} --home {_quoted(runtime.settings.home)}"


# The folder


def _prepare(folder: Path, *, keep: bool) -> None:
    """Makes the folder, or empties it if it is one of ours."""
    mark = folder / _MARK
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise FileExistsError(f"{folder} holds other files. Choose another one with --folder.")
    folder.mkdir(parents=True, exist_ok=True)
    mark.touch()
    (folder / ".gitignore").write_text("*\n", encoding="utf-8")
    for entry in () if keep else sorted(folder.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (_MARK, ".gitignore"):
            entry.unlink()


def main() -> int:
    """Returns 0 if all went as told, 1 if not, 130 if it was interrupted."""
    parser = argparse.ArgumentParser(prog="python -m examples.flights", description=__doc__)
    parser.add_argument("--folder", type=Path, default=_FOLDER, help="where all is kept")
    parser.add_argument("--keep", action="store_true", help="go on where an earlier call ended")
    parser.add_argument(
        "--sample", type=int, default=1, metavar="N", help="take only every Nth flight"
    )
    options = parser.parse_args()
    if options.sample < 1:
        parser.error("--sample: expected 1 or more")
    try:
        _prepare(options.folder, keep=options.keep)
    except FileExistsError as problem:
        parser.error(str(problem))
    settings = load_settings(flags={"home": options.folder / ".handrail"})
    runtime = Runtime(settings)
    console = Console(highlight=False)
    demo = Demo(options.folder, runtime, console)
    try:
        outcomes = demo.play(options.sample)
        demo.summarize(outcomes, demo.check_out_report())
    except KeyboardInterrupt:
        console.print(Text(f"Interrupted. To go on: {demo.again(options.sample)}"), soft_wrap=True)
        return 130
    except HandrailError as error:
        console.print(Text(f"error: {error}", "red"), soft_wrap=True)
        return 1
    finally:
        runtime.close()
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
