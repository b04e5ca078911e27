"""A LakeFS server for tests, with its embedded database and blocks in files."""

from __future__ import annotations

import json
import os
import re
import secrets
import urllib.error
import urllib.request
from base64 import b64encode
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.services.service import Service

#: The first user, who may do everything.
ACCESS_KEY, SECRET_KEY = "AKIAHANDRAILTESTS", "lakefs-s3cr3t-for-tests"
_VERSION = re.compile(r"^version=(\S+)$", re.MULTILINE)
_SCRIPT = Path(__file__).parents[2] / "scripts" / "lakefs"


class LakeFSAddress(NamedTuple):
    """Where a server is, and who may use it."""

    endpoint: str
    access_key: str
    secret_key: str


def program() -> Path | None:
    """The server that `scripts/lakefs` built; none if it was not."""
    found = _VERSION.search(_SCRIPT.read_text())
    assert found is not None
    path = Path.home() / ".cache" / "handrail" / "bin" / f"lakefs-{found[1]}"
    return path if os.access(path, os.X_OK) else None


class LakeFSServer(Service):
    """A server on its own port, with everything in its own folder."""

    name = "lakefs"

    def __init__(self) -> None:
        super().__init__()
        self._program = self.folder / "lakefs"

    @property
    def address(self) -> LakeFSAddress:
        return address(self.port)

    def command(self) -> list[str]:
        self._write_config()
        return [str(self._program), "run", "--config", str(self.folder / "config.json")]

    def is_ready(self) -> bool:
        try:
            ask(self.port, "GET", "/repositories?amount=1")
        except OSError:
            return False
        return True

    def prepare(self) -> LakeFSServer:
        """Starts it and makes the first user."""
        built = program()
        assert built is not None
        try:
            os.link(built, self._program)  # its user may not look into our home
        except OSError:
            self._program.write_bytes(built.read_bytes())
            self._program.chmod(0o755)
        self.start()
        return self

    def _write_config(self) -> None:
        values = {
            "listen_address": f"127.0.0.1:{self.port}",
            "database": {"type": "local", "local": {"path": str(self.folder / "database")}},
            "blockstore": {"type": "local", "local": {"path": str(self.folder / "blocks")}},
            "auth": {"encrypt": {"secret_key": "only for tests"}},
            "installation": {
                "user_name": "tests",
                "access_key_id": ACCESS_KEY,
                "secret_access_key": SECRET_KEY,
            },
            "stats": {"enabled": False},
            "usage_report": {"enabled": False},
            "email_subscription": {"enabled": False},
            "security": {"check_latest_version": False},
            "committed": {
                "local_cache": {"dir": str(self.folder / "cache"), "size_bytes": 1 << 28}
            },
            "logging": {"level": "WARN"},
        }
        config = self.folder / "config.json"
        config.write_text(json.dumps(values))
        config.chmod(0o644)


def address(port: int) -> LakeFSAddress:
    """The address of the server on `port`."""
    return LakeFSAddress(f"http://127.0.0.1:{port}", ACCESS_KEY, SECRET_KEY)


def make_repository(port: int) -> str:
    """An empty repository of its own; its name."""
    name = f"test-{secrets.token_hex(8)}"
    body = {"name": name, "storage_namespace": f"local://{name}", "default_branch": "main"}
    ask(port, "POST", "/repositories", body)
    return name


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """Sends a request to the server, as its first user; returns the decoded answer.

    Raises:
        urllib.error.HTTPError: the server refused.
        OSError: it does not answer.
    """
    login = b64encode(f"{ACCESS_KEY}:{SECRET_KEY}".encode()).decode()
    headers = {"Authorization": f"Basic {login}"}
    if isinstance(body, bytes):
        headers["Content-Type"] = "application/octet-stream"
    elif body is not None:
        body = json.dumps(body).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/v1{path}", method=method, headers=headers, data=body
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        content = reply.read()
    return json.loads(content) if content[:1] in (b"{", b"[") else content.decode()


def commit(port: int, repository: str, branch: str, content: dict[str, bytes]) -> str:
    """Puts objects on a branch and commits, as anybody could; returns the commit."""
    start = f"/repositories/{repository}/branches/{branch}"
    for path, body in content.items():
        ask(port, "POST", f"{start}/objects?path={quote(path, safe='')}", body)
    return str(ask(port, "POST", f"{start}/commits", {"message": "by hand"})["id"])
