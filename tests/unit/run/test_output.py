from __future__ import annotations

import contextvars
import io
import json
import logging
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from handrail.run.output import Capture, LogEntry, RunLog, current_output, read_log, sink_for


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.jsonl"


@pytest.fixture
def run_log(path: Path) -> Iterator[RunLog]:
    with RunLog(path, now=lambda: 1_700_000_000_000) as opened:
        yield opened


def texts(path: Path, task: str | None = None) -> list[str]:
    return [entry.text for entry in read_log(path, task)]


class Sink:
    def __init__(self) -> None:
        self.pieces: list[tuple[str, str]] = []

    def __call__(self, stream: str, text: str) -> None:
        self.pieces.append((stream, text))

    def of(self, stream: str) -> str:
        return "".join(text for name, text in self.pieces if name == stream)


def inside(sink: Sink) -> contextvars.Context:
    """A context in which output belongs to the attempt of `sink`."""
    context = contextvars.copy_context()
    context.run(current_output.set, sink)
    return context


# The log


def test_an_entry_says_when_where_and_what(run_log: RunLog, path: Path) -> None:
    sink_for(run_log, "load", "r-1-1")("stdout", "hello\n")
    assert json.loads(path.read_text()) == {
        "at": 1_700_000_000_000,
        "task": "load",
        "attempt": "r-1-1",
        "stream": "stdout",
        "text": "hello\n",
    }
    assert list(read_log(path)) == [
        LogEntry(1_700_000_000_000, "load", "r-1-1", "stdout", "hello\n")
    ]


def test_the_file_is_private(run_log: RunLog, path: Path) -> None:
    run_log.write("load", "1", "stdout", "a line\n")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_run_that_prints_nothing_has_no_log(tmp_path: Path) -> None:
    with RunLog(tmp_path / "r1" / "log.jsonl") as run_log:
        run_log.write("load", "1", "stdout", "half a line")
        assert list(tmp_path.iterdir()) == []
    assert [entry.text for entry in read_log(run_log.path)] == ["half a line"]


def test_complete_lines_are_written_at_once_and_the_rest_at_the_end(
    run_log: RunLog, path: Path
) -> None:
    sink = sink_for(run_log, "load", "r-1-1")
    for text in ("a", "b\nc\n\nd", "e"):
        sink("stdout", text)
    assert texts(path) == ["ab\n", "c\n", "\n"]
    sink.close()
    sink.close()
    assert texts(path) == ["ab\n", "c\n", "\n", "de"]


def test_streams_and_attempts_keep_their_own_lines(run_log: RunLog, path: Path) -> None:
    first, second = sink_for(run_log, "load", "1"), sink_for(run_log, "load", "2")
    first("stdout", "out ")
    first("stderr", "err\n")
    second("stdout", "other\n")
    second.close()
    first("stdout", "done\n")
    found = [(entry.attempt, entry.stream, entry.text) for entry in read_log(path)]
    assert found == [
        ("1", "stderr", "err\n"),
        ("2", "stdout", "other\n"),
        ("1", "stdout", "out done\n"),
    ]


def test_closing_the_log_writes_what_is_unfinished(run_log: RunLog, path: Path) -> None:
    sink = sink_for(run_log, "load", "1")
    sink("stdout", "half")
    run_log.close()
    run_log.close()
    sink("stdout", "too late\n")
    assert texts(path) == ["half"]


def test_a_line_without_end_does_not_pile_up_in_memory(run_log: RunLog, path: Path) -> None:
    sink = sink_for(run_log, "load", "1")
    for _ in range(30):
        sink("stdout", "x" * 5000)
    assert len("".join(texts(path))) > 100_000
    sink.close()
    assert "".join(texts(path)) == "x" * 150_000


@pytest.mark.parametrize(
    "text", ["ü\u2028\r\n", "\x00\x1b[0m\n", "\udcff lone\n", "\r 10%\r 20%\n"]
)
def test_odd_characters_come_back(run_log: RunLog, path: Path, text: str) -> None:
    sink_for(run_log, "load", "1")("stdout", text)
    assert texts(path) == [text]


