from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field, computed_field

from handrail.contracts.signature import Parameter
from handrail.contracts.task import task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import TaskDefinitionError


class Params(BaseModel):
    size: int = Field(alias="Size")


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


class Result(BaseModel):
    total: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return self.total * 2


def typed(params: Params) -> Result:
    return Result(total=params.size)


def on_files(workspace: Path, params: Params) -> Result:
    return Result(total=params.size)


# Keywords


def test_parameters_of_a_plain_function_are_bound_by_name() -> None:
    def fn(a: int, b: int = 2, *rest: int, c: int, d: int = 4, **more: int) -> None: ...

    contract = task(fn).definition.contract
    assert contract.shape == "keywords"
    assert contract.open_ended
    assert contract.parameters == (
        Parameter("a", True),
        Parameter("b", False),
        Parameter("c", True),
        Parameter("d", False),
    )


def test_an_injected_context_is_no_parameter() -> None:
    def fn(context: Any, a: int) -> None: ...

    assert task(inject_context=True)(fn).definition.contract.parameters == (Parameter("a", True),)


def test_a_context_needs_a_parameter_to_take_it() -> None:
    def keyword_only(*, a: int) -> None: ...

    for fn in (lambda: None, keyword_only):
        with pytest.raises(TaskDefinitionError, match="no first parameter to take the context"):
            task(inject_context=True)(fn)


def test_positional_only_parameters_are_refused() -> None:
    def fn(a: int, /) -> None: ...

    with pytest.raises(TaskDefinitionError, match="'a' is positional-only"):
        task(fn)


def test_generators_are_refused() -> None:
    def some() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for fn in (some, later):
        with pytest.raises(TaskDefinitionError, match="is a generator; return a value"):
            task(fn)


def test_async_functions_are_seen() -> None:
    async def fn() -> None: ...

    assert task(fn).definition.contract.is_async
    assert not task(lambda: None).definition.contract.is_async


def test_annotations_of_plain_tasks_need_not_resolve() -> None:
    def fn(a: NotImportedHere) -> AlsoNot: ...  # type: ignore[name-defined]  # noqa: F821

    def named_params(params: NotImportedHere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert task(fn).definition.contract.shape == "keywords"
    assert task(named_params).definition.contract.shape == "keywords"


def test_a_plain_params_is_a_keyword() -> None:
    def fn(params: dict[str, int]) -> int:
        return len(params)

    assert task(fn).definition.contract.parameters == (Parameter("params", True),)


# Typed


def test_a_params_model_makes_a_task_typed() -> None:
    definition = task(typed).definition
    assert definition.contract.shape == "params"
    assert (definition.params_model, definition.output_model) == (Params, Result)
    assert not definition.has_workspace


def test_a_workspace_makes_a_task_typed() -> None:
    definition = task(workspace=WorkspaceSpec())(on_files).definition
    assert definition.contract.shape == "workspace"
    assert definition.has_workspace
    assert definition.writes
    assert not task(workspace=WorkspaceSpec(read_only=True))(on_files).definition.writes


def test_recursive_models_are_taken() -> None:
    def grow(params: Tree) -> Tree:
        return params

    assert task(grow).definition.params_model is Tree


def test_models_that_are_declared_beside_the_task_are_found() -> None:
    class Local(BaseModel):
        x: int

    @task
    def bare(params: Local) -> Local:
        return params

    @task("named", owner_email="a@b")
    def named(params: Local) -> Local:
        return params

    @task(workspace=WorkspaceSpec())
    def files(workspace: Path, params: Local) -> Local:
        return params

    for made in (bare, named, files):
        assert made.params_model is Local


def test_async_typed_functions_are_taken() -> None:
    async def later(params: Params) -> Result:
        return Result(total=params.size)

    assert task(later).definition.contract.is_async


def no_params() -> Result:
    return Result(total=1)


def not_a_model(params: int) -> Result:
    return Result(total=params)


def bare_model(params: BaseModel) -> Result:
    return Result(total=1)


def optional(params: Params | None) -> Result:
    return Result(total=1)


def no_return(params: Params):  # type: ignore[no-untyped-def]
    return None


def with_default(params: Params = Params(Size=1)) -> Result:  # noqa: B008
    return Result(total=1)


def keyword_only(*, params: Params) -> Result:
    return Result(total=1)


def swapped(params: Params, workspace: Path) -> Result:
    return Result(total=1)


def text_path(workspace: str, params: Params) -> Result:
    return Result(total=1)


def unresolved(params: Nowhere) -> Result:  # type: ignore[name-defined]  # noqa: F821
    return Result(total=1)


def with_context(context: Any, params: Params) -> Result:
    return Result(total=1)


@pytest.mark.parametrize(
    ("fn", "keywords", "message"),
    [
        (no_params, {"owner_email": "a@b"}, r"must take exactly \(params\), not \(\)"),
        (not_a_model, {"owner_email": "a@b"}, "annotation of params must be a pydantic model"),
        (bare_model, {"owner_email": "a@b"}, "annotation of params must be a pydantic model"),
        (optional, {"owner_email": "a@b"}, "annotation of params must be a pydantic model"),
        (no_return, {}, "annotation of return must be a pydantic model"),
        (with_default, {}, "'params' must not have a default"),
        (keyword_only, {}, "'params' must be a plain parameter"),
        (on_files, {"owner_email": "a@b"}, "Did you forget workspace=WorkspaceSpec"),
        (typed, {"workspace": WorkspaceSpec()}, r"must take exactly \(workspace, params\)"),
        (swapped, {"workspace": WorkspaceSpec()}, r"must take exactly \(workspace, params\)"),
        (text_path, {"workspace": WorkspaceSpec()}, "'workspace' must be annotated pathlib.Path"),
        (unresolved, {"owner_email": "a@b"}, "annotations cannot be resolved"),
        (typed, {"inject_context": True}, "a typed task takes no context"),
        (with_context, {"owner_email": "a@b", "inject_context": True}, "takes no context"),
    ],
)
def test_a_contract_that_fits_no_shape_is_refused(
    fn: Callable[..., Any], keywords: dict[str, Any], message: str
) -> None:
    declare: Any = task
    with pytest.raises(TaskDefinitionError, match=message):
        declare(**keywords)(fn)


def test_a_class_without_a_signature_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="signature cannot be read"):
        task("x")(type)
