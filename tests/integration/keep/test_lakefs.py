"""Versioned files in a real LakeFS."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

pytest.importorskip("urllib3")

from handrail.contracts.workspace import BranchName
from handrail.keep.files import VersionedFiles
from handrail.keep.lakefs.files import LakeFSFiles
from handrail.keep.lakefs.server import LakeFSServer
from handrail.testing.files import VersionedFilesContract
from tests.services import lakefs


class TestLakeFSFiles(VersionedFilesContract):
    @pytest.fixture(autouse=True)
    def _server(self, lakefs_address: lakefs.LakeFSAddress, lakefs_repository: str) -> None:
        self.address = lakefs_address
        self.repository = lakefs_repository

    def make(self, folder: Path) -> LakeFSFiles:
        endpoint, access_key, secret = self.address
        return LakeFSFiles(LakeFSServer(endpoint, access_key, SecretStr(secret), self.repository))

    def another(self, files: VersionedFiles) -> VersionedFiles:
        return self.make(Path())

    def intrude(self, files: VersionedFiles, branch: BranchName) -> str:
        port = int(self.address.endpoint.rpartition(":")[2])
        return lakefs.commit(port, files.repository, branch.branch, {"foreign.txt": b"f"})
