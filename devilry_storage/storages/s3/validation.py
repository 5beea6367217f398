"""Reject responses that are not complete responses of S3.

A proxy, a captive portal or a cache may respond instead of the server, with a page and status 200,
with an empty body, or with the response to another request. Each response is therefore checked
twice: `check_raw` checks the status and the body before botocore parses them, and `check_parsed`
compares the result with the request.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class OddResponse(Exception):
    """A response is not a complete response of S3. The text continues "the response ..."."""


@dataclass(frozen=True)
class _Rule:
    """Requirements for a successful response of one operation.

    ``root``
        a pattern for the root element of the body, empty if the body is empty.
    ``needs``
        the required members.
    ``lists``
        the optional lists, and the required members of their items.
    ``check``
        a function that compares the response with the parameters of the request.
    """

    root: str = ""
    statuses: tuple[int, ...] = (200,)
    needs: tuple[str, ...] = ()
    lists: Mapping[str, tuple[str, ...]] | None = None
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None


# RFC 9110, section 14: the requested range, and the range and the size in a response.
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")

_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^>]*>\s*)*<(?:\w+:)?(\w+)[\s/>]")


def parsed_content_range(response: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return start, end (exclusive) and size of the object from a response's Content-Range."""
    found = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
    return (int(found[1]), int(found[2]) + 1, int(found[3])) if found else None


def size_from_error(headers: Mapping[str, str], error: Mapping[str, Any]) -> int | None:
    """Return the size of the object in a response with status 416, or None."""
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
    given = found[1] if found else str(error.get("ActualObjectSize", ""))
    return int(given) if given.isdecimal() else None


def is_encoded(response: Mapping[str, Any]) -> bool:
    """Return whether the body may be an encoding of the object's bytes, such as gzip."""
    return response.get("ContentEncoding", "identity").lower() not in {"", "identity"}


