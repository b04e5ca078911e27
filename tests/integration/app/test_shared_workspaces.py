"""Several machines over one repository: heads and journal in Postgres, objects in S3.

A machine is a process with a home of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from handrail import (
    NotInstalledError,
    RunFailed,
    Runtime,
    RuntimeConfigError,
    StoreError,
    Task,
    WorkspaceSpec,
    chain,
    load_settings,
    task,
    workflow,
)
from handrail.cli.application import application
from handrail.keep.trees import Trees
from tests.services.s3 import SECRET_KEY, S3Place, S3Server, make_bucket
from tests.services.s3_proxy import S3Proxy

_PROGRAM = Path(__file__).with_name("sharing.py")


class Machines:
    """Processes with homes of their own over one database and one bucket."""

    def __init__(self, folder: Path, database_url: str, objects_url: str) -> None:
        self.folder = folder
        self.shared = {"HANDRAIL_DATABASE_URL": database_url, "HANDRAIL_OBJECTS_URL": objects_url}
        self._opened: list[Runtime] = []

    def environment(self, name: str) -> dict[str, str]:
        home = {"HANDRAIL_HOME": str(self.folder / name), "MARKS": str(self.folder)}
        return {**os.environ, **self.shared, **home}

    def start(self, name: str, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(_PROGRAM), *words],
            env=self.environment(name),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, name: str, *words: str) -> str:
        stdout, stderr = self.start(name, *words).communicate(timeout=60)
        assert stderr == ""
        return stdout.strip()

    def runtime(self, name: str) -> Runtime:
        self._opened.append(Runtime(load_settings(environment=self.environment(name))))
        return self._opened[-1]

    def files(self, name: str) -> dict[str, bytes]:
        """What a machine reads at the head."""
        repository = self.runtime(name).repository("songs")
        found = {}
        for path, _ in repository.ls(recursive=True):
            with repository.read("main", path) as file:
                found[path] = file.read()
        return found

    def wait_for(self, name: str, process: subprocess.Popen[str]) -> None:
        until = time.monotonic() + 60
        while not (self.folder / name).exists():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until
            time.sleep(0.02)

    def close(self) -> None:
        for runtime in self._opened:
            runtime.close()


@pytest.fixture
def machines(tmp_path: Path, postgres_url: str, s3_place: S3Place) -> Iterator[Machines]:
    machines = Machines(tmp_path, postgres_url, s3_place.url)
    yield machines
    machines.close()


def test_what_one_machine_publishes_the_next_reads_and_adds_to(machines: Machines) -> None:
    (machines.folder / "go").touch()
    assert machines.run("one", "add", "a") == ""
    assert machines.run("other", "add", "b") == "a"
    assert machines.run("one", "add", "c") == "a b"
    assert machines.files("third") == {name: name.encode() * 1000 for name in "abc"}
    messages = [commit.message for _, commit in machines.runtime("third").repository("songs").log()]
    assert messages == ["adding: add"] * 3 + [messages[-1]]
    assert not list((machines.folder / "one" / "objects").iterdir())


def test_of_two_machines_that_publish_at_once_one_wins(machines: Machines) -> None:
    processes = {name: machines.start(f"home-{name}", "add", name) for name in ("a", "b")}
    for name, process in processes.items():
        machines.wait_for(name, process)
    (machines.folder / "go").touch()
    told = {name: process.communicate(timeout=60) for name, process in processes.items()}
    said = {name: stdout.strip() for name, (stdout, _) in told.items()}
    assert sorted(said.values()) == ["", "PublishFenceError"], told
    winner = next(name for name, text in said.items() if text == "")
    assert machines.files("third") == {winner: winner.encode() * 1000}
    assert machines.run("home-c", "add", "c") == winner


def test_a_run_that_was_killed_on_one_machine_is_finished_on_another(machines: Machines) -> None:
    killed = machines.start("one", "add", "a")
    machines.wait_for("a", killed)
    killed.kill()
    killed.communicate()
    (record,) = machines.runtime("third").journal.runs()
    (machines.folder / "go").touch()
    assert machines.run("other", "resume", record.run_id) == ""
    assert machines.files("third") == {"a": b"a" * 1000}
    left = machines.runtime("one")
    assert len(left.folders.sweep(alive=left.is_alive)) == 1


def test_commands_look_into_the_repository_from_any_machine(
    machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    (machines.folder / "go").touch()
    machines.run("one", "add", "a")
    for name, value in machines.environment("third").items():
        if name.startswith("HANDRAIL_"):
            monkeypatch.setenv(name, value)
    doctor = CliRunner().invoke(application, ["doctor", "--json"])
    assert doctor.exit_code == 0, doctor.stdout
    findings = {one["name"]: one for one in json.loads(doctor.stdout)["findings"]}
    text = machines.shared["HANDRAIL_OBJECTS_URL"].partition("?")[0]
    assert {one["verdict"] for one in findings.values() if one["section"] == "journal"} == {"ok"}
    assert f"{text}, answers in" in doctor.stdout
    assert SECRET_KEY not in doctor.stdout
    for words, expected in (
        (["workspace", "ls", "songs"], "a"),
        (["workspace", "cat", "songs", "a"], "a" * 1000),
        (["workspace", "log", "songs"], "adding: add"),
    ):
        shown = CliRunner().invoke(application, words)
        assert shown.exit_code == 0, shown.output
        assert expected in shown.stdout


# Faults


class Files(BaseModel):
    count: int


def collecting(fall: Callable[[], None] = lambda: None) -> workflow:
    """Three tasks that each write files; something falls in the middle of the second."""
    return workflow(
        "collecting",
        chain(writing("one"), writing("two", fall), writing("three")),
        workspace="songs",
    )


def writing(name: str, act: Callable[[], None] = lambda: None) -> Task:
    @task(id=name, workspace=WorkspaceSpec())
    def write(workspace: Path, params: Files) -> Files:
        act()
        for number in range(params.count):
            (workspace / f"{name}{number}").write_text(f"{name}{number}")
        return params

    return write


def expected(count: int) -> dict[str, bytes]:
    names = [f"{name}{number}" for name in ("one", "two", "three") for number in range(count)]
    return {name: name.encode() for name in names}


@pytest.mark.parametrize("kind", ["reply", "request"])
def test_lost_replies_in_a_run_change_nothing(
    machines: Machines, s3_place: S3Place, kind: str
) -> None:
    proxy = S3Proxy(int(s3_place.endpoint.rpartition(":")[2]))
    machines.shared["HANDRAIL_OBJECTS_URL"] = s3_place.through(proxy.port).url
    proxy.break_at(kind, 1, every=3)
    runtime = machines.runtime("one")
    runtime.execute(collecting(), inputs={"count": 10})
    proxy.break_at("", 0)
    assert proxy.broken_count > 10
    assert machines.files("third") == expected(10)
    (record,) = runtime.journal.runs()
    assert len(runtime.journal.accepted(record.run_id)) == 3
    proxy.close()


class Fall:
    """Lets a server fall, and come back after a while."""

    def __init__(self, server: S3Server, *, comes_back: bool) -> None:
        self._server = server
        self._comes_back = comes_back
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._start_again)

    def __call__(self) -> None:
        self._server.kill()
        if self._comes_back:
            self._thread.start()

    def _start_again(self) -> None:
        self._is_over.wait(0.5)
        self._server.start_again()
        self._is_over.wait(100)  # since the server ends with this thread

    def close(self) -> None:
        self._is_over.set()
        if self._comes_back:
            self._thread.join()


def test_a_run_outlives_a_storage_that_falls_and_comes_back(
    tmp_path: Path, postgres_url: str, s3_server: S3Server
) -> None:
    machines = Machines(tmp_path, postgres_url, make_bucket(s3_server.port).url)
    fall = Fall(s3_server, comes_back=True)
    machines.runtime("one").execute(collecting(fall), inputs={"count": 5})
    assert machines.files("third") == expected(5)
    machines.close()
    fall.close()


def test_a_run_whose_storage_stays_away_is_resumed_when_it_is_back(
    tmp_path: Path, postgres_url: str, s3_server: S3Server
) -> None:
    machines = Machines(tmp_path, postgres_url, make_bucket(s3_server.port).url)
    runtime = machines.runtime("one")
    impatient(runtime)
    with pytest.raises(RunFailed, match="does not answer: Connection refused"):
        runtime.execute(collecting(Fall(s3_server, comes_back=False)), inputs={"count": 5})
    (record,) = runtime.journal.runs()
    s3_server.start_again()
    machines.runtime("other").resume(record.run_id, collecting())
    assert machines.files("third") == expected(5)
    machines.close()


def impatient(runtime: Runtime) -> None:
    from handrail.keep.bucket import Bucket
    from handrail.keep.object_cache import ObjectCache
    from handrail.keep.shared_objects import SharedObjects

    url = runtime.settings.objects_url
    assert url is not None
    bucket = Bucket.at(url.get_secret_value(), patience_seconds=0.3)
    cache = ObjectCache(runtime.home.cache, 1 << 30)
    runtime.__dict__["trees"] = Trees(SharedObjects(bucket, cache))


@pytest.mark.parametrize("fault", ["credentials", "bucket", "server"])
def test_a_storage_that_cannot_be_used_is_told_before_anything_runs(
    machines: Machines, s3_place: S3Place, fault: str
) -> None:
    machines.shared["HANDRAIL_OBJECTS_URL"] = {
        "credentials": s3_place.with_options(secret_access_key="hidden"),
        "bucket": s3_place._replace(bucket="nowhere").url,
        "server": s3_place.through(1).url,
    }[fault]
    ran: list[str] = []
    runtime = machines.runtime("one")
    with pytest.raises((RuntimeConfigError, StoreError)) as caught:
        runtime.execute(collecting(lambda: ran.append("body")), inputs={"count": 1})
    assert "\n" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert ran == []
    assert runtime.journal.runs() == []


def test_a_missing_library_is_told_with_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in [name for name in sys.modules if name.startswith("handrail.keep.bucket")]:
        monkeypatch.delitem(sys.modules, name)
    flags = {"home": tmp_path / "home", "objects_url": "s3://songs"}
    with pytest.raises(NotInstalledError, match=r"pip install 'handrail\[s3\]'"):
        Runtime(load_settings(flags=flags, environment={})).trees  # noqa: B018
