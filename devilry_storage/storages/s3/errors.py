"""Translate boto3 exceptions to store exceptions."""

import re
import ssl
from collections.abc import Mapping
from typing import Any

from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from urllib3.exceptions import HTTPError

from ...exceptions import (
    DeliveryFileNotFound,
    InvalidName,
    StoreDenied,
    StoreFailure,
    StoreUnavailable,
)
from .validation import OddResponse, size_from_error

#: Exceptions of requests that `translate_exception` accepts. Those of urllib3 are raised if the
#: body of an error response is incomplete.
FAILURES = (boto.BotoCoreError, boto.ClientError, ResponseParserError, HTTPError, OddResponse)

_TRANSIENT_STATUS = {429, 500, 502, 503, 504}
_TRANSIENT_CODES = {
    *("RequestTimeout", "SlowDown", "OperationAborted", "InternalError"),
    # Another client is writing the same name.
    "ConditionalRequestConflict",
    # The body was damaged in transit.
    *("BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"),
}

# OpenSSL's reasons for permanent failures: an invalid certificate, and a server that does not
# support TLS, or only an old version.
_UNTRUSTED = {
    "CERTIFICATE_VERIFY_FAILED",
    "RECORD_LAYER_FAILURE",
    "UNSUPPORTED_PROTOCOL",
    "WRONG_VERSION_NUMBER",
}

# Codes of permanent errors that S3 may also send with status 200, if it detects them after it has
# begun the response. botocore changes the status to 500.
_FINAL = {"NoSuchUpload", "PreconditionFailed"}

# Statuses of requests that a server does not support, with codes such as MissingContentMD5,
# InvalidArgument, MethodNotAllowed and NotImplemented. Not 404: the bucket may be missing, under a
# code of the server's own.
_UNSUPPORTED = {400, 405, 411, 415, 501}

_ABOUT_THE_BUCKET = {"NoSuchBucket", "AllAccessDisabled"}

# Codes of names that S3, Ceph or MinIO cannot have. No file has such a name, so these operations
# treat it as missing.
_IMPOSSIBLE_NAME = {
    "KeyTooLongError",
    "InvalidURI",
    "InvalidObjectName",
    "XMinioInvalidObjectName",
}
_READS = {"head_object", "get_object", "delete_object", "delete_objects"}

# Remedies for credentials and signatures that the server rejects.
_KEYS = "Check access key and secret key"
_TOKEN = "Get new credentials: the session token is invalid or expired"  # noqa: S105
_WRONG_CREDENTIALS = {
    "InvalidAccessKeyId": _KEYS,
    "SignatureDoesNotMatch": _KEYS,
    "InvalidToken": _TOKEN,
    "ExpiredToken": _TOKEN,
    "TokenRefreshRequired": _TOKEN,
    "RequestTimeTooSkewed": "Correct the clock of this machine",
    "AuthorizationHeaderMalformed": "Check the option region_name",
}

# Remedies for other error codes.
_REMEDIES = {
    "NoSuchBucket": "Create the bucket, or check the options bucket_name and endpoint_url.",
    "InvalidObjectState": (
        "The file is in a storage class without immediate access: restore it in S3 first."
    ),
    # The response to a HEAD request has no body, so its code is the status.
    "400": (
        "Possible causes: an expired session token, a wrong region_name, or a file that was "
        "stored with an SSE-C key that is not in object_parameters."
    ),
}
_CHECKSUMS = (
    "If the server does not know newer checksums, set AWS_REQUEST_CHECKSUM_CALCULATION and "
    "AWS_RESPONSE_CHECKSUM_VALIDATION to 'when_required' in the environment."
)
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.SSOError,
    boto.TokenRetrievalError,
)

# The IAM action that an operation needs. Without s3:ListBucket S3 responds to a request for a
# missing key with 403 (https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html,
# "Permissions").
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

# S3 names the action if it is not that of the operation, for example for a KMS key or a tag.
_NAMED_ACTION = re.compile(r"not authorized to perform: ([a-z0-9-]+:[A-Za-z]+)")


class ConditionFailed(StoreFailure):
    """The condition of a request is not met: the name is used, or the object has changed."""


class BatchRejected(StoreFailure):
    """The server rejected a DeleteObjects request, which it may not support."""


class RangeNotSatisfiable(StoreFailure):
    """The requested range starts at or after the end of the object.

    ``size`` is the size of the object in the response, or None.
    """

    size: int | None = None


def error_code(exception: Exception) -> str:
    """Return the error code in the server's response, or ``""``."""
    return str(_in_response(exception, "Error").get("Code", ""))


def _in_response(exception: Exception, member: str) -> dict[str, Any]:
    response = getattr(exception, "response", None)
    found: dict[str, Any] = response.get(member, {}) if isinstance(response, dict) else {}
    return found


def is_transient(exception: Exception, operation: str) -> bool:
    """Return whether the same request may succeed if it is sent again."""
    if isinstance(exception, boto.ClientError):
        code = error_code(exception)
        if code in _FINAL:
            return False
        return (
            _in_response(exception, "ResponseMetadata").get("HTTPStatusCode") in _TRANSIENT_STATUS
            or code in _TRANSIENT_CODES
            or "Throttl" in code
        )
    if _is_untrusted(exception):
        return False
    # All failures of the network, while connecting and afterwards.
    odd = isinstance(exception, (ResponseParserError, OddResponse))
    return odd or isinstance(exception, (boto.ConnectionError, boto.HTTPClientError, HTTPError))


