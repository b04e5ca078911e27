"""Runs bodies, here or in a handler's lane, and brings their outcomes back.

The engine's thread calls; lanes' threads do the work; what comes back is put into the inbox as a
step for the engine's thread to take.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from handrail.contracts.expr import composing
from handrail.flow.plan import Plan
from handrail.keep.base import Adopted
from handrail.keep.reuse import KeptResult
from handrail.run.body import run_async_body, run_body
from handrail.run.context import ExecutionContext, HandlerContext, TaskExecutionContext
from handrail.run.dispatch import Inbox, Lane
from handrail.run.flight import Flight, RunSetting
from handrail.run.handler import BoundTask, TaskHandler, also_shown, execute
from handrail.run.output import AttemptOutput, captured
from handrail.run.phases import run_phases
from handrail.run.transaction import Transaction
from handrail.run.waits import WaitingForAnswer

if TYPE_CHECKING:
    from handrail.run.event_loop import EventLoop
    from handrail.run.reuse import Reuse

log = logging.getLogger("handrail.run")

#: A lane gets another thread when nothing came back for so long (seconds).
GROW_SECONDS = 0.002

#: Name of the lane that is no handler's, and how many threads it has at most.
_LOOKUPS, _LOOKUP_COUNT = "(lookups)", 8

#: Something for the engine's thread to do.
Step = Callable[[], None]


class Launcher:
    """Where the bodies of one run are."""

    def __init__(
        self,
        plan: Plan,
        context: ExecutionContext,
        setting: RunSetting,
        *,
        handler: Callable[[str], TaskHandler],
        transaction: Transaction | None,
        output: Callable[[str, str], AttemptOutput] | None,
        come_back: Callable[[Flight], None],
    ) -> None:
        self.inbox: Inbox[Step] = Inbox()
        self._context = context
        self._setting = setting
        self._handler = handler
        self._transaction = transaction
        self._output = output
        self._come_back = come_back
        self._lanes: dict[str, Lane[Flight]] = {}
        self._reuse: Reuse | None = None
        self._event_loop: EventLoop | None = None
        self._variables = copy_context()
        # Tasks that a body declares are not part of a workflow that its caller composes.
        self._variables.run(composing.set, None)
        #: Is "direct" ours, so that its bodies may run without asking it?
        self.is_direct_ours = _is_direct_ours(plan, handler)

    # In the engine's thread

    def launch(self, flight: Flight) -> None:
        """Lets a lane of its handler run the body; the event loop, if it is an async one."""
        is_looked_up = flight.definition.cache is not None and self._can_reuse()
        if not self._is_for_event_loop(flight):
            self._lane(flight.node.handler_type).submit(flight)
        elif is_looked_up:
            self._lookups().submit(flight)
        else:
            self._launch_async(flight)

    def _can_reuse(self) -> bool:
        kept = self._setting.kept_results
        if self._reuse is None and kept is not None:
            # Imported here, since most runs have no task with a cache.
            from handrail.run.reuse import Reuse

            self._reuse = Reuse(kept, self._transaction)
        return self._reuse is not None

    def _launch_async(self, flight: Flight) -> None:
        if self._event_loop is None:
            # Imported here, since most runs have no async body.
            from handrail.run.event_loop import EventLoop

            self._event_loop = EventLoop(self._setting.max_workers)
        variables = self._variables.copy()
        self._event_loop.submit(flight.attempt_id, partial(self._perform_async, flight), variables)

    def _lane(self, handler_type: str) -> Lane[Flight]:
        lane = self._lanes.get(handler_type)
        if lane is None:
            capacity = self._handler(handler_type).capacity(self._setting.max_workers)
            lane = self._lanes[handler_type] = Lane(handler_type, self._perform, capacity)
        return lane

    def _lookups(self) -> Lane[Flight]:
        """For async bodies: their event loop must not wait for a store."""
        lane = self._lanes.get(_LOOKUPS)
        if lane is None:
            lane = self._lanes[_LOOKUPS] = Lane("lookups", self._look_up, _LOOKUP_COUNT)
        return lane

    def run_inline(self, flight: Flight) -> None:
        """Runs the body in this thread. A keyboard interrupt goes through."""
        # Each body has a copy of the caller's context variables: what it sets is its own.
        self._variables.copy().run(self._run_body, flight)

    def _is_for_event_loop(self, flight: Flight) -> bool:
        return (
            flight.definition.contract.is_async
            and flight.definition.workspace is None
            and flight.node.handler_type == "direct"
            and self.is_direct_ours
        )

    def _injected(self, flight: Flight) -> TaskExecutionContext | None:
        if flight.definition.inject_context:
            return TaskExecutionContext(flight.attempt, execution=self._context)
        return None

    async def _perform_async(self, flight: Flight) -> None:
        """Like `_perform`, in the event loop."""
        injected = self._injected(flight)
        try:
            if self._output is None:
                flight.value = await run_async_body(
                    flight.definition, flight.arguments, context=injected
                )
            else:
                with captured(self._output(flight.node.name, flight.attempt_id)):
                    flight.value = await run_async_body(
                        flight.definition, flight.arguments, context=injected
                    )
        except BaseException as error:
            flight.error = error
        self.inbox.put(partial(self._come_back, flight))

    def _run_body(self, flight: Flight) -> None:
        definition = flight.definition
        injected = self._injected(flight) if definition.inject_context else None
        try:
            if self._output is None:
                flight.value = run_body(definition, flight.arguments, context=injected)
            else:
                with captured(self._output(flight.node.name, flight.attempt_id)):
                    flight.value = run_body(definition, flight.arguments, context=injected)
        except (Exception, SystemExit, WaitingForAnswer) as error:
            flight.error = error

    def stop(self, flight: Flight, then: Callable[[bool], None]) -> None:
        """Stops a body from a side thread; `then(stopped)` becomes a step of the engine."""

        def work() -> None:
            self.inbox.put(partial(then, self.stop_now(flight)))

        threading.Thread(target=work, name="handrail-stop", daemon=True).start()

    def stop_now(self, flight: Flight) -> bool:
        """Stops a body and waits for it. True: it is certain that it no longer runs."""
        flight.is_fenced = True
        if self._event_loop is not None and self._is_for_event_loop(flight):
            return self._event_loop.stop(flight.attempt_id)
        try:
            return self._handler(flight.node.handler_type).stop(flight.attempt_id)
        except Exception:
            # It is not known whether the body runs on, so it is fenced and said to.
            log.exception("attempt %s could not be stopped", flight.attempt_id)
            return False

    def grow(self) -> None:
        """Gives lanes whose attempts wait another thread."""
        for lane in self._lanes.values():
            lane.grow()

    def patience(self) -> float | None:
        """How long nothing may come back before lanes should grow; none: they cannot."""
        return GROW_SECONDS if any(lane.has_waiting for lane in self._lanes.values()) else None

    def close(self) -> None:
        """Lets the lanes' threads end."""
        for lane in self._lanes.values():
            lane.close()
        if self._event_loop is not None:
            self._event_loop.close()
        if self._reuse is not None:
            self._reuse.close()

    # In a lane's thread

    def _perform(self, flight: Flight) -> None:
        """The one place where whatever is raised becomes an outcome."""
        try:
            if flight.node.is_light and self.is_direct_ours:
                self.run_inline(flight)
            else:
                self._variables.copy().run(self._handle, flight)
        except BaseException as error:
            flight.error = error
        self.inbox.put(partial(self._come_back, flight))

    def _look_up(self, flight: Flight) -> None:
        """Looks up the result of an async body; if there is none, the engine launches it."""
        try:
            is_taken = self._take_kept(flight)
        except BaseException as error:
            is_taken, flight.error = True, error
        self.inbox.put(partial(self._come_back if is_taken else self._launch_unfenced, flight))

    def _launch_unfenced(self, flight: Flight) -> None:
        if not flight.is_fenced:
            self._launch_async(flight)

    def _take_kept(self, flight: Flight) -> bool:
        """Takes an earlier result in place of running the body, if there is one."""
        if self._reuse is None:
            return False
        flight.lookup = lookup = self._reuse.look_up(flight)
        if lookup.found is None:
            return False
        flight.value = lookup.value
        if flight.definition.workspace is not None:
            self._take_files(flight, lookup.found)
        return True

    def _take_files(self, flight: Flight, found: KeptResult) -> None:
        assert self._transaction is not None
        assert found.output_ref is not None
        taken = self._transaction.reuse(
            flight.definition,
            flight.attempt,
            found.output_ref,
            self._message(flight),
            {**self._setting.made_by, "reused": found.attempt_id},
        )
        if isinstance(taken, Adopted):
            flight.adopted = taken
        elif not flight.is_fenced:
            flight.output_ref = taken

    def _message(self, flight: Flight) -> str:
        return f"{self._setting.workflow}: {flight.node.name}"

    def _handle(self, flight: Flight) -> None:
        if flight.definition.cache is not None and self._take_kept(flight):
            return
        if flight.definition.workspace is None:
            flight.value = self._execute(flight, None)
        else:
            self._execute_with_files(flight)

    def _execute_with_files(self, flight: Flight) -> None:
        assert self._transaction is not None
        flight.adopted = self._transaction.begin(flight.attempt)
        if flight.adopted is not None:
            return
        files = self._transaction.files_of(
            flight.definition, flight.attempt, self._message(flight), self._setting.made_by
        )
        flight.value, ref = run_phases(
            files,
            lambda workspace: self._execute(flight, workspace),
            lambda: flight.is_fenced,
        )
        if not flight.is_fenced:
            flight.output_ref = ref

    def _execute(self, flight: Flight, workspace: Path | None) -> Any:
        handler = self._handler(flight.node.handler_type)
        context = HandlerContext(self._context, flight.attempt)
        bound = BoundTask(
            flight.definition,
            flight.attempt,
            flight.arguments,
            context,
            workspace,
        )
        if self._output is None:
            return execute(handler, bound, context)
        with captured(self._output(flight.node.name, flight.attempt_id)) as sink:
            bound.output = also_shown(sink)
            return execute(handler, bound, context)


def _is_direct_ours(plan: Plan, handler: Callable[[str], TaskHandler]) -> bool:
    if not any(node.handler_type == "direct" and node.definition for node in plan.nodes):
        return False
    return type(handler("direct")).__module__ == "handrail.handlers.direct"
