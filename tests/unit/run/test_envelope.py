from __future__ import annotations

import functools
import os
import threading
import types
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from handrail.contracts.attempt import Attempt
from handrail.contracts.task import Task, task
from handrail.errors import (
    AttemptTimeout,
    DuplicateTaskError,
    HandlerError,
    NotSerializableError,
    RemoteError,
    TaskFailed,
    WatcherAPIError,
)
from handrail.ids import Token
from handrail.run.crossing import definition_at, dumps, function_at, loads
from handrail.run.envelope import (
    Envelope,
    Reply,
    open_arguments,
    open_code,
    open_reply,
    refuse,
    reply_with,
    seal,
)
from handrail.run.frames import Content, read_frame, write_frame

LOCK = threading.Lock()
ATTEMPT = Attempt("r-1-1", "r", "shape", "r/shape", Token(1, 1))


@task
def at_module_level(x: int) -> int:
    with LOCK:
        return x


def plain() -> int:
    return 3


made_of_plain = task("another_name")(plain)


class Rows(BaseModel):
    rows: list[Any] = []
    model_config = {"arbitrary_types_allowed": True}


class Pool:
    def __init__(self) -> None:
        self.name = "pool"
        self.lock = threading.Lock()

    def take(self) -> None: ...


class Slotted:
    __slots__ = ("handle",)

    def __init__(self) -> None:
        self.handle = threading.Lock()


class Refused(Exception):
    def __init__(self, code: int, *, hint: str) -> None:
        self.code = code
        self.hint = hint
        super().__init__(f"refused with {code}: {hint}")


class CannotComeBack(Exception):
    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise ValueError("no way back")


def sealed(made: Task, arguments: dict[str, Any], workspace: Path | None = None) -> Envelope:
    return seal(made.definition, ATTEMPT, arguments, workspace)


def through(error: BaseException) -> BaseException:
    """The error that is raised on the near side when `error` was raised on the far side."""
    try:
        raise error
    except BaseException as caught:
        parts = refuse(caught).pack()
    with pytest.raises(BaseException) as raised:  # noqa: PT011 - any error may come
        open_reply(Reply.unpack(parts), "task 'shape'")
    return raised.value


# Code


def test_an_importable_task_travels_by_name() -> None:
    envelope = sealed(at_module_level, {"x": 1})
    assert b"at_module_level" in envelope.code
    assert len(envelope.code) < 200
    assert open_code(envelope, envelope.code) is at_module_level.definition


def test_a_task_under_another_name_takes_its_function_by_name() -> None:
    envelope = sealed(made_of_plain, {})
    found = open_code(envelope, envelope.code)
    assert found.fn is plain
    assert found.name == "another_name"


def test_a_closure_travels_by_value() -> None:
    offset = 40

    @task
    def add(x: int) -> int:
        return x + offset

    envelope = sealed(add, {"x": 2})
    assert open_code(envelope, envelope.code).fn(2) == 42


def test_a_closure_that_calls_an_importable_task_takes_it_by_name() -> None:
    inner = at_module_level.fn

    @task
    def outer(x: int) -> Any:
        return inner(x)

    # The module's lock could not be copied, and need not be.
    envelope = sealed(outer, {"x": 2})
    assert open_code(envelope, envelope.code).fn(7) == 7


def test_the_digest_names_the_code() -> None:
    def make(offset: int) -> Task:
        @task
        def add(x: int) -> int:
            return x + offset

        return add

    first = make(1)
    assert sealed(first, {"x": 1}).digest == sealed(first, {"x": 2}).digest
    assert sealed(first, {"x": 1}).digest != sealed(make(2), {"x": 1}).digest


def test_a_name_that_leads_to_no_task_is_refused() -> None:
    reference = f"{__name__}:plain"
    with pytest.raises(ImportError, match="function here, not a task"):
        definition_at(reference)
    assert function_at(f"{__name__}:at_module_level") is at_module_level.fn


