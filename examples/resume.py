"""Kills a run at its worst moment, and finishes it: what was done is not done again.

It starts the run in a process of its own, which dies on the way, and resumes it in this one.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from handrail import TaskExecutionContext, chain, default_runtime, task, workflow

KEY = "harvest 2026"
MENDED = Path("mended")

with workflow("bottling") as bottling:

    @task
    def press(tons: int) -> int:
        print("pressing", tons, "tons", flush=True)
        time.sleep(0.2)
        return tons * 600

    @task
    def fill(press: int) -> int:
        print("filling", press, "litres", flush=True)
        time.sleep(0.2)
        return press // 12

    @task(inject_context=True)
    def label(context: TaskExecutionContext, fill: int) -> int:
        print("labelling as", context.idempotency_key, flush=True)
        if not MENDED.exists():
            MENDED.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return fill

    @task
    def count(label: int) -> str:
        return f"{label} crates"

    chain(press, fill, label, count)


def main() -> None:
    print("-- first try")
    child = subprocess.run([sys.executable, __file__, "start"])
    print("-- the process ended with", child.returncode)

    runtime = default_runtime()
    (record,) = runtime.unfinished()
    print("-- the run is", runtime.state_of(record))
    print("-- resumed:", runtime.resume(record.run_id, bottling))

    # The key is used up: starting again returns the result and runs nothing.
    print("-- started again:", bottling.execute(tons=2, key=KEY))


if __name__ == "__main__":
    if sys.argv[1:] == ["start"]:
        bottling.execute(tons=2, key=KEY)
    else:
        main()
