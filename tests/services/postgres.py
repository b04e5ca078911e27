"""A Postgres server for tests."""

from __future__ import annotations

import re
import secrets
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services.service import Service

#: The user of tests: owns their databases and has no other rights.
USER = "handrail"
#: Another one, who has to give a password when he comes over the network.
GUARDED, PASSWORD = "guarded", "s3cr3t-p4ss"

_HOST_RULES = f"""\
local all all trust
host all {USER} 127.0.0.1/32 trust
host all {GUARDED} 127.0.0.1/32 scram-sha-256
"""
_SETTINGS = {"max_connections": "150", "shared_buffers": "32MB", "max_wal_size": "512MB"}


def binaries() -> Path | None:
    """The folder with the newest server's programs; none if there is no server."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: int(re.sub(r"\D.*", "", path.parent.name) or 0))
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).resolve().parent if elsewhere else None


class PostgresServer(Service):
    """A server with `fsync` on.

    Its superuser can only come through the socket in its private folder.
    """

    name = "postgres"
    users = ("postgres",)
    kill_signal = signal.SIGQUIT  # an immediate shutdown: no checkpoint, buffers are lost

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._settings = {**_SETTINGS, **(settings or {})}

    def command(self) -> list[str]:
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "hba_file": str(self.folder / "hba"),
            **self._settings,
        }
        options = [word for item in settings.items() for word in ("-c", "=".join(item))]
        return [self._program("postgres"), "-D", str(self.folder / "data"), *options]

    def is_ready(self) -> bool:
        import psycopg

        try:
            self.admin("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def prepare(self) -> PostgresServer:
        """Makes the cluster, starts it, makes the users."""
        (self.folder / "hba").write_text(_HOST_RULES)
        (self.folder / "hba").chmod(0o644)
        words = ["--username=admin", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self.run(self._program("initdb"), "-D", str(self.folder / "data"), *words)
        self.start()
        self.admin(
            f"CREATE ROLE {USER} LOGIN", f"CREATE ROLE {GUARDED} LOGIN PASSWORD '{PASSWORD}'"
        )
        return self

    def admin(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Runs statements as superuser; returns the rows of the last."""
        return admin(self.folder, self.port, *statements, database=database)

    def _program(self, name: str) -> str:
        folder = binaries()
        assert folder is not None
        return str(folder / name)


def admin(folder: Path, port: int, *statements: str, database: str = "postgres") -> list[Any]:
    """Runs statements as superuser of the server with its socket in `folder`."""
    import psycopg

    with psycopg.connect(
        host=str(folder), port=port, user="admin", dbname=database, autocommit=True
    ) as connection:
        for statement in statements:
            answer = connection.execute(statement)
        return answer.fetchall() if answer.description else []


def make_database(folder: Path, port: int, options: str = "") -> str:
    """An empty database of its own; its URL."""
    name = f"test_{secrets.token_hex(8)}"
    admin(folder, port, f"CREATE DATABASE {name} OWNER {USER} {options}")
    return f"postgresql://{USER}@127.0.0.1:{port}/{name}"


def empty_database(folder: Path, port: int, url: str) -> None:
    """Puts a database back to how it was made; much quicker than making another."""
    name = url.rpartition("/")[2]
    admin(folder, port, f"ALTER DATABASE {name} RESET ALL")
    admin(folder, port, _EMPTY, database=name)


_EMPTY = f"""DO $$
DECLARE found RECORD;
BEGIN
    PERFORM pg_terminate_backend(pid, 10000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    FOR found IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'
    LOOP EXECUTE format('DROP SCHEMA %I CASCADE', found.nspname); END LOOP;
    CREATE SCHEMA public AUTHORIZATION {USER};
END $$"""
