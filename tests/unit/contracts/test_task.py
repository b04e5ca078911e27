from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import cloudpickle
import pytest
from pydantic import BaseModel

from handrail import plug
from handrail.contracts.controls import PublishBudget, RetryPolicy, TaskControls, TimeoutPolicy
from handrail.contracts.task import Task, load_module_task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import TaskDefinitionError, TaskInputError
from handrail.flow.workflow import workflow


class Params(BaseModel):
    size: int


class Result(BaseModel):
    total: int


def add(x: int, y: int = 1) -> int:
    """Adds."""
    return x + y


# Spellings


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        (task(add), "add"),
        (task()(add), "add"),
        (task("sum")(add), "sum"),
        (task(id="sum")(add), "sum"),
        (task(name="sum")(add), "sum"),
        (task("sum", handler_type="process")(add), "sum"),
    ],
)
def test_a_task_is_declared_in_any_spelling(declared: Task, name: str) -> None:
    assert (declared.task_id, declared.name, declared.__name__) == (name, name, name)
    assert declared.fn is add


@pytest.mark.parametrize("keyword", ["handler_type", "handler"])
def test_both_spellings_of_the_handler_are_taken(keyword: str) -> None:
    declare: Any = task
    assert declare(**{keyword: "process"})(add).handler_type == "process"
    assert task(add).handler_type == "direct"


def test_a_task_shows_what_its_function_says() -> None:
    declared = task(add)
    assert declared.__doc__ == "Adds."
    assert declared.__module__ == add.__module__
    assert declared.__wrapped__ is add  # type: ignore[attr-defined]


def test_what_is_declared_is_kept() -> None:
    policy = RetryPolicy(max_retries=2)
    declared = task(
        "x", description="d", max_retries=1, retry_policy=policy, max_cycles=3, timeout=1.5
    )(add)
    definition = declared.definition
    assert definition.description == "d"
    assert definition.max_cycles == 3
    assert definition.timeout_seconds == 1.5
    assert definition.retry is policy  # the policy says it in full


def test_retries_come_from_the_short_form_or_from_controls() -> None:
    controls = TaskControls(retry=RetryPolicy(count=4), timeout=TimeoutPolicy(seconds=7))

    @task(owner_email="a@b", controls=controls)
    def typed(params: Params) -> Result:
        return Result(total=params.size)

    assert task(max_retries=2)(add).definition.retry.rule().retry_count == 2
    assert typed.definition.retry.rule().retry_count == 4
    assert typed.definition.timeout_seconds == 7.0
    assert task(add).definition.retry.rule().retry_count == 0
    assert task(add).definition.timeout_seconds is None


def test_a_task_without_a_function_can_be_made() -> None:
    assert Task("test_task").task_id == "test_task"
    assert Task("test_task").fn() is None