def test_code_that_cannot_be_read_says_what_to_do() -> None:
    envelope = sealed(at_module_level, {"x": 1})
    code = bytes(envelope.code).replace(b"at_module_level", b"at_nodule_level")
    with pytest.raises(NotSerializableError, match=r"its code cannot be read.*sys\.path"):
        open_code(envelope, code)


# Arguments


@pytest.mark.parametrize(
    "value", [None, 0, "text", b"bytes", [1, {"a": (2, 3)}], {4, 5}, Rows(rows=[Rows()])]
)
def test_arguments_arrive_as_they_were(value: object) -> None:
    envelope = sealed(at_module_level, {"x": value})
    again = Envelope.unpack(envelope.pack())
    assert open_arguments(again) == {"x": value}
    assert again.attempt == ATTEMPT
    assert again.digest == envelope.digest


def test_the_workspace_travels_as_a_path(tmp_path: Path) -> None:
    assert sealed(at_module_level, {}, tmp_path).workspace == str(tmp_path)
    assert sealed(at_module_level, {}).workspace is None


def test_an_argument_that_cannot_leave_is_named() -> None:
    with pytest.raises(NotSerializableError) as raised:
        sealed(at_module_level, {"x": 1, "pools": {"a": [1, Pool()]}})
    text = str(raised.value)
    assert "Task 'shape': argument 'pools'" in text
    assert "cannot pickle '_thread.lock' object" in text
    assert "['a'][1].lock" in text
    assert "handler_type='direct'" in text


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (Slotted(), "(in handle)"),
        (Rows(rows=[1, LOCK]), "(in rows[1])"),
        (functools.partial(isinstance, LOCK), "(in args[0])"),
        (Pool().take, "(in __self__.lock)"),
        ({"a": {1: LOCK}}, "(in ['a'][1])"),
        (LOCK, "cannot pickle '_thread.lock' object."),
    ],
)
def test_the_innermost_part_is_named(value: object, path: str) -> None:
    with pytest.raises(NotSerializableError) as raised:
        dumps(value, "value")
    assert path in str(raised.value)


def test_a_value_that_contains_itself_is_searched_once() -> None:
    circle: dict[str, Any] = {"lock": threading.Lock()}
    circle["self"] = circle
    with pytest.raises(NotSerializableError, match=r"\['lock'\]"):
        dumps(circle, "value")


def test_a_closure_variable_that_cannot_leave_is_named() -> None:
    gate = threading.Lock()

    @task
    def guarded() -> None:
        with gate:
            pass

    with pytest.raises(NotSerializableError) as raised:
        sealed(guarded, {})
    assert "Task 'shape': its function" in str(raised.value)
    assert "closure variable 'gate' of guarded()" in str(raised.value)


def test_a_global_or_default_that_cannot_leave_is_named() -> None:
    source = "def uses_global():\n    return HANDLE\n\ndef uses_default(a=HANDLE):\n    return a\n"
    module = types.ModuleType("made_up")
    vars(module).update(HANDLE=threading.Lock(), __name__="__main__")
    exec(source, vars(module))
    with pytest.raises(NotSerializableError, match=r"global variable 'HANDLE' of uses_global"):
        dumps(module.uses_global, "function")
    with pytest.raises(NotSerializableError, match=r"default of uses_default"):
        dumps(module.uses_default, "function")


# Replies


def test_a_reply_gives_back_the_result() -> None:
    reply = Reply.unpack(reply_with(Rows(rows=[1]), "result").pack())
    assert open_reply(reply, "task 'shape'") == Rows(rows=[1])
    assert open_reply(Reply.unpack(reply_with(None, "result").pack()), "task 'shape'") is None


def test_a_result_that_cannot_leave_is_named() -> None:
    reply = reply_with({"pool": Pool()}, "task 'shape': its result")
    with pytest.raises(NotSerializableError) as raised:
        open_reply(reply, "task 'shape'")
    assert "Task 'shape': its result" in str(raised.value)
    assert "['pool'].lock" in str(raised.value)


