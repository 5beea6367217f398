"""What a complete response to each operation has: everything else is refused as odd.

A proxy, a portal or a cache may respond in the server's place: with a page and status 200, with
an empty body, with the response to another request. A response is checked twice: `check_raw`
looks at status and body before botocore parses them, `check_parsed` at what was asked for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


class OddResponse(Exception):
    """A response that is not a complete one of S3; the text continues "its response ..."."""


@dataclass(frozen=True)
class _Rule:
    """What a successful response has.

    ``root`` matches the root element of the body, which is empty where there is none. ``needs``
    are the members that have a value, ``lists`` the lists that may be there and the members of
    each item. ``check`` compares the response with the parameters of the request.
    """

    root: str = ""
    statuses: tuple[int, ...] = (200,)
    needs: tuple[str, ...] = ()
    lists: Mapping[str, tuple[str, ...]] | None = None
    check: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None


# RFC 9110, section 14: the range that is asked for, and the range and the size of a response.
_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_UNSATISFIED_RANGE = re.compile(r"bytes \*/(\d+)")

_ROOT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:<[?!][^>]*>\s*)*<(?:\w+:)?(\w+)[\s/>]")


def content_range(response: Mapping[str, Any]) -> tuple[int, int, int] | None:
    """Return start, end (exclusive) and size of the whole, as a response to a range gives them."""
    found = _CONTENT_RANGE.fullmatch(response.get("ContentRange", ""))
    return (int(found[1]), int(found[2]) + 1, int(found[3])) if found else None


def size_of_refusal(headers: Mapping[str, str], error: Mapping[str, Any]) -> int | None:
    """Return the size of the object that a response with status 416 gives, None without one."""
    found = _UNSATISFIED_RANGE.fullmatch(headers.get("content-range", ""))
    given = found[1] if found else str(error.get("ActualObjectSize", ""))
    return int(given) if given.isdecimal() else None


def is_encoded(response: Mapping[str, Any]) -> bool:
    """Return whether the body may be another one than the object's bytes, such as their gzip."""
    return response.get("ContentEncoding", "identity").lower() not in {"", "identity"}


def has_certain_length(response: Mapping[str, Any]) -> bool:
    """Return whether the length of a response to a whole GetObject is the object's."""
    return "ContentLength" in response and not is_encoded(response)