# Refusals


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: task(5), "the id must be a string"),  # type: ignore[call-overload]
        (lambda: task("")(add), "must be a string and not blank"),
        (lambda: task("  ")(add), "must be a string and not blank"),
        (lambda: task("a/b")(add), "must not contain '/'"),
        (lambda: task("a\\b")(add), "must not contain '/'"),
        (lambda: task("a\nb")(add), "control characters"),
        (lambda: task("a", id="b")(add), "say the id once"),
        (lambda: task(id="a", name="b")(add), "say id or name, not both"),
        (lambda: task(handler="a", handler_type="b")(add), "say handler_type or handler"),
        (lambda: task(task(add)), "decorated twice"),
        (lambda: task(timeout=0)(add), "timeout=0 must be a number larger than 0"),
        (lambda: task(timeout="5")(add), "timeout='5' must be a number"),  # type: ignore[call-overload]
        (lambda: task(timeout=float("nan"))(add), "timeout=nan must be"),
        (lambda: task(timeout=True)(add), "timeout=True must be"),
        (lambda: task(max_retries=-1)(add), "max_retries=-1 must be"),
        (lambda: task(max_retries=1.5)(add), "max_retries=1.5 must be a whole number"),  # type: ignore[call-overload]
        (lambda: task(max_cycles=0)(add), "max_cycles=0 must be"),
        (lambda: task(handler_type=3)(add), "handler_type must be a str"),  # type: ignore[call-overload]
        (lambda: task(retry_policy=3)(add), "retry_policy must be a RetryPolicy, not 3"),  # type: ignore[call-overload]
        (lambda: task(controls={})(add), "controls must be a TaskControls"),  # type: ignore[call-overload]
        (lambda: task(workspace="songs")(add), "workspace must be a WorkspaceSpec"),  # type: ignore[call-overload]
        (lambda: task(description=1)(add), "description must be a str"),  # type: ignore[call-overload]
        (lambda: task(owner_email=" ")(add), "owner_email must not be blank"),
        (lambda: task(retries=3)(add), "unknown keyword 'retries'"),
        (lambda: task(max_retry=3)(add), "Did you mean 'max_retries'?"),
        (lambda: task(thing_image="x", handler="direct")(add), "unknown keyword"),
    ],
)
def test_a_declaration_that_cannot_work_is_refused(
    declare: Callable[[], object], message: str
) -> None:
    with pytest.raises(TaskDefinitionError) as caught:
        declare()
    assert message in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_a_publish_budget_needs_a_workspace() -> None:
    budget = PublishBudget(
        observed_merge_p99_seconds=1,
        safety_margin_seconds=1,
        lakefs_merge_timeout_seconds=3,
        conductor_completion_timeout_seconds=1,
        worker_shutdown_grace_seconds=1,
        heartbeat_interval_seconds=1,
    )
    with pytest.raises(TaskDefinitionError, match="publish_budget needs a workspace"):

        @task(controls=TaskControls(publish_budget=budget))
        def typed(params: Params) -> Result:
            return Result(total=params.size)


# Options of handlers


class Options(BaseModel):
    image: str
    memory_mb: int = 0


class Boxed:
    options_model = Options


@pytest.fixture
def boxed_handler() -> Iterator[str]:
    plug.handlers.register("box_ed", Boxed)
    yield "box_ed"
    plug.handlers.unregister("box_ed")


def test_options_are_kept_by_handler_without_the_prefix(boxed_handler: str) -> None:
    declared = task(handler=boxed_handler, box_ed_image="python", box_ed_memory_mb=5)(add)
    assert declared.definition.handler_options == {"box_ed": {"image": "python", "memory_mb": 5}}


def test_an_option_that_the_handler_does_not_have_is_refused(boxed_handler: str) -> None:
    with pytest.raises(TaskDefinitionError, match="Did you mean 'box_ed_image'"):
        task(handler=boxed_handler, box_ed_imag="python")(add)


def test_an_option_of_the_wrong_kind_is_refused(boxed_handler: str) -> None:
    with pytest.raises(TaskDefinitionError, match="memory_mb"):
        task(handler=boxed_handler, box_ed_image="x", box_ed_memory_mb="much")(add)


def test_options_of_a_handler_that_is_not_known_yet_are_kept() -> None:
    declared = task(handler="mine", mine_speed=3)(add)
    assert declared.definition.handler_options == {"mine": {"speed": 3}}


# Calling


def test_a_call_without_arguments_or_with_positional_ones_calls_the_function() -> None:
    assert task(add)(2, 3) == 5
    assert task(add)(2, y=5) == 7
    assert task(lambda: 7)() == 7


def test_a_call_with_keywords_makes_an_instance() -> None:
    made = task(add)(task_id="one", x=1)
    assert (made.task_id, dict(made.bound)) == ("one", {"x": 1})
    assert made.definition is not task(add).definition
    assert made() == 2


def test_an_instance_without_a_name_gets_one() -> None:
    declared = task(add)
    first, second = declared(x=1), declared(x=1)
    assert first.task_id.startswith("add_")
    assert first.task_id != second.task_id
    assert first.definition is declared.definition


def test_an_instance_of_an_instance_keeps_what_was_bound() -> None:
    made = task(add)(task_id="one", x=1)(task_id="two", y=5)
    assert made() == 6
    assert dict(made.bound) == {"x": 1, "y": 5}


