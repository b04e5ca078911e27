from __future__ import annotations

import pytest
from obstore import exceptions

from handrail.errors import HandrailError, RuntimeConfigError, StoreError, StoreFullError
from handrail.errors import UnknownRefError as UnknownObject
from handrail.keep.bucket_faults import bucket_faults, is_missing


def answer(status: int, code: str) -> str:
    return (
        f"Error performing PUT http://host/bucket/key in 1ms - Server returned non-2xx status "
        f"code: {status} Some: <Error><Code>{code}</Code><AWSAccessKeyId>HIDDEN</AWSAccessKeyId>"
        f"<StringToSign>AWS4 hidden</StringToSign></Error>\n\nDebug source:\nGeneric {{ }}"
    )


@pytest.mark.parametrize(
    ("error", "expected", "match"),
    [
        (FileNotFoundError(answer(404, "NoSuchKey")), UnknownObject, "No object 'a/b'"),
        (FileNotFoundError("Object at location a/b not found"), UnknownObject, "No object 'a/b'"),
        (FileNotFoundError(answer(404, "NoSuchBucket")), RuntimeConfigError, "no such bucket"),
        (FileNotFoundError(answer(404, "UserNotFound")), RuntimeConfigError, "404 UserNotFound"),
        (
            exceptions.PermissionDeniedError(answer(403, "SignatureDoesNotMatch")),
            RuntimeConfigError,
            "refused the credentials .403 SignatureDoesNotMatch",
        ),
        (
            exceptions.PermissionDeniedError(answer(403, "AccessDenied")),
            RuntimeConfigError,
            "may not do that",
        ),
        (
            exceptions.GenericError(answer(301, "PermanentRedirect")),
            RuntimeConfigError,
            "AWS_REGION",
        ),
        (exceptions.GenericError(answer(507, "InsufficientStorage")), StoreFullError, "No space"),
        (
            exceptions.GenericError(answer(500, "InternalError")),
            StoreError,
            "refused: 500 Internal",
        ),
        (
            exceptions.GenericError('HTTP error { code: 111, message: "Connection refused" }'),
            StoreError,
            "does not answer: Connection refused",
        ),
        (
            exceptions.GenericError("Error performing PUT http://169.254.169.254/latest/api/token"),
            RuntimeConfigError,
            "no credentials are known",
        ),
    ],
)
def test_each_failure_says_what_to_do_and_nothing_secret(
    error: Exception, expected: type[HandrailError], match: str
) -> None:
    with pytest.raises(expected, match=match) as caught, bucket_faults("s3://songs", "a/b"):
        raise error
    assert type(caught.value) is expected
    assert "s3://songs" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not any(word in str(caught.value) for word in ("HIDDEN", "hidden", "http://host"))
    assert caught.value.__suppress_context__
    assert is_missing(error) is (expected is UnknownObject)


def test_errors_of_handrail_and_others_pass() -> None:
    with pytest.raises(ZeroDivisionError), bucket_faults("s3://songs"):
        raise ZeroDivisionError
    with pytest.raises(StoreFullError), bucket_faults("s3://songs"):
        raise StoreFullError("mine")
