from __future__ import annotations

import psycopg
import pytest
from psycopg import errors

from handrail.errors import (
    HandrailError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)
from handrail.keep.postgres_faults import gave_way, is_lost, server_faults

NAME = "postgresql://me@host/db"


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (errors.DiskFull("could not extend"), StoreFullError, "No space left for"),
        (errors.ReadOnlySqlTransaction("read-only"), StoreReadOnlyError, "may not write"),
        (errors.InsufficientPrivilege("denied"), StoreReadOnlyError, "may not write"),
        (errors.DataCorrupted("bad page"), StoreCorruptError, "damaged"),
        (errors.LockNotAvailable("timeout"), StoreError, "held its lock for too long"),
        (errors.AdminShutdown("bye"), StoreError, "does not answer"),
        (psycopg.OperationalError("refused"), StoreError, "does not answer"),
        (errors.UniqueViolation("twice"), StoreError, "refused: twice"),
    ],
)
def test_each_failure_is_told_with_the_database_and_its_cause(
    error: psycopg.Error, kind: type[StoreError], text: str
) -> None:
    with pytest.raises(kind, match=text) as caught, server_faults(NAME):
        raise error
    assert type(caught.value) is kind
    assert NAME in str(caught.value)
    assert caught.value.__cause__ is error
    assert not str(caught.value).endswith("..")


def test_handrails_own_errors_pass() -> None:
    error = HandrailError("mine")
    with pytest.raises(HandrailError) as caught, server_faults(NAME):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (psycopg.OperationalError("server closed the connection"), True),
        (psycopg.InterfaceError("connection already closed"), True),
        (errors.CrashShutdown("x"), True),
        (errors.IdleInTransactionSessionTimeout("x"), True),
        (errors.ConnectionFailure("x"), True),
        (errors.DiskFull("x"), False),
        (errors.LockNotAvailable("x"), False),
        (psycopg.DataError("NUL"), False),
        (psycopg.ProgrammingError("x"), False),
    ],
)
def test_what_means_that_the_connection_is_gone(error: psycopg.Error, lost: bool) -> None:
    assert is_lost(error) is lost


def test_who_has_to_give_way_may_try_again() -> None:
    assert gave_way(errors.DeadlockDetected("x"))
    assert gave_way(errors.SerializationFailure("x"))
    assert not gave_way(errors.UniqueViolation("x"))
