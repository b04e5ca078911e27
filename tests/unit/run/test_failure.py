from __future__ import annotations

import json
from pathlib import Path

from handrail import GuardrailViolation, check_guardrails, require_file
from handrail.run.failure import MESSAGE_LENGTH, TRACEBACK_LENGTH, describe, one_line


class OwnError(Exception):
    pass


class Broken(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


def raised(error: BaseException) -> BaseException:
    try:
        secret_local = "hunter2"  # noqa: F841
        raise error
    except BaseException as caught:
        return caught


def test_an_error_is_type_message_and_traceback() -> None:
    data = describe(raised(ValueError("bad")))
    assert (data["type"], data["message"]) == ("ValueError", "bad")
    assert "raise error" in data["traceback"]
    assert describe(OwnError())["type"] == f"{__name__}.OwnError"
    assert json.loads(json.dumps(data)) == data


def test_causes_are_told() -> None:
    error = OwnError("outer")
    error.__cause__ = raised(KeyError("inner"))
    assert "KeyError: 'inner'" in describe(error)["traceback"]


def test_what_the_engine_itself_raised_is_told_without_a_traceback(tmp_path: Path) -> None:
    try:
        check_guardrails(tmp_path, [require_file("a")], "pre")
    except GuardrailViolation as error:
        error.__traceback__ = error.__traceback__ and error.__traceback__.tb_next
        text = describe(error)["traceback"]
    assert text.startswith("handrail.errors.GuardrailViolation: pre guardrail")
    assert "File" not in text


def test_long_texts_are_cut() -> None:
    data = describe(raised(ValueError("x" * 200_000)))
    assert len(data["message"]) == MESSAGE_LENGTH
    assert len(data["traceback"]) == TRACEBACK_LENGTH


def test_an_error_that_cannot_tell_its_message_is_told() -> None:
    assert describe(raised(Broken()))["message"] == "<its message cannot be read: RuntimeError>"
    assert one_line(Broken()).startswith("Broken: <its message")


def test_one_line_is_type_and_first_line() -> None:
    assert one_line(ValueError("\n first\nsecond")) == "ValueError: first"
    assert one_line(ValueError()) == "ValueError"
    assert one_line(ValueError("  ")) == "ValueError"