def test_threads_write_whole_lines(run_log: RunLog, path: Path) -> None:
    def write(name: str) -> None:
        sink = sink_for(run_log, name, name)
        for number in range(100):
            sink("stdout", f"{number}\n")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name in "abcd":
        assert texts(path, name) == [f"{number}\n" for number in range(100)]


def test_a_torn_last_line_is_skipped_and_what_follows_is_not(path: Path) -> None:
    with RunLog(path) as first:
        sink_for(first, "load", "1")("stdout", "one\ntwo\n")
    path.write_bytes(path.read_bytes()[:-20])
    assert texts(path) == ["one\n"]
    with RunLog(path) as second:
        sink_for(second, "load", "2")("stdout", "three\n")
    assert texts(path) == ["one\n", "three\n"]


def test_lines_that_are_no_entries_are_skipped(run_log: RunLog, path: Path) -> None:
    path.write_text('[]\n"x"\n{"at": 1}\n\xff\n')
    sink_for(run_log, "load", "1")("stdout", "good\n")
    assert texts(path) == ["good\n"]


def test_a_log_that_does_not_exist_is_empty(path: Path) -> None:
    assert texts(path) == []


def test_a_full_disk_is_told_of_once(run_log: RunLog, caplog: pytest.LogCaptureFixture) -> None:
    sink = sink_for(run_log, "load", "1")
    sink("stdout", "before\n")
    descriptor = vars(run_log)["_fd"]
    full = os.open("/dev/full", os.O_WRONLY)  # every write fails with "no space left"
    os.dup2(full, descriptor)
    os.close(full)
    for text in ("one\n", "two\n"):
        sink("stdout", text)
    assert caplog.text.count("is no longer written") == 1


# Following


def test_following_waits_for_more_and_for_the_ends_of_lines(run_log: RunLog, path: Path) -> None:
    sink = sink_for(run_log, "load", "1")
    sink("stdout", "first\n")
    is_over = threading.Event()
    entries = read_log(path, follow=True, stop=is_over.is_set, poll_seconds=0.001)
    assert next(entries).text == "first\n"
    content = path.read_bytes()
    with path.open("ab") as file:  # a line that is being written
        file.write(content[:30])

    def finish_the_line() -> None:
        with path.open("ab") as file:
            file.write(content[30:])

    later = threading.Timer(0.02, finish_the_line)
    later.start()
    assert next(entries).text == "first\n"
    later.join()
    sink("stdout", "last\n")
    is_over.set()
    assert [entry.text for entry in entries] == ["last\n"]


def test_following_waits_for_the_file(path: Path) -> None:
    def write() -> None:
        with RunLog(path) as late:
            sink_for(late, "load", "1")("stdout", "here\n")

    timer = threading.Timer(0.02, write)
    timer.start()
    assert next(read_log(path, follow=True, poll_seconds=0.001)).text == "here\n"
    timer.join()


# Capturing


def test_output_of_an_attempt_goes_to_its_sink_and_to_the_stream(
    capsys: pytest.CaptureFixture[str],
) -> None:
    sink = Sink()
    with Capture():
        print("before")
        context = inside(sink)
        context.run(print, "out")
        context.run(print, "err", end="", file=None, flush=True)
        context.run(lambda: print("to stderr", file=sys.stderr))
        context.run(lambda: sys.stdout.writelines(["x\n", "y\n"]))
        print("after")
    assert sink.of("stdout") == "out\nerrx\ny\n"
    assert sink.of("stderr") == "to stderr\n"
    captured = capsys.readouterr()
    assert captured.out == "before\nout\nerrx\ny\nafter\n"
    assert captured.err == "to stderr\n"


