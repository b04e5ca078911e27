from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import typer

from handrail.cli.running import _inputs


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("a=1", 1),
        ("a=1.5", 1.5),
        ("a=null", None),
        ("a=[1, 2]", [1, 2]),
        ('a="1"', "1"),
        ("a=UA", "UA"),
        ("a=x=y", "x=y"),
        ("a=", ""),
        ("a=NaN", "NaN"),
    ],
)
def test_a_value_is_json_or_else_text(pair: str, value: Any) -> None:
    assert _inputs([pair], None) == {"a": value}


def test_inputs_on_the_line_come_before_those_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "in.json"
    file.write_text(json.dumps({"a": 1, "b": [2]}))
    assert _inputs(["a=7"], str(file)) == {"a": 7, "b": [2]}


@pytest.mark.parametrize("content", ["[1]", "{", "nothing"])
def test_a_file_without_a_json_object_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "in.json"
    file.write_text(content)
    with pytest.raises(typer.BadParameter):
        _inputs([], str(file))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(typer.BadParameter, match="No such file"):
        _inputs([], str(tmp_path / "nope.json"))


@pytest.mark.parametrize("pair", ["a", "=1"])
def test_an_input_without_a_name_is_refused(pair: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected NAME=VALUE"):
        _inputs([pair], None)
