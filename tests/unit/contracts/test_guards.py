from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

import cloudpickle
import pytest
from pydantic import ValidationError

from handrail.contracts.guards import (
    Guardrail,
    forbid_glob,
    guardrail,
    require_dir,
    require_file,
    require_glob,
)
from handrail.errors import TaskDefinitionError

MAKERS = [require_file, require_dir, require_glob, forbid_glob]


@pytest.mark.parametrize("make", MAKERS)
def test_a_guardrail_takes_text_or_a_path(make: Any) -> None:
    assert make("a/b.csv").path == "a/b.csv"
    assert make(PurePosixPath("a/b.csv")) == make(Path("a/b.csv")) == make("a/b.csv")
    assert make("a").kind == make.__name__


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", "./a", "a/.", "..", "a/../b", "a\\b", "C:/a", "c:", "a\0b", 3,
     None, b"a"],
)  # fmt: skip
def test_a_path_that_is_not_relative_and_plain_is_refused(make: Any, path: Any) -> None:
    with pytest.raises(TaskDefinitionError, match="expected a path relative to the workspace"):
        make(path)


def test_counts_of_a_glob() -> None:
    assert (require_glob("*").min_count, require_glob("*").max_count) == (1, None)
    assert require_glob("*", min_count=None).min_count == 1
    assert require_glob("*", min_count=0, max_count=0).max_count == 0
    for counts in ({"min_count": -1}, {"max_count": -1}, {"min_count": 3, "max_count": 2}):
        with pytest.raises(TaskDefinitionError, match="count"):
            require_glob("*", **counts)
    with pytest.raises(TaskDefinitionError, match="larger than max_count"):
        require_glob("*", max_count=0)


def test_other_kinds_take_no_counts() -> None:
    with pytest.raises(ValidationError, match="require_file takes no counts"):
        Guardrail(kind="require_file", path="a", min_count=1)


def test_a_guardrail_is_frozen_and_closed() -> None:
    with pytest.raises(ValidationError):
        require_file("a").path = "b"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Guardrail(kind="require_file", path="a", why="b")  # type: ignore[call-arg]


def test_a_guardrail_of_your_own_needs_a_function_with_a_name() -> None:
    async def later(folder: Path) -> None: ...

    with pytest.raises(TaskDefinitionError, match="needs a name"):
        guardrail(lambda folder: None)
    with pytest.raises(TaskDefinitionError, match="expected a function"):
        guardrail(later)  # type: ignore[arg-type]
    with pytest.raises(TaskDefinitionError, match="expected a function"):
        guardrail("rows")(3)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="has a check"):
        Guardrail(kind="guardrail", path="rows")
    with pytest.raises(ValidationError, match="has a check"):
        Guardrail(kind="require_file", path="rows", check=lambda folder: None)


def test_a_guardrail_of_your_own_travels_to_other_processes() -> None:
    made = guardrail("rows")(lambda folder: "none")
    again = cloudpickle.loads(cloudpickle.dumps(made))
    assert (again.path, again.check(Path())) == ("rows", "none")
