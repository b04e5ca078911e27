from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from handrail.errors import HandrailError, TrackedResultError
from handrail.tracking import (
    ETLResults,
    ExecutionResult,
    SqliteTrackingStore,
    State,
    Watcher,
    WatcherExecutionContext,
)
from handrail.tracking.wire import ExecutionDetail

MakePipeline = Callable[..., int]
DONE = ETLResults(completed_successfully=True, inserts=3, total_rows=4)


class Tracked:
    """Tracks functions of one pipeline and reads what was recorded."""

    def __init__(self, watcher: Watcher, pipeline: MakePipeline) -> None:
        self.watcher = watcher
        self.pipeline_id = pipeline()

    def __call__(self, func: Any, **fields: Any) -> Any:
        return self.watcher.track_pipeline_execution(self.pipeline_id, True, **fields)(func)

    def last(self) -> ExecutionDetail:
        page = self.watcher.transport.executions(limit=1)
        return self.watcher.execution(page.executions[0].id)


@pytest.fixture
def track(watcher: Watcher, pipeline: MakePipeline) -> Tracked:
    return Tracked(watcher, pipeline)


# Outcomes


def test_a_call_gives_results_and_is_recorded(track: Tracked) -> None:
    def load() -> ETLResults:
        return DONE

    output = track(load)()
    assert isinstance(output, ExecutionResult)
    assert output.results is output.result is DONE
    recorded = track.last()
    assert (recorded.id, recorded.state) == (output.execution_id, State.SUCCEEDED)
    assert (recorded.inserts, recorded.total_rows, recorded.updates) == (3, 4, None)
    assert recorded.lease_seconds == 30
    assert recorded.lease_expires_at is None


def test_a_subclass_of_results_is_kept_and_its_standard_fields_recorded(track: Tracked) -> None:
    class Scored(ETLResults):
        score: float

    output = track(lambda: Scored(completed_successfully=True, inserts=1, score=0.5))()
    assert output.results.score == 0.5
    assert track.last().inserts == 1


def test_a_subclass_that_loosens_a_field_is_still_recorded_as_a_success(track: Tracked) -> None:
    class Loose(ETLResults):
        inserts: Any = None

    output = track(lambda: Loose(completed_successfully=True, inserts="many"))()
    assert output.results.inserts == "many"
    assert (track.last().state, track.last().inserts) == (State.SUCCEEDED, None)


def test_a_reported_failure_is_recorded_and_raises_nothing(track: Tracked) -> None:
    why = {"error": "Data quality issues"}
    failed = ETLResults(completed_successfully=False, execution_metadata=why)
    output = track(lambda: failed)()
    assert output.results is failed
    recorded = track.last()
    assert (recorded.state, recorded.execution_metadata) == (State.FAILED, why)
    assert recorded.error is None


@pytest.mark.parametrize("error", [ValueError("no rows"), KeyboardInterrupt(), SystemExit(3)])
def test_whatever_is_raised_is_recorded_and_raised_unchanged(
    track: Tracked, error: BaseException
) -> None:
    def load() -> ETLResults:
        raise error

    with pytest.raises(type(error)) as caught:
        track(load)()
    assert caught.value is error
    assert error.__cause__ is None
    recorded = track.last()
    assert recorded.state is State.FAILED
    assert recorded.error is not None
    assert (recorded.error.type, recorded.error.message) == (type(error).__name__, str(error))
    assert recorded.error.traceback is not None
    assert "in load\n    raise error" in recorded.error.traceback
    assert "handrail/tracking" not in recorded.error.traceback


def test_an_error_that_cannot_be_shown_is_recorded(track: Tracked) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    def load() -> ETLResults:
        raise Mute

    with pytest.raises(Mute):
        track(load)()
    recorded = track.last()
    assert recorded.error is not None
    assert recorded.error.message == "<Mute that cannot be shown>"


def test_an_error_that_cannot_be_told_is_recorded_by_its_class(track: Tracked) -> None:
    class Broken(Exception):
        def __getattribute__(self, name: str) -> Any:
            if name == "__notes__":
                raise OSError("no notes")
            return super().__getattribute__(name)

    broken = Broken("reason")

    def load() -> ETLResults:
        raise broken

    with pytest.raises(Broken) as caught:
        track(load)()
    assert caught.value is broken
    recorded = track.last()
    assert recorded.state is State.FAILED
    assert recorded.error is not None
    assert recorded.error.type.endswith("Broken")


