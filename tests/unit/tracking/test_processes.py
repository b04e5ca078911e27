"""Tracking among processes: many that write, and one that is killed."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from handrail.tracking import SqliteTrackingStore, State
from handrail.tracking.wire import SyncPipeline

HAMMER = """
import sys, threading
from handrail.tracking import EmbeddedTransport, ETLResults, SqliteTrackingStore, Watcher
from handrail.tracking import Pipeline, PipelineConfig

path, who = sys.argv[1:]
watcher = Watcher(transport=EmbeddedTransport(SqliteTrackingStore(path)))
config = PipelineConfig(pipeline=Pipeline(name="shared", pipeline_type_name="t"))

def hammer(thread):
    for number in range(10):
        synced = watcher.sync_pipeline_config(config)
        @watcher.track_pipeline_execution(synced.pipeline.id, synced.active)
        def load():
            watcher.track_pipeline_execution(synced.pipeline.id, True)(child)()
            return ETLResults(completed_successfully=True, inserts=number)
        def child():
            return ETLResults(completed_successfully=number % 2 == 0)
        load()

threads = [threading.Thread(target=hammer, args=(n,)) for n in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
"""

KILLED = """
import sys
from handrail.tracking import EmbeddedTransport, ETLResults, SqliteTrackingStore, Watcher

watcher = Watcher(transport=EmbeddedTransport(SqliteTrackingStore(sys.argv[1])), lease_seconds=0.5)

@watcher.track_pipeline_execution(int(sys.argv[2]), True)
def load(watcher_context):
    print(watcher_context.execution_id, flush=True)
    sys.stdin.read()
    return ETLResults(completed_successfully=True)

load()
"""


def started(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_processes_hammering_one_file_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    processes = [started(HAMMER, path, n) for n in range(4)]
    for process in processes:
        process.communicate(timeout=90)
    assert [process.returncode for process in processes] == [0, 0, 0, 0]
    with SqliteTrackingStore(path) as store:
        (pipeline,) = store.pipelines()
        found = store.executions(limit=1000).executions
    assert pipeline.name == "shared"
    parents = {e.id: e for e in found if e.parent_execution_id is None}
    children = [e for e in found if e.parent_execution_id is not None]
    assert (len(parents), len(children)) == (80, 80)
    assert {parent.state for parent in parents.values()} == {State.SUCCEEDED}
    assert {child.parent_execution_id for child in children} == set(parents)
    assert sum(child.state is State.FAILED for child in children) == 40


def test_a_killed_process_is_shown_as_crashed_within_its_lease(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    with SqliteTrackingStore(path) as store:
        pipeline_id = store.sync_pipeline(SyncPipeline(name="p", pipeline_type_name="t")).id
        process = started(KILLED, path, pipeline_id)
        assert process.stdout is not None
        execution_id = int(process.stdout.readline())
        first_lease = store.execution(execution_id).lease_expires_at
        assert first_lease is not None
        # The process beats: its lease moves on without any end.
        while store.execution(execution_id).lease_expires_at == first_lease:
            assert process.poll() is None
        process.kill()
        process.communicate(timeout=30)
        killed_at = datetime.now(UTC)
        assert store.reap(killed_at + timedelta(seconds=0.5)).execution_ids == (execution_id,)
        shown = store.execution(execution_id)
        assert shown.state is State.CRASHED
        assert shown.error is not None
        assert shown.error.message.startswith("No heartbeat for 0.5 s")


def test_a_process_that_is_not_killed_ends_its_execution(tmp_path: Path) -> None:
    path = tmp_path / "tracking.db"
    with SqliteTrackingStore(path) as store:
        pipeline_id = store.sync_pipeline(SyncPipeline(name="p", pipeline_type_name="t")).id
        process = started(KILLED, path, pipeline_id)
        output, _ = process.communicate("", timeout=30)
        assert process.returncode == 0
        assert store.execution(int(output)).state is State.SUCCEEDED
