"""Several resumes of one run at the same time: one wins, the others say so.

The run's first epoch fails. Threads of one process, then processes, are let go at the same
instant; each either finishes the run or is refused, and each body runs once.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from handrail import RunBusy, RunFailed, Runtime, load_settings, task, workflow

#: How many resumes are let go at once.
RACER_COUNT = 4
PATIENCE_SECONDS = 60.0


def thread_trial(folder: Path, number: int) -> str:
    """One race between threads; returns what came of it in words."""
    home = folder / ".handrail"
    ran: Counter[str] = Counter()
    mended = threading.Event()
    flow = _flow(ran, mended)
    first = _runtime(home)
    try:
        first.execute(flow)
    except RunFailed as failed:
        run_id = failed.run_id
    mended.set()
    # Half of the races within one runtime, half between runtimes of one process.
    runtimes = [first if number % 2 else _runtime(home) for _ in range(RACER_COUNT)]
    barrier = threading.Barrier(RACER_COUNT)
    outcomes: list[object] = []

    def race(runtime: Runtime) -> None:
        barrier.wait(PATIENCE_SECONDS)
        try:
            outcomes.append(runtime.resume(run_id, flow))
        except RunBusy as busy:
            outcomes.append(busy)

    threads = [threading.Thread(target=race, args=(runtime,)) for runtime in runtimes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    for runtime in {*runtimes, first}:
        runtime.close()
    assert len(outcomes) == RACER_COUNT, "a racer hangs or failed"
    _check(home, run_id, won_count=outcomes.count("done"))
    assert ran == {"break": 2, "last": 1}
    return f"{outcomes.count('done')} of {RACER_COUNT} threads had the result"


def process_trial(folder: Path, number: int) -> str:
    """One race between processes; returns what came of it in words."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "race.py").write_text(_PROGRAM)
    first = _start(folder, "run", "race.py")
    first.communicate(timeout=PATIENCE_SECONDS)
    assert first.returncode == 1
    (folder / "mended").touch()
    runtime = _runtime(folder / ".handrail")
    run_id = runtime.journal.runs()[0].run_id
    runtime.close()
    racers = [_start(folder, "resume", run_id) for _ in range(2)]
    told = [racer.communicate(timeout=PATIENCE_SECONDS) for racer in racers]
    codes = [racer.returncode for racer in racers]
    for code, (out, err) in zip(codes, told, strict=True):
        if code == 0:
            assert json.loads(out)["result"] == "done"
        else:
            assert (code, f"Run {run_id} is held by" in err) == (1, True), err
    _check(folder / ".handrail", run_id, won_count=codes.count(0))
    assert Counter((folder / "ran").read_text().split()) == {"break": 2, "last": 1}
    return f"{codes.count(0)} of 2 processes had the result"


def _flow(ran: Counter[str], mended: threading.Event) -> workflow:
    @task(id="break")
    def breaking() -> None:
        ran["break"] += 1
        if not mended.is_set():
            raise ValueError("not yet")

    @task
    def last() -> str:
        ran["last"] += 1
        time.sleep(0.01)
        return "done"

    return workflow("race", breaking >> last)


_PROGRAM = """
import os
import time

from handrail import task, workflow


def note(name):
    file = os.open("ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{name}\\n".encode())
    os.close(file)


with workflow("race") as race:

    @task(id="break")
    def breaking() -> None:
        note("break")
        if not os.path.exists("mended"):
            raise ValueError("not yet")

    @task
    def last() -> str:
        note("last")
        time.sleep(0.3)  # so long that the races overlap
        return "done"

    breaking >> last
"""


def _start(folder: Path, *words: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HANDRAIL_")}
    return subprocess.Popen(
        [sys.executable, "-m", "handrail", *words, "--json", "--quiet"],
        cwd=folder,
        env={**environment, "HANDRAIL_LEASE_SECONDS": "5"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _runtime(home: Path) -> Runtime:
    return Runtime(load_settings(flags={"home": home}, environment={}))


def _check(home: Path, run_id: str, won_count: int) -> None:
    """One epoch drove the run to its end. Who came after that got the result as well."""
    assert won_count >= 1
    runtime = _runtime(home)
    try:
        record = runtime.journal.run(run_id)
        assert (record.state, record.epoch) == ("succeeded", 2)
        assert runtime.journal.lease(run_id) is None
    finally:
        runtime.close()
