"""A workflow whose tasks hold a place each; called by `test_limits.py`, in processes of its own.

    limited.py NAME COUNT     runs COUNT tasks, one after another

Each writes when it held its place into the folder MARKS: `NAME-NUMBER`, two times of the
monotonic clock in nanoseconds, which all processes of a machine share. The first of them stays
until there is a file NAME.go, if there is a file NAME.stay.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from handrail import Runtime, chain, task, workflow

MARKS = Path(os.environ["MARKS"])
#: How long a body works.
SECONDS = 0.02


@task(tags="db")
def work(name: str, number: int) -> int:
    started = time.monotonic_ns()
    (MARKS / f"{name}.inside").touch()
    while number == 0 and (MARKS / f"{name}.stay").exists() and not (MARKS / f"{name}.go").exists():
        time.sleep(0.01)
    time.sleep(SECONDS)
    (MARKS / f"{name}-{number}").write_text(f"{started} {time.monotonic_ns()}")
    return number


def main(name: str, count: int) -> None:
    bodies = [work(task_id=f"work_{number}", name=name, number=number) for number in range(count)]
    flow = workflow(name, chain(*bodies) if count > 1 else bodies[0])
    runtime = Runtime()
    runtime.execute(flow)
    runtime.close()
    print("done", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
