"""One server for all the processes of one pytest session.

Whoever needs it first starts a keeper, which starts the server. Each user holds a shared lock
on the file `users`, and the kernel takes it back when the user ends, however that happens. The
keeper waits for the exclusive lock; when it gets it, nobody is left, and the server goes.

python -m tests.services.shared KIND FOLDER     becomes the keeper
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.services.lakefs import LakeFSServer
from tests.services.postgres import PostgresServer
from tests.services.redis import RedisServer
from tests.services.s3 import S3Server
from tests.services.service import Service, ServiceError

_ROOT = Path(__file__).parents[2]
_KINDS: dict[str, Callable[[], Service]] = {
    "lakefs": lambda: LakeFSServer().prepare(),
    "postgres": lambda: PostgresServer().prepare(),
    "redis": lambda: RedisServer().prepare(),
    "s3": lambda: S3Server().prepare(),
}
_START_SECONDS = 90.0


@contextmanager
def shared(kind: str, base: Path) -> Iterator[dict[str, Any]]:
    """The server of that kind, started if need be; {"folder", "port"}.

    Args:
        base: a folder that the processes of the session share, and nobody else.

    Raises:
        ServiceError: it did not start.
    """
    folder = base / "services" / kind
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users:
        with (folder / "starting").open("a") as starting:
            fcntl.flock(starting, fcntl.LOCK_EX)
            fcntl.flock(users, fcntl.LOCK_SH)  # waits for a keeper that is just leaving
            state = _state(folder) or _started(kind, folder)
        if "error" in state:
            raise ServiceError(state["error"])
        yield state


def next_number(base: Path, name: str) -> int:
    """0, 1, 2, ...: another for each caller in the session."""
    with (base / name).open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = int(file.read() or 0)
        file.truncate(0)
        file.write(str(number + 1))
    return number


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads((folder / "state").read_text())
    except FileNotFoundError:
        return None
    return found


def _started(kind: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.services.shared", kind, str(folder)]
    with (folder / "log").open("ab") as log:
        subprocess.run(
            command, cwd=_ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, check=True
        )
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        state = _state(folder)
        if state is not None:
            return state
        time.sleep(0.02)
    return {"error": f"{kind} was not ready within {_START_SECONDS:g} s"}


def _keep(kind: str, folder: Path) -> None:
    with (folder / "users").open("a") as users:
        try:
            service = _KINDS[kind]()
        except ServiceError as error:
            _tell(folder, {"error": str(error)})
            return
        try:
            _tell(folder, {"folder": str(service.folder), "port": service.port})
            fcntl.flock(users, fcntl.LOCK_EX)
            (folder / "state").unlink()
        finally:
            service.close()


def _tell(folder: Path, state: dict[str, Any]) -> None:
    (folder / "state.new").write_text(json.dumps(state))
    (folder / "state.new").rename(folder / "state")


def main() -> None:
    # Not a child of any test, and not in the group that Ctrl-C reaches.
    if os.fork():
        os._exit(0)
    os.setsid()
    _keep(sys.argv[1], Path(sys.argv[2]))


if __name__ == "__main__":
    main()
