from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from handrail.contracts.guards import (
    Guardrail,
    forbid_glob,
    guardrail,
    require_dir,
    require_file,
    require_glob,
)
from handrail.errors import GuardrailViolation
from handrail.run.guards import check_guardrails

FILES = [
    "top.csv",
    ".hidden",
    "raw/a.csv",
    "raw/b.txt",
    "raw/deep/c.csv",
    "raw/deep/.d",
    "a[1].txt",
    "a1.txt",
    "sp ace+(x).txt",
    "üñ.txt",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A workspace with the files above and an empty folder."""
    root = tmp_path / "workspace"
    for name in FILES:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "empty").mkdir()
    return root


def holds(root: Path, guardrail: Guardrail) -> bool:
    try:
        check_guardrails(root, [guardrail], "pre")
    except GuardrailViolation:
        return False
    return True


def count(root: Path, pattern: str) -> int:
    """How many files `require_glob` finds."""
    return next(
        number
        for number in range(len(FILES) + 1)
        if holds(root, require_glob(pattern, min_count=number, max_count=number))
    )


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*", 6),  # dotfiles count, what is in folders does not
        ("**", 10),
        ("*.csv", 1),
        ("**/*.csv", 3),
        ("raw/*", 2),
        ("raw/**", 4),
        ("raw/**/*", 4),
        ("raw/**/*.csv", 2),
        ("**/deep/**", 2),
        ("**/raw/**/c.csv", 1),
        ("**/.*", 2),
        ("?op.csv", 1),
        ("a?.txt", 1),
        ("a[1].txt", 1),
        ("a[[]1].txt", 1),
        ("a[!2].txt", 1),
        ("a[!1].txt", 0),
        ("a[0-9].txt", 1),
        ("a[9-0].txt", 0),
        ("a[^1].txt", 1),
        ("raw[!a]a.csv", 0),  # a class never spans two segments
        ("raw[/]a.csv", 0),
        ("sp ace+(x).txt", 1),
        ("sp*", 1),
        ("*ñ*", 1),
        ("top.csv", 1),
        ("top.cs", 0),
        ("TOP.csv", 0),
        ("topxcsv", 0),
        ("raw", 0),  # a folder is no file
        ("empty/**", 0),
        ("nothing/**", 0),
        ("a[", 0),
        ("**/**", 10),
        ("***", 6),
    ],
)
def test_a_pattern_finds_files_by_segments(root: Path, pattern: str, found: int) -> None:
    assert count(root, pattern) == found


@pytest.mark.parametrize(
    ("guardrail", "expected"),
    [
        (require_file("raw/a.csv"), True),
        (require_file("raw"), False),
        (require_file("raw/x.csv"), False),
        (require_file("top.csv/x"), False),
        (require_file("x" * 5000), False),
        (require_dir("raw/deep"), True),
        (require_dir("empty"), True),
        (require_dir("top.csv"), False),
        (require_dir("nothing"), False),
        (require_glob("*.txt", min_count=4), True),
        (require_glob("*.txt", min_count=5), False),
        (require_glob("*.txt", max_count=3), False),
        (require_glob("*.nothing"), False),
        (require_glob("*.nothing", min_count=0), True),
        (forbid_glob("*.nothing"), True),
        (forbid_glob("**/*.csv"), False),
        (forbid_glob("empty"), False),  # folders are forbidden, too
        (forbid_glob("empty/**"), True),
        (forbid_glob("raw/deep/**"), False),
    ],
)
def test_a_guardrail_holds_or_not(root: Path, guardrail: Guardrail, expected: bool) -> None:
    assert holds(root, guardrail) is expected


def test_messages_say_what_was_found(root: Path) -> None:
    def message(guardrail: Guardrail, phase: str = "pre") -> str:
        with pytest.raises(GuardrailViolation) as caught:
            check_guardrails(root, [guardrail], phase)
        return str(caught.value)

    assert message(require_file("x")) == "pre guardrail require_file('x') did not find a file"
    assert message(require_dir("x"), "post").startswith("post guardrail require_dir('x') did not")
    assert "matched 0 files; min_count=1" in message(require_glob("*.x"))
    assert "matched 3 files; max_count=1: raw/a.csv, raw/deep/c.csv, top.csv" in message(
        require_glob("**/*.csv", max_count=1)
    )
    assert message(forbid_glob("**")).endswith(" and 8 more")


def test_the_first_that_does_not_hold_is_told(root: Path) -> None:
    with pytest.raises(GuardrailViolation, match="'second'"):
        check_guardrails(
            root, [require_dir("raw"), require_file("second"), require_file("third")], "pre"
        )


# Links


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A file and a folder beside the workspace."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").touch()
    return folder


def test_links_that_lead_outside_satisfy_nothing(root: Path, outside: Path) -> None:
    (root / "file").symlink_to(outside / "secret")
    (root / "folder").symlink_to(outside)
    assert not holds(root, require_file("file"))
    assert not holds(root, require_dir("folder"))
    assert not holds(root, require_file("folder/secret"))


def test_links_within_are_what_they_lead_to(root: Path) -> None:
    (root / "file").symlink_to("raw/a.csv")
    (root / "folder").symlink_to("raw")
    assert holds(root, require_file("file"))
    assert holds(root, require_dir("folder"))
    assert holds(root, require_file("folder/a.csv"))


def test_a_link_is_one_file_to_a_pattern_and_is_not_entered(root: Path, outside: Path) -> None:
    (root / "link").symlink_to(outside)
    assert count(root, "link") == 1
    assert count(root, "link/**") == 0
    assert not holds(root, forbid_glob("link"))


def test_links_that_lead_nowhere_are_no_trap(root: Path) -> None:
    (root / "broken").symlink_to("nothing")
    (root / "self").symlink_to("self")
    for name in ("broken", "self"):
        assert not holds(root, require_file(name))
        assert not holds(root, require_dir(name))
        assert count(root, name) == 1


def test_a_workspace_behind_a_link_is_looked_at(root: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(root)
    assert holds(tmp_path / "alias", require_file("raw/a.csv"))
    assert count(tmp_path / "alias", "**/*.csv") == 3


def test_names_that_are_no_text_are_looked_at(root: Path) -> None:
    try:
        (root / os.fsdecode(b"odd-\xff.bin")).touch()
    except OSError:
        pytest.skip("this file system takes only text")
    assert count(root, "odd-?.bin") == 1


def test_an_empty_workspace_has_nothing(tmp_path: Path) -> None:
    guardrails: list[Any] = [forbid_glob("**"), require_glob("**", min_count=0)]
    check_guardrails(tmp_path, guardrails, "pre")
    assert not holds(tmp_path, require_glob("**"))


# Of your own


@guardrail
def few_files(folder: Path) -> str | None:
    found = sum(path.is_file() for path in folder.rglob("*"))
    return None if found < 3 else f"found {found} files, 2 at most may be there"


def test_a_guardrail_of_your_own_says_what_it_found(root: Path) -> None:
    with pytest.raises(GuardrailViolation) as caught:
        check_guardrails(root, [few_files], "post")
    assert str(caught.value) == (
        "post guardrail 'few_files': found 10 files, 2 at most may be there"
    )


@pytest.mark.parametrize("answer", [None, True])
def test_one_that_finds_nothing_holds(root: Path, answer: bool | None) -> None:
    check_guardrails(root, [guardrail("all is well")(lambda folder: answer)], "pre")


def test_one_that_says_no_or_raises_does_not_hold(root: Path) -> None:
    def asserting(folder: Path) -> None:
        raise AssertionError("3 rows")

    def broken(folder: Path) -> None:
        (folder / "absent").read_text()

    for look, words in (
        (lambda folder: False, "'rows': does not hold"),
        (lambda folder: "", "'rows': does not hold"),
        (asserting, "'rows': 3 rows"),
        (broken, "'rows': FileNotFoundError"),
    ):
        with pytest.raises(GuardrailViolation, match=words):
            check_guardrails(root, [guardrail("rows")(look)], "pre")
