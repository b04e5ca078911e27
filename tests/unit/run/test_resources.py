"""Things that bodies need and that are not data."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from handrail import MissingParameterError, ResourceError, RunFailed, task, workflow


class Database:
    def __init__(self) -> None:
        self.process = os.getpid()
        self.is_open = True

    def close(self) -> None:
        self.is_open = False


def test_a_parameter_of_its_name_gets_a_resource_opened_once_and_closed() -> None:
    opened: list[Database] = []

    def connect() -> Database:
        opened.append(Database())
        return opened[-1]

    with workflow("w") as flow:
        flow.register_resource("database", connect)

        @task
        def first(database: Database) -> bool:
            return database.is_open

        @task
        def second(first: bool, database: Database) -> tuple[bool, bool]:
            return first, database.is_open

        first >> second
    assert flow.execute(journal="memory") == (True, True)
    assert len(opened) == 1
    assert not opened[0].is_open


def test_a_parameter_with_its_type_gets_it() -> None:
    with workflow("w") as flow:
        flow.register_resource("database", Database, type=Database)

        @task
        def only(storage: Database) -> str:
            return type(storage).__name__

    assert only.fn is not None
    assert flow.execute(journal="memory") == "Database"


def test_context_managers_are_entered_and_left() -> None:
    seen: list[str] = []

    @contextmanager
    def client() -> Iterator[str]:
        seen.append("open")
        yield "client"
        seen.append("closed")

    with workflow("w") as flow:
        flow.register_resource("client", client)

        @task
        def only(client: str) -> str:
            seen.append("used")
            return client

    assert only.fn is not None
    assert flow.execute(journal="memory") == "client"
    assert seen == ["open", "used", "closed"]


def where(database: Database) -> int:
    return database.process


def test_a_worker_process_opens_its_own() -> None:
    with workflow("w") as flow:
        flow.register_resource("database", Database)
        task("far", handler="process")(where)
    assert flow.execute(journal="memory") != os.getpid()


def test_a_resource_that_fails_to_open_is_told() -> None:
    def broken() -> Any:
        raise OSError("no server")

    with workflow("w") as flow:
        flow.register_resource("database", broken)
        task("only")(where)
    with pytest.raises(RunFailed, match="Resource 'database' cannot be opened: OSError") as caught:
        flow.execute(journal="memory")
    assert isinstance(caught.value.cause, ResourceError)


def test_without_the_resource_the_parameter_is_missing() -> None:
    with workflow("w") as flow:
        task("only")(where)
    with pytest.raises(MissingParameterError, match="database"):
        flow.execute(journal="memory")
