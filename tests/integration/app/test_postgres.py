"""Whole runs whose journal is in Postgres: killed, resumed, and under a server that falls."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from handrail import (
    NotInstalledError,
    Runtime,
    StoreError,
    Task,
    TaskExecutionContext,
    chain,
    load_settings,
    task,
    workflow,
)
from handrail.cli.application import application
from handrail.contracts import event as kinds
from handrail.keep.postgres import PostgresJournal
from tests.services.postgres import GUARDED, PASSWORD, USER, PostgresServer, make_database

_PROGRAM = Path(__file__).with_name("stepping.py")
_COUNT = 30


@pytest.fixture
def environment(tmp_path: Path, postgres_url: str) -> dict[str, str]:
    """Settings of the processes, all over one home and one database."""
    return {
        **os.environ,
        "HANDRAIL_HOME": str(tmp_path / "home"),
        "HANDRAIL_DATABASE_URL": postgres_url,
        "MARKS": str(tmp_path),
    }


def start(environment: dict[str, str], *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(_PROGRAM), *words],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_of_two_processes_that_resume_a_killed_run_one_finishes_it(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    killed = start(environment, "run")
    wait_for(tmp_path / "two", killed)
    killed.kill()
    killed.communicate()
    runtime = Runtime(load_settings(environment=environment))
    (record,) = runtime.journal.runs()
    assert runtime.state_of(record) == "crashed"
    (tmp_path / "go").touch()

    resumed = [start(environment, "resume", record.run_id) for _ in range(2)]
    told = [process.communicate(timeout=60) for process in resumed]
    said = {stdout.strip() for stdout, _ in told}
    assert "4" in said, told
    assert said <= {"4", "busy"}, told

    (record,) = runtime.journal.runs()
    assert record.state == "succeeded"
    runs = {name: len((tmp_path / name).read_text().split()) for name in ("one", "two", "three")}
    assert runs == {"one": 1, "two": 2, "three": 1}
    keys = [row.logical_key for row in runtime.journal.accepted(record.run_id)]
    assert len(keys) == len(set(keys)) == 2
    messages = [commit.message for _, commit in runtime.repository("files").log()]
    assert messages == ["steps: two", "steps: one", messages[-1]]
    with runtime.repository("files").read("main", "two") as file:
        assert file.read() == b"12"
    runtime.close()


class Fall:
    """Lets a server fall, and come back after a while, in the middle of a run."""

    def __init__(self, server: PostgresServer, *, comes_back: bool) -> None:
        self.server = server
        self.comes_back = comes_back
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._start_again)

    def __call__(self) -> None:
        self.server.kill()
        if self.comes_back:
            self._thread.start()

    def _start_again(self) -> None:
        self.server.start_again()
        self._is_over.wait(100)  # since the server ends with this thread

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()


def counting(fall: Fall | None = None) -> workflow:
    """0 + 1 + ... in as many tasks; the server falls in the tenth."""
    return workflow("counting", chain(*(counted(number, fall) for number in range(_COUNT))))


def counted(number: int, fall: Fall | None) -> Task:
    @task(id=f"s{number}", inject_context=True)
    def add(context: TaskExecutionContext) -> int:
        if number == 10 and fall is not None:
            fall()
        return number + (context.get_result(f"s{number - 1}") if number else 0)

    return add


@pytest.fixture
def falling(postgres_server: PostgresServer, tmp_path: Path) -> Iterator[Runtime]:
    """A runtime over a server that may fall."""
    url = make_database(postgres_server.folder, postgres_server.port)
    flags = {"home": tmp_path / "home", "database_url": url, "tracking": False}
    runtime = Runtime(load_settings(flags=flags, environment={}))
    yield runtime
    runtime.close()


def check(runtime: Runtime) -> None:
    (record,) = runtime.journal.runs()
    assert record.state == "succeeded"
    events = runtime.journal.events(record.run_id)
    assert [event.position for event in events] == list(range(len(events)))
    succeeded = Counter(e.event.task for e in events if e.event.kind == kinds.TASK_SUCCEEDED)
    assert succeeded == {f"s{number}": 1 for number in range(_COUNT)}
    assert runtime.journal.outbox(0)[0] == events


def test_a_run_outlives_a_server_that_falls_and_comes_back(
    falling: Runtime, postgres_server: PostgresServer
) -> None:
    fall = Fall(postgres_server, comes_back=True)
    assert falling.execute(counting(fall)) == sum(range(_COUNT))
    check(falling)
    fall.close()


def test_a_run_whose_server_stays_away_is_resumed_when_it_is_back(
    falling: Runtime, postgres_server: PostgresServer
) -> None:
    url = falling.settings.database_url
    assert url is not None
    falling.__dict__["journal"] = PostgresJournal(url.get_secret_value(), patience_seconds=0.5)
    with pytest.raises(StoreError, match="does not answer"):
        falling.execute(counting(Fall(postgres_server, comes_back=False)))
    postgres_server.start_again()
    (record,) = falling.journal.runs()
    assert falling.state_of(record) == "crashed"
    assert falling.resume(record.run_id, counting()) == sum(range(_COUNT))
    check(falling)


def test_a_missing_driver_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "handrail.keep.postgres", None)
    flags = {"home": tmp_path / "home", "database_url": "postgresql://h/d"}
    runtime = Runtime(load_settings(flags=flags, environment={}))
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[postgres\]'"):
        runtime.journal  # noqa: B018


def test_the_command_line_finds_runs_that_other_homes_have_started(
    tmp_path: Path, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as owner:
        owner.execute(f"CREATE SCHEMA handrail; GRANT ALL ON SCHEMA handrail TO {GUARDED}")
    url = postgres_url.replace(f"//{USER}@", f"//{GUARDED}:{PASSWORD}@")
    flags = {"home": tmp_path / "home", "database_url": url}
    runtime = Runtime(load_settings(flags=flags, environment={}))
    assert runtime.execute(counting()) == sum(range(_COUNT))
    runtime.close()

    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / "other"))
    monkeypatch.setenv("HANDRAIL_DATABASE_URL", url)
    runs = CliRunner().invoke(application, ["runs", "--json"])
    assert [run["state"] for run in json.loads(runs.stdout)] == ["succeeded"]
    doctor = CliRunner().invoke(application, ["doctor"])
    assert doctor.exit_code == 0
    assert f"postgresql://{GUARDED}@127.0.0.1" in doctor.stdout
    assert PASSWORD not in doctor.stdout + doctor.stderr
    assert not (tmp_path / "other").exists()


def test_a_file_elsewhere_may_hold_the_journal(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'elsewhere.db'}"
    flags = {"home": tmp_path / "home", "database_url": url}
    runtime = Runtime(load_settings(flags=flags, environment={}))
    assert runtime.execute(counting()) == sum(range(_COUNT))
    runtime.close()
    assert (tmp_path / "elsewhere.db").exists()
    assert not (tmp_path / "home" / "handrail.db").exists()
