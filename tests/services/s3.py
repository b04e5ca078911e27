"""An S3 server for tests: versitygw, with objects as files in its own folder."""

from __future__ import annotations

import os
import re
import secrets
import socket
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.services.service import Service

#: The only user, who may do everything.
ACCESS_KEY, SECRET_KEY = "handrail-tests", "s3-s3cr3t-for-tests"
_REGION = "us-east-1"
_VERSION = re.compile(r"^version=(\S+)$", re.MULTILINE)
_SCRIPT = Path(__file__).parents[2] / "scripts" / "s3server"


class S3Place(NamedTuple):
    """A bucket, and who may use it."""

    endpoint: str
    bucket: str

    @property
    def url(self) -> str:
        """Everything that is needed to use a prefix of the bucket."""
        return self.with_options()

    def with_options(self, **options: str) -> str:
        """The same with some options changed."""
        said = {
            "endpoint": self.endpoint,
            "region": _REGION,
            "access_key_id": ACCESS_KEY,
            "secret_access_key": SECRET_KEY,
            **options,
        }
        return f"s3://{self.bucket}/shared?{urlencode(said)}"

    def through(self, port: int) -> S3Place:
        """The same bucket by way of another port."""
        return self._replace(endpoint=f"http://127.0.0.1:{port}")


def program() -> Path | None:
    """The server that `scripts/s3server` built; none if it was not."""
    found = _VERSION.search(_SCRIPT.read_text())
    assert found is not None
    path = Path.home() / ".cache" / "handrail" / "bin" / f"versitygw-{found[1]}"
    return path if os.access(path, os.X_OK) else None


class S3Server(Service):
    """A server on its own port, with everything in its own folder."""

    name = "s3"

    def __init__(self) -> None:
        super().__init__()
        self._program = self.folder / "versitygw"

    def command(self) -> list[str]:
        options = {
            "--port": f"127.0.0.1:{self.port}",
            "--access": ACCESS_KEY,
            "--secret": SECRET_KEY,
            "--region": _REGION,
        }
        return [
            str(self._program),
            *(word for option in options.items() for word in option),
            "--keep-alive",
            "--quiet",
            "posix",
            "--sidecar",
            str(self.folder / "metadata"),
            str(self.folder / "data"),
        ]

    def is_ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=10):
                return True
        except OSError:
            return False

    def prepare(self) -> S3Server:
        """Starts it."""
        built = program()
        assert built is not None
        try:
            os.link(built, self._program)  # its user may not look into our home
        except OSError:
            self._program.write_bytes(built.read_bytes())
            self._program.chmod(0o755)
        for name in ("data", "metadata"):
            (self.folder / name).mkdir()
            if os.geteuid() == 0:
                os.chown(self.folder / name, self.user, self.group)
        self.start()
        return self


def make_bucket(port: int) -> S3Place:
    """An empty bucket of its own."""
    from obstore import sign
    from obstore.store import S3Store

    place = S3Place(f"http://127.0.0.1:{port}", f"test-{secrets.token_hex(8)}")
    options: Any = {
        "endpoint": place.endpoint,
        "region": _REGION,
        "access_key_id": ACCESS_KEY,
        "secret_access_key": SECRET_KEY,
    }
    store = S3Store(place.bucket, config=options, client_options={"allow_http": True})
    # The library makes no buckets; but it signs the request that does.
    url = sign(store, "PUT", "", timedelta(minutes=5))
    with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=60):
        return place
