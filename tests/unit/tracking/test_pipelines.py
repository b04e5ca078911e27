from __future__ import annotations

from collections.abc import Callable

import pytest

from handrail.errors import WatcherAPIError
from handrail.tracking import Address, SqliteTrackingStore, rules
from handrail.tracking.wire import (
    EndExecution,
    StartExecution,
    SyncAddressLineage,
    SyncPipeline,
)

MakePipeline = Callable[..., int]


def table(name: str, **fields: object) -> Address:
    defaults = {"address_type_name": "postgres", "address_type_group_name": "database"}
    return Address.model_validate({"name": name, **defaults, **fields})


def lineage(pipeline_id: int, sources: list[Address], targets: list[Address]) -> SyncAddressLineage:
    return SyncAddressLineage(
        pipeline_id=pipeline_id, source_addresses=tuple(sources), target_addresses=tuple(targets)
    )


def names(addresses: list[Address]) -> list[str]:
    return [address.name for address in addresses]


def succeed(store: SqliteTrackingStore, pipeline_id: int) -> None:
    started = store.start_execution(StartExecution(pipeline_id=pipeline_id))
    store.end_execution(EndExecution(execution_id=started.id, completed_successfully=True))


def test_a_lineage_is_stored_in_its_order_and_replaced(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()
    sources = [table("z.s.T"), table("a", address_metadata={"k": 1}), table("Z.s.t")]
    reply = store.sync_address_lineage(lineage(pipeline_id, sources, [table("out")]))
    assert reply.lineage_relationships_created == 2
    stored = store.address_lineage(pipeline_id)
    assert names(stored.source_addresses) == ["z.s.t", "a"]
    assert stored.source_addresses[0].table_name == "t"
    assert stored.source_addresses[1].address_metadata == {"k": 1}
    store.sync_address_lineage(lineage(pipeline_id, [table("a")], []))
    stored = store.address_lineage(pipeline_id)
    assert (names(stored.source_addresses), names(stored.target_addresses)) == (["a"], [])
    assert stored.source_addresses[0].address_metadata is None


def test_pipelines_may_share_edges_and_form_cycles(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    a, b = table("a"), table("b")
    for name, sources, targets in (("p", [a], [b]), ("q", [a], [b]), ("r", [b], [a])):
        reply = store.sync_address_lineage(lineage(pipeline(name), sources, targets))
        assert reply.lineage_relationships_created == 1


def test_a_lineage_may_be_empty(store: SqliteTrackingStore, pipeline: MakePipeline) -> None:
    reply = store.sync_address_lineage(lineage(pipeline(), [], []))
    assert reply.lineage_relationships_created == 0


def test_a_lineage_is_asked_for_until_a_success_and_again_when_it_differs(
    store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    pipeline_id = pipeline()

    def asked_for(sources: list[Address] | None) -> bool:
        digest = None if sources is None else rules.lineage_digest(sources, [])
        request = SyncPipeline(name="orders", pipeline_type_name="t", lineage_digest=digest)
        return store.sync_pipeline(request).load_lineage

    assert asked_for(None)
    store.sync_address_lineage(lineage(pipeline_id, [table("a")], []))
    assert asked_for([table("a")])
    succeed(store, pipeline_id)
    assert not asked_for(None)
    assert not asked_for([table("A")])
    assert asked_for([table("b")])
    unchanged = store.sync_address_lineage(lineage(pipeline_id, [table("a")], []))
    assert unchanged.message == "lineage is unchanged"


def test_the_lineage_of_an_unknown_pipeline_is_refused(store: SqliteTrackingStore) -> None:
    with pytest.raises(WatcherAPIError, match="No pipeline 4"):
        store.sync_address_lineage(lineage(4, [], []))
    with pytest.raises(WatcherAPIError, match="No pipeline 4"):
        store.address_lineage(4)
