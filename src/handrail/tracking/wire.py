"""Requests and replies of tracking, as records.

The same records pass to the embedded store and over a network. Names follow the ETL Watcher
server; its own spellings (`id`, `parent_id`, `start_date`, `end_date`) are read as well.
Every write carries a `key`: the same key is answered with the same reply.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, TypeAlias

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from handrail.ids import Ids
from handrail.tracking.declared import Address, Count, Name, Pipeline, Spoken
from handrail.tracking.metadata import JsonObject, Text
from handrail.tracking.watermark import Watermark

#: Ids that clients make themselves, for executions whose start is not answered yet.
CLIENT_IDS = range(2**52, 2**53)

new_key = Ids().new


class State(StrEnum):
    """States of an execution; all but the first three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CRASHED = "crashed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"
    SUPERSEDED = "superseded"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return self not in OPEN_STATES


OPEN_STATES = frozenset({State.QUEUED, State.RUNNING, State.WAITING})


def _in_utc(value: datetime) -> datetime:
    # Clients of the ETL Watcher send UTC; some of them without saying so.
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


UtcDatetime: TypeAlias = Annotated[datetime, AfterValidator(_in_utc)]
Key: TypeAlias = Annotated[str, Field(min_length=1, max_length=2000)]
Seconds: TypeAlias = Annotated[float, Field(gt=0, le=7 * 86400)]


class Record(BaseModel):
    """What crosses the border: frozen; fields it does not know are left out."""

    model_config = ConfigDict(frozen=True, populate_by_name=True)


class ErrorDetail(Record):
    """An exception as told: class name, message, and the traceback as Python prints it."""

    type: Text
    message: Text
    traceback: Text | None = None


class Metrics(Record):
    """Rows an execution handled; None is "not said"."""

    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None


# Pipelines


class SyncPipeline(Pipeline):
    """Creates or updates the pipeline of that name. Fields that are left out stay as they are."""

    model_config = ConfigDict(frozen=True)

    key: Key = Field(default_factory=new_key)
    next_watermark: Watermark = None
    #: `rules.lineage_digest` of the lineage the client has; it is asked for if it differs.
    lineage_digest: str | None = None


class PipelineSynced(Record):
    id: int
    active: bool
    load_lineage: bool
    watermark: Watermark = None
    created: bool = False


class UpdatePipeline(Record):
    """Changes the fields that are set, of the pipeline with that id or else that name."""

    key: Key = Field(default_factory=new_key)
    id: int | None = None
    name: Name | None = None
    active: bool | None = None
    load_lineage: bool | None = None
    watermark: Watermark = None
    next_watermark: Watermark = None
    pipeline_metadata: JsonObject | None = None

    @model_validator(mode="after")
    def _names_a_pipeline(self) -> UpdatePipeline:
        if self.id is None and self.name is None:
            raise ValueError("id or name of the pipeline is needed")
        return self


class UpdateNextWatermark(Record):
    """Sets the next watermark of a pipeline and of the open execution it belongs to.

    That execution is the one named, or else the pipeline's only open one. If there is none,
    the watermark waits for the execution that starts next.
    """

    key: Key = Field(default_factory=new_key)
    pipeline_id: int
    next_watermark: Watermark
    execution_id: int | None = None


class PipelineView(Record):
    """A pipeline, with the start of its latest execution."""

    id: int
    name: str
    pipeline_type_name: str
    active: bool
    load_lineage: bool
    watermark: Watermark = None
    next_watermark: Watermark = None
    pipeline_metadata: dict[str, Any] | None = None
    freshness_number: int | None = None
    freshness_datepart: str | None = None
    timeliness_number: int | None = None
    timeliness_datepart: str | None = None
    last_target_insert: datetime | None = None
    last_target_update: datetime | None = None
    last_target_soft_delete: datetime | None = None
    last_execution_id: int | None = None
    last_state: State | None = None
    last_started_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


class SyncAddressLineage(Record):
    """Replaces the lineage of a pipeline."""

    key: Key = Field(default_factory=new_key)
    pipeline_id: int
    source_addresses: tuple[Address, ...] = ()
    target_addresses: tuple[Address, ...] = ()


class AddressLineageSynced(Record):
    pipeline_id: int
    #: Pairs of one source and one target; 0 if the stored lineage was kept.
    lineage_relationships_created: int
    message: str


# Executions