def _is_untrusted(exception: BaseException) -> bool:
    """Return whether TLS failed for good. A broken connection is an SSLError, too."""
    cause: BaseException | None = exception if isinstance(exception, boto.SSLError) else None
    while cause is not None:
        if isinstance(cause, ssl.SSLError) and cause.reason in _UNTRUSTED:
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def translate_exception(
    exception: Exception,
    operation: str,
    name: str | None,
    location: str,
    attempts: int,
    seconds: float,
) -> Exception:
    """Return the store's exception for one of `FAILURES`.

    The message names the operation, the name and the location. Of the server's response it quotes
    only the code and the message, because other parts may contain a signature.
    """
    subject = location if name is None else f"{name!r} in {location}"
    what = f"{operation} of {subject}"
    if isinstance(exception, _NO_CREDENTIALS):
        return StoreDenied(
            f"{what} failed: no credentials were found ({exception}). Set AWS_S3_ACCESS_KEY_ID "
            "and AWS_S3_SECRET_ACCESS_KEY, or give the machine a role."
        )
    if isinstance(exception, boto.ParamValidationError):
        return ValueError(f"{what} has invalid parameters: {exception}")
    if _is_untrusted(exception):
        return StoreUnavailable(
            f"{what} failed without a retry: {exception}. Check the server's certificate, and the "
            "options verify and endpoint_url."
        )
    tried = "after 1 attempt"
    if attempts > 1:
        tried = f"after {attempts} attempts in {seconds:.1f} s"
    if isinstance(exception, OddResponse):
        return StoreFailure(
            f"{what} failed {tried}: the response {exception}. Check whether a proxy, a captive "
            "portal or a cache responds instead of the server."
        )
    if not isinstance(exception, boto.ClientError):
        return StoreUnavailable(
            f"{what} failed {tried}: {type(exception).__name__}: {exception}. Check that the "
            "server is running, and the option endpoint_url."
        )
    return _translate_response(exception, operation, what, tried, name)


def _translate_response(
    exception: boto.ClientError, operation: str, what: str, tried: str, name: str | None
) -> Exception:
    error, metadata = _in_response(exception, "Error"), _in_response(exception, "ResponseMetadata")
    code, status = error_code(exception), metadata.get("HTTPStatusCode")
    reason = f"{status} {code} ({error.get('Message', '')})"
    if name is not None:
        impossible = status == 414 or code in _IMPOSSIBLE_NAME
        if impossible and operation not in _READS:
            return InvalidName(
                f"{what} failed: {reason}. The server cannot have this name: use a shorter name, "
                "or a shorter location."
            )
        missing = status == 404 and code not in {*_ABOUT_THE_BUCKET, "NoSuchUpload"}
        if missing or impossible:
            return DeliveryFileNotFound(name)
    if status == 412 or code == "PreconditionFailed":
        return ConditionFailed(f"{what}: {reason}.", code)
    if status == 416:
        unsatisfied = RangeNotSatisfiable(f"{what}: {reason}.", code)
        unsatisfied.size = size_from_error(metadata.get("HTTPHeaders", {}), error)
        return unsatisfied
    if code in _WRONG_CREDENTIALS or status == 401:
        return StoreDenied(f"{what} failed: {reason}. {_WRONG_CREDENTIALS.get(code, _KEYS)}.")
    # A 403 with a code that has its own remedy, such as InvalidObjectState, is not about
    # permissions.
    if status == 403 and code not in _REMEDIES:
        return StoreDenied(
            f"{what} was denied: {reason}. {_missing_permission(exception, operation)}"
        )
    if is_transient(exception, operation):
        return StoreUnavailable(f"{what} failed {tried}: {reason}. Try again later.")
    is_checksum = any(header in reason for header in ("x-amz-checksum", "x-amz-sdk-checksum"))
    remedy = _CHECKSUMS if is_checksum else _REMEDIES.get(code, "")
    rejected = operation == "delete_objects" and status in _UNSUPPORTED
    kind = BatchRejected if rejected else StoreFailure
    return kind(f"{what} failed: {reason}. {remedy}".rstrip(), code)


def _missing_permission(exception: boto.ClientError, operation: str) -> str:
    named = _NAMED_ACTION.search(str(_in_response(exception, "Error").get("Message", "")))
    action = named[1] if named else _ACTIONS.get(operation, "s3:PutObject")
    # The response to a HEAD request has no body, so its code is the status.
    hidden = "The credentials are wrong, or the" if error_code(exception) == "403" else "The"
    return f"{hidden} permission is missing: {action}. See the policy in the manual."


def deletion_error(error: Mapping[str, Any], name: str, location: str) -> Exception:
    """Return the store's exception for an error of one key in the response to DeleteObjects."""
    # An error of one key has no status.
    status = {"AccessDenied": 403, "NoSuchKey": 404}.get(error.get("Code", ""), 200)
    response: Any = {"Error": error, "ResponseMetadata": {"HTTPStatusCode": status}}
    exception = boto.ClientError(response, "DeleteObjects")
    return translate_exception(exception, "delete_objects", name, location, 1, 0)
