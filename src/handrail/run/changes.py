"""Tasks whose code is another than when they finished, and what a resume makes of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from handrail.contracts import event as kinds
from handrail.contracts.event import StoredEvent
from handrail.flow.digest import code_digest
from handrail.flow.plan import Plan

#: Keep the results of changed tasks; run them and what follows them again; or do not resume.
ChangePolicy = Literal["continue", "rerun", "stop"]


def digests_of(plan: Plan) -> dict[str, str]:
    """Code digests of a plan's tasks by name."""
    return {node.name: code_digest(node.fn) for node in plan.nodes if node.fn is not None}


def changed_tasks(events: Iterable[StoredEvent], digests: Mapping[str, str]) -> list[str]:
    """Finished tasks whose code was another one when they finished, as declared.

    Args:
        digests: of the code as it is now.
    """
    known: dict[str, str] = {}
    finished: dict[str, str] = {}
    for stored in events:
        event, data = stored.event, stored.event.data or {}
        if event.kind in (kinds.RUN_STARTED, kinds.RUN_RESUMED):
            known.update(data.get("digests", {}))
        elif event.kind == kinds.TASK_SUCCEEDED and event.task in known:
            finished[event.task] = known[event.task]
    return [name for name in digests if name in finished and finished[name] != digests[name]]


def voided(events: Iterable[StoredEvent], plan: Plan) -> dict[str, tuple[int, int]]:
    """Tasks that a resume runs again: place in the journal and epoch of the last such resume.

    What they left before that place is not taken, nor what followed them.
    """
    found: dict[str, tuple[int, int]] = {}
    for stored in events:
        data = stored.event.data or {}
        if stored.event.kind == kinds.RUN_RESUMED and data.get("policy") == "rerun":
            for name in _with_followers(data.get("changed", ()), plan):
                found[name] = (stored.position, stored.epoch)
    return found


def _with_followers(names: Iterable[str], plan: Plan) -> set[str]:
    found: set[str] = set()
    for name in names:
        node = plan.by_name.get(name)
        if node is not None:
            found |= {plan.nodes[index].name for index in plan.followers(node)}
    return found
