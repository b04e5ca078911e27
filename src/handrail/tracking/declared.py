"""What users of tracking declare and get back: pipelines, addresses, results, contexts.

The shapes are those of the ETL Watcher SDK. Declarations can be changed after they are made,
because its users set `config.next_watermark` before each synchronisation.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializeAsAny,
    model_validator,
)

from handrail.tracking.watermark import Watermark

DatePart: TypeAlias = Literal["minute", "hour", "day", "week", "month", "year"]
Spoken: TypeAlias = Annotated[str, Field(pattern=r"\S")]  # something besides spaces
Name: TypeAlias = Annotated[str, Field(pattern=r"\S", max_length=150)]

#: SQLite and Postgres keep whole numbers in 8 bytes.
LARGEST_COUNT = 2**63 - 1


def _plain_int(value: Any) -> Any:
    # Counts often come from array libraries, whose integers are not Python's.
    return operator.index(value) if hasattr(value, "__index__") else value


Count: TypeAlias = Annotated[int, BeforeValidator(_plain_int), Field(ge=0, le=LARGEST_COUNT)]


class Pipeline(BaseModel):
    """A named pipeline. Names are compared without case and surrounding spaces.

    Freshness and timeliness limits are a number and a date part, both or none: "fresh" is data
    written within that span, "timely" an execution that ends within it.
    """

    name: Name
    pipeline_type_name: Name
    pipeline_metadata: dict[str, Any] | None = None
    freshness_number: int | None = Field(default=None, gt=0)
    freshness_datepart: DatePart | None = None
    timeliness_number: int | None = Field(default=None, gt=0)
    timeliness_datepart: DatePart | None = None

    @model_validator(mode="after")
    def _limits_are_pairs(self) -> Self:
        for limit in ("freshness", "timeliness"):
            number = getattr(self, f"{limit}_number")
            if (number is None) != (getattr(self, f"{limit}_datepart") is None):
                raise ValueError(f"{limit}_number and {limit}_datepart go together: set both")
        return self


class SyncedPipeline(Pipeline):
    """A pipeline as the tracker knows it."""

    id: int
    active: bool


class Address(BaseModel):
    """A place that data comes from or goes to: a table, a file, an endpoint."""

    name: Name
    address_type_name: Name
    address_type_group_name: Name
    database_name: str | None = None
    schema_name: str | None = None
    table_name: str | None = None
    primary_key: str | None = None
    address_metadata: dict[str, Any] | None = None


class AddressLineage(BaseModel):
    """Where a pipeline reads and where it writes."""

    source_addresses: list[Address] = Field(default_factory=list)
    target_addresses: list[Address] = Field(default_factory=list)


class PipelineConfig(BaseModel):
    """A pipeline with its lineage and watermarks, as kept in source control.

    `default_watermark` serves until an execution has moved the pipeline's own watermark;
    `next_watermark` is where the next successful execution will have moved it.
    """

    model_config = ConfigDict(validate_assignment=True)

    pipeline: Pipeline
    address_lineage: AddressLineage | None = None
    default_watermark: Watermark = None
    next_watermark: Watermark = None


class SyncedPipelineConfig(PipelineConfig):
    """A configuration that the tracker knows, with the pipeline's id and current watermark."""

    pipeline: SyncedPipeline
    watermark: Watermark = None

    @property
    def active(self) -> bool:
        """Whether executions of the pipeline are to run."""
        return self.pipeline.active


class ETLResults(BaseModel):
    """What a tracked function returns. Subclasses may add fields; only these are recorded."""

    completed_successfully: bool
    inserts: Count | None = None
    updates: Count | None = None
    soft_deletes: Count | None = None
    total_rows: Count | None = None
    execution_metadata: dict[str, Any] | None = None


class ExecutionResult(BaseModel):
    """What calling a tracked function gives: its results and the execution's id."""

    model_config = ConfigDict(populate_by_name=True)

    execution_id: int
    results: SerializeAsAny[ETLResults] = Field(validation_alias=AliasChoices("results", "result"))

    @property
    def result(self) -> ETLResults:
        """The same as `results`."""
        return self.results


class WatcherExecutionContext(BaseModel):
    """What a tracked function gets as `watcher_context`, if it has such a parameter."""

    model_config = ConfigDict(frozen=True)

    execution_id: int
    pipeline_id: int
    watermark: Watermark = None
    next_watermark: Watermark = None