class StartExecution(Record):
    """Says that an execution of a pipeline has started.

    What is not said is filled in by the tracker: `started_at` by its clock, `watermark` by the
    pipeline's watermark or else `default_watermark`, `next_watermark` by the pipeline's.
    """

    key: Key = Field(default_factory=new_key)
    pipeline_id: int
    started_at: UtcDatetime | None = Field(
        default=None, validation_alias=AliasChoices("started_at", "start_date")
    )
    watermark: Watermark = None
    next_watermark: Watermark = None
    default_watermark: Watermark = None
    #: Promote only if the pipeline's watermark is still the one this execution started from.
    compare_watermark: bool = False
    parent_execution_id: int | None = Field(
        default=None, validation_alias=AliasChoices("parent_execution_id", "parent_id")
    )
    #: Key of a parent that may become known later.
    parent_key: Key | None = None
    #: Asks to be judged crashed if no heartbeat comes for that long.
    lease_seconds: Seconds | None = None
    #: Another id for the execution, made by a client that could not wait; in `CLIENT_IDS`.
    client_execution_id: int | None = Field(default=None, ge=CLIENT_IDS.start, lt=CLIENT_IDS.stop)


class ExecutionStarted(Record):
    id: int
    watermark: Watermark = None
    next_watermark: Watermark = None


class EndExecution(Record):
    """Says how an execution ended. `ended_at` is the tracker's clock if not said."""

    key: Key = Field(default_factory=new_key)
    execution_id: int = Field(validation_alias=AliasChoices("execution_id", "id"))
    completed_successfully: bool
    #: With `completed_successfully=False`: it was told to stop, nothing went wrong.
    cancelled: bool = False
    ended_at: UtcDatetime | None = Field(
        default=None, validation_alias=AliasChoices("ended_at", "end_date")
    )
    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None
    execution_metadata: JsonObject | None = None
    #: Replaces the next watermark told at the start, if given.
    next_watermark: Watermark = None
    error: ErrorDetail | None = None

    @property
    def state(self) -> State:
        """The final state it asks for."""
        if self.completed_successfully:
            return State.SUCCEEDED
        return State.CANCELLED if self.cancelled else State.FAILED


class ExecutionEnded(Record):
    id: int
    #: The state on record, which is `crashed` if the end came after that verdict.
    state: State
    #: The end came too late and is kept beside the verdict.
    superseded: bool = False
    watermark_promoted: bool = False


class Heartbeat(Record):
    """Renews the leases of open executions."""

    execution_ids: tuple[int, ...]


class HeartbeatAnswered(Record):
    """States by execution id; an id the tracker does not know is left out."""

    states: dict[int, State]


class Execution(Record):
    """An execution as recorded. Times are UTC; in lists `error.traceback` is left out."""

    id: int
    key: str
    client_execution_id: int | None = None
    pipeline_id: int
    pipeline_name: str
    state: State
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration_seconds: float | None = None
    inserts: int | None = None
    updates: int | None = None
    soft_deletes: int | None = None
    total_rows: int | None = None
    #: Rows per second, if both are known.
    throughput: float | None = None
    watermark: Watermark = None
    next_watermark: Watermark = None
    watermark_promoted: bool = False
    parent_execution_id: int | None = None
    continues_execution_id: int | None = None
    execution_metadata: dict[str, Any] | None = None
    error: ErrorDetail | None = None
    lease_seconds: float | None = None
    lease_expires_at: datetime | None = None
    #: An end that came after the verdict `crashed`, as told.
    superseded_end: dict[str, Any] | None = None
    children_count: int = 0


class ExecutionDetail(Execution):
    """An execution with its children, oldest first: the first 200 of `children_count`."""

    children: tuple[Execution, ...] = ()


class ExecutionPage(Record):
    """Executions, latest first. `next_before` asks for the page after; None: it was the last."""

    executions: tuple[Execution, ...]
    next_before: int | None = None


class Reaped(Record):
    """Executions that were judged crashed."""

    execution_ids: tuple[int, ...]


# What an engine tells


class ExecutionEvent(Record):
    """The state of an execution that somebody else keeps the truth of.

    The first event of a `key` creates the execution (and its pipeline), later ones update it;
    a final state never changes. `parent_key` and `continues_key` may become known later.
    Counts, watermarks, times, metadata and error that are None leave what was told before;
    metadata is added to what was told before.
    """

    key: Key
    pipeline: Spoken
    pipeline_type_name: Name = "workflow"
    state: State
    #: When that state was entered; of two open states the later one counts.
    at: UtcDatetime
    parent_key: Key | None = None
    continues_key: Key | None = None
    started_at: UtcDatetime | None = None
    ended_at: UtcDatetime | None = None
    metrics: Metrics = Metrics()
    watermark: Watermark = None
    next_watermark: Watermark = None
    metadata: JsonObject | None = None
    error: ErrorDetail | None = None
    lease_seconds: Seconds | None = None

    @model_validator(mode="after")
    def _is_not_its_own_parent(self) -> ExecutionEvent:
        if self.key in (self.parent_key, self.continues_key):
            raise ValueError(f"execution '{self.key}' cannot be its own parent or predecessor")
        return self


class Ingested(Record):
    """Where the producer stands after the batch, and how many executions it created."""

    cursor: int
    created_count: int = 0
    updated_count: int = 0
