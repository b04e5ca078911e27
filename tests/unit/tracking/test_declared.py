from __future__ import annotations

import pytest
from pydantic import ValidationError

from handrail.tracking import ETLResults, ExecutionResult, Pipeline, PipelineConfig


class ForeignInteger:
    def __index__(self) -> int:
        return 7


@pytest.mark.parametrize("field", ["inserts", "updates", "soft_deletes", "total_rows"])
@pytest.mark.parametrize("count", [-1, 2**63, 1.5, "many"])
def test_a_count_is_a_whole_number_that_can_be_stored(field: str, count: object) -> None:
    with pytest.raises(ValidationError):
        ETLResults.model_validate({"completed_successfully": True, field: count})


def test_a_count_may_come_from_an_array_library() -> None:
    results = ETLResults.model_validate(
        {"completed_successfully": True, "inserts": ForeignInteger(), "total_rows": 2**63 - 1}
    )
    assert type(results.inserts) is int
    assert results.total_rows == 2**63 - 1


@pytest.mark.parametrize("limit", ["freshness", "timeliness"])
def test_a_limit_needs_number_and_date_part(limit: str) -> None:
    fields = {"name": "p", "pipeline_type_name": "t", f"{limit}_number": 1}
    with pytest.raises(ValidationError, match=f"{limit}_number and {limit}_datepart go together"):
        Pipeline.model_validate(fields)
    both = Pipeline.model_validate({**fields, f"{limit}_datepart": "hour"})
    assert getattr(both, f"{limit}_number") == 1


@pytest.mark.parametrize("name", ["", "   ", "x" * 151])
def test_a_pipeline_needs_a_name(name: str) -> None:
    with pytest.raises(ValidationError):
        Pipeline(name=name, pipeline_type_name="t")


def test_a_configuration_can_be_moved_on_before_each_synchronisation() -> None:
    config = PipelineConfig(pipeline=Pipeline(name="p", pipeline_type_name="t"))
    config.next_watermark = "2024-02-01"
    assert config.next_watermark == "2024-02-01"
    with pytest.raises(ValidationError):
        config.next_watermark = 1.5  # type: ignore[assignment]


class Scored(ETLResults):
    score: float


def test_a_result_keeps_the_fields_of_a_subclass_also_when_dumped() -> None:
    output = ExecutionResult(execution_id=3, results=Scored(completed_successfully=True, score=0.5))
    assert isinstance(output.results, Scored)
    assert output.result is output.results
    assert output.model_dump()["results"]["score"] == 0.5
