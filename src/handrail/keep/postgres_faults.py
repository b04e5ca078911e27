"""Failures of a Postgres server, told in Handrail's own errors.

| cause | error |
|---|---|
| no space on the server's disk | `StoreFullError` |
| a standby, a read-only database, a missing right | `StoreReadOnlyError` |
| damaged data | `StoreCorruptError` |
| no answer, refused login, locked for too long, any other failure | `StoreError` |

Each message names the server and the database, never a password. Source of the codes:
https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from handrail.errors import (
    HandrailError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)

_FULL = frozenset({"53100"})
_READ_ONLY = frozenset({"25006", "42501"})
_CORRUPT = frozenset({"XX001", "XX002"})
_LOCKED = frozenset({"55P03"})
#: The server ends the connection: shut down, crashed, starting, asleep inside a transaction.
_ENDED = frozenset({"57P01", "57P02", "57P03", "57P05", "25P03"})
#: The transaction was chosen to give way to another.
_GAVE_WAY = frozenset({"40001", "40P01"})


def is_lost(error: psycopg.Error) -> bool:
    """Is the connection gone, so that nobody knows what became of the last statement?"""
    if error.sqlstate is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return error.sqlstate in _ENDED or error.sqlstate.startswith("08")


def gave_way(error: psycopg.Error) -> bool:
    """Was the transaction rolled back for no fault of its own?"""
    return error.sqlstate in _GAVE_WAY


@contextmanager
def server_faults(name: str) -> Iterator[None]:
    """Translates failures while the database `name` is used.

    Raises:
        StoreError: or one below it; see the table on top of this module.
    """
    try:
        yield
    except HandrailError:
        raise
    except psycopg.Error as error:
        raise store_error(error, name) from error
    except UnicodeEncodeError as error:
        raise StoreError(f"{name} cannot hold a text with half characters: {error}.") from error


def store_error(error: psycopg.Error, name: str) -> StoreError:
    """The error of Handrail that says what `error` means for the database `name`."""
    said = _said(error)
    if error.sqlstate in _FULL:
        return _full(name, said)
    if error.sqlstate in _READ_ONLY:
        return _read_only(name, said)
    if error.sqlstate in _CORRUPT:
        return StoreCorruptError(f"{name} is damaged ({said}). Restore it from a copy.")
    if error.sqlstate in _LOCKED:
        return StoreError(
            f"{name}: another transaction held its lock for too long. "
            f"See who with: SELECT * FROM pg_stat_activity WHERE state <> 'idle'"
        )
    if is_lost(error):
        return StoreError(
            f"{name} does not answer: {said}. Check that the server runs and that "
            f"HANDRAIL_DATABASE_URL is right, then try again."
        )
    return StoreError(f"{name} refused: {said}. Look into the server's log, then try again.")


def _said(error: psycopg.Error) -> str:
    text = error.diag.message_primary or str(error) or type(error).__name__
    return " ".join(text.split()).rstrip(".?")


def _full(name: str, said: str) -> StoreFullError:
    error = StoreFullError(f"No space left for {name} ({said}). Free some space on the server.")
    error.errno = errno.ENOSPC
    return error


def _read_only(name: str, said: str) -> StoreReadOnlyError:
    error = StoreReadOnlyError(
        f"Handrail may not write {name} ({said}). Name the primary server in "
        f"HANDRAIL_DATABASE_URL, and let its owner grant this user the schema 'handrail'."
    )
    error.errno = errno.EROFS
    return error
