"""Every call of the store fails once, at every place; a resume always finishes the run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    HandrailError,
    RunFailed,
    Runtime,
    StoreError,
    WorkspaceSpec,
    load_settings,
    task,
    workflow,
)
from handrail.keep.objects import FileObjects
from handrail.keep.trees import Trees
from tests.faults.failing import Failing


class Step(BaseModel):
    number: int


@task(id="one", workspace=WorkspaceSpec())
def one(workspace: Path, params: Step) -> Step:
    (workspace / "one").write_text("1")
    return Step(number=params.number + 1)


@task(id="two", workspace=WorkspaceSpec())
def two(workspace: Path, params: Step) -> Step:
    (workspace / "two").write_text((workspace / "one").read_text() + "2")
    return Step(number=params.number + 1)


@task
def three(two: Step) -> int:
    return two.number + 1


def run_with_failure(home: Path, at: int, lost_reply: bool) -> bool:
    """Runs and resumes; true if the failure came."""
    settings = load_settings(flags={"home": home}, environment={})
    flow = workflow("steps", one >> two >> three, workspace="files")
    broken = Runtime(settings)
    countdown = [at]
    journal: Any = Failing(broken.journal, countdown, lost_reply)
    objects: Any = Failing(FileObjects(broken.home.objects), countdown, lost_reply)
    broken.__dict__["journal"] = journal
    broken.__dict__["trees"] = Trees(objects)
    try:
        assert broken.execute(flow, key="k", inputs={"number": 1}) == 4
        came = countdown[0] <= 0
    except (StoreError, RunFailed):
        came = True
    broken.__dict__.pop("journal").inner.close()
    broken.__dict__.pop("trees")
    broken.close()
    healthy = Runtime(settings)
    try:
        assert healthy.execute(flow, key="k", inputs={"number": 1}) == 4
        check(healthy)
    finally:
        healthy.close()
    return came


def check(runtime: Runtime) -> None:
    repository = runtime.repository("files")
    with repository.read("main", "two") as file:
        assert file.read() == b"12"
    messages = [commit.message for _, commit in repository.log()]
    assert messages == ["steps: two", "steps: one", messages[-1]]
    record = runtime.journal.runs()[0]
    assert record.state == "succeeded"
    keys = [row.logical_key for row in runtime.journal.accepted(record.run_id)]
    assert len(keys) == len(set(keys)) == 2


@pytest.mark.parametrize("lost_reply", [False, True], ids=["call fails", "reply is lost"])
def test_a_store_call_failing_at_every_place_loses_and_doubles_nothing(
    tmp_path: Path, lost_reply: bool
) -> None:
    at = 0
    came = True
    while came:
        at += 1
        try:
            came = run_with_failure(tmp_path / str(at), at, lost_reply)
        except (AssertionError, HandrailError) as error:
            raise AssertionError(f"failure at call {at}: {error!r}") from error
    assert at > 30
