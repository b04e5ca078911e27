from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from handrail.errors import WatcherAPIError
from handrail.tracking import (
    Address,
    AddressLineage,
    ETLResults,
    Pipeline,
    PipelineConfig,
    SqliteTrackingStore,
    State,
    Watcher,
)
from handrail.tracking.watermark import Position
from handrail.tracking.wire import UpdatePipeline

MakePipeline = Callable[..., int]
DONE = ETLResults(completed_successfully=True)


def table(name: str) -> Address:
    return Address(name=name, address_type_name="postgres", address_type_group_name="database")


def config(**fields: object) -> PipelineConfig:
    pipeline = Pipeline(name="My Pipeline", pipeline_type_name="extraction")
    return PipelineConfig.model_validate({"pipeline": pipeline, **fields})


def run(watcher: Watcher, pipeline_id: int) -> None:
    watcher.track_pipeline_execution(pipeline_id, True)(lambda: DONE)()


# Synchronising


def test_a_synchronised_configuration_tells_id_and_watermark(watcher: Watcher) -> None:
    declared = config(
        address_lineage=AddressLineage(source_addresses=[table("a")], target_addresses=[]),
        default_watermark=date(2024, 1, 1),
        next_watermark=date(2024, 2, 1),
    )
    synced = watcher.sync_pipeline_config(declared)
    assert (synced.pipeline.id, synced.pipeline.active, synced.active) == (1, True, True)
    assert synced.pipeline.name == "My Pipeline"
    assert (synced.watermark, synced.next_watermark) == (date(2024, 1, 1), date(2024, 2, 1))
    assert synced.address_lineage == declared.address_lineage
    stored = watcher.transport.address_lineage(1)
    assert [address.name for address in stored.source_addresses] == ["a"]


@pytest.mark.parametrize(
    "marks", [("2024-01", "2024-02"), (5, 6), (date(2024, 1, 1), datetime(2024, 2, 1, tzinfo=UTC))]
)
def test_the_default_serves_until_a_success_and_types_are_kept(
    watcher: Watcher, marks: tuple[Position, Position]
) -> None:
    default, following = marks
    synced = watcher.sync_pipeline_config(
        config(default_watermark=default, next_watermark=following)
    )
    assert synced.watermark == default
    run(watcher, synced.pipeline.id)
    again = watcher.sync_pipeline_config(config(default_watermark=default))
    assert (again.watermark, type(again.watermark)) == (following, type(following))


def test_a_synchronised_configuration_can_be_synchronised_again(watcher: Watcher) -> None:
    synced = watcher.sync_pipeline_config(config())
    assert watcher.sync_pipeline_config(synced).pipeline.id == synced.pipeline.id


def test_an_inactive_pipeline_warns_and_keeps_its_lineage(
    watcher: Watcher, store: SqliteTrackingStore
) -> None:
    watcher.sync_pipeline_config(config())
    store.update_pipeline(UpdatePipeline(name="my pipeline", active=False, watermark=4))
    lineage = AddressLineage(source_addresses=[table("a")])
    with pytest.warns(UserWarning, match="'My Pipeline' is not active") as caught:
        synced = watcher.sync_pipeline_config(config(default_watermark=1, address_lineage=lineage))
    assert caught[0].filename == __file__
    assert (synced.active, synced.watermark) == (False, None)
    assert store.address_lineage(synced.pipeline.id) == AddressLineage()


# Watermarks


def test_a_later_synchronisation_does_not_move_an_earlier_execution(watcher: Watcher) -> None:
    first = watcher.sync_pipeline_config(config(next_watermark="W1"))
    earlier = watcher.track_pipeline_execution(first.pipeline.id, True)(lambda: DONE)
    second = watcher.sync_pipeline_config(config(next_watermark="W2"))
    later = watcher.track_pipeline_execution(second.pipeline.id, True)(lambda: DONE)
    earlier()
    assert watcher.transport.pipeline("my pipeline").watermark == "W1"
    later()
    assert watcher.transport.pipeline("my pipeline").watermark == "W2"


def test_a_first_execution_starts_from_the_default_and_the_next_from_the_watermark(
    watcher: Watcher,
) -> None:
    synced = watcher.sync_pipeline_config(config(default_watermark=1, next_watermark=2))
    run(watcher, synced.pipeline.id)
    run(watcher, synced.pipeline.id)
    found = watcher.transport.executions().executions
    assert [execution.watermark for execution in found] == [2, 1]


