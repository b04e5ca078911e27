"""A run resumed by other code than it was started with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from handrail import (
    RunChanged,
    RunFailed,
    Runtime,
    WorkspaceSpec,
    load_settings,
    task,
    workflow,
)
from handrail.flow.digest import code_digest


class Number(BaseModel):
    number: int


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


def old(workspace: Path, params: Number) -> Number:
    (workspace / "made").write_text("old")
    return Number(number=params.number)


def new(workspace: Path, params: Number) -> Number:
    (workspace / "made").write_text("new and better")
    return Number(number=params.number + 100)


def release(first: Callable[..., Number], *, mended: bool, ran: list[str]) -> workflow:
    made = task("first", workspace=WorkspaceSpec())(first)

    @task(id="second")
    def second(first: Number) -> int:
        ran.append("second")
        return first.number + 1

    @task(id="third")
    def third(second: int) -> int:
        if not mended:
            raise ValueError("not yet")
        return second

    return workflow("released", made >> second >> third, workspace="files")


def failed_run(runtime: Runtime) -> str:
    with pytest.raises(RunFailed) as failed:
        runtime.execute(release(old, mended=False, ran=[]), inputs={"number": 1})
    return failed.value.run_id


def made(runtime: Runtime) -> bytes:
    with runtime.repository("files").read("main", "made") as file:
        return file.read()


def test_results_of_changed_tasks_are_kept_and_named(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    run_id, ran = failed_run(runtime), list[str]()
    with caplog.at_level(logging.WARNING):
        assert runtime.resume(run_id, release(new, mended=True, ran=ran)) == 2
    assert "code changed since they finished: first (their results are kept)" in caplog.text
    assert (made(runtime), ran) == (b"old", [])


def test_changed_tasks_and_what_follows_run_again_if_wanted(runtime: Runtime) -> None:
    run_id, ran = failed_run(runtime), list[str]()
    flow = release(new, mended=True, ran=ran)
    assert runtime.resume(run_id, flow, changed="rerun") == 102
    assert (made(runtime), ran) == (b"new and better", ["second"])
    messages = [commit.message for _, commit in runtime.repository("files").log()]
    assert messages.count("released: first") == 1


def test_a_rerun_that_fails_later_is_not_run_once_more(runtime: Runtime) -> None:
    run_id = failed_run(runtime)
    with pytest.raises(RunFailed):
        runtime.resume(run_id, release(new, mended=False, ran=[]), changed="rerun")
    ran: list[str] = []
    assert runtime.resume(run_id, release(new, mended=True, ran=ran), changed="rerun") == 102
    assert ran == []


def test_a_resume_may_be_refused_when_code_changed(runtime: Runtime) -> None:
    run_id = failed_run(runtime)
    with pytest.raises(RunChanged, match="first"):
        runtime.resume(run_id, release(new, mended=True, ran=[]), changed="stop")
    assert runtime.resume(run_id, release(old, mended=True, ran=[]), changed="stop") == 2


def test_a_digest_covers_what_a_function_calls_and_not_where_it_stands() -> None:
    def calls_old(params: Number) -> Number:
        """One text."""
        return old(Path(), params)

    def calls_new(params: Number) -> Number:
        return new(Path(), params)

    def calls_old_again(params: Number) -> Number:
        """Another text."""
        # another line
        return old(Path(), params)

    assert code_digest(calls_old) != code_digest(calls_new)
    assert code_digest(calls_old) == code_digest(calls_old_again)
