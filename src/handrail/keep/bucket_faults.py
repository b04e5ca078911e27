"""Failures of an object storage, told in Handrail's own errors.

| cause | error |
|---|---|
| no such object | `UnknownRefError` |
| no such bucket, refused credentials, a missing right | `RuntimeConfigError` |
| quota used up | `StoreFullError` |
| no answer, any other failure | `StoreError` |

Each message names the place and the next step. What the library says is not passed on: it
repeats addresses, keys and signatures. Only the status, the code and the system's word are told.
Source of the codes: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore import exceptions

from handrail.errors import HandrailError, RuntimeConfigError, StoreError, StoreFullError
from handrail.errors import UnknownRefError as UnknownObject

#: What the library raises. (Of a missing object it raises Python's own error.)
FAILURES = (exceptions.BaseError, FileNotFoundError)

#: Codes of a missing object; a HEAD request is answered without a code.
_NO_OBJECT = frozenset({"", "NoSuchKey"})
_NO_BUCKET = frozenset({"NoSuchBucket"})
_FULL = frozenset({"QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "StorageFull"})
_NO_RIGHT = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem"})
_BAD_REGION = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed"})

_CODE = re.compile(r"<Code>\s*(\w+)")
_STATUS = re.compile(r"status code: (\d{3})")
_SYSTEM = re.compile(r'message: "([^"]{1,200})"|"(failed to lookup [^"]{1,200})"|(TimedOut)')
#: Where machines in a cloud ask for credentials.
_NO_CREDENTIALS = re.compile(r"169\.254\.|/latest/api/token")
_BROKE_OFF = re.compile(r"kind: Interrupted|IncompleteBody|UnexpectedEof")


@contextmanager
def bucket_faults(place: str, key: str = "") -> Iterator[None]:
    """Translates failures while `key` at `place` is used.

    Raises:
        StoreError, RuntimeConfigError: see the table on top of this module.
    """
    try:
        yield
    except HandrailError:
        raise
    except FAILURES as error:
        # Without its cause, whose text holds parts of credentials.
        raise told(error, place, key) from None


def is_missing(error: Exception) -> bool:
    """Does the place exist, and nothing of that name in it?"""
    return isinstance(error, FileNotFoundError) and _found(_CODE, str(error)) in _NO_OBJECT


def broke_off(error: Exception) -> bool:
    """Did an answer end in the middle? The library repeats what got no answer at all."""
    return _BROKE_OFF.search(str(error)) is not None


def told(error: Exception, place: str, key: str = "") -> HandrailError:
    """The error of Handrail that says what `error` means."""
    text = str(error)
    code = _found(_CODE, text)
    status = _found(_STATUS, text)
    said = " ".join(filter(None, (status, code))) or _found(_SYSTEM, text) or "no reason given"
    if is_missing(error):
        return UnknownObject(f"No object '{key}' in {place}.")
    if code in _NO_BUCKET:
        return RuntimeConfigError(
            f"{place}: there is no such bucket. Make it, or name another in HANDRAIL_OBJECTS_URL."
        )
    if _NO_CREDENTIALS.search(text):
        return RuntimeConfigError(
            f"{place}: no credentials are known. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."
        )
    if code in _BAD_REGION or status == "301":
        return RuntimeConfigError(f"{place} is in another region ({said}). Set AWS_REGION.")
    if code in _NO_RIGHT:
        return RuntimeConfigError(
            f"{place}: this user may not do that ({said}). Grant listing the bucket, and "
            f"reading, writing and deleting objects in it."
        )
    if isinstance(error, FileNotFoundError) or status in ("401", "403"):
        return RuntimeConfigError(
            f"{place} refused the credentials ({said}). Check AWS_ACCESS_KEY_ID, "
            f"AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, and this machine's clock."
        )
    if code in _FULL or status == "507":
        return _full(place, said)
    if status:
        return StoreError(f"{place} refused: {said}. Look into the storage's log, then try again.")
    return StoreError(
        f"{place} does not answer: {said}. Check that the storage runs and that "
        f"HANDRAIL_OBJECTS_URL and AWS_ENDPOINT_URL are right, then try again."
    )


def _found(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return next((group for group in found.groups() if group), "") if found else ""


def _full(place: str, said: str) -> StoreFullError:
    error = StoreFullError(f"No space left in {place} ({said}). Raise its quota, or free some.")
    error.errno = errno.ENOSPC
    return error
