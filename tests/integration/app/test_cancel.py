"""A run is ended from elsewhere, whoever drives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from handrail import (
    RunCancelled,
    RunNotFound,
    Runtime,
    RunWaiting,
    TaskExecutionContext,
    chain,
    load_settings,
    task,
    workflow,
)

PATIENCE_SECONDS = 30.0


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / ".handrail"


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    made = opened(home)
    yield made
    made.close()


def opened(home: Path) -> Runtime:
    flags = {"home": home, "lease_seconds": 2.0}
    return Runtime(load_settings(flags=flags, environment={}))


class Driven:
    """A workflow that runs in a thread."""

    def __init__(self, runtime: Runtime, flow: workflow) -> None:
        self._runtime = runtime
        self.error: BaseException | None = None
        self.result: Any = None
        self._thread = threading.Thread(target=self._drive, args=(flow,), daemon=True)
        self._thread.start()

    def _drive(self, flow: workflow) -> None:
        try:
            self.result = self._runtime.execute(flow)
        except BaseException as error:
            self.error = error

    @property
    def run_id(self) -> str:
        return self._runtime.journal.runs()[0].run_id

    def ended(self) -> BaseException | None:
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        return self.error


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


@task(handler_type="process")
def sleeping(file: str) -> None:
    Path(file).write_text(str(os.getpid()))
    time.sleep(600)


def test_a_body_of_another_process_is_stopped(runtime: Runtime, home: Path, tmp_path: Path) -> None:
    note = tmp_path / "started"
    driven = Driven(runtime, workflow("long", sleeping(task_id="sleeping", file=str(note))))
    until(lambda: note.exists() and note.read_text() != "")
    elsewhere = opened(home)

    assert elsewhere.cancel(driven.run_id, "wrong month", by="Ada") == "running"

    error = driven.ended()
    assert isinstance(error, RunCancelled)
    assert "wrong month (asked by Ada)" in str(error)
    with pytest.raises(ProcessLookupError):
        os.kill(int(note.read_text()), 0)
    record = elsewhere.journal.run(driven.run_id)
    assert (record.state, record.epoch) == ("cancelled", 1)
    assert "wrong month" in str(record.reason)
    elsewhere.close()


def test_a_body_in_the_engines_own_thread_is_interrupted(runtime: Runtime) -> None:
    is_running = threading.Event()
    seen: list[BaseException] = []

    @task
    def endless() -> None:
        is_running.set()
        try:
            while True:
                time.sleep(0.01)
        except BaseException as error:
            seen.append(error)
            raise

    driven = Driven(runtime, workflow("endless", endless))
    assert is_running.wait(PATIENCE_SECONDS)

    runtime.cancel(driven.run_id, "enough")

    error = driven.ended()
    assert isinstance(error, RunCancelled)
    assert "enough" in str(error)
    assert [type(found) for found in seen] == [KeyboardInterrupt]
    assert runtime.journal.run(driven.run_id).state == "cancelled"


def test_a_chain_of_short_bodies_ends_between_two_of_them(runtime: Runtime) -> None:
    ran: list[str] = []

    @task
    def short(name: str) -> None:
        ran.append(name)
        time.sleep(0.02)

    made = [short(task_id=f"t{number}", name=str(number)) for number in range(2000)]
    flow = workflow("short", chain(*made))
    driven = Driven(runtime, flow)
    until(lambda: len(ran) > 3)

    runtime.cancel(driven.run_id)

    assert isinstance(driven.ended(), RunCancelled)
    assert len(ran) < 2000


def test_a_run_that_is_cancelled_can_be_resumed(runtime: Runtime) -> None:
    ran: list[str] = []
    may_end = threading.Event()

    @task
    def first() -> int:
        ran.append("first")
        return 1

    @task(timeout=60)
    def second(first: int) -> int:
        ran.append("second")
        may_end.wait(PATIENCE_SECONDS)
        return first + 1

    flow = workflow("twice", first >> second)
    driven = Driven(runtime, flow)
    until(lambda: "second" in ran)
    runtime.cancel(driven.run_id)
    assert isinstance(driven.ended(), RunCancelled)
    may_end.set()

    assert runtime.resume(driven.run_id, flow) == 2
    assert ran == ["first", "second", "second"]
    assert runtime.journal.run(driven.run_id).state == "succeeded"


def ask_flow(timeout: float) -> workflow:
    @task(inject_context=True)
    def ask(context: TaskExecutionContext) -> bool:
        return context.request_approval("Publish?", timeout=timeout)

    return workflow("ask", ask)


def test_a_run_that_waits_for_an_answer_is_ended_where_it_waits(runtime: Runtime) -> None:
    driven = Driven(runtime, ask_flow(600))
    until(lambda: bool(runtime.journal.runs()) and bool(runtime.waits(driven.run_id)))

    assert runtime.cancel(driven.run_id) == "running"

    assert isinstance(driven.ended(), RunCancelled)
    assert runtime.journal.run(driven.run_id).state == "cancelled"


def test_a_run_that_was_given_back_is_ended_at_once(runtime: Runtime) -> None:
    with pytest.raises(RunWaiting) as caught:
        runtime.execute(ask_flow(0))

    assert runtime.cancel(caught.value.run_id, "nobody answers") == "cancelled"

    record = runtime.journal.run(caught.value.run_id)
    assert (record.state, record.epoch, record.reason) == ("cancelled", 2, "nobody answers")
    assert runtime.history(caught.value.run_id).state == "cancelled"


def test_a_run_whose_process_was_killed_is_ended_at_once(runtime: Runtime, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import time\n"
        "from handrail import task, workflow\n\n"
        "@task\n"
        "def long() -> None:\n"
        "    open('started', 'w').close()\n"
        "    time.sleep(600)\n\n"
        "flow = workflow('long', long)\n"
        "if __name__ == '__main__':\n"
        "    flow.execute()\n"
    )
    started = subprocess.Popen([sys.executable, str(program)], cwd=tmp_path)
    until((tmp_path / "started").exists)
    started.send_signal(signal.SIGKILL)
    started.wait(PATIENCE_SECONDS)
    run_id = runtime.journal.runs()[0].run_id

    assert runtime.cancel(run_id) == "cancelled"

    assert runtime.journal.run(run_id).state == "cancelled"
    assert runtime.journal.lease(run_id) is None


def test_a_run_that_has_ended_stays_as_it_is(runtime: Runtime) -> None:
    @task
    def quick() -> int:
        return 1

    runtime.execute(workflow("quick", quick))
    run_id = runtime.journal.runs()[0].run_id

    assert runtime.cancel(run_id) == "succeeded"
    assert runtime.journal.run(run_id).epoch == 1


def test_an_unknown_run_is_not_cancelled(runtime: Runtime) -> None:
    with pytest.raises(RunNotFound):
        runtime.cancel("nothing")


def test_tracking_learns_of_it(runtime: Runtime) -> None:
    with pytest.raises(RunWaiting) as caught:
        runtime.execute(ask_flow(0))
    runtime.cancel(caught.value.run_id)

    states = [row.state for row in runtime.tracking.executions().executions]
    assert "cancelled" in states
