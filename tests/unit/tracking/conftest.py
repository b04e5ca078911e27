"""What the tests of tracking share: a store with a clock, a watcher, and pipelines."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from handrail.tracking import EmbeddedTransport, SqliteTrackingStore, Watcher
from handrail.tracking.keeper import LeaseKeeper
from handrail.tracking.wire import SyncPipeline


class Clock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now = datetime(2024, 5, 1, 12, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> datetime:
        self.now += timedelta(seconds=seconds)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SqliteTrackingStore]:
    with SqliteTrackingStore(tmp_path / "home" / "tracking.db", now=clock) as opened:
        yield opened


@pytest.fixture
def keeper() -> LeaseKeeper:
    return LeaseKeeper()


@pytest.fixture
def watcher(store: SqliteTrackingStore, keeper: LeaseKeeper) -> Watcher:
    return Watcher(transport=EmbeddedTransport(store), keeper=keeper)


@pytest.fixture
def pipeline(store: SqliteTrackingStore) -> Callable[..., int]:
    """Makes pipelines: `pipeline()` or `pipeline("name")` gives its id."""

    def make(name: str = "orders", **fields: object) -> int:
        request = {"name": name, "pipeline_type_name": "extraction", **fields}
        return store.sync_pipeline(SyncPipeline.model_validate(request)).id

    return make