def _check_get(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    asked = parameters.get("Range", "")
    if not asked:
        status = response["ResponseMetadata"]["HTTPStatusCode"]
        if status != 200:
            raise OddResponse(f"has status {status}, though no range was asked for")
        return
    requested, found = _RANGE.fullmatch(asked), content_range(response)
    # rclone gives a range with status 200; without Content-Range it is the whole.
    if requested is None or found is None or found[0] != int(requested[1]):
        raise OddResponse(
            f"has other bytes ({response.get('ContentRange')!r}) than were asked for "
            f"({asked!r}): it, or a cache before it, ignores Range"
        )
    start, end, size = found
    last = int(requested[2] or size - 1)
    if not start < end <= min(last + 1, size):
        raise OddResponse(f"has a wrong Content-Range ({response['ContentRange']!r}) for {asked}")
    length = response.get("ContentLength")
    # A proxy that compresses says so, or how many bytes it sends then.
    if (length is None and is_encoded(response)) or length not in {None, end - start}:
        raise OddResponse(f"has {length} bytes for the {end - start} of its Content-Range")


def _check_objects(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    contents, folders = response.get("Contents", ()), response.get("CommonPrefixes", ())
    count = response.get("KeyCount", len(contents) + len(folders))
    if count != len(contents) + len(folders):
        raise OddResponse(f"has {len(contents) + len(folders)} keys, but counts {count}")
    _check_keys(parameters, [each["Key"] for each in contents])
    _check_keys(parameters, [each["Prefix"] for each in folders])
    _check_markers(parameters, response, "ContinuationToken")


def _check_uploads(parameters: Mapping[str, Any], response: Mapping[str, Any]) -> None:
    _check_keys(parameters, [each["Key"] for each in response.get("Uploads", ())])
    _check_markers(parameters, response, "KeyMarker", "UploadIdMarker")


def _check_keys(parameters: Mapping[str, Any], keys: list[str]) -> None:
    prefix = parameters.get("Prefix", "")
    for key in keys:
        if not key.startswith(prefix):
            raise OddResponse(f"lists {key!r}, though keys below {prefix!r} were asked for")


def _check_markers(
    parameters: Mapping[str, Any], response: Mapping[str, Any], first: str, *others: str
) -> None:
    """Raise OddResponse if a listing goes on, but not where, or not behind where it began."""
    if not response.get("IsTruncated"):
        return
    if not response.get(f"Next{first}"):
        raise OddResponse("goes on, but not where: it has no marker of the next page")
    if all(response.get(f"Next{each}") == parameters.get(each) for each in (first, *others)):
        raise OddResponse("goes on where it began: its marker of the next page is its own")


_RULES = {
    "PutObject": _Rule(needs=("ETag",)),
    "CopyObject": _Rule("CopyObjectResult", needs=("CopyObjectResult.ETag",)),
    "CreateMultipartUpload": _Rule(
        "InitiateMultipartUpload(Result)?",  # rclone leaves the end out
        needs=("UploadId",),
    ),
    "UploadPart": _Rule(needs=("ETag",)),
    "UploadPartCopy": _Rule("CopyPartResult", needs=("CopyPartResult.ETag",)),
    "CompleteMultipartUpload": _Rule("CompleteMultipartUploadResult", needs=("ETag",)),
    "AbortMultipartUpload": _Rule(statuses=(204,)),
    "HeadObject": _Rule(needs=("ETag", "ContentLength", "LastModified")),
    "GetObject": _Rule(statuses=(200, 206), needs=("ETag",), check=_check_get),
    "DeleteObject": _Rule(statuses=(204,)),
    # Which keys it names, the store compares, for one that is missing is looked at.
    "DeleteObjects": _Rule("DeleteResult", lists={"Deleted": ("Key",)}),
    "ListObjectsV2": _Rule(
        "ListBucketResult",
        needs=("IsTruncated",),
        lists={"Contents": ("Key", "Size", "LastModified"), "CommonPrefixes": ("Prefix",)},
        check=_check_objects,
    ),
    "ListMultipartUploads": _Rule(
        "ListMultipartUploadsResult",  # rclone's has no IsTruncated
        lists={"Uploads": ("Key", "UploadId", "Initiated")},
        check=_check_uploads,
    ),
}


def check_raw(operation_model: Any, response_dict: Mapping[str, Any], **kwargs: Any) -> None:
    """Raise OddResponse for a status or a body that the operation's response never has.

    botocore calls it before it parses a response; ``**kwargs`` is what else it passes.
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
    if isinstance(body, bytes) and not _has_root(body, rule.root):
        expected = f"a {rule.root}" if rule.root else "nothing"
        raise OddResponse(f"has {_shown(body)} where S3's has {expected}")


def _check_missing(operation: str, headers: Mapping[str, str], body: bytes) -> None:
    """Raise OddResponse if it is not the server that says that something is missing."""
    if operation != "HeadObject":
        if not _has_root(body, "Error"):
            raise OddResponse(f"has status 404 and {_shown(body)}, not an Error of S3")
    elif headers.get("content-type", "").startswith("text/html") and not any(
        name.lower().startswith("x-amz") for name in headers
    ):
        raise OddResponse("has status 404 and the headers of a page, none of S3's")


def _root(body: bytes) -> str | None:
    """Return the name of the root element, "" of an empty body, None if the body is not XML."""
    found = _ROOT.match(body)
    return found[1].decode() if found else (None if body.strip() else "")


def _has_root(body: bytes, pattern: str) -> bool:
    root = _root(body)
    return root is not None and bool(re.fullmatch(pattern, root))


def _shown(body: bytes) -> str:
    """Return what an odd body is: never the body, in which a secret may be."""
    root = _root(body)
    return f"an element {root!r}" if root else "no XML" if root is None else "an empty body"


def check_parsed(
    operation: str, parameters: Mapping[str, Any], response: Mapping[str, Any]
) -> None:
    """Raise OddResponse unless a successful response is complete and fits its request."""
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
                raise OddResponse(f"has one of {name} without {missing[0]}")
    if rule.check:
        rule.check(parameters, response)
