"""Books of mapped tasks: one node becomes many, and their results one list."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from handrail.errors import TaskInputError
from handrail.flow.plan import Node, Plan
from handrail.run.context import ExecutionContext

#: Items of one mapped task that are queued or in flight at a time.
WINDOW = 256


class _Expansion:
    """A mapped task at work."""

    def __init__(self, items: list[Any], known: dict[int, Any]) -> None:
        self.items = items
        self.known = known
        self.results: list[Any] = [known.get(position) for position in range(len(items))]
        self.open_count = len(items) - len(known)
        self.next_position = 0


class Maps:
    """Expands mapped tasks, a window of items at a time."""

    def __init__(self, plan: Plan, context: ExecutionContext) -> None:
        self._plan = plan
        self._context = context
        self._at_work: dict[int, _Expansion] = {}
        self._known: dict[int, dict[int, Any]] = {}
        self._sizes: dict[int, int] = {}

    def remember(self, node: Node, position: int, value: Any) -> list[Any] | None:
        """Takes the result of an item from an earlier epoch; returns all with the last one."""
        known = self._known.setdefault(node.index, {})
        known[position] = value
        if node.index not in self._sizes:
            self._sizes[node.index] = self._size(node)
        if len(known) != self._sizes[node.index]:
            return None
        del self._known[node.index], self._sizes[node.index]
        return [known[position] for position in sorted(known)]

    def _size(self, node: Node) -> int:
        try:
            return len(self._items(node))
        except TaskInputError:  # the items were kept in memory only: they are made again
            return -1

    def forget(self, node: Node) -> None:
        """Forgets what earlier epochs left of a mapped task: it runs once more."""
        if self._known:
            self._known.pop(node.index, None)
            self._sizes.pop(node.index, None)

    def begin(self, node: Node) -> list[Any] | None:
        """Opens a mapped task; returns its results if nothing is left to run.

        Raises:
            TaskInputError: what is mapped over cannot be iterated.
        """
        items = self._items(node)
        known = self._known.pop(node.index, {})
        self._sizes.pop(node.index, None)
        known = {position: value for position, value in known.items() if position < len(items)}
        expansion = _Expansion(items, known)
        if not expansion.open_count:
            return expansion.results
        self._at_work[node.index] = expansion
        return None

    def first(self, node: Node) -> list[Node]:
        """The first items to run."""
        found = []
        for made in self._pending(node):
            found.append(made)
            if len(found) == WINDOW:
                break
        return found

    def next(self, node: Node) -> Node | None:
        """One more item to run, if any is left."""
        return next(self._pending(node), None)

    def took(self, item: Node, value: Any) -> list[Any] | None:
        """Takes the result of an item; returns all results with the last one."""
        assert item.item is not None
        node, position = item.item
        expansion = self._at_work.get(node.index)
        if expansion is None:
            return None
        expansion.results[position] = value
        expansion.open_count -= 1
        if expansion.open_count:
            return None
        del self._at_work[node.index]
        return expansion.results

    def drop(self, node: Node) -> bool:
        """Gives a mapped task up: no further items. False: it was given up before."""
        return self._at_work.pop(node.index, None) is not None

    def _pending(self, node: Node) -> Iterator[Node]:
        expansion = self._at_work.get(node.index)
        while expansion is not None and expansion.next_position < len(expansion.items):
            position = expansion.next_position
            expansion.next_position += 1
            if position not in expansion.known:
                yield node.one_item(position, expansion.items[position])

    def _items(self, node: Node) -> list[Any]:
        binding = node.items
        assert binding is not None
        if binding.source == "bound":
            return list(binding.value)
        source = self._plan.nodes[binding.node].name
        value: Any = self._context.results.get(source)
        try:
            return list(value)
        except TypeError as exc:
            raise TaskInputError(
                f"Task '{node.name}' maps over the result of '{source}', a "
                f"{type(value).__name__}, which cannot be iterated."
            ) from exc
