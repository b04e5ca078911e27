from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import pytest

from handrail.cli.page import page
from handrail.contracts.event import STATES
from handrail.contracts.values import encode
from handrail.run.history import EpochHistory, RunHistory
from handrail.run.output import LogEntry
from handrail.run.waits import Wait
from tests.unit.cli.histories import ERROR, a_run, a_task, an_attempt

HOSTILE = '"><script>alert(1)</script>\x1b[2J\u202e'
_EMPTY = {"meta", "link", "br", "i", "rect", "circle", "path", "line", "input"}


class Reader(HTMLParser):
    """What a page holds: tags, attributes, the text of each element that has a class or id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in _EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in _EMPTY:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def values(self, name: str) -> list[str]:
        return [value or "" for key, value in self.attributes if key == name]


def read(run: RunHistory, *log: LogEntry, **how: Any) -> Reader:
    reader = Reader(page(run, log, 10_000, **how))
    assert reader.open == []
    return reader


def failed_run() -> RunHistory:
    tries = (
        an_attempt(0, 100, state="failed", error={**ERROR, "message": "first"}),
        an_attempt(200, 300, try_number=2, epoch=2, state="failed", error=ERROR),
    )
    return a_run(
        a_task("load", an_attempt(0, 100), result=encode([1, 2, 3]), storage="data"),
        a_task("sing", *tries, error=ERROR, handler="process"),
        a_task("hum"),
        state="failed",
        reason="task 'sing' failed: ValueError: no <data>",
        edges=(("load", "sing"), ("sing", "hum")),
        epochs=(EpochHistory(1, None, 0, "failed"), EpochHistory(2, None, 150, "failed")),
        inputs=encode({"year": 2026}),
        target="songs@main",
        base_ref="a" * 64,
    )


def test_a_page_tells_of_the_run() -> None:
    text = read(failed_run()).text
    for said in (
        "songs: failed",
        "1m7z",
        "task 'sing' failed: ValueError: no <data>",
        "2: failed, then failed",
        '{"year": 2026}',
        "songs@main aaaaaaaa",
        "handrail resume 1m7z",
        "1 succeeded",
        "[1, 2, 3]",
    ):
        assert said in text


def test_the_last_error_is_open_and_earlier_ones_are_closed() -> None:
    reader = read(failed_run())
    assert reader.tags.count("details") == 2
    assert reader.values("open") == [""]
    assert "Trace <b>" in reader.text
    assert "sing ValueError: no <data>" in reader.text
    assert "sing ValueError: first try 1" in reader.text


def test_every_link_leads_to_something_on_the_page() -> None:
    reader = read(failed_run(), LogEntry(5, "sing", "x", "stdout", "la\n"))
    links = [link for link in reader.values("href") if not link.startswith("data:")]
    assert all(link.startswith("#") for link in links)
    assert {link[1:] for link in links} <= set(reader.values("id"))
    assert len(reader.values("id")) == len(set(reader.values("id")))
    assert {"#graph", "#time", "#errors", "#tasks", "#log"} <= set(links)


def test_a_page_needs_nothing_else_and_runs_nothing() -> None:
    text = page(failed_run(), [], 10_000)
    reader = Reader(text)
    assert not {"script", "iframe", "img", "object"} & set(reader.tags)
    assert "default-src 'none'" in text
    assert reader.values("src") == []
    assert "url(http" not in text
    assert not [name for name, _ in reader.attributes if name.startswith("on")]


def test_whatever_others_wrote_is_text() -> None:
    run = a_run(
        a_task(
            HOSTILE,
            an_attempt(0, 9, state="failed", error={"type": HOSTILE, "message": HOSTILE}),
            handler=HOSTILE,
            error={"type": HOSTILE, "message": HOSTILE, "traceback": HOSTILE},
        ),
        a_task("b", an_attempt(0, 9), result=encode({HOSTILE: HOSTILE * 40})),
        a_task("c", an_attempt(0, 9), result=encode(HOSTILE)),
        workflow=HOSTILE,
        reference=HOSTILE,
        reason=HOSTILE,
        key=HOSTILE,
        target=HOSTILE,
        inputs=encode({HOSTILE: 1}),
        watermark=encode(HOSTILE),
        next_watermark=encode(HOSTILE),
        edges=((HOSTILE, "b"), (HOSTILE, HOSTILE + "group")),
        within={"b": HOSTILE + "group"},
    )
    entry = LogEntry(5, HOSTILE, HOSTILE, "stderr", HOSTILE + "\n")
    wait = Wait("w", "selection", HOSTILE, HOSTILE, (HOSTILE,))
    reader = read(run, entry, waits=[wait])
    assert "script" not in reader.tags
    assert "\x1b" not in reader.text
    assert "\u202e" not in reader.text
    assert reader.text.count("<script>alert(1)</script>") >= 12


def test_placeholders_in_names_are_not_filled() -> None:
    assert "$title ${state}" in read(a_run(a_task("a"), workflow="$title ${state}")).text


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_shown(state: str) -> None:
    reader = read(a_run(a_task("a", state=state), state=state))
    assert f"songs: {state}" in reader.text
    assert f"1 {state}" in reader.text


def test_a_long_result_is_folded_and_cut() -> None:
    long = a_task("a", an_attempt(0, 9), result=encode(list(range(30_000))), storage="pickle")
    reader = read(a_run(long))
    assert reader.tags.count("details") == 1
    assert "kept as a pickle" in reader.text
    assert "more characters)" in reader.text
    assert len(reader.text) < 120_000


def test_questions_are_asked_with_the_command_that_answers() -> None:
    wait = Wait("1m7z/ask#1", "approval", "Publish?", "ask")
    text = read(a_run(a_task("ask", state="waiting"), state="waiting"), waits=[wait]).text
    assert "ask asks: Publish? (yes or no)" in text
    assert "handrail answer 1m7z VALUE" in text


def test_items_of_a_mapped_task_that_ended_well_are_summed_up() -> None:
    items = [a_task(f"load[{n}]", an_attempt(0, 1)) for n in range(40)]
    failed = a_task("load[40]", an_attempt(0, 1, state="failed"), error=ERROR)
    reader = read(a_run(a_task("load", state="failed"), *items, failed))
    assert reader.tags.count("tr") == 3
    assert "41 items" in reader.text
    assert "more task" not in reader.text


def test_a_run_of_very_many_tasks_still_has_a_page() -> None:
    tasks = [a_task(f"t{n}", an_attempt(n, n + 1)) for n in range(5000)]
    bad = a_task("bad", an_attempt(0, 1, state="failed"), error=ERROR)
    reader = read(a_run(*tasks, bad))
    assert "are too many for a page" in reader.text
    assert "handrail graph 1m7z -o graph.svg" in reader.text
    assert "and 4,001 more tasks, not shown here" in reader.text
    assert "bad ValueError" in reader.text


def test_the_log_is_shown_line_by_line() -> None:
    lines = [
        LogEntry(1, "a", "x", "stdout", "one\n"),
        LogEntry(2, "a", "x", "stderr", "two\tcolumns\n"),
        LogEntry(3, "a", "x", "log", "WARNING three"),
    ]
    reader = read(a_run(a_task("a")), *lines, log_is_cut=True)
    assert [kind for kind in reader.values("class") if kind in ("stdout", "stderr", "log-record")]
    assert "one" in reader.text
    assert "two columns" in reader.text
    assert "Log the end of it" in reader.text


def test_a_run_without_tasks_has_a_page() -> None:
    reader = read(a_run())
    assert "#graph" not in reader.values("href")
    assert "0 tasks" in reader.text