def test_a_result_that_cannot_be_read_is_an_error_of_the_task() -> None:
    reply = Reply(result=b"cno_such_module\nthing\n.")
    with pytest.raises(NotSerializableError, match="Task 'shape': its result cannot be read"):
        open_reply(reply, "task 'shape'")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("bad value"),
        KeyError("key"),
        OSError(2, "No such file", "x.txt"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SystemExit(3),
        TaskFailed("again"),
        Refused(7, hint="ask first"),
        AttemptTimeout("shape", 2.5, stopped=True),
        DuplicateTaskError("shape"),
        WatcherAPIError("no", status_code=404),
        ExceptionGroup("many", [ValueError("one")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_keeps_type_message_and_attributes(error: BaseException) -> None:
    found = through(error)
    assert type(found) is type(error)
    assert str(found) == str(error)
    for name, value in vars(error).items():
        if name != "__notes__":
            assert getattr(found, name) == value
    assert any("test_envelope.py" in note for note in found.__notes__)


def test_an_attribute_that_cannot_leave_does_not_cost_the_error_its_type() -> None:
    error = Refused(7, hint="ask")
    error.handle = LOCK  # type: ignore[attr-defined]
    found = through(error)
    assert isinstance(found, Refused)
    assert found.code == 7
    assert not hasattr(found, "handle")


def test_an_error_that_cannot_come_back_is_told_in_words() -> None:
    class Local(CannotComeBack):
        def __init__(self) -> None:
            super().__init__(threading.Lock())

        def __str__(self) -> str:
            return "the river is high"

    found = through(Local())
    assert type(found) is RemoteError
    assert "Local: the river is high" in str(found)
    assert vars(found)["type_name"].endswith("Local")
    assert vars(found)["message"] == "the river is high"
    assert vars(found)["retryable"] is True
    assert "the river is high" in vars(found)["traceback"]


def test_an_error_whose_class_is_unknown_here_is_told_in_words() -> None:
    reply = refuse(ValueError("x"))
    assert reply.failure is not None
    content = dumps(Refused(7, hint="ask"), "error").replace(b"Refused", b"Unknown")
    failure = type(reply.failure)(content, "lib.Unknown", "lost", "Traceback", False)
    with pytest.raises(HandlerError, match=r"task 'shape': lib\.Unknown: lost") as raised:
        open_reply(Reply(failure=failure), "task 'shape'")
    assert raised.value.retryable is False


def test_an_error_with_a_broken_message_is_still_told() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    assert "cannot be read: RuntimeError: no words" in str(through(Broken()))


def test_the_traceback_starts_in_the_body() -> None:
    def body() -> None:
        raise ValueError("deep")

    found: BaseException | None = None
    try:
        body()
    except ValueError as error:
        found = through(error)
    assert found is not None
    assert "in body" in found.__notes__[0]


# Frames


def _written(parts: list[Content]) -> list[Content] | None:
    read_end, write_end = os.pipe()
    writer = threading.Thread(target=write_frame, args=(write_end, parts))
    writer.start()
    try:
        return read_frame(read_end)
    finally:
        writer.join()
        os.close(read_end)
        os.close(write_end)


@pytest.mark.parametrize(
    "parts",
    [[], [b""], [b"a"], [b"", b"a", b""], [b"x" * 65536], [b"y" * 3_000_001, b"", b"z" * 70_000]],
    ids=lambda parts: "-".join(str(len(part)) for part in parts) or "none",
)
def test_a_frame_arrives_as_it_was_written(parts: list[Content]) -> None:
    assert _written(parts) == parts


@pytest.mark.parametrize("length", [0, 2, 4, 7, 12, 20])
def test_a_frame_that_is_cut_off_is_the_end(length: int) -> None:
    read_end, write_end = os.pipe()
    write_frame(write_end, [b"some content"])
    os.close(write_end)
    whole = os.read(read_end, 1000)
    os.close(read_end)
    read_end, write_end = os.pipe()
    os.write(write_end, whole[:length])
    os.close(write_end)
    try:
        assert read_frame(read_end) is None
    finally:
        os.close(read_end)


def test_what_is_pickled_is_read_by_pickle() -> None:
    assert loads(dumps({"a": [1, 2]}, "value")) == {"a": [1, 2]}
