from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from handrail.errors import RuntimeConfigError, StoreCorruptError, WatcherAPIError, WatcherError
from handrail.tracking import (
    EmbeddedTransport,
    SqliteTrackingStore,
    State,
    TrackingTransport,
    Watcher,
    default_transport,
    use_default_transport,
)
from handrail.tracking.wire import StartExecution, UpdatePipeline
from tests.unit.tracking.conftest import Clock

MakePipeline = Callable[..., int]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("HANDRAIL_HOME", str(tmp_path / "home"))
    before = use_default_transport(None)
    yield tmp_path / "home"
    use_default_transport(before)


def test_the_embedded_tracker_has_every_call_of_the_store() -> None:
    def calls(of: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(of, inspect.isfunction) if name[0] != "_"}

    assert calls(SqliteTrackingStore) - {"close"} == calls(TrackingTransport)


def test_reading_judges_first(
    store: SqliteTrackingStore, pipeline: MakePipeline, clock: Clock
) -> None:
    transport = EmbeddedTransport(store)

    def dead() -> int:
        request = StartExecution(pipeline_id=pipeline(), lease_seconds=1)
        execution_id = transport.start_execution(request).id
        clock.forward(2)
        return execution_id

    assert transport.execution(dead()).state is State.CRASHED
    dead()
    assert {e.state for e in transport.executions().executions} == {State.CRASHED}
    dead()
    assert [view.last_state for view in transport.pipelines()] == [State.CRASHED]
    dead()
    assert transport.pipeline("orders").last_state is State.CRASHED
    reaped = dead()
    assert transport.reap().execution_ids == (reaped,)


def test_trouble_of_the_store_is_trouble_of_tracking(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline()
    with sqlite3.connect(store.path) as connection:
        connection.execute("ALTER TABLE pipelines RENAME TO lost")
    connection.close()
    with pytest.raises(WatcherError, match=r"Tracking database .*tracking\.db"):
        EmbeddedTransport(store).pipelines()


def test_a_refusal_passes_as_it_is(store: SqliteTrackingStore) -> None:
    with pytest.raises(WatcherAPIError) as caught:
        EmbeddedTransport(store).update_pipeline(UpdatePipeline(id=5, active=True))
    assert caught.value.status_code == 404


def test_without_a_transport_the_home_is_used(home: Path) -> None:
    watcher = Watcher()
    assert not home.exists()
    assert watcher.transport is default_transport()
    assert watcher.transport.where == str(home / "tracking.db")
    assert (home / "tracking.db").exists()


def test_without_a_home_the_working_folder_is_used(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HANDRAIL_HOME")
    monkeypatch.chdir(tmp_path)
    assert default_transport().where == str(tmp_path / ".handrail" / "tracking.db")


def test_a_home_that_was_removed_is_made_again(home: Path) -> None:
    first = default_transport()
    for path in home.iterdir():
        path.unlink()
    second = default_transport()
    assert second is not first
    assert second.pipelines() == ()


def test_a_home_that_cannot_be_read_is_trouble_of_tracking(home: Path) -> None:
    home.mkdir()
    (home / "tracking.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(WatcherError, match="not a tracking database") as caught:
        default_transport()
    assert isinstance(caught.value.__cause__, StoreCorruptError)


def test_the_default_can_be_replaced_and_restored(home: Path, store: SqliteTrackingStore) -> None:
    mine = EmbeddedTransport(store)

    def make() -> TrackingTransport:
        return mine

    assert use_default_transport(make) is None
    assert Watcher().transport is mine
    assert use_default_transport(None) is make
    assert Watcher().transport is not mine


@pytest.mark.parametrize("given", [{"base_url": "https://tracking.example.com"}, {"auth": "token"}])
def test_a_server_that_cannot_be_used_is_refused_at_once(given: dict[str, str]) -> None:
    with pytest.raises(RuntimeConfigError, match=r"Leave out base_url and auth"):
        Watcher(**given)  # type: ignore[arg-type]


def test_a_transport_stands_in_for_a_server(store: SqliteTrackingStore) -> None:
    watcher = Watcher("https://tracking.example.com", transport=EmbeddedTransport(store))
    assert watcher.transport.pipelines() == ()
