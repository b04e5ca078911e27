from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from handrail.contracts.expr import Composable, ParallelGroup, Sequence, chain, composing, parallel
from handrail.contracts.task import Task, task
from handrail.errors import WorkflowDefinitionError

a, b, c, d = (Task(name) for name in "abcd")
stray: Any = len
listed: Any = [b, c]


def names(group: Composable) -> list[str]:
    assert isinstance(group, ParallelGroup)
    return [member.name for member in group.members]


def test_a_sequence_knows_its_parts() -> None:
    sequence = a >> b >> c
    assert isinstance(sequence, Sequence)
    assert [part.name for part in sequence] == ["a", "b", "c"]
    assert (len(sequence), sequence[1], sequence.leftmost, sequence.rightmost) == (3, b, a, c)
    assert list(sequence.starts()) == [a]
    assert list(sequence.ends()) == [c]
    assert repr(sequence) == "Sequence(a >> b >> c)"


def test_sequences_may_be_put_together_in_any_way() -> None:
    for sequence in ((a >> b) >> (c >> d), a >> (b >> (c >> d)), a >> b >> c >> d):
        assert [part.name for part in sequence] == ["a", "b", "c", "d"]


def test_the_arrow_may_point_left() -> None:
    assert [part.name for part in c << b] == ["b", "c"]
    # Left to right: c follows b, and what was made of that follows a.
    assert list((c << b << a).starts()) == [a]


def test_a_bar_makes_one_group() -> None:
    assert names(a | b) == ["a", "b"]
    assert names(a | b | c | d) == ["a", "b", "c", "d"]
    assert names(a | (b | c)) == ["a", "b", "c"]
    assert names((a | b) | (c | d)) == ["a", "b", "c", "d"]


def test_a_named_group_stays_a_member() -> None:
    inner = (a | b).set_group_name("inner")
    assert names(inner | c) == ["inner", "c"]
    assert names(c | inner) == ["c", "inner"]
    assert parallel(a, b, name="pair").name == "pair"


def test_groups_nest_when_they_are_said_to() -> None:
    assert len(parallel(a | b, c | d).members) == 2
    assert len(ParallelGroup([a | b, c]).members) == 2


def test_a_group_of_sequences_starts_and_ends_with_them() -> None:
    group = (a >> b) | (c >> d)
    assert list(group.starts()) == [a, c]
    assert list(group.ends()) == [group]
    assert names(group) == ["b", "d"]


def test_chain_and_parallel_are_the_operators() -> None:
    assert [part.name for part in chain(a, b, c)] == ["a", "b", "c"]  # type: ignore[attr-defined]
    assert chain(a) is a
    assert names(parallel(a, b, c)) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("compose", "message"),
    [
        (lambda: chain(), "chain requires at least one task"),
        (lambda: parallel(), "parallel requires at least two tasks"),
        (lambda: parallel(a), "parallel requires at least two tasks"),
        (lambda: ParallelGroup([]), "a group requires at least one task"),
        (lambda: chain(stray), "Is the function decorated with @task?"),
        (lambda: chain(a, stray), "Is the function decorated with @task?"),
        (lambda: parallel(a, stray), "len> cannot be composed"),
        (lambda: a >> stray, "cannot be composed with >>"),
        (lambda: a << stray, "cannot be composed with <<"),
        (lambda: a | stray, "cannot be composed with |"),
        (lambda: a >> listed, "expected a task, a chain or a group"),
    ],
)
def test_what_is_no_task_is_refused(compose: Callable[[], Any], message: str) -> None:
    with pytest.raises(WorkflowDefinitionError) as caught:
        compose()
    assert message in str(caught.value)


def test_composing_outside_a_workflow_leaves_tasks_alone() -> None:
    @task
    def one() -> None: ...

    before = dict(vars(one))
    _ = a >> (one | b) >> c
    assert vars(one) == before
    assert composing.get() is None


def test_a_long_chain_is_no_deep_recursion() -> None:
    tasks = [Task(f"t{number}") for number in range(5000)]
    sequence = chain(*tasks)
    assert list(sequence.starts()) == [tasks[0]]
    assert len(list(sequence)) == 5000  # type: ignore[call-overload]
