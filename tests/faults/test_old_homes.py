"""Homes that earlier releases wrote (tests/corpus) are opened, shown and resumed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from handrail import Runtime, RunWaiting, load_settings
from handrail.cli.application import application
from tests.corpus import program
from tests.corpus.make import HOMES

PACKS = sorted(HOMES.glob("*.zip"))
#: What a resume has yet to run, by kind of home.
LEFT = {
    "finished": [],
    "failed": ["last"],
    "crashed": [
        "square 2", "improve 1", "improve 2", "improve 4", "improve 8", "judge",
        "write", "ask", "ask", "read", "last",
    ],
    "waiting": ["ask", "read", "last"],
}  # fmt: skip
STATES = {"finished": "succeeded", "failed": "failed", "crashed": "crashed", "waiting": "waiting"}


@pytest.fixture(params=PACKS, ids=[pack.stem for pack in PACKS])
def pack(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


@pytest.fixture
def home(pack: Path, tmp_path: Path) -> Path:
    folder = tmp_path / ".handrail"
    with zipfile.ZipFile(pack) as file:
        file.extractall(folder)
    for name in ("attempts", "runs"):
        (folder / name).mkdir()
    return folder


@pytest.fixture
def kind(pack: Path) -> str:
    return pack.stem.rpartition("-")[2]


@pytest.fixture
def runtime(home: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": home}, environment={}))
    yield made
    made.close()


def test_there_are_homes_of_every_kind() -> None:
    assert {pack.stem.rpartition("-")[2] for pack in PACKS} == set(LEFT)


def test_an_old_home_is_shown(home: Path, kind: str) -> None:
    def handrail(*words: str) -> str:
        result = CliRunner().invoke(application, ["--home", str(home), *words])
        assert result.exit_code == 0, result.output
        return result.stdout

    (run,) = json.loads(handrail("runs", "--json"))
    assert run["state"] == STATES[kind]
    shown = json.loads(handrail("show", run["run_id"], "--json"))
    assert {"begin", "squares", "broken", "last"} <= {task["name"] for task in shown["tasks"]}
    assert run["run_id"] in handrail("show", run["run_id"])
    assert "squares" in handrail("graph", run["run_id"])
    assert len(json.loads(handrail("answer", run["run_id"], "--json"))) == (kind == "waiting")


def test_an_old_run_is_resumed(runtime: Runtime, kind: str) -> None:
    (record,) = runtime.journal.runs()
    program.ran.clear()
    if kind == "crashed":
        with pytest.raises(RunWaiting):
            runtime.resume(record.run_id)
    for wait in runtime.waits(record.run_id):
        runtime.answer(record.run_id, True, wait_id=wait.wait_id)
    result = runtime.resume(record.run_id)
    assert result == program.RESULT
    assert program.ran == LEFT[kind]
    assert runtime.journal.watermark("everything") == "7"
    with runtime.repository("pages").read("main", "page") as file:
        assert file.read() == b"page\npage\n"
