"""A workflow: a named graph of tasks, the workspace it works on, and how it is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from contextvars import Token as ContextToken
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from handrail import plug
from handrail.contracts.expr import Composable, ParallelGroup, Sequence, composing
from handrail.contracts.limits import Limit, parse_limits
from handrail.contracts.resource import Resource
from handrail.contracts.task import MappedTask, Task
from handrail.contracts.workspace import BranchName
from handrail.errors import WorkflowDefinitionError
from handrail.flow.draw import draw
from handrail.flow.graph import TaskGraph

if TYPE_CHECKING:
    from handrail.hooks.spec import RunWatcher


class LoadingStopped(BaseException):
    """Ends the loading of a module at its first call of `execute()`. Not an error."""

    def __init__(self, place: str) -> None:
        #: `file:line` of the call.
        self.place = place
        super().__init__(place)


#: Is a module being loaded only to find its workflows? Then none of them may be run.
loading: ContextVar[bool] = ContextVar("handrail_loading", default=False)


class workflow:
    """Collects tasks under a name: `with workflow("name") as flow:`, or on a factory.

    Args:
        name: name of the workflow; also of its pipeline in tracking.
        workspace: `"repository"` or `"repository@branch"` that its tasks read and write.
        pipeline: name of the pipeline whose watermark a run moves; the workflow's by default.
        publish: `"run"` publishes once, when the run has succeeded; `"task"` after each task.
        watchers: told of its runs, besides those of the settings: `RunWatcher`s, or names as in
            the setting `watchers`.
        limits: limits by tag, `{"db": 2, "api": "10/s"}`, before those of the settings.

    Raises:
        WorkflowDefinitionError: the name or another argument cannot be.
    """

    def __init__(
        self,
        name: str,
        *parts: Composable,
        workspace: str | BranchName | None = None,
        pipeline: str | None = None,
        publish: str = "run",
        watchers: Iterable[RunWatcher | str] = (),
        limits: Mapping[str, int | str] = MappingProxyType({}),
    ) -> None:
        if not isinstance(name, str) or not name.strip():
            raise WorkflowDefinitionError(f"workflow name {name!r} must be a string, not blank")
        if publish not in ("run", "task"):
            raise WorkflowDefinitionError(f"publish={publish!r}: expected 'run' or 'task'")
        self.name = name
        self.graph = TaskGraph()
        self.workspace = BranchName.parse(workspace) if workspace is not None else None
        self.pipeline = pipeline or name
        self.publish = publish
        self.watchers = _watchers(name, watchers)
        #: By tag; they come before those of the settings.
        self.limits = _limits(name, limits)
        #: Module that declares it, to find it again in a later process.
        self.module = _caller_module()
        #: What its tasks may ask for besides data, by name.
        self.resources: dict[str, Resource] = {}
        self._composing: list[ContextToken[Any]] = []
        for part in parts:
            self.add(part)

    # Composing

    def __enter__(self) -> workflow:
        self._composing.append(composing.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        composing.reset(self._composing.pop())

    def __call__(self, factory: Callable[[], Any]) -> workflow:
        """Fills the workflow from a function that composes tasks: `@workflow("name")`."""
        with self:
            composed = factory()
        if isinstance(composed, Composable):
            self.add(composed)
        self.module = factory.__module__
        return self

    def add(self, part: Composable) -> None:
        """Adds a task, a chain or a group."""
        if not isinstance(part, Composable):
            raise WorkflowDefinitionError(
                f"Workflow '{self.name}': {part!r} is no task. Is it decorated with @task?"
            )
        self.graph.include(part)

    def connect(self, before: Composable, after: Composable) -> None:
        """Lets `after` follow `before`."""
        for part in (before, after):
            # A chain that was composed elsewhere brings its own edges.
            if isinstance(part, Sequence) and part.composer is not self:
                self.graph.include(part)
        self.graph.connect(before, after)

    def forget(self, group: ParallelGroup) -> bool:
        """Drops a group that became part of a larger one; not if something follows it."""
        if not self.graph.has_group(group):
            return True
        name = self.graph.name_of(group)
        if self.graph.successors(name):
            return False
        self.graph.remove_node(name)
        return True

    def rename(self, group: ParallelGroup, name: str) -> None:
        """Gives a group another name."""
        if self.graph.has_group(group):
            self.graph.rename_node(self.graph.name_of(group), name)

    def group_name(self) -> str:
        """A free name for a group."""
        return self.graph.group_name()

    def register_resource(
        self, name: str, factory: Callable[[], Any], *, type: type | None = None
    ) -> None:
        """Offers tasks something that is not data: a database, a client, a model.

        A parameter of that name, or with the annotation `type`, gets it. It is opened when it
        is first needed, once in each process that runs bodies, and closed at the end.

        Args:
            factory: opens it; returns it, or a context manager around it. If it has a
                `close()`, that is called at the end.
        """
        self.resources[name] = Resource(name, factory, type)

    # Asking

    def templates(self) -> set[str]:
        """Tasks that only served to make instances; they are not run."""
        nodes = [(name, node) for name, node in self.graph.nodes() if isinstance(node, Task)]
        instanced = {node.definition for _, node in nodes if node.task_id != node.definition.name}
        mapped = {id(node.template) for _, node in nodes if isinstance(node, MappedTask)}
        return {
            name
            for name, node in nodes
            if (
                id(node) in mapped
                or (node.definition in instanced and node.task_id == node.definition.name)
            )
            and not self.graph.successors(name)
            and not self.graph.predecessors(name)
        }

    @overload
    def draw(
        self,
        format: Literal["text", "mermaid", "dot", "svg"] = ...,
        states: Mapping[str, str] | None = ...,
        path: None = ...,
    ) -> str: ...

    @overload
    def draw(
        self, format: Literal["png"], states: Mapping[str, str] | None = ..., path: None = ...
    ) -> bytes: ...

    @overload
    def draw(
        self,
        format: str | None = ...,
        states: Mapping[str, str] | None = ...,
        path: str | Path | None = ...,
    ) -> str | bytes: ...

    def draw(
        self,
        format: str | None = None,
        states: Mapping[str, str] | None = None,
        path: str | Path | None = None,
    ) -> str | bytes:
        """Draws the graph, without a network, and returns the picture.

        Args:
            format: `"text"`, `"mermaid"`, `"dot"`, `"svg"` or `"png"`; by default what the path
                ends in (`.txt .mmd .dot .svg .png`), else `"text"`.
            states: `{task: state}`, shown as marks and colours; names of no task are ignored.
            path: file to write the picture to.

        Raises:
            WorkflowDefinitionError: no such format, or the path ends in none that is known.
            NotInstalledError: PNG images need `pip install 'handrail[draw]'`.
            OSError: the file cannot be written.
        """
        return draw(self.graph, format, states, path, title=self.name, without=self.templates())

    def __repr__(self) -> str:
        return f"workflow({self.name!r}, {len(self.graph)} nodes)"

    # Running

    def execute(
        self,
        start: str | Task | None = None,
        *,
        start_node: str | Task | None = None,
        engine: Any = None,
        max_workers: int | None = None,
        max_steps: int | None = None,
        timeout: float | None = None,
        initial_channel: dict[str, Any] | None = None,
        journal: str | None = None,
        key: str | None = None,
        ret_context: bool = False,
        progress: bool | None = None,
        inputs: dict[str, Any] | None = None,
        **more_inputs: Any,
    ) -> Any:
        """Runs the workflow and returns its result.

        The result is that of the only task that nothing follows, or `{name: result}` if there
        are several. Keywords that are not listed here are inputs of the run, like `inputs`.

        Args:
            start: task to start at; by default all tasks that follow nothing.
            engine: a `WorkflowEngine` with handlers of its own.
            max_workers: bodies that run at the same time, per handler.
            max_steps: most attempts that the run may take; unlimited by default.
            timeout: longest time that the run, or a resume of it, may take, in seconds; then
                what runs is stopped and the run has failed. Unlimited by default.
            initial_channel: further inputs.
            journal: `"memory"` keeps nothing on disk; by default the run is journaled in
                `.handrail/` and can be resumed.
            key: start key; a second call with the same key gets the first one's result.
            ret_context: also return the `ExecutionContext`.
            progress: show progress on standard error.

        Raises:
            WorkflowDefinitionError: the graph cannot run; nothing was started.
            RunFailed: a task failed for good; its error is `cause`.
            RunTimeout: it took longer than `timeout`.
            PublishFenceError: the branch moved meanwhile; nothing was published.
        """
        if loading.get():
            caller = sys._getframe(1)
            raise LoadingStopped(f"{caller.f_code.co_filename}:{caller.f_lineno}")
        return plug.runtime().execute(
            self,
            start=start if start is not None else start_node,
            engine=engine,
            max_workers=max_workers,
            max_steps=max_steps,
            timeout=timeout,
            journal=journal,
            key=key,
            ret_context=ret_context,
            progress=progress,
            inputs={**(initial_channel or {}), **(inputs or {}), **more_inputs},
        )


def _watchers(name: str, said: Any) -> tuple[RunWatcher | str, ...]:
    if isinstance(said, str) or not isinstance(said, Iterable):
        raise WorkflowDefinitionError(
            f"Workflow '{name}': watchers={said!r}: expected a list, such as ['console']"
        )
    return tuple(said)


def _limits(name: str, said: Any) -> Mapping[str, Limit]:
    try:
        return parse_limits(said)
    except ValueError as exc:
        raise WorkflowDefinitionError(f"Workflow '{name}': {exc}") from exc


def _caller_module() -> str:
    # The frame that called workflow(...), past this function and __init__ (also of subclasses).
    frame = sys._getframe(2)
    return str(frame.f_globals.get("__name__", "__main__"))
