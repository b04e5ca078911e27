"""Takes results again: looks one up before a body runs, and keeps those that were accepted.

Whatever goes wrong here makes a body run, or a result not be kept, and is logged; no task fails
of it. Looking up is done in the lanes' threads, writing in a thread of its own.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from handrail.contracts.guards import Look
from handrail.contracts.resource import ResourceHandle
from handrail.contracts.task import TaskDefinition
from handrail.contracts.values import decode, storage_of
from handrail.contracts.workspace import WorkspaceSpec
from handrail.errors import HandrailError, TaskInputError
from handrail.flow.program import program_digest, value_digest
from handrail.keep.reuse import Basis, KeptNote, KeptResult, KeptResults
from handrail.run.body import params_of
from handrail.run.transaction import Transaction

if TYPE_CHECKING:
    from handrail.run.flight import Flight

log = logging.getLogger("handrail.run")

#: How long the end of a run waits for its results to be kept (seconds).
CLOSE_SECONDS = 10.0


def _milliseconds() -> int:
    return time.time_ns() // 1_000_000


class Lookup:
    """What was found for one attempt, and what is to be kept of it."""

    __slots__ = ("_keep", "basis", "found", "value", "why")

    def __init__(self, keep: Callable[[Basis, str, str | None], None]) -> None:
        self._keep = keep
        #: What the attempt's result will hang on; none if that cannot be told.
        self.basis: Basis | None = None
        #: The result that is taken again, and its value.
        self.found: KeptResult | None = None
        self.value: Any = None
        #: As the event of its success tells it; see `handrail.contracts.event`.
        self.why: dict[str, Any] = {}

    def missed(self, changed: list[str], since: KeptNote | None = None, **facts: Any) -> None:
        """Notes that the body runs, and what is another than in the result most like it."""
        self.why = {"cache": "miss", "changed": changed}
        if since is not None:
            self.why |= {"since": _maker(since), **facts}

    def data(self) -> dict[str, Any]:
        """For the event of its success."""
        if self.found is None:
            return {"why": self.why}
        return {"why": self.why, "reused": _maker(self.found)}

    def keep(self, result: str, output_ref: str | None = None) -> None:
        """Keeps the result of a body that ran and was accepted.

        Args:
            result: as JSON text. One that is in memory only is not kept.
        """
        if self.found is None and self.basis is not None and storage_of(result) != "memory":
            self._keep(self.basis, result, output_ref)


def _maker(note: KeptNote) -> dict[str, Any]:
    return {"run": note.run_id, "attempt": note.attempt_id, "kept_at": note.kept_at}


class Reuse:
    """Looks up and keeps results for one run."""

    def __init__(
        self,
        results: KeptResults,
        transaction: Transaction | None,
        now: Callable[[], int] = _milliseconds,
    ) -> None:
        self._results = results
        self._transaction = transaction
        self._now = now
        self._codes: dict[tuple[TaskDefinition, str], str] = {}
        self._writer = _Writer(results)

    def close(self) -> None:
        """Returns when everything is kept, at the latest after `CLOSE_SECONDS`."""
        self._writer.close()

    def look_up(self, flight: Flight) -> Lookup:
        """What is kept for an attempt. Never raises."""

        def keep(basis: Basis, result: str, output_ref: str | None) -> None:
            made = (flight.setting.run_id, flight.attempt_id, self._now())
            self._writer.put(KeptResult(basis, *made, result, output_ref))

        lookup = Lookup(keep)
        try:
            self._look(flight, lookup)
        except TaskInputError:
            pass  # the body is given the same arguments, and refuses them
        except Exception as error:
            log.warning("task %s: what is kept of it cannot be used: %s", flight.node.name, error)
            log.debug("why it cannot be used", exc_info=True)
            lookup.why = {"cache": "fault"}
        return lookup

    def _look(self, flight: Flight, lookup: Lookup) -> None:
        policy = flight.definition.cache
        assert policy is not None
        basis, unclear = self._basis(flight)
        if unclear:
            lookup.why = {"cache": "unclear", "because": unclear}
            return
        lookup.basis = basis
        found = self._writer.waiting(basis) or self._results.find(basis)
        if found is None:
            changed, since = self._differing(basis, is_item=flight.node.item is not None)
            lookup.missed(changed, since, **_folder(flight.definition))
        elif policy.ttl_seconds is not None and self._age(found) >= policy.ttl_seconds:
            lookup.missed(["expired"], found, ttl_seconds=policy.ttl_seconds)
        elif flight.definition.workspace is not None and not self._has_files(flight, found):
            lookup.missed(["output"], found)
        else:
            self._take(lookup, found)

    def _age(self, found: KeptNote) -> float:
        return (self._now() - found.kept_at) / 1000

    def _has_files(self, flight: Flight, found: KeptResult) -> bool:
        assert self._transaction is not None
        return found.output_ref is not None and self._transaction.has_files(
            flight.definition, found.output_ref
        )

    def _take(self, lookup: Lookup, found: KeptResult) -> None:
        try:
            lookup.value = decode(found.result)
        except HandrailError as error:
            # Its class has gone, or what it was pickled with.
            log.debug("a kept result of %s cannot be read: %s", found.basis.task, error)
            lookup.missed(["result"], found)
            return
        lookup.found = found
        lookup.why = {"cache": "hit"}

    # What a result hangs on

    def _basis(self, flight: Flight) -> tuple[Basis, list[str]]:
        """And what of it has no form in which it could be told to be the same."""
        node, definition = flight.node, flight.definition
        assert definition.cache is not None
        params, unclear = {}, []
        for name, value in _params(flight):
            if name not in definition.cache.ignore:
                digest = _digest(value)
                params[name] = digest
                if not digest:
                    unclear.append(f"params.{name}")
        code = self._code(definition, node.handler_type)
        if not code:
            unclear.append("code")
        files = None
        if definition.workspace is not None:
            assert self._transaction is not None
            assert flight.input_ref is not None
            files = self._transaction.files(definition, flight.input_ref)
        task = node.item[0].name if node.item is not None else node.name
        return Basis(task, code, definition.cache.version, params, files), unclear

    def _code(self, definition: TaskDefinition, handler_type: str) -> str:
        known = self._codes.get((definition, handler_type))
        if known is None:
            known = _code_of(definition, handler_type)
            self._codes[definition, handler_type] = known
        return known

    def _differing(self, basis: Basis, *, is_item: bool) -> tuple[list[str], KeptNote | None]:
        """What is another than in the kept result that is most like it, and that result."""
        notes = [*self._writer.notes(basis.task), *self._results.recent(basis.task)]
        nearest = min(notes, key=lambda note: len(differences(basis, note.basis)), default=None)
        found = differences(basis, nearest.basis) if nearest is not None else []
        if not found:  # or it was kept just now
            return ["first"], None
        if is_item and found[0] in ("code", "version"):
            # Its parameters are those of another item.
            found = [name for name in found if not name.startswith("params.")]
        return found, nearest


def _folder(definition: TaskDefinition) -> dict[str, str]:
    spec = definition.workspace
    return {"folder": spec.prefix} if spec is not None and spec.prefix != "/" else {}


def differences(one: Basis, other: Basis) -> list[str]:
    """What differs: "code", "version", "params.NAME" of each parameter, "files"."""
    found = [name for name in ("code", "version") if getattr(one, name) != getattr(other, name)]
    names = dict.fromkeys([*one.params, *other.params])
    found += [f"params.{n}" for n in names if one.params.get(n) != other.params.get(n)]
    return found + (["files"] if one.files != other.files else [])


def _params(flight: Flight) -> Iterator[tuple[str, Any]]:
    """What the body is given, by parameter; of a typed task the fields of its `params`."""
    if flight.definition.contract.params_model is None:
        yield from flight.arguments.items()
        return
    # With what the model's defaults and validators make of them.
    params = params_of(flight.definition, flight.arguments)
    for name in type(params).model_fields:
        yield name, getattr(params, name)


def _digest(value: Any) -> str:
    """Empty: equal values cannot be told."""
    if isinstance(value, ResourceHandle):
        # What opens it stands for it.
        resource = value.resource
        return value_digest([resource.name, program_digest(resource.factory)]) or ""
    return value_digest(value) or ""


def _code_of(definition: TaskDefinition, handler_type: str) -> str:
    """Digest of the code and of what was declared about it; empty if the code has none."""
    contract, spec = definition.contract, definition.workspace
    program = program_digest(definition.fn, contract.params_model, contract.output_model)
    guards = [program_digest(look) for look in _own_guards(spec)]
    if not program or not all(guards):
        return ""
    options = dict(definition.handler_options.get(handler_type, {}))
    declared = [
        program,
        contract.shape,
        spec.model_dump_json() if spec is not None else None,
        guards,
        value_digest(options) if options else None,
    ]
    return hashlib.sha256(repr(declared).encode()).hexdigest()


def _own_guards(spec: WorkspaceSpec | None) -> list[Look]:
    guards = [*spec.pre, *spec.post] if spec is not None else []
    return [guard.check for guard in guards if guard.check is not None]


class _Writer:
    """Keeps results from a thread of its own, several at a time."""

    def __init__(self, results: KeptResults) -> None:
        self._results = results
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        #: By key.
        self._waiting: dict[str, KeptResult] = {}

    def put(self, kept: KeptResult) -> None:
        """Lets a result be written. The thread is started with the first."""
        with self._changed:
            self._waiting[kept.basis.key] = kept
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="handrail-reuse", daemon=True
                )
                self._thread.start()

    def waiting(self, basis: Basis) -> KeptResult | None:
        """The result that hangs on this, if it is yet to be written."""
        return self._waiting.get(basis.key)

    def notes(self, task: str) -> list[KeptNote]:
        """What of the last ones that are yet to be written is of a task, newest first."""
        with self._changed:
            waiting = list(islice(reversed(self._waiting.values()), 20))
        return [kept.note for kept in waiting if kept.basis.task == task]

    def close(self) -> None:
        """Waits until everything is written."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_SECONDS)
            if thread.is_alive():
                log.warning("%d results are not kept yet: the store is slow", len(self._waiting))

    def _serve(self) -> None:
        while batch := self._next():
            try:
                self._results.keep(batch)
            except Exception as error:
                names = sorted({kept.basis.task for kept in batch})
                log.warning("results are not kept to be used again: %s: %s", names, error)
                log.debug("why they are not kept", exc_info=True)
            with self._changed:
                for kept in batch:
                    if self._waiting.get(kept.basis.key) is kept:
                        del self._waiting[kept.basis.key]

    def _next(self) -> list[KeptResult]:
        """All that wait, as soon as there are any; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._is_closed)
            return list(self._waiting.values())
