from __future__ import annotations

from handrail.cli.timeline import Axis, timeline
from handrail.run.history import AttemptHistory, RunHistory, TaskHistory


def _attempt(started_at: int, finished_at: int | None, state: str = "succeeded") -> AttemptHistory:
    return AttemptHistory("x", 1, 1, state, started_at, finished_at)


def _run(*tasks: TaskHistory) -> RunHistory:
    return RunHistory(
        run_id="1",
        workflow="songs",
        state="succeeded",
        reference=None,
        key=None,
        inputs="{}",
        started_at=0,
        finished_at=None,
        reason=None,
        epochs=(),
        target=None,
        base_ref=None,
        ref=None,
        pipeline=None,
        watermark=None,
        next_watermark=None,
        tasks=tasks,
        edges=(),
    )


def test_bars_stand_where_their_time_is() -> None:
    run = _run(
        TaskHistory("a", attempts=(_attempt(0, 500),)),
        TaskHistory("b", attempts=(_attempt(500, 1000),)),
        TaskHistory("never ran"),
    )
    lines = [line.plain for line in timeline(run, 23, now=1000)]
    assert lines[:2] == ["a  " + "━" * 10, "b  " + " " * 10 + "━" * 9]
    assert len(lines) == 3
    assert lines[2].endswith("+1.0 s")


def test_a_wait_between_tries_is_drawn() -> None:
    task = TaskHistory("a", attempts=(_attempt(0, 400, "failed"), _attempt(420, 1000)))
    line = timeline(_run(task), 103, now=0)[0]
    assert line.plain == "a  " + "━" * 40 + "┄" * 2 + "━" * 57


def test_a_night_between_two_epochs_is_cut_out() -> None:
    night = 10 * 3600 * 1000
    task = TaskHistory("a", attempts=(_attempt(0, 500, "crashed"), _attempt(night, night + 500)))
    line = timeline(_run(task), 24, now=0)[0].plain
    assert line == "a  " + "━" * 10 + "┊" + "━" * 9


def test_what_still_runs_ends_now() -> None:
    run = _run(
        TaskHistory("a", attempts=(_attempt(0, 500),)),
        TaskHistory("b", attempts=(_attempt(0, None, "running"),)),
    )
    lines = timeline(run, 23, now=1000)
    assert lines[1].plain.count("━") > lines[0].plain.count("━")


def test_of_many_tasks_those_that_took_longest_are_drawn_in_order() -> None:
    run = _run(*(TaskHistory(f"t{n}", attempts=(_attempt(0, 10 + n % 3),)) for n in range(9)))
    lines = [line.plain for line in timeline(run, 40, now=0, most=3)]
    assert [line.split()[0] for line in lines[:3]] == ["t2", "t5", "t8"]
    assert lines[-1] == "and 6 shorter tasks"


def test_nothing_is_drawn_where_nothing_was_attempted_or_nothing_fits() -> None:
    assert timeline(_run(TaskHistory("a")), 80, now=0) == []
    assert timeline(_run(TaskHistory("a", attempts=(_attempt(0, 5),))), 10, now=0) == []


def test_attempts_without_length_have_a_place() -> None:
    axis = Axis([(7, 7)], 20)
    assert axis.column(7) == 0
