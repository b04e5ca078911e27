from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handrail.contracts.expr import ParallelGroup, chain, composing, parallel
from handrail.contracts.task import Task, task
from handrail.contracts.workspace import BranchName
from handrail.errors import DuplicateTaskError, TaskDefinitionError, WorkflowDefinitionError
from handrail.flow.workflow import workflow


def tasks(names: str) -> list[Task]:
    return [Task(name) for name in names]


def edges(flow: workflow) -> list[str]:
    return sorted(f"{before}>{after}" for before, after in flow.graph.edges())


# Declaring


def test_a_workflow_has_the_documented_defaults() -> None:
    flow = workflow("etl")
    assert (flow.name, flow.pipeline, flow.publish, flow.workspace) == ("etl", "etl", "run", None)
    assert flow.module == __name__
    assert workflow("etl", workspace="songs@dev").workspace == BranchName("songs", "dev")


@pytest.mark.parametrize("name", ["", "  ", None, 3])
def test_a_name_that_cannot_be_is_refused(name: Any) -> None:
    with pytest.raises(WorkflowDefinitionError, match="must be a string, not blank"):
        workflow(name)


def test_other_arguments_that_cannot_be_are_refused() -> None:
    with pytest.raises(WorkflowDefinitionError, match="expected 'run' or 'task'"):
        workflow("etl", publish="never")
    with pytest.raises(TaskDefinitionError, match="expected 'repository'"):
        workflow("etl", workspace="so ngs")
    stray: Any = len
    with pytest.raises(WorkflowDefinitionError, match="Is it decorated with @task"):
        workflow("etl", stray)


# Composing


def test_composing_inside_adds_at_once_and_outside_does_not() -> None:
    a, b, c = tasks("abc")
    with workflow("flow") as flow:
        _ = a >> b
    _ = b >> c
    assert edges(flow) == ["a>b"]
    assert composing.get() is None


def test_an_error_while_composing_ends_it() -> None:
    with pytest.raises(KeyError), workflow("flow"):
        raise KeyError
    assert composing.get() is None


def test_workflows_may_be_composed_within_one_another() -> None:
    a, b, c, d = tasks("abcd")
    with workflow("outer") as outer:
        _ = a >> b
        with workflow("inner") as inner:
            _ = c >> d
        _ = b >> c
    assert (edges(outer), edges(inner)) == (["a>b", "b>c"], ["c>d"])


def test_a_factory_fills_a_workflow() -> None:
    a, b, c = tasks("abc")

    @workflow("flow")
    def flow() -> Any:
        _ = a >> b
        return b >> c

    assert isinstance(flow, workflow)
    assert edges(flow) == ["a>b", "b>c"]


def test_parts_may_be_given() -> None:
    a, b, c = tasks("abc")
    assert edges(workflow("flow", a >> b, c)) == ["a>b"]
    assert "c" in workflow("flow", a >> b, c).graph


def test_an_expression_made_outside_is_added_whole() -> None:
    a, b, c, d, e = tasks("abcde")
    made = a >> (b | c)
    ways: list[Callable[[], object]] = [
        lambda: made >> d,
        lambda: chain(made, d),
        lambda: parallel(made >> d, e),
    ]
    for compose in ways:
        with workflow("flow") as flow:
            compose()
        assert {"a>b", "a>c", "b>ParallelGroup_1", "ParallelGroup_1>d"} <= {
            edge.replace("_2", "_1") for edge in edges(flow)
        }


def test_an_expression_of_another_workflow_is_added_whole() -> None:
    a, b, c, d = tasks("abcd")
    with workflow("first"):
        made = a >> b >> c
    with workflow("second") as second:
        _ = made >> d
    assert edges(second) == ["a>b", "b>c", "c>d"]


def test_an_expression_may_end_with_one_made_outside() -> None:
    a, b, c, d = tasks("abcd")
    made = b >> c >> d
    with workflow("flow") as flow:
        _ = a >> made
    assert edges(flow) == ["a>b", "b>c", "c>d"]


def test_a_single_task_in_a_chain_is_added() -> None:
    (a,) = tasks("a")
    with workflow("flow") as flow:
        chain(a)
    assert list(flow.graph) == ["a"]


