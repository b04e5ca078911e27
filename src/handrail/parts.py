"""The stores of one home, and those that settings name elsewhere: each made when first needed."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from handrail.contracts.workspace import BranchName
from handrail.errors import (
    NotInstalledError,
    RunNotFound,
    RuntimeConfigError,
    UnknownRefError,
)
from handrail.keep.base import ObjectStore
from handrail.keep.embedded_files import EmbeddedFiles
from handrail.keep.files import VersionedFiles
from handrail.keep.home import Home
from handrail.keep.objects import FileObjects
from handrail.keep.place import Place
from handrail.keep.repository import Repository
from handrail.keep.reuse import KeptResults, SqlKeptResults
from handrail.keep.sql import SqlJournal
from handrail.keep.sqlite import SqliteJournal
from handrail.keep.sweep import AttemptFolders
from handrail.keep.tree_cache import TreeCache
from handrail.keep.trees import Trees
from handrail.keep.ways import Ways
from handrail.settings import Settings, load_settings
from handrail.tracking.store import SqliteTrackingStore

if TYPE_CHECKING:
    from handrail.keep.redis_server import RedisServer


class KeptParts:
    """What keeps runs, files and news.

    Args:
        settings: by default what flags, environment and files say.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or load_settings()
        self._files: dict[str, VersionedFiles] = {}

    # Stores

    @cached_property
    def home(self) -> Home:
        """The folder that holds everything; made if missing."""
        return Home.open(self.settings.home)

    @cached_property
    def journal(self) -> SqlJournal:
        """Runs, ledger and heads: in the home, or where the setting `database_url` says.

        Raises:
            NotInstalledError: that is Postgres, and its driver is missing.
        """
        url = self.settings.database_url
        return journal_at(url.get_secret_value()) if url else SqliteJournal(self.home.database)

    @cached_property
    def kept_results(self) -> KeptResults:
        """Results that tasks with a cache take again, beside the journal."""
        return SqlKeptResults(self.journal)

    @cached_property
    def trees(self) -> Trees:
        """Files, trees and commits."""
        return Trees(self.objects)

    @cached_property
    def objects(self) -> ObjectStore:
        """Contents of files: in the home, or where the setting `objects_url` says.

        Raises:
            NotInstalledError: that is an object storage, and its client library is missing.
            RuntimeConfigError: the URL cannot be.
        """
        if self.settings.objects_url is None:
            return FileObjects(self.home.objects)
        from handrail.keep.bucket import Bucket
        from handrail.keep.object_cache import ObjectCache
        from handrail.keep.shared_objects import SharedObjects

        # Not in the folder of contents that are nowhere else: a cache throws things away.
        cache = ObjectCache(self.home.cache, self.settings.objects_cache_bytes)
        return SharedObjects(Bucket.at(self.settings.objects_url.get_secret_value()), cache)

    @property
    def _ways(self) -> Ways:
        cache = TreeCache(self.home.trees, limit_bytes=self.settings.trees_cache_bytes)
        return Ways(self.home.attempts, cache, only=self.settings.checkout)

    @cached_property
    def folders(self) -> AttemptFolders:
        """Folders of attempts."""
        return AttemptFolders(
            self.home.attempts,
            ways=self._ways,
            lease_seconds=self.settings.lease_seconds,
        )

    @cached_property
    def tracking(self) -> SqliteTrackingStore:
        """The embedded tracker."""
        return SqliteTrackingStore(self.home.tracking_database)

    @cached_property
    def redis(self) -> RedisServer:
        """The server that keeps channels of runs.

        Raises:
            RuntimeConfigError: no setting says where it is.
            NotInstalledError: its client library is missing.
        """
        from handrail.keep.redis_server import RedisServer

        if self.settings.channel_url is None:
            raise RuntimeConfigError(
                "The run keeps its channel in Redis. Say where that is: HANDRAIL_CHANNEL_URL"
            )
        return RedisServer(self.settings.channel_url.get_secret_value())

    def files(self, repository: str) -> VersionedFiles:
        """The versioned files of a repository, as attempts use them."""
        found = self._files.get(repository)
        if found is None:
            url = self.settings.lakefs_url
            found = self._on_lakefs(url, repository) if url else self._embedded(repository)
            self._files[repository] = found
        return found

    def _embedded(self, repository: str) -> EmbeddedFiles:
        return EmbeddedFiles(
            repository,
            self.trees,
            self.journal,
            lambda trees, tree, path: self.folders.check_out(trees, tree, path.parent),
        )

    def _on_lakefs(self, url: str, repository: str) -> VersionedFiles:
        settings = self.settings
        if settings.lakefs_access_key is None or settings.lakefs_secret_key is None:
            raise RuntimeConfigError(
                f"Workspaces are kept by LakeFS ({url}). Say who Handrail is there: "
                f"HANDRAIL_LAKEFS_ACCESS_KEY and HANDRAIL_LAKEFS_SECRET_KEY"
            )
        try:
            from handrail.keep.lakefs.files import LakeFSFiles
            from handrail.keep.lakefs.server import LakeFSServer
        except ImportError as exc:
            raise NotInstalledError("The client of LakeFS", "lakefs") from exc
        key, secret = settings.lakefs_access_key, settings.lakefs_secret_key
        server = LakeFSServer(url, key, secret, repository)
        files = LakeFSFiles(server, storage_namespace=settings.lakefs_storage)
        # What runs have staged that may still be resumed is theirs.
        files.sweep(self._may_go_on)
        return files

    def _may_go_on(self, run_id: str) -> bool:
        try:
            return self.journal.run(run_id).state != "succeeded"
        except RunNotFound:
            return False

    def check_own_store(self) -> None:
        """Refuses to look at Handrail's own store of workspaces where LakeFS keeps them.

        Raises:
            RuntimeConfigError: it does.
        """
        if self.settings.lakefs_url is not None:
            raise RuntimeConfigError(
                f"Workspaces are kept by LakeFS ({self.settings.lakefs_url}). Look at them there, "
                f"on its pages or with lakectl; unset HANDRAIL_LAKEFS_URL to look at those here."
            )

    def repository(self, name: str) -> Repository:
        """A repository of versioned files.

        Raises:
            RuntimeConfigError: LakeFS keeps them.
        """
        self.check_own_store()
        return Repository(
            name, self.trees, self.journal, place=self.journal.place, home=self.home.path
        )

    # Repositories, here and elsewhere

    def at(self, place: Place) -> Self:
        """These parts, or those over the home, with all that it holds, or the database of another
        place.
        """
        settings = self.settings
        if place.database_url is not None:
            flags = {"home": settings.home, "database_url": place.database_url}
            settings = load_settings(flags=flags)
        elif place.home not in (None, settings.home):
            # What the settings say of other stores is about their own home.
            settings = replace(
                settings,
                home=place.home,
                database_url=None,
                objects_url=None,
                lakefs_url=None,
            )
        return self if settings == self.settings else type(self)(settings)

    def open_repository(
        self,
        place: str | os.PathLike[str] | None = None,
        name: str | None = None,
        *,
        create: bool = False,
    ) -> Repository:
        """Opens a repository here or elsewhere; see `Repository.open`."""
        found = Place.parse(place)
        parts = self.at(found)
        is_ours = parts is self
        try:
            if parts.settings.database_url is None:
                Home.open(parts.settings.home, create=create)
            return parts._opened(name or found.repository, create, is_owned=not is_ours)
        except BaseException:
            if not is_ours:
                parts.close()
            raise

    def repositories(self, place: str | os.PathLike[str] | None = None) -> list[str]:
        """Names of the repositories here, or at another place, sorted."""
        parts = self.at(Place.parse(place))
        parts.check_own_store()
        try:
            if parts.settings.database_url is None:
                Home.open(parts.settings.home, create=False)
            return sorted({branch.repository for branch in parts.journal.heads()})
        finally:
            if parts is not self:
                parts.close()

    def _opened(self, name: str | None, create: bool, *, is_owned: bool) -> Repository:
        known = self.repositories()
        shown = f"Repositories in {self.journal.place}: {', '.join(known) or 'none'}."
        if name is None:
            if len(known) != 1:
                raise UnknownRefError(f"Which repository? {shown}")
            name = known[0]
        elif name not in known and not create:
            raise UnknownRefError(
                f"No repository '{name}'. {shown} Make it with: handrail workspace init {name}"
            )
        repository = Repository(
            BranchName.parse(name).repository,
            self.trees,
            self.journal,
            place=self.journal.place,
            home=self.home.path,
            close=self.close if is_owned else None,
        )
        if create:
            repository.create()
        return repository

    def close(self) -> None:
        """Closes databases and connections."""
        made = vars(self)
        made.pop("kept_results", None)
        for files in self._files.values():
            files.close()
        self._files.clear()
        for name in ("objects", "journal", "tracking", "redis"):
            if name in made:
                made.pop(name).close()


def journal_at(url: str) -> SqlJournal:
    """The journal in the database that `url` names, `sqlite:///PATH` or `postgresql://...`.

    Raises:
        NotInstalledError: it is Postgres, and its driver is missing.
        StoreError: the database cannot be used.
    """
    scheme, _, rest = url.partition("://")
    if scheme == "sqlite":
        return SqliteJournal(Path(rest.removeprefix("/")))
    try:
        from handrail.keep.postgres import PostgresJournal
    except ImportError as exc:
        raise NotInstalledError("The driver of Postgres", "postgres") from exc
    return PostgresJournal(url)
