from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail.contracts.expr import Composable, parallel
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import (
    CycleError,
    MissingParameterError,
    ParallelWritersError,
    UnknownTaskError,
    WorkflowDefinitionError,
)
from handrail.flow.graph import TaskGraph
from handrail.flow.plan import Binding, Plan

a, b, c, d, e = (Task(name) for name in "abcde")


class Size(BaseModel):
    size: int


class Sized(Size):
    name: str = ""


class Total(BaseModel):
    total: int
    size: int = 0


class Done(BaseModel):
    ok: bool = True


class Wanted(BaseModel):
    size: int
    total: int = 0


def plan_of(*parts: Composable, inputs: Collection[str] = (), **more: Any) -> Plan:
    graph = TaskGraph()
    for part in parts:
        graph.include(part)
    return Plan(graph, inputs=inputs, **more)


def binding(plan: Plan, name: str, parameter: str) -> Binding:
    return next(found for found in plan.by_name[name].bindings if found.parameter == parameter)


def names(plan: Plan, indexes: Collection[int]) -> list[str]:
    return [plan.nodes[index].name for index in indexes]


def takes(name: str, *parameters: str, **keywords: Any) -> Task:
    """A task whose function has these parameters."""
    found: dict[str, Any] = {}
    exec(f"def fn({', '.join(parameters)}): ...", found)
    return task(name, **keywords)(found["fn"])


# Who waits for whom


def test_a_join_waits_for_all_of_its_parents() -> None:
    plan = plan_of(a >> b >> d, a >> c >> d)
    assert [node.name for node in plan.starts] == ["a"]
    assert [node.name for node in plan.sinks] == ["d"]
    assert plan.by_name["d"].wait_count == 2
    assert names(plan, plan.by_name["a"].successors) == ["b", "c"]


def test_a_sequence_around_a_group_has_one_start() -> None:
    plan = plan_of(a >> (b | c) >> d)
    assert [node.name for node in plan.starts] == ["a"]
    group = plan.by_name["ParallelGroup_1"]
    assert [name for name, _ in group.members] == ["b", "c"]
    assert (group.wait_count, plan.by_name["d"].wait_count) == (2, 1)


def test_members_of_nested_groups_are_found_under_the_graphs_names() -> None:
    plan = plan_of(parallel(a | b, c, name="outer") >> d)
    assert [name for name, _ in plan.by_name["outer"].members] == ["ParallelGroup_1", "c"]


def test_several_starts_all_start() -> None:
    plan = plan_of(a >> c, b >> c, d)
    assert [node.name for node in plan.starts] == ["a", "b", "d"]
    assert [node.name for node in plan.sinks] == ["c", "d"]


def test_a_start_leaves_out_what_does_not_follow_it() -> None:
    plan = plan_of(a >> b >> d, c >> d, start="b")
    assert [node.name for node in plan.nodes] == ["b", "d"]
    assert [node.name for node in plan.starts] == ["b"]
    assert plan.by_name["d"].wait_count == 1


def test_a_start_that_is_unknown_is_refused() -> None:
    with pytest.raises(UnknownTaskError, match=r"Unknown task 'x'\. Known tasks: a, b\."):
        plan_of(a >> b, start="x")


def test_an_empty_workflow_is_refused() -> None:
    with pytest.raises(WorkflowDefinitionError, match="Workflow 'etl' has no tasks"):
        plan_of(name="etl")


def test_templates_are_left_out() -> None:
    plan = plan_of(a, b, templates={"a"})
    assert [node.name for node in plan.nodes] == ["b"]


def test_light_tasks_are_those_that_may_run_between_two_looks_at_the_queue() -> None:
    async def later() -> None: ...

    plan = plan_of(
        a,
        task("timed", timeout=1)(lambda: None),
        task("later")(later),
        task("away", handler_type="process")(lambda: None),
    )
    assert [node.name for node in plan.nodes if node.is_light] == ["a"]


# Cycles


def test_a_cycle_needs_a_bound() -> None:
    for expression in (a >> b >> a, a >> a, a >> (b | c) >> a):
        with pytest.raises(CycleError, match="max_cycles=N"):
            plan_of(expression)


def test_a_bounded_cycle_has_one_loop_edge() -> None:
    bounded = task("x", max_cycles=3)(lambda: None)
    plan = plan_of(a >> bounded >> b >> bounded)
    assert names(plan, plan.by_name["b"].loop_successors) == ["x"]
    assert plan.by_name["b"].successors == []
    assert plan.by_name["x"].wait_count == 1
    assert [node.name for node in plan.starts] == ["a"]


def test_the_edge_that_was_declared_last_closes_the_cycle() -> None:
    bounded = task("x", max_cycles=3)(lambda: None)
    plan = plan_of(bounded >> b >> bounded)
    assert names(plan, plan.by_name["b"].loop_successors) == ["x"]
    assert [node.name for node in plan.starts] == ["x"]


