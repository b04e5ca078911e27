from __future__ import annotations

import pytest

from handrail.errors import UnknownRefError, UnknownTaskError
from handrail.run.files import FilesOf, left_by, seen_by
from handrail.run.history import AttemptHistory, RunHistory, TaskHistory

BASE, FIRST, SECOND = "a" * 64, "b" * 64, "c" * 64

CLEAN = TaskHistory(
    "clean",
    "succeeded",
    attempts=(
        AttemptHistory("r1-1-1", 1, 1, "failed", input_ref=BASE, prefix="raw"),
        AttemptHistory("r1-1-2", 2, 1, "succeeded", input_ref=FIRST, prefix="raw"),
    ),
    output_ref=SECOND,
)
COUNT = TaskHistory("count", attempts=(AttemptHistory("r1-1-3", 1, 1, "succeeded"),))


def run(
    state: str = "succeeded", ref: str | None = SECOND, target: str | None = "songs@main"
) -> RunHistory:
    return RunHistory(
        run_id="r1",
        workflow="songs",
        state=state,
        reference=None,
        key=None,
        inputs="{}",
        started_at=0,
        finished_at=None,
        reason=None,
        epochs=(),
        target=target,
        base_ref=BASE if target else None,
        ref=ref,
        pipeline=None,
        watermark=None,
        next_watermark=None,
        tasks=(CLEAN, COUNT, TaskHistory("later")),
        edges=(),
    )


def test_a_run_saw_its_base_and_left_what_it_published() -> None:
    assert seen_by(run()) == FilesOf("songs", BASE)
    assert left_by(run()) == FilesOf("songs", SECOND)


def test_an_attempt_saw_its_folder_of_its_input() -> None:
    assert seen_by(run(), "clean") == FilesOf("songs", FIRST, "raw", "r1-1-2")
    assert seen_by(run(), "clean", "1-1") == FilesOf("songs", BASE, "raw", "r1-1-1")
    assert seen_by(run(), "clean", "r1-1-1") == FilesOf("songs", BASE, "raw", "r1-1-1")
    assert left_by(run(), "clean") == FilesOf("songs", SECOND, "raw", "r1-1-2")


def test_an_attempt_that_was_not_accepted_left_nothing() -> None:
    with pytest.raises(UnknownRefError, match=r"r1-1-1 of task 'clean' \(failed\) left nothing"):
        left_by(run(), "clean", "1-1")


def test_a_run_that_published_nothing_left_nothing() -> None:
    with pytest.raises(UnknownRefError, match=r"\(failed\) has published nothing.*r1/TASK"):
        left_by(run("failed", None), last=SECOND)
    assert left_by(run(ref=None), last=SECOND) == FilesOf("songs", SECOND)


@pytest.mark.parametrize(
    ("task", "attempt", "problem"),
    [
        ("count", None, "works on no files"),
        ("later", None, "never began"),
        ("clean", "9-9", "No one attempt '9-9'.*Known: r1-1-1, r1-1-2"),
        ("clean", "", "No one attempt"),
    ],
)
def test_what_saw_no_files_is_told(task: str, attempt: str | None, problem: str) -> None:
    with pytest.raises(UnknownRefError, match=problem):
        seen_by(run(), task, attempt)


def test_a_task_that_is_not_there_is_told() -> None:
    with pytest.raises(UnknownTaskError, match="Known tasks: clean, count, later"):
        seen_by(run(), "cleen")


def test_a_run_without_a_workspace_saw_no_files() -> None:
    with pytest.raises(UnknownRefError, match="its workflow has no workspace"):
        seen_by(run(target=None))
