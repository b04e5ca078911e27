from __future__ import annotations

import enum
import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from handrail.flow.digest import code_digest
from handrail.flow.program import program_digest, value_digest

#: A program of which single lines are changed.
PROGRAM = """
import re
import string
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, wraps

from pydantic import BaseModel

from handrail import task

LIMIT = 3
BANDS = ["red", "green"]
WORDS = re.compile("[a-z]+")
calls = []
count = 0
kept = {}

class Unit(Enum):
    METRE = "m"

class Song(BaseModel):
    title: str = "Tide"

    @property
    def shown(self):
        return self.title.upper()

@dataclass
class Line:
    song: Song
    number: int = 1

def logged(fn):
    @wraps(fn)
    def call(*args, **kwargs):
        return fn(*args, **kwargs)
    return call

def scale(x, by=2):
    calls.append(x)
    return x * by

def bump():
    global count
    count += 1

@task
def other(x):
    return x - 1

def made(offset):
    def add(x):
        return x + offset
    return add

add = made(5)

@logged
def body(x, line: Line = None):
    \"\"\"One text.\"\"\"
    bump()
    kept[x] = x
    kept[x] += 1
    if count < LIMIT and WORDS.match(string.digits) is None:
        return scale(add(x)), BANDS, Unit.METRE, other.fn(x)
    return line
"""


def digest_of(text: str, name: str = "body") -> str:
    # Names of modules do not matter, their functions' files do.
    module = ModuleType("songs_program")
    sys.modules["songs_program"] = module
    try:
        exec(compile(text, "songs_program.py", "exec"), module.__dict__)
        return program_digest(module.__dict__[name])
    finally:
        del sys.modules["songs_program"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "LIMIT = 4"),
        ('["red", "green"]', '["green", "red"]'),
        ('"[a-z]+"', '"[a-y]+"'),
        ('METRE = "m"', 'METRE = "metre"'),
        ('title: str = "Tide"', 'title: str = "Anchor"'),
        ("title: str", "title: str | None"),
        ("self.title.upper()", "self.title.lower()"),
        ("number: int = 1", "number: int = 2"),
        ("return fn(*args, **kwargs)", "return fn(*args)"),
        ("x * by", "x + by"),
        ("by=2", "by=3"),
        ("return x - 1", "return x - 2"),
        ("made(5)", "made(6)"),
        ("return x + offset", "return offset + x"),
        ("bump()\n    kept", "kept"),
    ],
)
def test_a_digest_changes_with_all_that_the_function_uses(before: str, after: str) -> None:
    assert PROGRAM.count(before) == 1
    assert digest_of(PROGRAM.replace(before, after)) != digest_of(PROGRAM)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("LIMIT = 3", "# a line\n\nLIMIT = 3"),
        ("One text.", "Another text."),
        ("calls = []", "calls = [1]"),
        ("count = 0", "count = 1"),
        ("kept = {}", "kept = {1: 2}"),
        ("class Unit(", "UNUSED = 3\n\nclass Unit("),
    ],
)
def test_a_digest_stays_with_what_the_function_does_not_use_or_changes_itself(
    before: str, after: str
) -> None:
    assert PROGRAM.count(before) == 1
    assert digest_of(PROGRAM.replace(before, after)) == digest_of(PROGRAM)


def test_running_a_function_does_not_change_its_digest() -> None:
    calls: list[int] = []
    total = 0

    def body(number: int) -> int:
        nonlocal total
        total += number
        calls.append(number)
        return number

    before = program_digest(body)
    body(3)
    assert (calls, total) == ([3], 3)
    assert program_digest(body) == before


def test_what_a_closure_holds_counts() -> None:
    def made(names: list[str]) -> Callable[[], list[str]]:
        return lambda: names

    assert program_digest(made(["a"])) == program_digest(made(["a"]))
    assert program_digest(made(["a"])) != program_digest(made(["b"]))


def test_functions_of_other_modules_of_the_program_count(tmp_path: Path) -> None:
    def digest(body: str) -> str:
        (tmp_path / "tools").mkdir(exist_ok=True)
        (tmp_path / "tools" / "__init__.py").touch()
        (tmp_path / "tools" / "clean.py").write_text(f"EDGE = 3\ndef up(x):\n    return {body}\n")
        text = "import tools.clean\ndef work(x):\n    return tools.clean.up(x)\n"
        program = tmp_path / "work.py"
        program.write_text(
            f"{text}from handrail.flow.program import *\nprint(program_digest(work))"
        )
        done = subprocess.run(
            [sys.executable, "-B", str(program)], capture_output=True, text=True, check=True
        )
        return done.stdout

    assert digest("x + EDGE") == digest("x + EDGE")
    assert digest("x + EDGE") != digest("x - EDGE")


def test_digests_are_the_same_in_every_process() -> None:
    program = (
        "from handrail.flow.program import *\n"
        "from handrail.flow.digest import code_digest\n"
        "NAMES = {'alpha', 'beta', 'gamma'}\n"
        "def work(x): return x in {'delta', 'epsilon', 'zeta'} or x in NAMES\n"
        "print(program_digest(work), code_digest(work), value_digest(NAMES))\n"
    )

    def printed(seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout

    assert printed("1") == printed("2") == printed("3")


def test_what_has_no_code_has_no_digest() -> None:
    assert program_digest(functools.partial(print, 3)) == ""
    assert program_digest(print) == ""
    assert code_digest(print) == ""


class Colour(enum.Enum):
    RED = 1


@dataclass
class Pair:
    left: Any
    right: Any


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, 1.0),
        (1, True),
        ("1", 1),
        ([1, 2], (1, 2)),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
        ({1, 2}, frozenset({1, 2})),
        (Pair(1, 2), Pair(2, 1)),
        (Colour.RED, 1),
    ],
)
def test_different_values_have_different_digests(one: object, other: object) -> None:
    assert None not in (value_digest(one), value_digest(other))
    assert value_digest(one) != value_digest(other)


def test_the_order_of_a_set_does_not_count() -> None:
    names = [f"name {number}" for number in range(50)]
    turned = names[::-1]
    assert value_digest(Pair(set(names), 1)) == value_digest(Pair(set(turned), 1))


@pytest.mark.parametrize("value", [object(), lambda: 1, [object()], Pair(1, object())])
def test_what_can_only_be_pickled_has_no_digest(value: object) -> None:
    assert value_digest(value) is None