def test_each_cycle_needs_a_bound_of_its_own() -> None:
    bounded = task("x", max_cycles=3)(lambda: None)
    with pytest.raises(CycleError, match="a >> b >> a"):
        plan_of(bounded >> c >> bounded, a >> b >> a)


def test_a_start_within_a_cycle_is_the_only_one() -> None:
    bounded = task("x", max_cycles=3)(lambda: None)
    plan = plan_of(a >> bounded >> c >> a, start="x")
    assert [node.name for node in plan.starts] == ["x"]


# Where arguments come from


def test_a_parameter_named_like_an_upstream_task_gets_its_result() -> None:
    plan = plan_of(a >> b >> takes("t", "a", "b"))
    assert binding(plan, "t", "a") == Binding("a", "result", node=plan.by_name["a"].index)
    assert binding(plan, "t", "b").source == "result"


def test_a_parameter_may_be_named_like_an_upstream_group() -> None:
    plan = plan_of(parallel(a, b, name="pair") >> takes("t", "pair"))
    assert binding(plan, "t", "pair").node == plan.by_name["pair"].index


def test_what_is_bound_comes_first_then_upstream_then_the_channel() -> None:
    made = takes("t", "a", "b", "c").instance("made", a=1)
    plan = plan_of(a >> b >> made, inputs={"a", "b", "c"})
    sources = {found.parameter: found.source for found in plan.by_name["made"].bindings}
    assert sources == {"a": "bound", "b": "result", "c": "channel"}
    assert binding(plan, "made", "a").value == 1


def test_a_task_that_is_not_upstream_gives_nothing() -> None:
    with pytest.raises(MissingParameterError, match="Task 't' needs 'b', and nothing provides"):
        plan_of(a >> takes("t", "a", "b"), b)
    plan = plan_of(a >> takes("t", "a", "b"), b, inputs={"b"})
    assert binding(plan, "t", "b").source == "channel"


def test_all_missing_parameters_are_named() -> None:
    with pytest.raises(MissingParameterError, match="needs 'x', 'y'") as caught:
        plan_of(takes("t", "x", "y"))
    assert (caught.value.task_id, caught.value.parameters) == ("t", ("x", "y"))


def test_a_default_is_enough() -> None:
    plan = plan_of(takes("t", "x=3"))
    assert binding(plan, "t", "x") == Binding("x", "channel", required=False)


def test_a_parameter_may_come_from_a_channel_that_an_ancestor_writes() -> None:
    writer = task("w", inject_context=True)(lambda context: None)
    plan = plan_of(writer >> a >> takes("t", "x"))
    assert binding(plan, "t", "x").required
    with pytest.raises(MissingParameterError):
        plan_of(takes("t", "x") >> writer)


def test_without_resolving_only_bound_parameters_are_given() -> None:
    silent = takes("t", "a", "x=1", resolve_keyword_args=False)
    plan = plan_of(a >> silent.instance("made", a=5))
    assert [found.source for found in plan.by_name["made"].bindings] == ["bound"]
    with pytest.raises(MissingParameterError, match="needs 'a'"):
        plan_of(a >> silent)


# Typed tasks


@task
def sized(params: Size) -> Sized:
    return Sized(size=params.size)


@task
def totalled(params: Size) -> Total:
    return Total(total=params.size)


@task
def wants(params: Wanted) -> Wanted:
    return params


@task
def wants_size(params: Size) -> Size:
    return params


def test_params_are_filled_whole_by_the_only_parent_of_that_type() -> None:
    plan = plan_of(sized >> wants_size, inputs={"size"})
    assert plan.by_name["wants_size"].bindings == (Binding("", "result", node=0),)


def test_params_are_filled_by_the_fields_of_the_parent_result() -> None:
    plan = plan_of(totalled >> wants, inputs={"size"})
    assert binding(plan, "wants", "total") == Binding("total", "field", nodes=(0,), required=False)
    assert binding(plan, "wants", "size").source == "field"


def test_a_field_named_like_an_ancestor_gets_its_result() -> None:
    size = task("size")(lambda: 1)
    plan = plan_of(size >> a >> wants)
    assert binding(plan, "wants", "size") == Binding("size", "result", node=0)


def test_a_plain_parent_may_turn_out_to_have_the_field() -> None:
    plan = plan_of(a >> wants)
    assert binding(plan, "wants", "size") == Binding("size", "field", nodes=(0,), required=True)


def test_a_field_that_nothing_provides_is_refused() -> None:
    with pytest.raises(MissingParameterError, match="'wants' needs 'size'"):
        plan_of(wants)
    assert binding(plan_of(wants, inputs={"size"}), "wants", "size").source == "channel"


