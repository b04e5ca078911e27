"""Tasks with a cache: which results are taken again, which bodies run, and what is published."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail import (
    CachePolicy,
    RunFailed,
    Runtime,
    WorkspaceSpec,
    forbid_glob,
    load_settings,
    require_file,
    task,
    workflow,
)
from handrail.contracts import event as kinds
from handrail.keep.collect import collect_garbage, commits_in_use
from handrail.keep.reuse import MemoryKeptResults
from handrail.run.history import TaskHistory
from tests.faults.failing import Failing


class Text(BaseModel):
    text: str = "a"


class Count(BaseModel):
    count: int


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    made = Runtime(load_settings(flags={"home": tmp_path / ".handrail"}, environment={}))
    yield made
    made.close()


def told(runtime: Runtime, name: str) -> TaskHistory:
    """What the history of the newest run tells of a task."""
    found = runtime.history(runtime.journal.runs()[0].run_id).task(name)
    assert found is not None
    return found


def changed(runtime: Runtime, name: str) -> list[str]:
    why = told(runtime, name).why
    assert why is not None
    return list(why["changed"])


# Tasks without files


def squaring(ran: list[int], **keywords: Any) -> workflow:
    @task(**{"cache": True, **keywords})
    def square(x: int, scale: int = 1) -> int:
        ran.append(x)
        return x * x * scale

    return workflow("squares", square)


def test_the_same_parameters_take_the_result_again(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran)
    assert [runtime.execute(flow, inputs={"x": x}) for x in (3, 3, 4, 3)] == [9, 9, 16, 9]
    assert ran == [3, 4]


def test_a_reused_result_says_whose_it_was(runtime: Runtime) -> None:
    flow = squaring([])
    _, first = runtime.execute(flow, inputs={"x": 3}, ret_context=True)
    assert told(runtime, "square").why == {"cache": "miss", "changed": ["first"]}
    runtime.execute(flow, inputs={"x": 3})
    found = told(runtime, "square")
    assert found.state == "succeeded"
    assert found.why == {"cache": "hit"}
    assert found.reused is not None
    assert found.reused["run"] == first.run_id
    assert found.reused["attempt"] == f"{first.run_id}-1-1"


def test_another_parameter_runs_and_is_named(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran)
    runtime.execute(flow, inputs={"x": 3})
    assert runtime.execute(flow, inputs={"x": 3, "scale": 2}) == 18
    assert ran == [3, 3]
    assert changed(runtime, "square") == ["params.scale"]


def test_changed_code_runs_and_is_named(runtime: Runtime) -> None:
    @task(id="work", cache=True)
    def old(x: int) -> int:
        return x + 1

    @task(id="work", cache=True)
    def new(x: int) -> int:
        return x + 2

    assert runtime.execute(workflow("w", old), inputs={"x": 1}) == 2
    assert runtime.execute(workflow("w", new), inputs={"x": 1}) == 3
    assert changed(runtime, "work") == ["code"]
    assert runtime.execute(workflow("w", old), inputs={"x": 1}) == 2
    assert told(runtime, "work").reused is not None


def test_a_changed_constant_runs(runtime: Runtime) -> None:
    def flow(limit: int) -> workflow:
        @task(id="work", cache=True)
        def work(x: int) -> int:
            return x + limit

        return workflow("w", work)

    assert [runtime.execute(flow(limit), inputs={"x": 1}) for limit in (1, 2)] == [2, 3]


def test_the_same_code_under_another_name_is_another_task(runtime: Runtime) -> None:
    ran: list[int] = []

    def note(x: int) -> int:
        ran.append(x)
        return x

    one, other = task("one", cache=True)(note), task("other", cache=True)(note)
    runtime.execute(workflow("w", one), inputs={"x": 1})
    runtime.execute(workflow("w", other), inputs={"x": 1})
    assert ran == [1, 1]


def test_without_a_cache_every_run_runs(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran, cache=False)
    for _ in range(2):
        runtime.execute(flow, inputs={"x": 3})
    assert ran == [3, 3]
    assert told(runtime, "square").why is None


def test_an_expired_result_is_made_again(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran, cache=timedelta(hours=1))
    runtime.execute(flow, inputs={"x": 3})
    runtime.execute(flow, inputs={"x": 3})
    assert ran == [3]
    two_hours_ago = time.time_ns() // 1_000_000 - 7_200_000
    runtime.journal.transact(
        lambda connection: connection.execute(
            "UPDATE kept_results SET kept_at = ?", [two_hours_ago]
        ),
        durable=True,
    )
    runtime.execute(flow, inputs={"x": 3})
    assert changed(runtime, "square") == ["expired"]
    runtime.execute(flow, inputs={"x": 3})
    assert ran == [3, 3]


def test_another_version_runs(runtime: Runtime) -> None:
    ran: list[int] = []
    runtime.execute(squaring(ran), inputs={"x": 3})
    runtime.execute(squaring(ran, cache=CachePolicy(version="2")), inputs={"x": 3})
    assert changed(runtime, "square") == ["version"]
    runtime.execute(squaring(ran, cache=CachePolicy(version="2")), inputs={"x": 3})
    assert ran == [3, 3]


def test_ignored_parameters_do_not_count(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran, cache=CachePolicy(ignore=("scale",)))
    assert runtime.execute(flow, inputs={"x": 3}) == 9
    assert runtime.execute(flow, inputs={"x": 3, "scale": 5}) == 9
    assert ran == [3]


def test_typed_params_count_with_their_defaults(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(cache=True)
    def count(params: Text) -> Count:
        ran.append(params.text)
        return Count(count=len(params.text))

    flow = workflow("typed", count)
    assert runtime.execute(flow) == Count(count=1)
    assert runtime.execute(flow, inputs={"text": "a"}) == Count(count=1)
    assert runtime.execute(flow, inputs={"text": "bb"}) == Count(count=2)
    assert ran == ["a", "bb"]
    assert changed(runtime, "count") == ["params.text"]


def test_a_result_of_an_upstream_task_counts_as_a_parameter(runtime: Runtime) -> None:
    ran: list[int] = []

    @task
    def read(source: int) -> list[int]:
        return [source]

    @task(cache=True)
    def total(read: list[int]) -> int:
        ran.append(read[0])
        return sum(read)

    flow = workflow("chained", read >> total)
    assert [runtime.execute(flow, inputs={"source": s}) for s in (1, 1, 2)] == [1, 1, 2]
    assert ran == [1, 2]


def test_items_of_a_map_are_reused_one_by_one_wherever_they_stand(runtime: Runtime) -> None:
    ran: list[int] = []

    @task
    def items(numbers: list[int]) -> list[int]:
        return numbers

    @task(cache=True)
    def double(number: int) -> int:
        ran.append(number)
        return number * 2

    flow = workflow("mapped", items >> double.map(items))
    assert runtime.execute(flow, inputs={"numbers": [1, 2, 3]}) == [2, 4, 6]
    assert runtime.execute(flow, inputs={"numbers": [9, 3, 1]}) == [18, 6, 2]
    assert sorted(ran) == [1, 2, 3, 9]
    assert told(runtime, "double_map[1]").reused is not None
    assert told(runtime, "double_map[0]").reused is None


def test_async_bodies_are_reused_too(runtime: Runtime) -> None:
    ran: list[int] = []

    @task(cache=True)
    async def fetch(x: int) -> int:
        ran.append(x)
        return x + 1

    flow = workflow("fetching", fetch.map([1, 2]))
    assert [runtime.execute(flow) for _ in range(2)] == [[2, 3], [2, 3]]
    assert sorted(ran) == [1, 2]


def far(folder: str, x: int) -> int:
    with Path(folder, "ran").open("a") as file:
        file.write(f"{x}\n")
    return x + 1


def test_bodies_in_processes_are_reused_too(runtime: Runtime, tmp_path: Path) -> None:
    flow = workflow("far", task(handler="process", cache=True)(far))
    given = {"folder": str(tmp_path), "x": 1}
    assert [runtime.execute(flow, inputs=given) for _ in range(2)] == [2, 2]
    assert (tmp_path / "ran").read_text() == "1\n"


def test_a_failed_body_leaves_nothing_to_reuse(runtime: Runtime) -> None:
    ran: list[int] = []

    @task(cache=True)
    def fail(x: int) -> int:
        ran.append(x)
        raise ValueError("broken")

    for _ in range(2):
        with pytest.raises(RunFailed):
            runtime.execute(workflow("failing", fail), inputs={"x": 1})
    assert ran == [1, 1]


def test_a_result_in_memory_only_is_not_kept(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(cache=True)
    def lock() -> object:
        ran.append("lock")
        return threading.Lock()

    for _ in range(2):
        runtime.execute(workflow("locks", lock))
    assert ran == ["lock", "lock"]
    assert changed(runtime, "lock") == ["first"]
    assert told(runtime, "lock").storage == "memory"


def test_a_parameter_without_a_form_as_data_is_named_and_runs(runtime: Runtime) -> None:
    ran: list[str] = []

    @task
    def make() -> object:
        return object()

    @task(cache=True)
    def use(make: object) -> str:
        ran.append("use")
        return "used"

    for _ in range(2):
        runtime.execute(workflow("objects", make >> use))
    assert ran == ["use", "use"]
    assert told(runtime, "use").why == {"cache": "unclear", "because": ["params.make"]}


class Shape:
    """A class that can only be pickled."""

    def __init__(self, sides: int) -> None:
        self.sides = sides


def test_a_pickled_result_is_reused(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(cache=True)
    def shape() -> Shape:
        ran.append("shape")
        return Shape(3)

    assert [runtime.execute(workflow("shapes", shape)).sides for _ in range(2)] == [3, 3]
    assert ran == ["shape"]


def test_a_result_that_cannot_be_read_any_more_is_made_again(runtime: Runtime) -> None:
    ran: list[int] = []
    flow = squaring(ran)
    runtime.execute(flow, inputs={"x": 3})
    runtime.journal.transact(
        lambda connection: connection.execute(
            "UPDATE kept_results SET result = ?", ['{"!":"model","of":"gone:Gone","v":{}}']
        ),
        durable=True,
    )
    assert runtime.execute(flow, inputs={"x": 3}) == 9
    assert changed(runtime, "square") == ["result"]
    assert ran == [3, 3]


def test_runs_in_memory_reuse_within_their_runtime(runtime: Runtime, tmp_path: Path) -> None:
    ran: list[int] = []
    flow = squaring(ran)
    for _ in range(2):
        assert runtime.execute(flow, journal="memory", inputs={"x": 3}) == 9
    assert ran == [3]
    other = Runtime(runtime.settings)
    assert other.execute(flow, journal="memory", inputs={"x": 3}) == 9
    assert ran == [3, 3]
    assert not (tmp_path / ".handrail").exists()


def test_a_task_that_is_run_alone_always_runs(runtime: Runtime) -> None:
    ran: list[int] = []

    @task(cache=True)
    def square(x: int) -> int:
        ran.append(x)
        return x * x

    assert [square.run(x=2), square.run(x=2)] == [4, 4]
    assert ran == [2, 2]


def test_the_next_process_reuses(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "from handrail import task, workflow\n"
        "WORDS = {'red', 'green', 'blue'}\n"
        "@task(cache=True)\n"
        "def count(words: set):\n"
        "    print('running')\n"
        "    return len(words & WORDS)\n"
        "flow = workflow('counting', count)\n"
        "if __name__ == '__main__':\n"
        "    print(flow.execute(words={'red', 'yellow'}))\n"
    )

    def run() -> list[str]:
        done = subprocess.run(
            [sys.executable, str(program)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "HANDRAIL_HOME": str(tmp_path / "home")},
        )
        return done.stdout.split()

    assert [run(), run(), run()] == [["running", "1"], ["1"], ["1"]]


# Failing, racing, resuming


def test_a_store_of_results_that_fails_only_makes_bodies_run(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    runtime.__dict__["kept_results"] = Failing(MemoryKeptResults(), [1], False)
    flow = squaring(ran)
    with caplog.at_level(logging.WARNING):
        assert runtime.execute(flow, inputs={"x": 3}) == 9
    assert told(runtime, "square").why == {"cache": "fault"}
    assert "task square: what is kept of it cannot be used" in caplog.text


def test_a_store_that_keeps_nothing_does_not_fail_the_run(
    runtime: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    ran: list[int] = []
    # It is asked twice before a body runs, and told once after.
    runtime.__dict__["kept_results"] = Failing(MemoryKeptResults(), [3], False)
    flow = squaring(ran)
    with caplog.at_level(logging.WARNING):
        assert [runtime.execute(flow, inputs={"x": 3}) for _ in range(3)] == [9, 9, 9]
    assert "results are not kept to be used again: ['square']" in caplog.text
    assert ran == [3, 3]


def test_two_runs_at_once_each_run_the_body(runtime: Runtime) -> None:
    both = threading.Barrier(2, timeout=20)
    ran: list[int] = []

    @task(cache=True)
    def meet(x: int) -> int:
        both.wait()
        ran.append(x)
        return x

    flow = workflow("meeting", meet)
    answers: list[int] = []
    threads = [
        threading.Thread(target=lambda: answers.append(runtime.execute(flow, inputs={"x": 1})))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (answers, ran) == ([1, 1], [1, 1])
    assert runtime.execute(flow, inputs={"x": 1}) == 1
    assert ran == [1, 1]


def test_a_resumed_run_keeps_its_reused_results(runtime: Runtime) -> None:
    ran: list[int] = []
    is_broken = [True]

    @task(cache=True)
    def square(x: int) -> int:
        ran.append(x)
        return x * x

    @task
    def after(square: int) -> int:
        if is_broken[0]:
            raise ValueError("not yet")
        return square + 1

    runtime.execute(workflow("squares", square), inputs={"x": 3})
    flow = workflow("broken", square >> after)
    with pytest.raises(RunFailed) as failed:
        runtime.execute(flow, inputs={"x": 3})
    runtime.kept_results.forget()
    is_broken[0] = False
    assert runtime.resume(failed.value.run_id, flow) == 10
    assert ran == [3]
    assert told(runtime, "square").reused is not None


# Tasks with files


class Mill:
    """Writes under `flour/` what it reads there, and counts."""

    def __init__(self, **spec: Any) -> None:
        self.ran: list[str] = []
        declared: Any = {"prefix": "flour", "post": [require_file("sack")], **spec}

        @task(workspace=WorkspaceSpec(**declared), cache=True)
        def grind(workspace: Path, params: Text) -> Count:
            self.ran.append(params.text)
            (workspace / "sack").write_text(params.text)
            (workspace / "sieve").mkdir(exist_ok=True)
            (workspace / "sieve" / "fine").write_text("fine")
            return Count(count=len(params.text))

        self.task = grind
        self.flow = workflow("mill", grind, workspace="barn")


@task(workspace=WorkspaceSpec())
def put(workspace: Path, params: Text) -> Count:
    """Writes a file named by the text; `-NAME` deletes it."""
    name = params.text.removeprefix("-")
    (workspace / name).parent.mkdir(parents=True, exist_ok=True)
    if name != params.text:
        (workspace / name).unlink()
    else:
        (workspace / name).write_text("put")
    return Count(count=0)


def put_file(runtime: Runtime, text: str) -> None:
    runtime.execute(workflow("putting", put, workspace="barn"), inputs={"text": text})


def files(runtime: Runtime) -> dict[str, str]:
    repository = runtime.repository("barn")
    found = {}
    for path, entry in repository.ls("main", recursive=True):
        if entry.kind == "file":
            with repository.read("main", path) as file:
                found[path] = file.read().decode()
    return found


GROUND = {"flour/sack": "rye", "flour/sieve/fine": "fine"}


def test_the_same_files_are_published_without_running_the_body(runtime: Runtime) -> None:
    mill = Mill()
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert files(runtime) == GROUND
    put_file(runtime, "-flour/sack")
    put_file(runtime, "-flour/sieve/fine")
    assert files(runtime) == {}
    # An empty folder is left of what was there, so it is a first time once more.
    runtime.execute(mill.flow, inputs={"text": "rye"})
    put_file(runtime, "-flour/sack")
    put_file(runtime, "-flour/sieve/fine")
    mill.ran.clear()
    assert runtime.execute(mill.flow, inputs={"text": "rye"}) == Count(count=3)
    assert mill.ran == []
    assert files(runtime) == GROUND
    made_by = next(runtime.repository("barn").log("main"))[1].made_by
    assert made_by["task"] == "grind"
    assert made_by["reused"] != made_by["attempt"]


def test_files_are_reused_on_another_base_whose_other_folders_differ(runtime: Runtime) -> None:
    mill = Mill()
    head = runtime.repository("barn").create()
    runtime.execute(mill.flow, inputs={"text": "rye"})
    branch = next(iter(runtime.journal.heads("barn")))
    assert runtime.journal.move_head(branch, runtime.journal.head(branch), head)
    put_file(runtime, "hay/loft")
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye"]
    assert files(runtime) == {**GROUND, "hay/loft": "put"}
    log = [commit.message for _, commit in runtime.repository("barn").log("main")]
    assert log[:2] == ["mill: grind", "putting: put"]


def test_files_below_the_prefix_that_changed_run_the_body(runtime: Runtime) -> None:
    mill = Mill()
    for _ in range(3):  # the second time it reads what it wrote, the third time the same
        runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye", "rye"]
    put_file(runtime, "hay/loft")
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye", "rye"]
    put_file(runtime, "flour/mouse")
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye", "rye", "rye"]
    assert changed(runtime, "grind") == ["files"]
    why = told(runtime, "grind").why
    assert why is not None
    assert why["folder"] == "flour"
    assert files(runtime) == {**GROUND, "hay/loft": "put", "flour/mouse": "put"}


def test_changed_guards_and_prefixes_run_the_body(runtime: Runtime) -> None:
    head = runtime.repository("barn").create()

    def run(mill: Mill) -> list[str]:
        branch = next(iter(runtime.journal.heads("barn")))
        before = runtime.journal.head(branch)
        assert before == head or runtime.journal.move_head(branch, before, head)
        runtime.execute(mill.flow, inputs={"text": "rye"})
        return mill.ran

    assert run(Mill()) == ["rye"]
    assert run(Mill()) == []
    assert run(Mill(post=[forbid_glob("*.bad")])) == ["rye"]
    assert run(Mill(prefix="meal")) == ["rye"]
    assert set(files(runtime)) == {"meal/sack", "meal/sieve/fine"}


def test_a_read_only_task_is_reused(runtime: Runtime) -> None:
    ran: list[str] = []

    @task(workspace=WorkspaceSpec(read_only=True), cache=True)
    def look(workspace: Path, params: Text) -> Count:
        ran.append(params.text)
        return Count(count=len(list(workspace.iterdir())))

    flow = workflow("looking", look, workspace="barn")
    put_file(runtime, "hay")
    head = runtime.repository("barn").head()
    assert [runtime.execute(flow) for _ in range(2)] == [Count(count=1)] * 2
    assert ran == ["a"]
    assert runtime.repository("barn").head() == head
    put_file(runtime, "straw")
    assert runtime.execute(flow) == Count(count=2)


def test_a_reused_task_is_followed_by_one_that_reads_its_files(runtime: Runtime) -> None:
    mill = Mill()

    @task(workspace=WorkspaceSpec(read_only=True))
    def weigh(workspace: Path, params: Count) -> Count:
        return Count(count=len((workspace / "flour" / "sack").read_text()) + params.count)

    flow = workflow("bakery", mill.task >> weigh, workspace="barn")
    assert [runtime.execute(flow, inputs={"text": "rye"}) for _ in range(3)] == [Count(count=6)] * 3
    assert mill.ran == ["rye", "rye"]


def test_a_kept_result_whose_files_are_gone_is_made_again(runtime: Runtime) -> None:
    mill = Mill()
    head = runtime.repository("barn").create()
    runtime.execute(mill.flow, inputs={"text": "rye"})
    branch = next(iter(runtime.journal.heads("barn")))
    after = runtime.journal.head(branch)
    assert after is not None
    entry = runtime.trees.find(runtime.trees.commit(after).tree, "flour/sieve/fine")
    assert entry is not None
    assert runtime.trees.objects.delete(entry.digest, 1 << 60)
    assert runtime.journal.move_head(branch, after, head)
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye", "rye"]
    assert changed(runtime, "grind") == ["output"]
    assert files(runtime) == GROUND


def test_files_of_kept_results_outlive_a_collection_of_garbage(runtime: Runtime) -> None:
    mill = Mill()
    head = runtime.repository("barn").create()
    runtime.execute(mill.flow, inputs={"text": "rye"})
    branch = next(iter(runtime.journal.heads("barn")))
    assert runtime.journal.move_head(branch, runtime.journal.head(branch), head)
    in_use = commits_in_use(runtime.journal, runtime.journal)
    collect_garbage(runtime.trees, runtime.trees.objects, in_use, 1 << 60)
    runtime.execute(mill.flow, inputs={"text": "rye"})
    assert mill.ran == ["rye"]
    assert files(runtime) == GROUND


def test_machines_that_share_a_database_share_results_and_no_files(
    tmp_path: Path, postgres_url: str
) -> None:
    mill, ran = Mill(), list[int]()
    squares = squaring(ran)
    for machine in ("one", "other"):
        flags = {"home": tmp_path / machine, "database_url": postgres_url}
        runtime = Runtime(load_settings(flags=flags, environment={}))
        assert runtime.execute(squares, inputs={"x": 3}) == 9
        flow = workflow("mill", mill.task, workspace=f"barn_{machine}")
        assert runtime.execute(flow, inputs={"text": "rye"}) == Count(count=3)
        why = told(runtime, "grind").why
        runtime.close()
    assert ran == [3]
    assert mill.ran == ["rye", "rye"]
    assert why is not None
    assert why["changed"] == ["output"]


def test_a_branch_that_moved_meanwhile_refuses_a_reused_publication(runtime: Runtime) -> None:
    mill = Mill()
    head = runtime.repository("barn").create()
    runtime.execute(mill.flow, inputs={"text": "rye"})
    branch = next(iter(runtime.journal.heads("barn")))
    after = runtime.journal.head(branch)
    assert runtime.journal.move_head(branch, after, head)

    @task
    def disturb() -> str:
        assert after is not None
        assert runtime.journal.move_head(branch, head, after)
        return "rye"

    flow = workflow("late", disturb >> mill.task, workspace="barn", publish="task")
    with pytest.raises(RunFailed, match="barn@main"):
        runtime.execute(flow, inputs={"text": "rye"})
    assert mill.ran == ["rye"]
    assert runtime.journal.head(branch) == after


_KILLED = """
import os, signal, sys
from pathlib import Path
from pydantic import BaseModel
from handrail import Runtime, WorkspaceSpec, load_settings, task, workflow
from handrail.keep.reuse import SqlKeptResults