def _check_get(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    asked = parameters.get("Range", "")
    if not asked:
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        if status != 200:
            raise OddResponse(f"has status {status}, but no range was requested")
        return
    requested, found = _RANGE.fullmatch(asked), parsed_content_range(response)
    # rclone sends a range with status 200. Without Content-Range the body is the whole object.
    if requested is None or found is None or found[0] != int(requested[1]):
        raise OddResponse(
            f"has the range {response.get('ContentRange')!r}, but {asked!r} was requested: the "
            "server, or a cache in front of it, ignores Range"
        )
    start, end, size = found
    last = int(requested[2] or size - 1)
    if not start < end <= min(last + 1, size):
        raise OddResponse(
            f"has the wrong Content-Range {response['ContentRange']!r} for {asked!r}"
        )
    length = response.get("ContentLength")
    # A proxy that compresses sets Content-Encoding, or the length of the compressed body.
    if (length is None and is_encoded(response)) or length not in {None, end - start}:
        raise OddResponse(f"has {length} bytes, but its Content-Range has {end - start}")


def _check_objects(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    contents, folders = response.get("Contents", ()), response.get("CommonPrefixes", ())
    count = response.get("KeyCount", len(contents) + len(folders))
    if count != len(contents) + len(folders):
        raise OddResponse(f"has {len(contents) + len(folders)} keys, but its KeyCount is {count}")
    _check_keys(parameters, [entry["Key"] for entry in contents])
    _check_keys(parameters, [entry["Prefix"] for entry in folders])
    _check_markers(parameters, response, "ContinuationToken")


def _check_uploads(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    _check_keys(parameters, [upload["Key"] for upload in response.get("Uploads", ())])
    _check_markers(parameters, response, "KeyMarker", "UploadIdMarker")


def _check_keys(parameters: Mapping[str, Any], keys: list[str]) -> None:
    prefix = parameters.get("Prefix", "")
    for key in keys:
        if not key.startswith(prefix):
            raise OddResponse(f"lists {key!r}, but keys below {prefix!r} were requested")


def _check_markers(
    parameters: Mapping[str, Any], response: Mapping[str, Any], first: str, *others: str
) -> None:
    """Raise OddResponse if a truncated listing has no new marker for the next page."""
    if not response.get("IsTruncated"):
        return
    if not response.get(f"Next{first}"):
        raise OddResponse("is truncated, but has no marker for the next page")
    markers = (first, *others)
    if all(response.get(f"Next{marker}") == parameters.get(marker) for marker in markers):
        raise OddResponse("is truncated, but its marker for the next page is that of this page")


_RULES = {
    "PutObject": _Rule(needs=("ETag",)),
    "CopyObject": _Rule("CopyObjectResult", needs=("CopyObjectResult.ETag",)),
    "CreateMultipartUpload": _Rule(
        "InitiateMultipartUpload(Result)?",  # rclone omits "Result"
        needs=("UploadId",),
    ),
    "UploadPart": _Rule(needs=("ETag",)),
    "UploadPartCopy": _Rule("CopyPartResult", needs=("CopyPartResult.ETag",)),
    "CompleteMultipartUpload": _Rule("CompleteMultipartUploadResult", needs=("ETag",)),
    "AbortMultipartUpload": _Rule(statuses=(204,)),
    "HeadObject": _Rule(needs=("ETag", "ContentLength", "LastModified")),
    "GetObject": _Rule(statuses=(200, 206), needs=("ETag",), check=_check_get),
    "DeleteObject": _Rule(statuses=(204,)),
    # The store compares the keys, and checks the files that the response does not name.
    "DeleteObjects": _Rule("DeleteResult", lists={"Deleted": ("Key",)}),
    "ListObjectsV2": _Rule(
        "ListBucketResult",
        needs=("IsTruncated",),
        lists={"Contents": ("Key", "Size", "LastModified"), "CommonPrefixes": ("Prefix",)},
        check=_check_objects,
    ),
    "ListMultipartUploads": _Rule(
        "ListMultipartUploadsResult",  # rclone omits IsTruncated
        lists={"Uploads": ("Key", "UploadId", "Initiated")},
        check=_check_uploads,
    ),
}


def check_raw(operation_model: Any, response_dict: Mapping[str, Any], **kwargs: Any) -> None:
    """Raise OddResponse if the status or the body is invalid for the operation.

    botocore calls this handler before it parses a response.
    """
    status, body = response_dict["status_code"], response_dict["body"]
    if status == 404:
        _check_missing(operation_model.name, response_dict["headers"], body)
    if status >= 300:
        return
    rule = _RULES.get(operation_model.name)
    if rule is None:
        return
    if status not in rule.statuses:
        raise OddResponse(f"has status {status}")
    if isinstance(body, bytes) and not has_root(body, rule.root):
        expected = f"an element {rule.root!r}" if rule.root else "an empty body"
        raise OddResponse(f"has {_described(body)} instead of {expected}")


def _check_missing(operation: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise OddResponse if a response with status 404 is not from an S3 server."""
    if operation != "HeadObject":
        if not has_root(body, "Error"):
            raise OddResponse(f"has status 404 and {_described(body)} instead of an S3 error")
    elif headers.get("content-type", "").startswith("text/html") and not any(
        name.lower().startswith("x-amz") for name in headers
    ):
        raise OddResponse("has status 404 and the headers of an HTML page instead of S3 headers")


def _root(body: bytes) -> str | None:
    """Return the name of the root element, ``""`` for an empty body, or None if it is not XML."""
    found = _ROOT.match(body)
    return found[1].decode() if found else (None if body.strip() else "")


def has_root(body: bytes, pattern: str) -> bool:
    """Return whether the pattern matches the name of the root element, ``""`` without a body."""
    root = _root(body)
    return root is not None and bool(re.fullmatch(pattern, root))


def _described(body: bytes) -> str:
    """Describe an odd body for an error message, without its content, which may be secret."""
    root = _root(body)
    if root is None:
        return "a body that is not XML"
    return f"an element {root!r}" if root else "an empty body"


def check_parsed(
    operation: str, parameters: Mapping[str, Any], response: Mapping[str, Any]
) -> None:
    """Raise OddResponse unless a successful response is complete and matches its request."""
    rule = _RULES[operation]
    for path in rule.needs:
        value: Any = response
        for name in path.split("."):
            value = value.get(name)
            if value is None:
                raise OddResponse(f"has no {name}")
        if path.endswith("ETag") and (value.startswith("W/") or not value.strip('"')):
            raise OddResponse(f"has a weak or an empty ETag ({value!r})")
        if value == "":
            raise OddResponse(f"has an empty {path}")
    for name, members in (rule.lists or {}).items():
        for item in response.get(name, ()):
            if missing := [member for member in members if member not in item]:
                raise OddResponse(f"has an item in {name} without {missing[0]}")
    if rule.check:
        rule.check(parameters, response)
