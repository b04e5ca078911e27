"""Refusals of the tracker, with the status a server answers them with."""

from __future__ import annotations

from handrail.errors import WatcherAPIError
from handrail.tracking.wire import State


def unknown_pipeline(which: int | str) -> WatcherAPIError:
    """404: no such pipeline."""
    return WatcherAPIError(
        f"No pipeline {which!r}. Make it known first with sync_pipeline_config().",
        status_code=404,
        error_code="unknown_pipeline",
    )


def unknown_execution(execution_id: int) -> WatcherAPIError:
    """404: no such execution."""
    return WatcherAPIError(
        f"No execution {execution_id}. Start it first, or check that the id comes from this "
        f"tracker.",
        status_code=404,
        error_code="unknown_execution",
    )


def contradicting_end(execution_id: int, recorded: State, told: State) -> WatcherAPIError:
    """409: the execution has ended, and otherwise."""
    return WatcherAPIError(
        f"Execution {execution_id} has ended as {recorded.value}; an end that says {told.value} "
        f"or other numbers is refused. Start another execution for another try.",
        status_code=409,
        error_code="execution_ended",
    )


def execution_of_another_pipeline(execution_id: int, pipeline_id: int) -> WatcherAPIError:
    """422: execution and pipeline do not belong together."""
    return WatcherAPIError(
        f"Execution {execution_id} does not belong to pipeline {pipeline_id}. Pass the id of an "
        f"execution of that pipeline, or none.",
        status_code=422,
        error_code="execution_of_another_pipeline",
    )


def key_of_another_call(key: str, call: str) -> WatcherAPIError:
    """422: an idempotency key was used for something else."""
    return WatcherAPIError(
        f"Key '{key}' was used for another call than {call}. Use a key for one request only.",
        status_code=422,
        error_code="key_reused",
    )