def test_a_function_may_tell_how_far_it_got(watcher: Watcher) -> None:
    synced = watcher.sync_pipeline_config(config(next_watermark=1))
    others = [watcher.start_pipeline_execution(synced.pipeline.id) for _ in range(2)]

    @watcher.track_pipeline_execution(synced.pipeline.id, True)
    def load() -> ETLResults:
        watcher.update_pipeline_next_watermark(synced.pipeline.id, 7)
        return DONE

    output = load()
    assert output is not None
    assert watcher.execution(output.execution_id).next_watermark == 7
    assert watcher.transport.pipeline(synced.pipeline.id).watermark == 7
    assert [watcher.execution(other).next_watermark for other in others] == [1, 1]


def test_a_next_watermark_told_before_the_start_is_for_that_start(watcher: Watcher) -> None:
    synced = watcher.sync_pipeline_config(config(next_watermark=1))
    load = watcher.track_pipeline_execution(synced.pipeline.id, True)(lambda: DONE)
    watcher.update_pipeline_next_watermark(synced.pipeline.id, 2)
    load()
    assert watcher.transport.pipeline(synced.pipeline.id).watermark == 2


def test_a_compared_promotion_can_be_asked_for(watcher: Watcher, pipeline: MakePipeline) -> None:
    pipeline_id = pipeline()

    @watcher.track_pipeline_execution(pipeline_id, True, next_watermark=3, compare_watermark=True)
    def slow() -> ETLResults:
        watcher.track_pipeline_execution(pipeline_id, True, next_watermark=9)(lambda: DONE)()
        return DONE

    slow()
    assert watcher.transport.pipeline(pipeline_id).watermark == 9


# By hand


def test_an_execution_can_be_told_by_hand(watcher: Watcher, pipeline: MakePipeline) -> None:
    pipeline_id = pipeline()
    parent = watcher.start_pipeline_execution(pipeline_id)
    execution_id = watcher.start_pipeline_execution(
        pipeline_id,
        start_date=datetime(2024, 5, 1, 11, 0),
        watermark=1,
        next_watermark=2,
        parent_execution_id=parent,
    )
    watcher.end_pipeline_execution(
        execution_id,
        True,
        end_date=datetime(2024, 5, 1, 11, 30, tzinfo=UTC),
        inserts=1,
        updates=2,
        soft_deletes=3,
        total_rows=4,
        execution_metadata={"by": "hand"},
    )
    shown = watcher.execution(execution_id)
    assert (shown.state, shown.parent_execution_id) == (State.SUCCEEDED, parent)
    assert (shown.duration_seconds, shown.lease_seconds) == (1800.0, None)
    assert (shown.inserts, shown.updates, shown.soft_deletes, shown.total_rows) == (1, 2, 3, 4)
    assert shown.execution_metadata == {"by": "hand"}
    assert watcher.transport.pipeline(pipeline_id).watermark == 2


def test_telling_by_hand_may_be_repeated_with_a_key(
    watcher: Watcher, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    ids = {watcher.start_pipeline_execution(pipeline_id, key="nightly-7") for _ in range(3)}
    assert len(ids) == 1
    watcher.end_pipeline_execution(ids.pop(), False)
    with pytest.raises(WatcherAPIError) as caught:
        watcher.end_pipeline_execution(1, True)
    assert caught.value.status_code == 409


def test_what_is_told_by_hand_inside_a_function_is_its_child(
    watcher: Watcher, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()

    @watcher.track_pipeline_execution(pipeline_id, True)
    def load() -> ETLResults:
        child = watcher.start_pipeline_execution(pipeline_id)
        watcher.end_pipeline_execution(child, True, next_watermark="far")
        return DONE

    output = load()
    assert output is not None
    assert watcher.execution(output.execution_id).children_count == 1
    assert watcher.transport.pipeline(pipeline_id).watermark == "far"


def test_a_child_is_called_at_once_with_its_arguments(
    watcher: Watcher, pipeline: MakePipeline
) -> None:
    def load(rows: int, *, more: int, watcher_context: object) -> ETLResults:
        assert watcher_context is not None
        return ETLResults(completed_successfully=True, inserts=rows + more)

    pipeline_id = pipeline()
    parent = watcher.start_pipeline_execution(pipeline_id)
    output = watcher.track_child_pipeline_execution(
        pipeline_id, True, parent, load, "from", "to", 1, more=2
    )
    assert output is not None
    shown = watcher.execution(output.execution_id)
    assert (shown.parent_execution_id, shown.inserts) == (parent, 3)
    assert (shown.watermark, shown.next_watermark) == ("from", "to")


@pytest.mark.parametrize("mistake", [{"watermark": 1.5}, {"next_watermark": True}])
def test_a_watermark_of_a_wrong_type_is_refused_when_declared(
    watcher: Watcher, mistake: dict[str, object]
) -> None:
    with pytest.raises(ValueError, match="a watermark is a date"):
        watcher.track_pipeline_execution(1, True, **mistake)  # type: ignore[arg-type]