def test_attempts_in_threads_do_not_mix() -> None:
    sinks = [Sink() for _ in range(4)]

    def body(name: int) -> None:
        for _ in range(50):
            print(name)

    with Capture():
        threads = [
            threading.Thread(target=inside(sink).run, args=(body, number))
            for number, sink in enumerate(sinks)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for number, sink in enumerate(sinks):
        assert sink.of("stdout") == f"{number}\n" * 50


def test_streams_are_put_back_by_the_last() -> None:
    stdout, stderr = sys.stdout, sys.stderr
    handlers = list(logging.getLogger().handlers)
    with Capture():
        with Capture():
            assert sys.stdout is not stdout
        assert sys.stdout is not stdout
        assert sys.stderr is not stderr
    assert (sys.stdout, sys.stderr) == (stdout, stderr)
    assert logging.getLogger().handlers == handlers


def test_several_captures_tell_a_sink_once() -> None:
    sink = Sink()
    with Capture(), Capture():
        inside(sink).run(print, "once")
        inside(sink).run(logging.getLogger("lib").warning, "once")
    assert sink.pieces == [("stdout", "once"), ("stdout", "\n"), ("log", "WARNING lib: once\n")]


def test_a_stream_that_somebody_else_replaced_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = io.StringIO()
    with Capture():
        monkeypatch.setattr(sys, "stdout", theirs)
    assert sys.stdout is theirs


def test_a_wrapper_around_our_stream_tells_a_sink_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrapper:
        def __init__(self, stream: object) -> None:
            self._stream = stream

        def __getattr__(self, name: str) -> object:
            return getattr(self._stream, name)

    sink = Sink()
    original = sys.stdout
    with Capture():
        monkeypatch.setattr(sys, "stdout", Wrapper(sys.stdout))
        with Capture():
            inside(sink).run(print, "once", end="")
    assert sink.pieces == [("stdout", "once")]
    monkeypatch.setattr(sys, "stdout", original)


def test_a_sink_may_print(capsys: pytest.CaptureFixture[str]) -> None:
    def prints(stream: str, text: str) -> None:
        print(f"[{text}]", end="")

    context = contextvars.copy_context()
    context.run(current_output.set, prints)
    with Capture():
        context.run(print, "x", end="")
    assert capsys.readouterr().out == "[x]x"


def test_everything_else_is_asked_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1", line_buffering=True)
    monkeypatch.setattr(sys, "stdout", stream)
    with Capture():
        assert sys.stdout.encoding == "latin-1"
        assert sys.stdout.buffer is stream.buffer
        assert sys.stdout.isatty() is False
        assert sys.stdout.line_buffering is True
        assert sys.stdout.write("four") == 4
        with pytest.raises(io.UnsupportedOperation):
            sys.stdout.fileno()
        with pytest.raises(AttributeError):
            sys.stdout.no_such_thing  # type: ignore[union-attr]  # noqa: B018
    assert sys.stdout is stream


def test_log_records_go_to_the_sink_as_text() -> None:
    sink = Sink()
    error = ValueError("bad")
    with Capture():
        logging.getLogger("lib").warning("outside")
        context = inside(sink)
        context.run(logging.getLogger("lib.part").warning, "mind %s", "the gap")
        context.run(lambda: logging.getLogger("lib").error("failed", exc_info=error))
    assert sink.of("log") == "WARNING lib.part: mind the gap\nERROR lib: failed\nValueError: bad\n"


def test_a_capture_that_is_not_enabled_does_nothing() -> None:
    stdout = sys.stdout
    with Capture(enabled=False):
        assert sys.stdout is stdout


def test_warnings_of_unconfigured_logging_are_printed_as_ever() -> None:
    script = """
import contextvars, logging
from handrail.run.output import Capture, current_output
pieces = []
def body():
    current_output.set(lambda stream, text: pieces.append((stream, text)))
    logging.warning("inside")
with Capture():
    logging.warning("outside")
    contextvars.copy_context().run(body)
    logging.getLogger().addHandler(logging.NullHandler())
    logging.warning("configured")
print(pieces)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr == "outside\ninside\n"
    assert done.stdout == "[('log', 'WARNING root: inside\\n')]\n"