def test_a_parameter_that_the_function_does_not_have_is_refused() -> None:
    with pytest.raises(TaskInputError, match=r"'add' has no parameter 'z'. It has: x, y"):
        task(add)(z=1)

    @task
    def anything(**more: int) -> dict[str, int]:
        return more

    assert anything(task_id="a", z=1)() == {"z": 1}


def test_a_typed_task_is_always_called() -> None:
    @task
    def typed(params: Params) -> Result:
        return Result(total=params.size)

    assert typed(params=Params(size=3)) == Result(total=3)
    assert typed(Params(size=3)) == Result(total=3)


def test_an_instance_of_a_typed_task_binds_params_or_fields_of_it() -> None:
    @task
    def typed(params: Params) -> Result:
        return Result(total=params.size)

    assert dict(typed.instance("a", params=Params(size=1)).bound) == {"params": Params(size=1)}
    assert dict(typed.instance("b", size=1).bound) == {"size": 1}
    with pytest.raises(TaskInputError, match=r"no parameter 'sise'\. Did you mean 'size'"):
        typed.instance("c", sise=1)


def test_a_task_outlives_pickling() -> None:
    made = cloudpickle.loads(cloudpickle.dumps(task("sum", max_cycles=2)(add)(task_id="s", x=1)))
    assert (made.task_id, made(), made.definition.max_cycles) == ("s", 2, 2)


def test_only_typed_tasks_have_models() -> None:
    with pytest.raises(TaskInputError, match="'add' is not typed"):
        _ = task(add).params_model
    with pytest.raises(TaskInputError, match="'add' is not typed"):
        _ = task(add).output_model


def test_a_task_with_a_workspace_does_not_run_alone() -> None:
    from pathlib import Path

    @task(workspace=WorkspaceSpec())
    def build(workspace: Path, params: Params) -> Result:
        return Result(total=params.size)

    with pytest.raises(TaskInputError, match="works on files"):
        build.run(size=1)


def test_a_task_runs_alone() -> None:
    @task
    def typed(params: Params) -> Result:
        return Result(total=params.size)

    assert task(add).run(x=1) == 2
    assert typed.run(size=4) == Result(total=4)


def test_a_task_that_is_declared_while_composing_is_taken_in() -> None:
    with workflow("flow") as flow:

        @task
        def first() -> int:
            return 1

        first(task_id="second")

    assert list(flow.graph) == ["first", "second"]


# Modules with a task


@pytest.fixture
def module() -> Iterator[ModuleType]:
    made = ModuleType("made_for_a_test")
    sys.modules[made.__name__] = made
    yield made
    del sys.modules[made.__name__]


def in_module(module: ModuleType, name: str) -> Task:
    def fn() -> None: ...

    fn.__module__ = module.__name__
    return task(name)(fn)


def test_the_one_task_of_a_module_is_found(module: ModuleType) -> None:
    declared = in_module(module, "only")
    vars(module)["only"] = vars(module)["again"] = declared
    vars(module)["imported"] = task(add)
    assert load_module_task(module.__name__) is declared.definition


def test_a_module_with_no_task_or_several_is_refused(module: ModuleType) -> None:
    vars(module)["imported"] = task(add)
    with pytest.raises(TaskDefinitionError, match="exactly one task; found none"):
        load_module_task(module.__name__)
    vars(module)["one"], vars(module)["two"] = in_module(module, "one"), in_module(module, "two")
    with pytest.raises(TaskDefinitionError, match="exactly one task; found one, two"):
        load_module_task(module.__name__)


@pytest.mark.parametrize("target", ["", "a/b", "a.py:x", "a..b", "1a", "a b"])
def test_a_target_that_is_no_module_name_is_refused(target: str) -> None:
    with pytest.raises(TaskDefinitionError, match="not a module name"):
        load_module_task(target)


def test_a_module_that_cannot_be_imported_is_refused() -> None:
    with pytest.raises(TaskDefinitionError, match="cannot be imported"):
        load_module_task("handrail_has_no_such_module")