class Text(BaseModel):
    text: str

@task(workspace=WorkspaceSpec(), cache=True)
def write(workspace: Path, params: Text) -> Text:
    print("running", flush=True)
    (workspace / "file").write_text(params.text)
    return params

class Deadly(SqlKeptResults):
    def keep(self, results):
        os.kill(os.getpid(), signal.SIGKILL)

flow = workflow("killed", write, workspace="files")
if __name__ == "__main__":
    runtime = Runtime(load_settings())
    if sys.argv[1] == "die":
        runtime.__dict__["kept_results"] = Deadly(runtime.journal)
        runtime.execute(flow, inputs={"text": "x"}, key="k")
    elif sys.argv[1] == "resume":
        print(runtime.execute(flow, inputs={"text": "x"}, key="k").text)
    else:
        print(runtime.execute(flow, inputs={"text": "x"}).text)
"""


def test_a_kill_between_accepting_and_keeping_loses_only_the_reuse(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_KILLED)

    def run(word: str) -> tuple[int, list[str]]:
        done = subprocess.run(
            [sys.executable, str(program), word],
            capture_output=True,
            text=True,
            env={**os.environ, "HANDRAIL_HOME": str(tmp_path / "home")},
        )
        return done.returncode, done.stdout.split()

    assert run("die") == (-signal.SIGKILL, ["running"])
    assert run("resume") == (0, ["x"])
    # The first result was never kept, so the same files are read for the first time ...
    assert run("again") == (0, ["running", "x"])
    assert run("again") == (0, ["x"])


def test_events_of_a_reused_task_can_be_told_as_json(runtime: Runtime) -> None:
    flow = squaring([])
    for _ in range(2):
        runtime.execute(flow, inputs={"x": 3})
    history = runtime.history(runtime.journal.runs()[0].run_id)
    (row,) = json.loads(json.dumps(history.to_json()))["tasks"]
    assert row["why"] == {"cache": "hit"}
    assert set(row["reused"]) == {"run", "attempt", "kept_at"}
    kinds_seen = [s.event.kind for s in runtime.journal.events(history.run_id)]
    assert kinds_seen == [
        kinds.RUN_STARTED,
        kinds.TASK_STARTED,
        kinds.TASK_SUCCEEDED,
        kinds.RUN_FINISHED,
    ]


def test_a_custom_callable_is_told_to_be_unclear(runtime: Runtime) -> None:
    class Adder:
        __name__ = "add"

        def __call__(self, x: int) -> int:
            return x + 1

    declare: Callable[[Any], Any] = task("add", cache=True)
    assert runtime.execute(workflow("adding", declare(Adder())), inputs={"x": 1}) == 2
    assert told(runtime, "add").why == {"cache": "unclear", "because": ["code"]}
