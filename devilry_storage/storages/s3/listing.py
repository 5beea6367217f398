"""List the names in a bucket, without botocore's parser, which would need most of the time."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus
from xml.parsers import expat

from botocore.utils import parse_timestamp

from ...names import RESERVED
from .bucket import Bucket
from .validation import OddResponse, has_root


def listed(bucket: Bucket, folder: str, **limits: Any) -> Iterator[tuple[list[str], Any, str]]:
    """Yield pages of a folder: the folders, the files with their entries, and the next token.

    Without ``Delimiter="/"`` these are the files of all levels, and no folders.
    """
    prefix, start = bucket.key(f"{folder}/" if folder else ""), len(bucket.prefix)
    for page in bucket.pages("list_objects_v2", Prefix=prefix, **limits):
        items = page.get("CommonPrefixes", ())
        folders = [item["Prefix"][start:].removesuffix("/") for item in items]
        files = [(item["Key"][start:], item) for item in page.get("Contents", ())]
        yield (
            [name for name in folders if name not in {"", RESERVED} and name[-1] != "/"],
            # Some tools create an object whose key ends in a slash for each folder.
            [file for file in files if file[0] and file[0][-1] != "/"],
            page.get("NextContinuationToken", "") if page["IsTruncated"] else "",
        )


def parse_listing(
    operation_model: Any,
    response_dict: dict[str, Any],
    customized_response_dict: dict[str, Any],
    **kwargs: Any,
) -> None:
    """Parse a page of a listing, so that botocore has nothing to parse.

    botocore calls this handler before its own, the first of which parses the whole body to find
    out whether it is an error.
    """
    body = response_dict["body"]
    is_page = response_dict["status_code"] == 200 and has_root(body, "ListBucketResult")
    if is_page and operation_model.name == "ListObjectsV2":
        customized_response_dict.update(parsed_listing(body))
        response_dict["body"] = b"<ListBucketResult/>"


def parsed_listing(body: bytes) -> dict[str, Any]:
    """Return the members of a page that the store uses, like botocore with decoded keys.

    Raise OddResponse if the body is not XML, and ValueError for an invalid number or time.
    """
    page: dict[str, Any] = {}
    entry = page  # the root, or the item of a list, whose children are being parsed
    depth = 0
    text: list[str] = []

    def start(name: str, attributes: Mapping[str, str]) -> None:
        nonlocal depth, entry
        depth += 1
        text.clear()
        if depth == 2:
            entry = page
            name = name.rpartition(":")[2]
            if name in _LISTS:
                entry = {}
                page.setdefault(name, []).append(entry)

    def end(name: str) -> None:
        nonlocal depth
        if depth == (2 if entry is page else 3):
            name = name.rpartition(":")[2]
            if name in _VALUES:
                entry[name] = _VALUES[name]("".join(text))
        depth -= 1
        text.clear()

    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = text.append
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as exception:
        raise OddResponse(f"is not complete XML ({exception})") from exception
    if page.pop("EncodingType", "") == "url":
        _decode_names(page)
    return page


def _decode_names(page: Mapping[str, Any]) -> None:
    for name, member in _LISTS.items():
        for item in page.get(name, ()):
            if member in item:
                item[member] = unquote_plus(item[member])


def _refuse_doctype(*declaration: Any) -> None:
    # Entities could make the text of a small body huge.
    raise OddResponse("has a document type declaration")


def _boolean(text: str) -> bool:
    if text not in {"true", "false"}:
        raise ValueError(f"{text!r} is neither 'true' nor 'false'")
    return text == "true"


def _time(text: str) -> Any:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:  # nanoseconds, or a time zone with a name
        return parse_timestamp(text)


# The lists, and the member of their items that is encoded like a URL.
_LISTS = {"Contents": "Key", "CommonPrefixes": "Prefix"}

_VALUES: dict[str, Any] = {
    **dict.fromkeys(("NextContinuationToken", "EncodingType", "Key", "Prefix"), str),
    **dict.fromkeys(("KeyCount", "Size"), int),
    "IsTruncated": _boolean,
    "LastModified": _time,
}
