"""What boto3 raises, in the words and types of a store."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
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
    SSOError,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as NoConnection
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ...exceptions import DeliveryFileNotFound, StoreDenied, StoreFailure, StoreUnavailable
from .validation import OddResponse, size_of_refusal

#: What a request may raise that `translated` knows. urllib3's own reach us where the body of an
#: error breaks off.
FAILURES = (BotoCoreError, ClientError, ResponseParserError, HTTPError, OddResponse)

_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
_TRANSIENT_CODES = {
    *("RequestTimeout", "SlowDown", "OperationAborted", "InternalError"),
    # The body arrived as another one than was sent.
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}

# Somebody else is writing the same name. A PutObject or CopyObject is simply sent again; an upload
# in parts has to be begun again.
_CONFLICT = "ConditionalRequestConflict"

# OpenSSL's reasons for which the next attempt fails as well: the certificate, and what speaks no
# TLS, or an old one.
_UNTRUSTED = {
    "CERTIFICATE_VERIFY_FAILED",
    "RECORD_LAYER_FAILURE",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_VERSION_NUMBER",
}

# What S3 may also say below 200, when it found out after it had begun its answer; botocore makes
# that a 500.
_FINAL = {"NoSuchUpload", "PreconditionFailed"}

_ABOUT_THE_BUCKET = {"NoSuchBucket", "AllAccessDisabled"}

# What a site does about the credentials or the signature that the server refuses.
_KEYS = "Check access key and secret key"
_TOKEN = "Get new credentials: a session token has its time"  # noqa: S105  # no secret
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "InvalidToken": _TOKEN,
    "ExpiredToken": _TOKEN,
    "TokenRefreshRequired": _TOKEN,
    "RequestTimeTooSkewed": "Set the clock of this machine",
    "AuthorizationHeaderMalformed": "Check the option region_name",
}

# What a site does about other answers.
_REMEDIES = {
    "NoSuchBucket": "Make the bucket, or check the options bucket_name and endpoint_url.",
    "InvalidObjectState": (
        "The file lies in a storage class that cannot be read at once: restore it first."
    ),
    # Of a HEAD, whose answer has no body to say more.
    "400": (
        "A session token that has expired looks like this, another region_name, and a file stored "
        "with a key of SSE-C that object_parameters do not have."
    ),
}
_NO_CREDENTIALS = (
    NoCredentialsError,
    PartialCredentialsError,
    CredentialRetrievalError,
    SSOError,
    TokenRetrievalError,
)

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

# S3 names the action itself where that is not the operation's own: of a key of KMS, or a tag.
_NAMED_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")


class ConditionFailed(StoreFailure):
    """The condition of a request does not hold: the name is taken, or the object has changed.

    ``conflict``: another writer is writing the name at this moment.
    """

    conflict = False


class RangeNotSatisfiable(StoreFailure):
    """The range that was asked for begins at or after the end of the object.

    ``size`` is that of the object as the server gives it, None if it does not.
    """

    size: int | None = None


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
        if code in _FINAL:
            return False
        return (
            _metadata(exception).get("HTTPStatusCode") in _TRANSIENT_STATUS
            or code in _TRANSIENT_CODES
            or "Throttl" in code
        )
    if _is_untrusted(exception):
        return False
    # Every way in which the network fails: before there is a connection, and on it.
    odd = isinstance(exception, (ResponseParserError, OddResponse))
    return odd or isinstance(exception, (NoConnection, HTTPClientError, HTTPError))


def _is_untrusted(exception: BaseException) -> bool:
    """Tell a server that cannot be trusted from a connection that broke, an SSLError as well."""
    cause: BaseException | None = exception if isinstance(exception, SSLError) else None
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason in _UNTRUSTED:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def translated(
    exception: Exception,
    operation: str,
    name: str | None,
    place: str,
    attempts: int,
    seconds: float,
) -> Exception:
    """Return the error of a store for one of `FAILURES`.

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
    if _is_untrusted(exception):
        return StoreUnavailable(
            f"{what} failed at once: {exception}. Check the server's certificate, and the options "
            "verify and endpoint_url."
        )
    tried = f"after {attempts} attempts in {seconds:.1f} s" if attempts > 1 else "at once"
    if isinstance(exception, OddResponse):
        return StoreFailure(
            f"{what} failed {tried}: its response {exception}. Does a proxy, a portal or a cache "
            "respond in the server's place?"
        )
    if not isinstance(exception, ClientError):
        return StoreUnavailable(
            f"{what} failed {tried}: {type(exception).__name__}: {exception}. Is the server "
            "there, and is the endpoint right?"
        )
    return _of_answer(exception, operation, what, tried, name)


def _of_answer(
    exception: ClientError,
    operation: str,
    what: str,
    tried: str,
    name: str | None,
) -> Exception:
    code, status = code_of(exception), _metadata(exception).get("HTTPStatusCode")
    said = f"{status} {code} ({_error(exception).get('Message', '')})"
    if status == 404 and name is not None and code not in {*_ABOUT_THE_BUCKET, "NoSuchUpload"}:
        return DeliveryFileNotFound(name)
    if status == 412 or code in {"PreconditionFailed", _CONFLICT}:
        failed = ConditionFailed(f"{what}: {said}.", code)
        failed.conflict = code == _CONFLICT
        return failed
    if status == 416:
        unsatisfied = RangeNotSatisfiable(f"{what}: {said}.", code)
        headers = _metadata(exception).get("HTTPHeaders", {})
        unsatisfied.size = size_of_refusal(headers, _error(exception))
        return unsatisfied
    if code in _WRONG_CREDENTIALS or status == 401:
        return StoreDenied(f"{what} failed: {said}. {_WRONG_CREDENTIALS.get(code, _KEYS)}.")
    # A code that says more than that it was refused, such as InvalidObjectState, is no matter of
    # permissions.
    if status == 403 and code not in _REMEDIES:
        return StoreDenied(
            f"{what} was refused: {said}. {_missing_permission(exception, operation)}"
        )
    if is_transient(exception, operation):
        return StoreUnavailable(f"{what} failed {tried}: {said}. Try again later.")
    return StoreFailure(f"{what} failed: {said}. {_REMEDIES.get(code, '')}".rstrip(), code)


def _missing_permission(exception: ClientError, operation: str) -> str:
    named = _NAMED_ACTION.search(str(_error(exception).get("Message", "")))
    action = named[1] if named else _ACTIONS.get(operation, "s3:PutObject")
    # The answer to a HEAD has no body, and its code is the status.
    hidden = "The credentials are wrong, or the" if code_of(exception) == "403" else "The"
    return f"{hidden} permission is missing: {action}. See the policy in the manual."


def of_one_key(error: Mapping[str, Any], name: str, place: str) -> Exception:
    """Return the error of a store for what DeleteObjects says about one of its keys."""
    status = 403 if error.get("Code") == "AccessDenied" else 200  # there is none for one key
    answer: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    failed = ClientError(answer, "DeleteObjects")
    return translated(failed, "delete_objects", name, place, 1, 0)
