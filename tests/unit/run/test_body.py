from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, computed_field

from handrail.contracts.guards import forbid_glob, require_file
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import PostGuardrailViolation, PreGuardrailViolation, TaskInputError
from handrail.run.body import run_body


class Params(BaseModel):
    size: int = Field(alias="Size")
    name: str = ""


class Leaf(BaseModel):
    x: int


class Result(BaseModel):
    total: int = Field(serialization_alias="sum", validation_alias="Total")
    leaf: Leaf = Leaf(x=0)

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return self.total * 2


class Tree(BaseModel):
    name: str
    children: list[Tree] = []


def body(
    made: Task, *, workspace: Path | None = None, context: Any = None, **arguments: Any
) -> Any:
    return run_body(made.definition, arguments, workspace=workspace, context=context)


def returning(value: Any) -> Task:
    """A typed task that returns this."""

    @task
    def made(params: Params) -> Result:
        return value  # type: ignore[no-any-return]

    return made


# Keywords


def test_arguments_go_in_by_name() -> None:
    assert body(task(lambda x, y=2: (x, y)), x=1) == (1, 2)
    assert body(task(lambda **more: more), x=1) == {"x": 1}


def test_the_context_goes_in_first() -> None:
    made = task(inject_context=True)(lambda context, x: (context, x))
    assert body(made, context="c", x=1) == ("c", 1)


def test_async_functions_are_awaited() -> None:
    async def later(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    assert body(task(later), x=1) == 2

    @task
    async def typed(params: Params) -> Result:
        await asyncio.sleep(0)
        return Result(Total=params.size)

    assert body(typed, size=3).total == 3


def test_what_a_function_raises_is_raised() -> None:
    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        body(task(fail))


# Params


@task
def show(params: Params) -> Result:
    return Result(Total=params.size)


@pytest.mark.parametrize(
    "arguments",
    [
        {"size": 3},
        {"Size": 3},
        {"size": "3"},
        {"": {"size": 3}},
        {"": Params(Size=3)},
    ],
)
def test_params_are_taken_by_name_by_alias_or_whole(arguments: dict[str, Any]) -> None:
    assert body(show, **arguments).total == 3


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({}, "Size: Field required"),
        ({"size": "many"}, "size: Input should be a valid integer"),
        ({"size": 1, "sise": 2}, "sise: Extra inputs are not permitted"),
        ({"": 5}, "Params: Input should be a valid dictionary"),
        ({"": "ab"}, "Params: Input should be a valid dictionary"),
        ({"": Leaf(x=1)}, "Extra inputs are not permitted"),
    ],
)
def test_params_that_do_not_fit_are_refused(arguments: dict[str, Any], where: str) -> None:
    with pytest.raises(TaskInputError, match="Task 'show': params do not validate") as caught:
        body(show, **arguments)
    assert where in str(caught.value)


def test_further_values_are_refused_at_any_depth() -> None:
    @task
    def grow(params: Tree) -> Tree:
        return params

    with pytest.raises(TaskInputError, match=r"children\.0\.colour"):
        body(grow, name="a", children=[{"name": "b", "colour": "red"}])


def test_a_model_that_allows_more_is_closed_too() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")

        x: int

    @task
    def show_open(params: Open) -> Open:
        return params

    with pytest.raises(TaskInputError, match="colour"):
        body(show_open, x=1, colour="red")


def test_messages_do_not_show_values() -> None:
    with pytest.raises(TaskInputError) as caught:
        body(show, size="hunter2")
    assert "hunter2" not in str(caught.value)


# Results

construct: Any = Result.model_construct


@pytest.mark.parametrize(
    "value",
    [
        Result(Total=4, leaf=Leaf(x=1)),
        {"Total": 4, "leaf": {"x": 1}},
        {"total": 4, "leaf": Leaf(x=1)},
        {"total": "4", "leaf": {"x": "1"}},
    ],
)
def test_a_result_may_be_a_model_or_a_mapping(value: Any) -> None:
    found = body(returning(value), size=1)
    assert type(found) is Result
    assert (found.total, found.leaf, found.doubled) == (4, Leaf(x=1), 8)


def test_swapped_aliases_are_no_trap() -> None:
    class Swapped(BaseModel):
        model_config = ConfigDict(populate_by_name=True)

        a: int = Field(alias="b")
        b: int = Field(alias="a")

    @task
    def show_swapped(params: Swapped) -> Swapped:
        return params

    value = Swapped.model_validate({"b": 1, "a": 2})
    assert run_body(show_swapped.definition, {"": value}) == value


def test_recursive_models_pass() -> None:
    @task
    def grow(params: Tree) -> Tree:
        return Tree(name="root", children=[params])

    found = body(grow, name="a", children=[{"name": "b"}])
    assert found.children[0].children == [Tree(name="b")]


def test_local_models_pass() -> None:
    class Local(BaseModel):
        x: int
        inner: Leaf

    @task
    def show_local(params: Local) -> Local:
        return params

    assert body(show_local, x=1, inner={"x": 2}) == Local(x=1, inner=Leaf(x=2))


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (None, "Input should be a valid dictionary"),
        (5, "Input should be a valid dictionary"),
        ({}, "Total: Field required"),
        ({"total": 1, "more": 2}, "more: Extra inputs are not permitted"),
        ({"total": 1, "leaf": {"x": 1, "y": 2}}, "leaf.y: Extra inputs are not permitted"),
        (Leaf(x=1), "Field required"),
        (construct(total="many"), "total: Input should be a valid integer"),
        (construct(), "Field required"),
    ],
)
def test_a_result_that_does_not_fit_is_refused(value: Any, where: str) -> None:
    with pytest.raises(TaskInputError, match="Task 'made': its result does not validate") as caught:
        body(returning(value), size=1)
    assert where in str(caught.value)


# Files


@task(workspace=WorkspaceSpec(pre=[require_file("in")], post=[forbid_glob("*.tmp")]))
def on_files(workspace: Path, params: Params) -> Result:
    (workspace / params.name).write_text("x")
    return Result(Total=len(list(workspace.iterdir())))


def test_a_body_works_on_its_files(tmp_path: Path) -> None:
    (tmp_path / "in").touch()
    assert body(on_files, workspace=tmp_path, size=1, name="out").total == 2


def test_guardrails_are_checked_before_and_after(tmp_path: Path) -> None:
    with pytest.raises(PreGuardrailViolation, match="pre guardrail require_file"):
        body(on_files, workspace=tmp_path, size=1, name="out")
    assert not (tmp_path / "out").exists()
    (tmp_path / "in").touch()
    with pytest.raises(PostGuardrailViolation, match=r"post guardrail forbid_glob.*a\.tmp"):
        body(on_files, workspace=tmp_path, size=1, name="a.tmp")


def test_params_are_checked_before_the_files(tmp_path: Path) -> None:
    with pytest.raises(TaskInputError):
        body(on_files, workspace=tmp_path, size="x")


def test_files_must_be_given() -> None:
    with pytest.raises(TaskInputError, match="works on files and was given none"):
        body(on_files, size=1)
