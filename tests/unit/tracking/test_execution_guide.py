"""The ETL Watcher SDK's guide to executions, program by program, with Handrail's imports.

What the guide leaves out is set up here: configurations, a condition, and a `Watcher` whose
address leads to a tracker in this process. Two slips of the guide are set right: a comma and a
`def` are missing in its hierarchy.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Optional

import pytest

from handrail import tracking
from handrail.tracking import (
    EmbeddedTransport,
    ETLResults,
    ExecutionResult,
    Pipeline,
    PipelineConfig,
    SqliteTrackingStore,
    State,
    SyncedPipelineConfig,
    WatcherExecutionContext,
)
from handrail.tracking.wire import UpdatePipeline

# ruff: noqa: UP045 - the guide's own spelling

MY_ETL_PIPELINE_CONFIG, MY_PARENT_PIPELINE_CONFIG, MY_CHILD_PIPELINE_CONFIG = (
    PipelineConfig(pipeline=Pipeline(name=name, pipeline_type_name="extraction"))
    for name in ("my-etl-pipeline", "my-parent-pipeline", "my-child-pipeline")
)


@pytest.fixture
def Watcher(store: SqliteTrackingStore) -> Callable[[str], tracking.Watcher]:
    return functools.partial(tracking.Watcher, transport=EmbeddedTransport(store))


@pytest.fixture
def watcher(Watcher: Callable[[str], tracking.Watcher]) -> tracking.Watcher:
    return Watcher("https://api.watcher.example.com")


@pytest.fixture
def synced_config(watcher: tracking.Watcher) -> SyncedPipelineConfig:
    return watcher.sync_pipeline_config(MY_ETL_PIPELINE_CONFIG)


@pytest.mark.parametrize("some_condition_fails", [False, True, None])
def test_logging_executions(
    Watcher: Callable[[str], tracking.Watcher],
    synced_config: SyncedPipelineConfig,
    store: SqliteTrackingStore,
    some_condition_fails: bool | None,
) -> None:
    def check() -> bool:
        if some_condition_fails is None:
            raise OSError("no source")
        return some_condition_fails

    watcher = Watcher("https://api.watcher.example.com")

    @watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    def etl_pipeline() -> ETLResults:
        try:
            # Your ETL logic here
            if check():
                return ETLResults(completed_successfully=False, execution_metadata={"error": "Data quality issues"})  # noqa: E501  # fmt: skip
            return ETLResults(completed_successfully=True, inserts=100, total_rows=100)
        except Exception as e:
            return ETLResults(completed_successfully=False, execution_metadata={"exception": str(e)})  # noqa: E501  # fmt: skip

    # Access results
    result = etl_pipeline()

    assert result is not None
    recorded = store.execution(result.execution_id)
    expected: dict[bool | None, Any] = {
        False: (State.SUCCEEDED, 100, None),
        True: (State.FAILED, None, {"error": "Data quality issues"}),
        None: (State.FAILED, None, {"exception": "no source"}),
    }
    found = (recorded.state, recorded.inserts, recorded.execution_metadata)
    assert found == expected[some_condition_fails]


def test_unexpected_exceptions_are_logged_as_failures(
    watcher: tracking.Watcher, synced_config: SyncedPipelineConfig, store: SqliteTrackingStore
) -> None:
    @watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    def my_pipeline() -> ETLResults:
        raise OSError("unexpected")

    with pytest.raises(OSError, match="unexpected"):
        my_pipeline()
    (recorded,) = store.executions().executions
    assert recorded.state is State.FAILED


def test_custom_etl_results(
    watcher: tracking.Watcher,
    synced_config: SyncedPipelineConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class CustomETLResults(ETLResults):
        data_quality_score: Optional[float] = None

    @watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    def my_pipeline() -> CustomETLResults:
        # ... do work ...

        return CustomETLResults(
            completed_successfully=True,
            inserts=100,
            total_rows=100,
            data_quality_score=0.95
        )  # fmt: skip

    # Access custom fields
    output: Any = my_pipeline()
    print(f"Quality score: {output.results.data_quality_score}")

    assert capsys.readouterr().out == "Quality score: 0.95\n"


def test_etl_results_have_the_printed_fields() -> None:
    fields = {name: field.default for name, field in ETLResults.model_fields.items()}
    assert list(fields) == [
        "completed_successfully",
        "inserts",
        "updates",
        "soft_deletes",
        "total_rows",
        "execution_metadata",
    ]
    assert ETLResults.model_fields["completed_successfully"].is_required()
    assert set(list(fields.values())[1:]) == {None}


def test_execution_results(
    watcher: tracking.Watcher,
    synced_config: SyncedPipelineConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The guide annotates the function with what its caller gets.
    def my_pipeline() -> ExecutionResult:
        # Work here

        return ETLResults(  # type: ignore[return-value]
                completed_successfully=True,
                inserts=100,
                total_rows=100,
            )  # fmt: skip

    tracked: Any = watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    output = tracked(my_pipeline)()
    print(output.execution_id)
    print(output.results)
    print(output.results.inserts)

    printed = capsys.readouterr().out.splitlines()
    assert (printed[0], printed[-1]) == ("1", "100")


def test_watcher_execution_context(
    watcher: tracking.Watcher,
    synced_config: SyncedPipelineConfig,
    capsys: pytest.CaptureFixture[str],
) -> None:
    @watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    def my_pipeline(watcher_context: WatcherExecutionContext) -> ETLResults:

        # Work here

        print(watcher_context.execution_id)
        print(watcher_context.pipeline_id)
        print(watcher_context.watermark)
        print(watcher_context.next_watermark)

        return ETLResults(
            completed_successfully=True,
            inserts=100,
            total_rows=100,
        )

    my_pipeline()

    assert capsys.readouterr().out.split() == ["1", "1", "None", "None"]


def test_hierarchical_executions(
    Watcher: Callable[[str], tracking.Watcher], store: SqliteTrackingStore
) -> None:
    watcher = Watcher("https://api.watcher.example.com")

    synced_parent_config = watcher.sync_pipeline_config(MY_PARENT_PIPELINE_CONFIG)

    @watcher.track_pipeline_execution(
        pipeline_id=synced_parent_config.pipeline.id,
        active=synced_parent_config.active)  # fmt: skip
    def my_parent_pipeline(watcher_context: WatcherExecutionContext) -> ETLResults:

        synced_child_config = watcher.sync_pipeline_config(MY_CHILD_PIPELINE_CONFIG)

        @watcher.track_pipeline_execution(
            pipeline_id=synced_child_config.pipeline.id,
            active=synced_child_config.active,
            parent_execution_id=watcher_context.execution_id)  # fmt: skip
        def child_pipeline() -> ETLResults:

            # Work here

            return ETLResults(
                completed_successfully=True,
                inserts=100,
                total_rows=100,
            )

        child_pipeline()

        return ETLResults(
            completed_successfully=True,
            inserts=100,
            total_rows=100,
        )

    output = my_parent_pipeline()

    assert output is not None
    (child,) = store.execution(output.execution_id).children
    assert (child.pipeline_name, child.state) == ("my-child-pipeline", State.SUCCEEDED)


def test_active_flag(watcher: tracking.Watcher, store: SqliteTrackingStore) -> None:
    watcher.sync_pipeline_config(MY_ETL_PIPELINE_CONFIG)
    store.update_pipeline(UpdatePipeline(name="my-etl-pipeline", active=False))
    with pytest.warns(UserWarning, match="is not active"):
        synced_config = watcher.sync_pipeline_config(MY_ETL_PIPELINE_CONFIG)

    @watcher.track_pipeline_execution(
        pipeline_id=synced_config.pipeline.id,
        active=synced_config.pipeline.active)  # fmt: skip
    def my_pipeline(watcher_context: WatcherExecutionContext) -> ETLResults:

        # Function IS SKIPPED if active is False

        raise AssertionError("not skipped")

    with pytest.warns(UserWarning, match="was not called"):
        my_pipeline()
    assert store.executions().executions == ()