def test_a_bar_makes_one_group_in_the_graph() -> None:
    a, b, c, d, e = tasks("abcde")
    with workflow("flow") as flow:
        _ = a >> (b | c | d) >> e
    assert [name for name in flow.graph if len(name) > 1] == ["ParallelGroup_1"]
    assert flow.graph.predecessors("ParallelGroup_1") == ["b", "c", "d"]
    assert flow.graph.get_start_nodes() == ["a"]


def test_a_group_that_something_follows_stays_whole() -> None:
    a, b, c, d = tasks("abcd")
    with workflow("flow") as flow:
        pair = a | b
        _ = pair >> c
        wide = pair | d
    assert [member.name for member in wide.members] == [pair.name, "d"]
    assert flow.graph.predecessors("c") == [pair.name]


def test_a_group_is_renamed_where_it_stands() -> None:
    a, b, c = tasks("abc")
    with workflow("flow") as flow:
        pair = (a | b).set_group_name("pair")
        _ = pair >> c
    assert edges(flow) == ["a>pair", "b>pair", "pair>c"]
    with workflow("other") as other:
        second = a | b
        _ = second >> c
        second.set_group_name("later")
    assert edges(other) == ["a>later", "b>later", "later>c"]


def test_a_group_is_not_renamed_to_a_name_that_is_taken() -> None:
    a, b = tasks("ab")
    with workflow("flow"), pytest.raises(DuplicateTaskError):
        (a | b).set_group_name("a")


def test_groups_get_free_names() -> None:
    a, b, c, d = tasks("abcd")
    taken = Task("ParallelGroup_1")
    with workflow("flow") as flow:
        flow.add(taken)
        assert (a | b).name == "ParallelGroup_2"
        assert (c | d).name == "ParallelGroup_3"


def test_names_are_unique_in_a_workflow() -> None:
    with pytest.raises(DuplicateTaskError, match=r"b\(task_id=\.\.\.\)"), workflow("flow"):
        _ = Task("a") >> Task("b") >> Task("b")


# Instances


def test_a_template_is_not_run() -> None:
    with workflow("flow") as flow:

        @task
        def load(path: str) -> str:
            return path

        _ = load(task_id="one", path="a") >> load(task_id="two", path="b")

    assert flow.templates() == {"load"}


def test_a_task_that_is_composed_itself_is_no_template() -> None:
    with workflow("flow") as flow:

        @task
        def load(path: str = "") -> str:
            return path

        _ = load >> load(task_id="two", path="b")

    assert flow.templates() == set()


def test_an_instance_that_was_only_mapped_is_a_template() -> None:
    with workflow("flow") as flow:

        @task
        def load(path: str, base: str) -> str:
            return base + path

        load(task_id="local", base="/data").map(["a", "b"], task_id="files")

    assert flow.templates() == {"load", "local"}


def test_instances_made_outside_are_added_where_they_are_composed() -> None:
    load = task(lambda path: path)
    one, two = load(task_id="one", path="a"), load(task_id="two", path="b")
    with workflow("flow") as flow:
        _ = one | two
    assert list(flow.graph) == ["one", "two", "ParallelGroup_1"] or isinstance(
        flow.graph.get_node("ParallelGroup_1"), ParallelGroup
    )
    assert flow.templates() == set()


def test_one_task_stands_in_several_workflows() -> None:
    a, b, c = tasks("abc")
    with workflow("first") as first:
        _ = a >> b
    with workflow("second") as second:
        _ = a >> c
    assert (edges(first), edges(second)) == (["a>b"], ["a>c"])


def test_a_workflow_is_drawn() -> None:
    a, b = tasks("ab")
    flow = workflow("flow", a >> b)
    assert "after a" in flow.draw()
    assert flow.draw("mermaid").startswith("flowchart LR")
    assert repr(flow) == "workflow('flow', 2 nodes)"


def test_watchers_are_kept_as_they_are_said() -> None:
    assert workflow("flow", watchers=["console", "pkg:Mine"]).watchers == ("console", "pkg:Mine")
    assert workflow("flow").watchers == ()


@pytest.mark.parametrize("said", ["console", 3, None])
def test_watchers_that_are_no_list_are_refused(said: Any) -> None:
    with pytest.raises(WorkflowDefinitionError, match=r"expected a list, such as \['console'\]"):
        workflow("flow", watchers=said)
