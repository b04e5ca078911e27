"""The API of LakeFS, as far as Handrail uses it.

Source of paths and fields: https://docs.lakefs.io/reference/api/
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import quote

from pydantic import SecretStr

from handrail.errors import StoreError, UnknownRefError
from handrail.keep.lakefs.http import Body, LakeFSConnection, LakeFSRefusal

#: Connections that one store keeps open.
CONNECTIONS = 16
#: Objects that one request lists or deletes, if not said.
PAGE = 1000

_META = "x-lakefs-meta-"


class LakeFSCommit(NamedTuple):
    """A commit as the server tells it."""

    id: str
    #: Names the content of the whole commit: equal for equal trees made by the same steps.
    tree: str
    parents: tuple[str, ...]
    message: str
    committer: str
    #: Seconds since 1970, UTC.
    created_at: int
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as the server lists it."""

    #: From the top of the repository.
    path: str
    #: MD5 of the content in hexadecimal, if the content went through the server.
    checksum: str
    size_bytes: int
    content_type: str = ""
    metadata: dict[str, str] = field(default_factory=dict)


class LakeFSServer:
    """One repository on a LakeFS server; safe for threads.

    Args:
        endpoint: where the server is, such as `https://lakefs.example.com`.
        access_key: names the user.
        secret_key: never shown in a message, log or representation.
        timeout_seconds: how long the server may stay silent.
        page: objects that one request lists or deletes; the server allows 1000.

    Raises:
        RuntimeConfigError: `endpoint` is no address, or holds a password.
    """

    def __init__(
        self,
        endpoint: str,
        access_key: str,
        secret_key: SecretStr,
        repository: str,
        *,
        timeout_seconds: float = 300.0,
        connections: int = CONNECTIONS,
        page: int = PAGE,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.repository = repository
        self._page = page
        self._connection = LakeFSConnection(
            endpoint,
            access_key,
            secret_key,
            timeout_seconds=timeout_seconds,
            connections=connections,
            pause=pause,
        )

    def __repr__(self) -> str:
        return f"LakeFSServer({self.endpoint!r}, repository={self.repository!r})"

    @property
    def endpoint(self) -> str:
        """Where it is."""
        return self._connection.endpoint

    def close(self) -> None:
        """Closes its connections."""
        self._connection.close()

    # Repositories and branches

    def default_branch(self) -> str | None:
        """The default branch of the repository; none if there is no such repository."""
        found = self._get("", missing_is_none=True)
        return None if found is None else str(found["default_branch"])

    def create_repository(self, storage_namespace: str) -> None:
        """Makes the repository; if it is there already, nothing."""
        body = {
            "name": self.repository,
            "storage_namespace": storage_namespace,
            "default_branch": "main",
        }
        self._connection.send("POST", "/repositories", value=body, also=(409,))

    def branch(self, name: str) -> str | None:
        """The commit that a branch names; none if there is no such branch.

        Raises:
            UnknownRefError: there is no such repository.
        """
        found = self._get(f"/branches/{_quoted(name)}", missing_is_none=True)
        return None if found is None else str(found["commit_id"])

    def branches(self, prefix: str = "", *, hidden: bool = False) -> Iterator[tuple[str, str]]:
        """Names and commits of branches, in order of name."""
        query = {"prefix": prefix, "show_hidden": str(hidden).lower()}
        for item in self._pages("/branches", query):
            yield str(item["id"]), str(item["commit_id"])

    def create_branch(self, name: str, commit_id: str, *, hidden: bool = True) -> bool:
        """Makes a branch at a commit. False: one of that name exists, perhaps made just now by a
        request of ours whose answer was lost."""
        body = {"name": name, "source": commit_id, "hidden": hidden}
        answer = self._connection.send("POST", self._own("/branches"), value=body, also=(409,))
        return answer.status != 409

    def delete_branch(self, name: str) -> None:
        """Removes a branch; a missing one is fine."""
        self._connection.send("DELETE", self._own(f"/branches/{_quoted(name)}"), also=(404,))

    # Commits

    def commit(self, commit_id: str) -> LakeFSCommit | None:
        """Reads a commit; none if there is no such commit."""
        found = self._get(f"/commits/{_quoted(commit_id)}", missing_is_none=True)
        return None if found is None else _commit(found)

    def make_commit(
        self,
        branch: str,
        message: str,
        metadata: Mapping[str, str],
        *,
        at_seconds: int | None = None,
        allow_empty: bool = False,
    ) -> LakeFSCommit | None:
        """Commits what is staged on a branch; none if nothing is."""
        body: dict[str, Any] = {
            "message": message,
            "metadata": dict(metadata),
            "allow_empty": allow_empty,
        }
        if at_seconds is not None:
            body["date"] = at_seconds
        try:
            answer = self._connection.send(
                "POST", self._own(f"/branches/{_quoted(branch)}/commits"), value=body
            )
        except LakeFSRefusal as refusal:
            if _is_unchanged(refusal):
                return None
            raise
        return _commit(answer.json())

    def merge(
        self,
        commit_id: str,
        branch: str,
        message: str,
        metadata: Mapping[str, str],
        *,
        allow_empty: bool = False,
    ) -> str | None:
        """Merges a commit into a branch; returns the merge, or none if it changes nothing.

        Raises:
            LakeFSRefusal: 409 for files changed on both sides, or what hooks and protections say.
        """
        body = {"message": message, "metadata": dict(metadata), "allow_empty": allow_empty}
        path = self._own(f"/refs/{_quoted(commit_id)}/merge/{_quoted(branch)}")
        try:
            answer = self._connection.send("POST", path, value=body)
        except LakeFSRefusal as refusal:
            if _is_unchanged(refusal):
                return None
            raise
        return str(answer.json()["reference"])

    def merge_base(self, one: str, other: str) -> str:
        """The youngest commit that two commits both come from."""
        found = self._get(f"/refs/{_quoted(one)}/merge/{_quoted(other)}")
        return str(found["base_commit_id"])

    def log(self, commit_id: str) -> Iterator[LakeFSCommit]:
        """A commit and its first parents, newest first."""
        path = f"/refs/{_quoted(commit_id)}/commits"
        for item in self._pages(path, {"first_parent": "true"}):
            yield _commit(item)

    def diff(self, before: str, after: str) -> Iterator[tuple[str, str]]:
        """Kinds ("added", "removed", "changed") and paths of objects that differ."""
        path = f"/refs/{_quoted(before)}/diff/{_quoted(after)}"
        for item in self._pages(path, {"type": "two_dot"}):
            yield str(item["type"]), str(item["path"])

    # Objects

    def objects(self, ref: str, prefix: str) -> Iterator[StoredObject]:
        """Objects whose paths start with `prefix`, in order of path."""
        query = {"prefix": prefix, "user_metadata": "true"}
        for item in self._pages(f"/refs/{_quoted(ref)}/objects/ls", query):
            yield _object(item)

    def stat(self, ref: str, path: str) -> StoredObject | None:
        """One object; none if there is none."""
        query = {"path": path, "user_metadata": "true"}
        found = self._get(f"/refs/{_quoted(ref)}/objects/stat", query, missing_is_none=True)
        return None if found is None else _object(found)

    def download(self, ref: str, path: str, start: Callable[[], Callable[[bytes], object]]) -> None:
        """Reads an object from its beginning to its end.

        Args:
            start: called when the reading begins, and again if it has to begin anew; returns
                what takes the pieces.
        """
        url = self._own(f"/refs/{_quoted(ref)}/objects")
        self._connection.send("GET", url, query={"path": path}, start=start)

    def upload(
        self, branch: str, path: str, content: Body, size_bytes: int, sent: StoredObject
    ) -> StoredObject:
        """Stores an object; returns what the server has received.

        Args:
            content: called for each try; its pieces have `size_bytes` bytes together.
            sent: content type and metadata to store with it.
        """
        headers = {
            "Content-Type": sent.content_type or "application/octet-stream",
            "Content-Length": str(size_bytes),
            **{_META + name: value for name, value in sent.metadata.items()},
        }
        url = self._own(f"/branches/{_quoted(branch)}/objects")
        answer = self._connection.send(
            "POST", url, query={"path": path}, body=content, headers=headers
        )
        return _object(answer.json())

    def set_metadata(self, branch: str, path: str, metadata: Mapping[str, str]) -> None:
        """Replaces the metadata of an object."""
        url = self._own(f"/branches/{_quoted(branch)}/objects/stat/user_metadata")
        self._connection.send("PUT", url, query={"path": path}, value={"set": dict(metadata)})

    def delete_objects(self, branch: str, paths: list[str]) -> None:
        """Removes objects; missing ones are fine."""
        url = self._own(f"/branches/{_quoted(branch)}/objects/delete")
        for first in range(0, len(paths), self._page):
            some = paths[first : first + self._page]
            answer = self._connection.send("POST", url, value={"paths": some})
            errors = answer.json().get("errors") or []
            if errors:
                raise StoreError(
                    f"{self._connection.name} could not delete '{errors[0].get('path')}' and "
                    f"{len(errors) - 1} more: {errors[0].get('message')}."
                )

    # Asking

    def _own(self, path: str) -> str:
        return f"/repositories/{_quoted(self.repository)}{path}"

    def _get(
        self, path: str, query: Mapping[str, str] | None = None, *, missing_is_none: bool = False
    ) -> Any:
        also = (404,) if missing_is_none else ()
        answer = self._connection.send("GET", self._own(path), query=query, also=also)
        if path and answer.has_no_repository:
            raise UnknownRefError(f"No repository '{self.repository}' in {self._connection.name}.")
        return None if answer.status == 404 else answer.json()

    def _pages(self, path: str, query: Mapping[str, str]) -> Iterator[Any]:
        after = ""
        while True:
            found = self._get(path, {**query, "after": after, "amount": str(self._page)})
            yield from found["results"]
            if not found["pagination"]["has_more"]:
                return
            after = found["pagination"]["next_offset"]


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _is_unchanged(refusal: LakeFSRefusal) -> bool:
    return refusal.status == 400 and ("no changes" in refusal.said or "no diff" in refusal.said)


def _commit(found: Mapping[str, Any]) -> LakeFSCommit:
    return LakeFSCommit(
        id=found["id"],
        tree=found["meta_range_id"],
        parents=tuple(found["parents"]),
        message=found["message"],
        committer=found["committer"],
        created_at=found["creation_date"],
        metadata=dict(found.get("metadata") or {}),
    )


def _object(found: Mapping[str, Any]) -> StoredObject:
    return StoredObject(
        path=found["path"],
        checksum=found.get("checksum") or "",
        size_bytes=found.get("size_bytes") or 0,
        content_type=found.get("content_type") or "",
        metadata=dict(found.get("metadata") or {}),
    )
