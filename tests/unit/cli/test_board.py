from __future__ import annotations

from handrail.cli.board import Board
from handrail.contracts import event as kinds
from handrail.contracts.event import Event
from handrail.hooks.spec import RunView

RUN = RunView("run1", "songs", 2, {"a": "direct", "b": "process", "c": "direct"}, ("a",))


def test_a_board_follows_a_task_through_its_states() -> None:
    board = Board(RUN)
    board.apply(Event(kinds.TASK_STARTED, 1000, "b", "x", {"handler": "process", "try": 1}))
    error = {"type": "builtins.ValueError", "message": "bad\nmore"}
    row = board.apply(
        Event(kinds.TASK_RETRIED, 1500, "b", "x", {"error": error, "delay_seconds": 2})
    )
    assert row is not None
    assert (row.state, row.note) == ("waiting", "ValueError: bad; again in 2.0 s")
    board.apply(Event(kinds.TASK_STARTED, 3500, "b", "y", {"handler": "process", "try": 2}))
    assert (row.state, row.note, row.seconds(4000)) == ("running", "", 0.5)
    board.apply(Event(kinds.TASK_SUCCEEDED, 5000, "b", "y", {"result": "1"}))
    assert (row.state, row.seconds(9999), row.retry_count) == ("succeeded", 1.5, 1)


def test_tasks_of_earlier_epochs_are_kept() -> None:
    board = Board(RUN)
    assert board.rows["a"].state == "kept"
    assert board.counts["kept"] == 1
    assert board.counts["queued"] == 2


def test_counts_add_up_to_the_number_of_tasks() -> None:
    board = Board(RUN)
    board.apply(Event(kinds.TASK_STARTED, 1, "b"))
    board.apply(Event(kinds.TASK_STARTED, 1, "made at run time"))
    assert sum(board.counts.values()) == len(board.rows) == 4


def test_what_fails_is_noteworthy_before_what_runs() -> None:
    board = Board(RUN)
    board.apply(Event(kinds.TASK_STARTED, 1, "b"))
    board.apply(Event(kinds.TASK_STARTED, 1, "c"))
    board.apply(Event(kinds.TASK_FAILED, 2, "c", "", {"error": {"type": "E", "message": ""}}))
    assert [row.name for row in board.noteworthy()] == ["c", "b"]


def test_what_was_under_way_at_the_end_was_given_up() -> None:
    board = Board(RUN)
    board.apply(Event(kinds.TASK_STARTED, 1000, "b"))
    board.close(2500)
    assert (board.rows["b"].state, board.rows["b"].seconds(9999)) == ("cancelled", 1.5)


def test_events_of_the_run_itself_change_no_task() -> None:
    assert Board(RUN).apply(Event(kinds.RUN_RESUMED, 1)) is None
