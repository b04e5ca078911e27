"""The servers that tests start for themselves: shared, private, and gone with their users."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from tests.services.postgres import GUARDED, PASSWORD
from tests.services.redis import RedisServer, ask
from tests.services.service import Service, ServiceError
from tests.services.shared import next_number

ROOT = Path(__file__).parents[3]
_USER = """
import sys, time
from pathlib import Path
from tests.services.shared import shared
with shared("redis", Path(sys.argv[1])) as state:
    print(state["port"], state["folder"], flush=True)
    time.sleep(60)
"""


def _use(base: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _USER, str(base)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


def _end(users: list[subprocess.Popen[str]]) -> None:
    for user in users:
        user.kill()
        user.wait()
        assert user.stdout
        user.stdout.close()


def _is_gone(folder: Path, port: int) -> bool:
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if not folder.exists():
            with pytest.raises(ConnectionRefusedError):
                ask(port, "PING")
            return True
        time.sleep(0.02)
    return False


def test_users_share_one_server_and_it_goes_when_all_were_killed(
    tmp_path: Path, redis_url: str
) -> None:
    users = [_use(tmp_path) for _ in range(3)]
    try:
        told = {user.stdout.readline() for user in users if user.stdout}
        assert len(told) == 1
        port, folder = told.pop().split()
        _end(users[:2])
        assert ask(int(port), "PING") == "+PONG"
        late = _use(tmp_path)
        users.append(late)
        assert late.stdout
        assert late.stdout.readline().split() == [port, folder]
    finally:
        _end(users)
    assert _is_gone(Path(folder), int(port))


def test_a_server_ends_with_the_process_that_started_it(redis_server: RedisServer) -> None:
    program = (
        "import time; from tests.services.redis import RedisServer\n"
        "server = RedisServer().prepare(); print(server.port, server.folder, flush=True)\n"
        "time.sleep(60)"
    )
    user = subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert user.stdout
    port, folder = user.stdout.readline().split()
    assert ask(int(port), "PING") == "+PONG"
    user.send_signal(signal.SIGKILL)
    user.wait()
    user.stdout.close()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            ask(int(port), "PING")
        except OSError:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the server lives on")
    (Path(folder) / "log").unlink()
    Path(folder).rmdir()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    class Broken(Service):
        name = "broken"

        def command(self) -> list[str]:
            return ["sh", "-c", "echo no such thing; exit 3"]

        def is_ready(self) -> bool:
            return False

    broken = Broken()
    with pytest.raises(ServiceError, match="no such thing"):
        broken.start()
    broken.close()
    assert not broken.folder.exists()


def test_numbers_are_given_once(tmp_path: Path) -> None:
    assert [next_number(tmp_path, "n") for _ in range(12)] == list(range(12))


def test_a_database_belongs_to_one_test_and_to_a_user_without_rights(postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute(
            "SELECT rolsuper, rolcreatedb, current_setting('fsync') FROM pg_roles"
            " WHERE rolname = current_user"
        ).fetchone()
        assert row == (False, False, "on")
        tables = connection.execute("SELECT 1 FROM pg_tables WHERE schemaname = 'public'")
        assert tables.fetchall() == []
    if os.geteuid() == 0:
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(postgres_url.replace("//handrail@", "//admin@"))


def test_the_guarded_user_needs_the_password(postgres_url: str) -> None:
    guarded = postgres_url.replace("//handrail@", f"//{GUARDED}:{PASSWORD}@")
    psycopg.connect(guarded).close()
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(postgres_url.replace("//handrail@", f"//{GUARDED}:wrong@"))


def test_a_redis_database_is_empty_and_the_server_keeps_nothing(redis_url: str) -> None:
    port, number = redis_url.rpartition(":")[2].split("/")
    assert ask(int(port), f"SELECT {number}", "DBSIZE") == ":0"
    assert ask(int(port), f"SELECT {number}", "SET key value") == "+OK"


def test_a_redis_server_of_ones_own_keeps_what_was_written(redis_server: RedisServer) -> None:
    assert ask(redis_server.port, "SET key value", "GET key") == "$5"
    redis_server.kill()
    redis_server.start_again()
    assert ask(redis_server.port, "GET key") == "$5"
