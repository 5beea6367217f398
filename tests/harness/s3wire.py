"""A request to S3 on the wire, and its operation."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

# Operations that the query identifies: method, parameter, and whether the path has a key. The
# first match counts.
_SPECIAL = [
    ("POST", "uploads", True, "CreateMultipartUpload"),
    ("POST", "uploadId", True, "CompleteMultipartUpload"),
    ("DELETE", "uploadId", True, "AbortMultipartUpload"),
    ("GET", "uploads", False, "ListMultipartUploads"),
    ("GET", "uploadId", True, "ListParts"),
    ("POST", "delete", False, "DeleteObjects"),
    ("GET", "list-type", False, "ListObjectsV2"),
]
_PLAIN = {
    ("GET", True): "GetObject",
    ("HEAD", True): "HeadObject",
    ("PUT", True): "PutObject",
    ("DELETE", True): "DeleteObject",
    ("GET", False): "ListObjects",
    ("HEAD", False): "HeadBucket",
    ("PUT", False): "CreateBucket",
    ("DELETE", False): "DeleteBucket",
}


@dataclass
class Request:
    """A request; header names are in lower case, and ``status`` is 0 without a response."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int
    status: int = 0
    query: dict[str, list[str]] = field(init=False)

    def __post_init__(self) -> None:
        self.query = parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def operation(self) -> str:
        """Return S3's name of the operation; the bucket must be in the path."""
        has_key = "/" in self.path.strip("/")
        copies = "x-amz-copy-source" in self.headers
        if self.method == "PUT" and "partNumber" in self.query:
            return "UploadPartCopy" if copies else "UploadPart"
        if self.method == "PUT" and copies:
            return "CopyObject"
        for method, word, of_key, name in _SPECIAL:
            if (method, of_key) == (self.method, has_key) and word in self.query:
                return name
        return _PLAIN[self.method, has_key]
