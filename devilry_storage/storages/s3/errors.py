"""What boto3 raises, in the words and types of a store."""

from __future__ import annotations

from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from ...exceptions import DeliveryFileNotFound, StoreDenied, StoreFailure, StoreUnavailable

_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
_TRANSIENT_CODES = {"RequestTimeout", "SlowDown", "OperationAborted", "InternalError"}
# The body arrived as another one than was sent.
_DAMAGED_ON_THE_WAY = {"BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"}

# Somebody else is writing the same name. A PutObject or CopyObject is simply sent again; an upload
# in parts has to be begun again.
_CONFLICT = "ConditionalRequestConflict"

_ABOUT_THE_BUCKET = {"NoSuchBucket", "AllAccessDisabled"}
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "ExpiredToken",
    "TokenRefreshRequired",
    "RequestTimeTooSkewed",
    "AuthorizationHeaderMalformed",
}
_NO_CREDENTIALS = (NoCredentialsError, PartialCredentialsError, CredentialRetrievalError)

# The action of IAM that an operation needs. Without s3:ListBucket S3 answers 403 for a missing key
# (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html, "Permissions").
_HIDES_MISSING = "s3:GetObject, or the file does not exist and s3:ListBucket is missing"
_ACTIONS = {
    "get_object": _HIDES_MISSING,
    "head_object": _HIDES_MISSING,
    "copy_object": "s3:PutObject, s3:GetObject or, if the source does not exist, s3:ListBucket",
    "upload_part_copy": "s3:PutObject or s3:GetObject",
    "delete_object": "s3:DeleteObject",
    "delete_objects": "s3:DeleteObject",
    "list_objects_v2": "s3:ListBucket",
    "list_multipart_uploads": "s3:ListBucketMultipartUploads",
    "abort_multipart_upload": "s3:AbortMultipartUpload",
}


class ConditionFailed(StoreFailure):
    """The condition of a request does not hold: the name is taken, or the object has changed.

    ``repeated``: an attempt before this one may have been carried out, its reply lost.
    ``conflict``: somebody else is writing the name at this moment.
    """

    repeated = False
    conflict = False


class RangeNotSatisfiable(StoreFailure):
    """The range that was asked for begins at or after the end of the object."""


def code_of(exception: Exception) -> str:
    """Return the error code that the server gave, ``""`` where there is none."""
    return str(_error(exception).get("Code", ""))


def _error(exception: Exception) -> dict[str, Any]:
    answer = getattr(exception, "response", None)
    error: dict[str, Any] = answer.get("Error", {}) if isinstance(answer, dict) else {}
    return error


def _metadata(exception: Exception) -> dict[str, Any]:
    answer = getattr(exception, "response", None)
    found: dict[str, Any] = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}
    return found


def is_transient(exception: Exception, operation: str) -> bool:
    """Tell whether the same request may succeed when it is sent again."""
    if isinstance(exception, ClientError):
        code = code_of(exception)
        if code == _CONFLICT:
            return operation != "complete_multipart_upload"
        return (
            _metadata(exception).get("HTTPStatusCode") in _TRANSIENT_STATUS
            or code in _TRANSIENT_CODES | _DAMAGED_ON_THE_WAY
            or "Throttl" in code
        )
    if isinstance(exception, SSLError):
        return False
    # HTTPClientError is every way in which the network fails.
    return isinstance(exception, (HTTPClientError, ResponseParserError))


def translated(
    exception: BotoCoreError | ClientError,
    operation: str,
    name: str | None,
    place: str,
    attempts: int,
    seconds: float,
) -> Exception:
    """Return the error of a store for one of boto3's.

    It names operation, name and place, and quotes of the server's answer only code and message:
    the rest may hold a signature.
    """
    what = f"{operation} of {name!r} in {place}" if name is not None else f"{operation} of {place}"
    if isinstance(exception, _NO_CREDENTIALS):
        return StoreDenied(
            f"{what} failed: there are no credentials ({exception}). Set AWS_S3_ACCESS_KEY_ID and "
            "AWS_S3_SECRET_ACCESS_KEY, or give the machine a role."
        )
    if isinstance(exception, ParamValidationError):
        return ValueError(f"{what} is impossible: {exception}")
    tried = f"after {attempts} attempts in {seconds:.1f} s" if attempts > 1 else "at once"
    if not isinstance(exception, ClientError):
        return StoreUnavailable(
            f"{what} failed {tried}: {type(exception).__name__}: {exception}. Is the server "
            "there, and is the endpoint right?"
        )
    return _of_answer(exception, operation, what, tried, name, attempts)


def _of_answer(
    exception: ClientError,
    operation: str,
    what: str,
    tried: str,
    name: str | None,
    attempts: int,
) -> Exception:
    code, status = code_of(exception), _metadata(exception).get("HTTPStatusCode")
    said = f"{status} {code} ({_error(exception).get('Message', '')})"
    if status == 404 and name is not None and code not in {*_ABOUT_THE_BUCKET, "NoSuchUpload"}:
        return DeliveryFileNotFound(name)
    if status == 412 or code in {"PreconditionFailed", _CONFLICT}:
        failed = ConditionFailed(f"{what}: {said}.", code)
        # The SDK's own attempts, where the site lets it have some, count as ours do.
        failed.repeated = attempts > 1 or bool(_metadata(exception).get("RetryAttempts"))
        failed.conflict = code == _CONFLICT
        return failed
    if status == 416:
        return RangeNotSatisfiable(f"{what}: {said}.", code)
    if code == "InvalidObjectState":
        return StoreFailure(
            f"{what} failed: {said}. The file lies in a storage class that cannot be read at "
            "once: restore it first.",
            code,
        )
    if code in _WRONG_CREDENTIALS or status == 401:
        return StoreDenied(f"{what} failed: {said}. Check access key, secret key and clock.")
    if status == 403:
        return StoreDenied(
            f"{what} was refused: {said}. The permission is missing: "
            f"{_ACTIONS.get(operation, 's3:PutObject')}. See the policy in the manual."
        )
    if is_transient(exception, operation):
        return StoreUnavailable(f"{what} failed {tried}: {said}. Try again later.")
    return StoreFailure(f"{what} failed: {said}.", code)