def test_a_field_that_two_parents_have_is_refused() -> None:
    with pytest.raises(WorkflowDefinitionError, match="'size' is in the results of 'sized' and"):
        plan_of((sized | totalled) >> wants, inputs={"size"})
    bound = wants.instance("bound", size=1)
    plan = plan_of((sized | totalled) >> bound, inputs={"size"})
    assert binding(plan, "bound", "size").source == "bound"
    assert binding(plan, "bound", "total").nodes == (plan.by_name["totalled"].index,)


def test_a_parent_that_is_reached_twice_is_one_source() -> None:
    plan = plan_of((sized | a) >> wants, sized >> wants, inputs={"size"})
    assert binding(plan, "wants", "size").nodes == (plan.by_name["sized"].index,)


def test_bound_params_are_taken_whole() -> None:
    made = wants.instance("made", params=Wanted(size=1))
    assert plan_of(sized >> made, inputs={"size"}).by_name["made"].bindings == (
        Binding("", "bound", Wanted(size=1)),
    )


# Files


def on_files(name: str, **spec: Any) -> Task:
    def fn(workspace: Path, params: Size) -> Done:
        return Done()

    return task(name, workspace=WorkspaceSpec(**spec))(fn)


def files_plan(*parts: Composable) -> Plan:
    return plan_of(*parts, inputs={"size"}, has_workspace=True)


w1, w2, w3 = (on_files(name) for name in ("w1", "w2", "w3"))
r1, r2 = (on_files(name, read_only=True) for name in ("r1", "r2"))


def test_files_need_a_workspace() -> None:
    with pytest.raises(WorkflowDefinitionError, match="'w1' works on files, and its workflow has"):
        plan_of(w1, inputs={"size"})


@pytest.mark.parametrize(
    "expression", [w1 | w2, w1 >> (w2 | w3), (w1 | r1) >> a >> (w2 | w3), (a >> w1) | (b >> w2)]
)
def test_parallel_writers_are_refused(expression: Composable) -> None:
    with pytest.raises(ParallelWritersError, match=r"may run in parallel and both write"):
        files_plan(expression)


@pytest.mark.parametrize(
    ("first", "second"), [("a", "a"), ("a", "a/b"), ("/", "a"), ("a/b", "a"), ("/a", "a")]
)
def test_parallel_writers_of_overlapping_folders_are_refused(first: str, second: str) -> None:
    with pytest.raises(ParallelWritersError, match="WorkspaceSpec\\(prefix='one'\\)"):
        files_plan(on_files("one", prefix=first) | on_files("two", prefix=second))


def test_parallel_writers_with_folders_of_their_own_meet_in_who_follows() -> None:
    north, south = on_files("north", prefix="n"), on_files("south", prefix="s/a")
    first, last = on_files("first"), on_files("last", prefix="s")
    plan = files_plan(first >> (north | south) >> r1 >> last >> r2)
    assert plan.has_parallel_writers
    assert names(plan, [plan.by_name["north"].ref_source]) == ["first"]
    assert names(plan, [plan.by_name["south"].ref_source]) == ["first"]
    for name in ("r1", "last"):
        assert names(plan, plan.by_name[name].ref_sources) == ["first", "north", "south"]
    # It has seen what all others left.
    assert (plan.by_name["r2"].ref_source, plan.by_name["r2"].ref_sources) == (
        plan.by_name["last"].index,
        (),
    )


def test_a_writer_beside_a_chain_of_writers_is_parallel_to_each_of_them() -> None:
    north, then, south = (on_files(name, prefix=name) for name in ("north", "then", "south"))
    plan = files_plan((north >> then) | south)
    assert plan.has_parallel_writers
    with pytest.raises(ParallelWritersError, match=r"'(then|north)' and 'whole'"):
        files_plan((north >> then) | on_files("whole"))


def test_ordered_writers_start_from_one_another() -> None:
    plan = files_plan(w1 >> a >> (r1 | r2) >> w2 >> w3, w1 >> w3)
    sources = {node.name: names(plan, [node.ref_source]) for node in plan.nodes if node.definition}
    assert sources["r1"] == sources["r2"] == sources["w2"] == ["w1"]
    assert sources["w3"] == ["w2"]
    assert plan.by_name["w1"].ref_source == -1
    assert [node.name for node in plan.writers] == ["w1", "w2", "w3"]
    assert not plan.has_parallel_writers


def test_a_reader_beside_a_writer_starts_from_what_was_there_before() -> None:
    plan = files_plan(w1 | r1)
    assert plan.by_name["r1"].ref_source == -1


def test_without_writers_there_are_none() -> None:
    assert files_plan(r1 | r2).writers == []
    assert plan_of(a).writers == []
