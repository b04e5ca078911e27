"""Real services for tests. Each is started when the first test asks for it.

A service whose programs are not installed is a skip at home and a failure in CI;
`scripts/services` installs them on Debian.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.services import lakefs, postgres, redis, s3
from tests.services.shared import next_number, shared


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this pytest session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def _postgres(session_folder: Path) -> Iterator[dict[str, Any]]:
    _require_postgres()
    with shared("postgres", session_folder) as state:
        yield state


@pytest.fixture(scope="session")
def _database(_postgres: dict[str, Any]) -> str:
    return postgres.make_database(Path(_postgres["folder"]), _postgres["port"])


@pytest.fixture
def postgres_url(_postgres: dict[str, Any], _database: str) -> str:
    """The URL of an empty database of this test alone, on a server shared with others."""
    postgres.empty_database(Path(_postgres["folder"]), _postgres["port"], _database)
    return _database


@pytest.fixture
def postgres_server() -> Iterator[postgres.PostgresServer]:
    """A server of this test alone, to be stopped and started again.

    It brings commits to disk only when it has to: every 10 seconds, and at durable ones.
    """
    _require_postgres()
    server = postgres.PostgresServer({"wal_writer_delay": "10s"})
    try:
        yield server.prepare()
    finally:
        server.close()


@pytest.fixture(scope="session")
def _redis(session_folder: Path) -> Iterator[dict[str, Any]]:
    _require_redis()
    with shared("redis", session_folder) as state:
        yield state


@pytest.fixture
def redis_url(_redis: dict[str, Any], session_folder: Path) -> Iterator[str]:
    """The URL of an empty logical database of this test alone."""
    port = _redis["port"]
    number = next_number(session_folder, "redis_number") % redis.DATABASE_COUNT
    yield redis.url(port, number)
    redis.ask(port, f"SELECT {number}", "FLUSHDB")


@pytest.fixture
def redis_server() -> Iterator[redis.RedisServer]:
    """A server of this test alone, to be stopped and started again; it keeps every write."""
    _require_redis()
    server = redis.RedisServer(appendonly=True)
    try:
        yield server.prepare()
    finally:
        server.close()


@pytest.fixture(scope="session")
def _lakefs(session_folder: Path) -> Iterator[dict[str, Any]]:
    require(lakefs.program() is not None, "no LakeFS server here; run: scripts/lakefs")
    with shared("lakefs", session_folder) as state:
        yield state


@pytest.fixture
def lakefs_address(_lakefs: dict[str, Any]) -> lakefs.LakeFSAddress:
    """Endpoint, access key and secret of a LakeFS server shared with other tests."""
    return lakefs.address(_lakefs["port"])


@pytest.fixture
def lakefs_repository(_lakefs: dict[str, Any]) -> str:
    """The name of an empty repository of this test alone."""
    return lakefs.make_repository(_lakefs["port"])


@pytest.fixture(scope="session")
def _s3(session_folder: Path) -> Iterator[dict[str, Any]]:
    _require_s3()
    with shared("s3", session_folder) as state:
        yield state


@pytest.fixture
def s3_place(_s3: dict[str, Any]) -> s3.S3Place:
    """An empty bucket of this test alone, on a server shared with others."""
    return s3.make_bucket(_s3["port"])


@pytest.fixture
def s3_server() -> Iterator[s3.S3Server]:
    """A server of this test alone, to be stopped and started again."""
    _require_s3()
    server = s3.S3Server()
    try:
        yield server.prepare()
    finally:
        server.close()


def _require_postgres() -> None:
    require(postgres.binaries() is not None, "no Postgres server here; run: scripts/services")


def _require_s3() -> None:
    require(s3.program() is not None, "no S3 server here; run: scripts/s3server")


def _require_redis() -> None:
    require(redis.binary() is not None, "no Redis server here; run: scripts/services")