def test_a_long_traceback_loses_its_middle(track: Tracked) -> None:
    def load() -> ETLResults:
        raise ValueError("begin " + "x" * 200_000 + " finish")

    with pytest.raises(ValueError, match="begin"):
        track(load)()
    recorded = track.last()
    assert recorded.error is not None
    text = recorded.error.traceback or ""
    assert len(text) < 70_000
    assert "characters left out" in text
    assert text.endswith(" finish\n")


@pytest.mark.parametrize("returned", [None, {"inserts": 1}, 5])
def test_a_wrong_return_value_names_type_and_function(track: Tracked, returned: object) -> None:
    def load() -> Any:
        return returned

    with pytest.raises(TrackedResultError) as caught:
        track(load)()
    assert isinstance(caught.value, HandrailError | ValueError | TypeError)
    assert "load'" in str(caught.value)
    assert f"not {type(returned).__name__}." in str(caught.value)
    recorded = track.last()
    assert recorded.state is State.FAILED
    assert recorded.error is not None
    assert recorded.error.type == "TrackedResultError"


def test_a_forgotten_async_is_pointed_out(track: Tracked) -> None:
    async def load() -> ETLResults:
        return DONE

    with pytest.raises(ValueError, match="Declare it with async def"):
        track(lambda: load())()


def test_an_execution_result_is_no_result(track: Tracked) -> None:
    inner = track(lambda: DONE)
    with pytest.raises(TypeError, match=r"Return the \.results"):
        track(lambda: inner())()


def test_an_inactive_pipeline_warns_and_gives_none(
    watcher: Watcher, store: SqliteTrackingStore, pipeline: MakePipeline
) -> None:
    @watcher.track_pipeline_execution(pipeline_id=pipeline(), active=False)
    def load() -> ETLResults:
        raise AssertionError("called")

    with pytest.warns(UserWarning, match=r"load\(\) was not called") as caught:
        assert load() is None
    assert caught[0].filename == __file__
    assert store.executions().executions == ()


# Functions of all kinds


def test_the_decorated_function_keeps_its_face(track: Tracked) -> None:
    @track
    def load(day: str, *, limit: int = 3) -> ETLResults:
        """Loads."""
        return DONE

    assert (load.__name__, load.__doc__) == ("load", "Loads.")
    assert str(inspect.signature(load)) == "(day: 'str', *, limit: 'int' = 3) -> 'ETLResults'"
    assert load.__wrapped__("2024") is DONE


def test_an_async_function_is_awaited(track: Tracked) -> None:
    @track
    async def load(rows: int, watcher_context: WatcherExecutionContext) -> ETLResults:
        await asyncio.sleep(0)
        assert watcher_context.pipeline_id == track.pipeline_id
        return ETLResults(completed_successfully=True, inserts=rows)

    assert inspect.iscoroutinefunction(load)
    output = asyncio.run(load(8))
    assert (output.execution_id, output.results.inserts) == (track.last().id, 8)
    assert track.last().state is State.SUCCEEDED


def test_async_functions_that_run_together_have_their_own_children(track: Tracked) -> None:
    @track
    async def child() -> ETLResults:
        await asyncio.sleep(0)
        return DONE

    @track
    async def parent(number: int) -> ETLResults:
        await asyncio.sleep(0)
        output = await child()
        return ETLResults(completed_successfully=True, total_rows=output.execution_id)

    async def all_of_them() -> Any:
        return await asyncio.gather(*(parent(number) for number in range(5)))

    for output in asyncio.run(all_of_them()):
        (only,) = track.watcher.execution(output.execution_id).children
        assert only.id == output.results.total_rows


