from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.acceptance.cli.conftest import Call, Start

ASKING = """
from handrail import TaskExecutionContext, task, workflow

with workflow("asking") as asking:

    @task
    def before() -> str:
        with open("trace", "a") as file:
            file.write("before\\n")
        return "this"

    @task(inject_context=True)
    def ask(context: TaskExecutionContext, before: str, seconds: float = 0) -> bool:
        return context.request_approval(f"Publish {before}?", timeout=seconds)

    before >> ask
"""


@pytest.fixture
def asking(folder: Path) -> str:
    (folder / "asking.py").write_text(ASKING)
    return "asking.py"


def test_a_run_that_asks_ends_with_code_3_and_goes_on_with_the_answer(
    handrail: Call, asking: str, folder: Path
) -> None:
    asked = handrail("run", asking, "-q")
    assert asked.returncode == 3
    assert "ask asks: Publish this? (yes or no)" in asked.stdout
    run_id = json.loads(handrail("runs", "--json").stdout)[0]["run_id"]
    assert asked.stderr.splitlines() == [
        f"Answer:    handrail answer {run_id} VALUE",
        f"Continue:  handrail resume {run_id}",
    ]
    again = handrail("resume", run_id, "-q", "--json")
    assert (again.returncode, json.loads(again.stdout)["state"]) == (3, "waiting")
    assert handrail("answer", run_id, "yes").returncode == 0
    assert json.loads(handrail("resume", run_id, "--json").stdout)["result"] is True
    assert (folder / "trace").read_text() == "before\n"


def test_a_process_that_still_waits_takes_the_answer(
    handrail: Call, start: Start, asking: str
) -> None:
    process = start("run", asking, "-q", "--json", "-i", "seconds=60")
    until = time.monotonic() + 60
    open_runs: list[Any] = []
    while not (open_runs and open_runs[0]["waits"]):
        assert time.monotonic() < until, "the question did not come"
        open_runs = json.loads(handrail("runs", "--json").stdout)
    answered = handrail("answer", open_runs[0]["run_id"], "no", "--by", "Ada")
    assert "takes the answer" in answered.stderr
    stdout, _ = process.communicate(timeout=60)
    assert (process.returncode, json.loads(stdout)["result"]) == (0, False)


def test_a_resume_may_run_changed_tasks_again_or_refuse(
    handrail: Call, asking: str, folder: Path
) -> None:
    run_id = json.loads(handrail("run", asking, "-q", "--json").stdout)["run_id"]
    (folder / asking).write_text(ASKING.replace('return "this"', 'return "that"'))
    refused = handrail("resume", run_id, "-q", "--changed", "stop")
    assert refused.returncode == 1
    assert "before" in refused.stderr
    rerun = handrail("resume", run_id, "-q", "--changed", "rerun")
    assert "ask asks: Publish that? (yes or no)" in rerun.stdout
    assert handrail("resume", run_id, "--changed", "perhaps").returncode == 2