def test_an_async_function_that_fails_or_is_cancelled_is_recorded(track: Tracked) -> None:
    @track
    async def load(started: asyncio.Event | None = None) -> ETLResults:
        if started is None:
            raise OSError("gone")
        started.set()
        await asyncio.Event().wait()
        return DONE

    async def cancelled() -> None:
        started = asyncio.Event()
        task = asyncio.ensure_future(load(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pytest.raises(OSError, match="gone"):
        asyncio.run(load())
    assert track.last().state is State.FAILED
    asyncio.run(cancelled())
    assert track.last().state is State.CANCELLED


def test_methods_of_all_kinds_are_tracked(track: Tracked) -> None:
    class Loader:
        rows = 5

        @track
        def plain(self, watcher_context: WatcherExecutionContext, more: int) -> ETLResults:
            assert watcher_context.execution_id
            return ETLResults(completed_successfully=True, inserts=self.rows + more)

        @track
        @classmethod
        def of_class(cls, more: int, watcher_context: WatcherExecutionContext) -> ETLResults:
            assert watcher_context.execution_id
            return ETLResults(completed_successfully=True, inserts=cls.rows + more)

        @classmethod
        @track
        def inside(cls, more: int) -> ETLResults:
            return ETLResults(completed_successfully=True, inserts=cls.rows + more)

        @track
        @staticmethod
        def static(more: int) -> ETLResults:
            return ETLResults(completed_successfully=True, inserts=more)

        def __call__(self, more: int) -> ETLResults:
            return ETLResults(completed_successfully=True, inserts=self.rows * more)

    loader = Loader()
    assert loader.plain(2).results.inserts == 7
    assert loader.plain(more=2).results.inserts == 7
    assert loader.of_class(3).results.inserts == 8
    assert Loader.inside(4).results.inserts == 9
    assert Loader.static(5).results.inserts == 5
    assert track(loader)(6).results.inserts == 30
    assert track(functools.partial(loader, 7))().results.inserts == 35


# The context


def first(watcher_context: Any, a: int, b: int = 0) -> Any:
    return watcher_context, a, b


def middle(a: int, watcher_context: Any, b: int = 0) -> Any:
    return watcher_context, a, b


def last(a: int, b: int = 0, watcher_context: Any = None) -> Any:
    return watcher_context, a, b


def by_keyword(a: int, b: int = 0, *rest: int, watcher_context: Any) -> Any:
    return watcher_context, a, b


def among_others(a: int, watcher_context: Any, b: int = 0, *rest: int, **more: int) -> Any:
    return watcher_context, a, b


@pytest.mark.parametrize("func", [first, middle, last, by_keyword, among_others])
@pytest.mark.parametrize(
    ("args", "kwargs"), [((1, 2), {}), ((1,), {"b": 2}), ((), {"a": 1, "b": 2})]
)
def test_the_context_goes_to_its_place(
    track: Tracked, func: Callable[..., Any], args: tuple[int, ...], kwargs: dict[str, int]
) -> None:
    seen: list[Any] = []

    @track
    @functools.wraps(func)
    def load(*given: Any, **named: Any) -> ETLResults:
        seen.extend(func(*given, **named))
        return DONE

    output = load(*args, **kwargs)
    context, a, b = seen
    assert (context.execution_id, context.pipeline_id) == (output.execution_id, track.pipeline_id)
    assert (a, b) == (1, 2)
    assert "watcher_context" not in inspect.signature(load).parameters


def test_a_context_given_by_the_caller_is_used(track: Tracked) -> None:
    mine = WatcherExecutionContext(execution_id=1, pipeline_id=2)
    seen: list[Any] = []

    @track
    def load(watcher_context: WatcherExecutionContext) -> ETLResults:
        seen.append(watcher_context)
        return DONE

    load(watcher_context=mine)
    assert seen == [mine]


def test_keywords_of_a_function_are_its_own(track: Tracked) -> None:
    @track
    def load(**watcher_context: int) -> ETLResults:
        assert watcher_context == {"a": 1}
        return DONE

    assert load(a=1).results is DONE


def test_the_context_tells_the_watermarks(track: Tracked) -> None:
    seen: list[Any] = []

    def load(watcher_context: WatcherExecutionContext) -> ETLResults:
        seen.append((watcher_context.watermark, watcher_context.next_watermark))
        return DONE

    track(load, watermark=1, next_watermark=2)()
    track(load)()
    assert seen == [(1, 2), (2, None)]


# Parents


def test_an_execution_inside_another_is_its_child(track: Tracked) -> None:
    @track
    def child() -> ETLResults:
        return DONE

    @track
    def parent() -> ETLResults:
        child()
        child()
        return DONE

    output = parent()
    assert child().execution_id
    children = track.watcher.execution(output.execution_id).children
    assert len(children) == 2
    assert track.last().parent_execution_id is None


def test_a_parent_that_is_named_wins(track: Tracked) -> None:
    other = track(lambda: DONE)().execution_id
    child = track(lambda: DONE, parent_execution_id=other)
    outer = track(lambda: child().results)()
    assert [c.parent_execution_id for c in track.watcher.execution(other).children] == [other]
    assert track.watcher.execution(outer.execution_id).children_count == 0


def test_a_failed_child_leaves_its_parent_in_place(track: Tracked) -> None:
    @track
    def child(fail: bool) -> ETLResults:
        if fail:
            raise ValueError("no")
        return DONE

    @track
    def parent() -> ETLResults:
        with pytest.raises(ValueError, match="no"):
            child(True)
        child(False)
        return DONE

    children = track.watcher.execution(parent().execution_id).children
    assert [c.state for c in children] == [State.FAILED, State.SUCCEEDED]
