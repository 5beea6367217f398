"""Pages of listings are parsed as botocore parses them, or they are an error."""

from __future__ import annotations

import io
from typing import Any

import pytest
from botocore import handlers
from botocore.awsrequest import AWSResponse
from botocore.handlers import decode_list_object_v2
from botocore.parsers import RestXMLParser

from devilry_storage.exceptions import StoreFailure, StoreUnavailable
from devilry_storage.storages import S3DeliveryStore

KEY = "<Key>deliveries/0/0/1/1</Key>"
TIME = "<LastModified>2026-11-29T10:00:00.000Z</LastModified>"
OWNER = "<Owner><ID>1</ID><Key>not of the file</Key></Owner>"
END = "<IsTruncated>false</IsTruncated>"


def page(*parts: str, head: str = '<?xml version="1.0" encoding="UTF-8"?>\n') -> bytes:
    name = "http://s3.amazonaws.com/doc/2006-03-01/"
    return f'{head}<ListBucketResult xmlns="{name}">{"".join(parts)}</ListBucketResult>'.encode()


def item(key: str = KEY, time: str = TIME, size: str = "<Size>1</Size>", more: str = "") -> str:
    return f"<Contents>{key}{time}{size}{more}</Contents>"


def coded(*parts: str) -> bytes:
    return page("<EncodingType>url</EncodingType>", *parts, END)


@pytest.fixture
def store() -> S3DeliveryStore:
    return S3DeliveryStore(
        bucket_name="deliveries",
        access_key="key",
        secret_key="secret",
        region_name="us-east-1",
        attempts=1,
    )


def listed(store: S3DeliveryStore, body: bytes, status: int = 200) -> Any:
    """Return the page that the store gets for a response with this body."""

    class Raw(io.BytesIO):
        def stream(self, **kwargs: Any) -> Any:
            yield self.read()

    def send(request: Any, **kwargs: Any) -> Any:
        return AWSResponse(request.url, status, {}, Raw(body))

    store.remote.client.meta.events.register("before-send.s3", send, unique_id="listed")
    try:
        return store.remote.call("list_objects_v2", Prefix="deliveries/")
    finally:
        store.remote.client.meta.events.unregister("before-send.s3", unique_id="listed")


def botocores(store: S3DeliveryStore, body: bytes) -> Any:
    shape = store.remote.client.meta.service_model.operation_model("ListObjectsV2").output_shape
    answer = {"status_code": 200, "headers": {}, "body": body}
    parsed = RestXMLParser().parse(answer, shape)
    decode_list_object_v2(parsed, {"encoding_type_auto_set": True})
    return parsed


PAGES = {
    "empty": page(END),
    "one": page(item(), "<KeyCount>1</KeyCount>", END),
    "other order": page(END, item(more=OWNER), item(more="<ETag>&quot;a&quot;</ETag>")),
    "folders": page(
        "<CommonPrefixes><Prefix>deliveries/0/</Prefix></CommonPrefixes>",
        "<CommonPrefixes><Prefix>deliveries/1/</Prefix></CommonPrefixes>",
        "<Prefix>deliveries/</Prefix><Delimiter>/</Delimiter>",
        END,
    ),
    "more follows": page(
        item(),
        "<IsTruncated>true</IsTruncated>",
        "<NextContinuationToken>1&amp;2==</NextContinuationToken>",
    ),
    "encoded": coded(item("<Key>deliveries/a%20b%2525%0A%E2%82%AC+</Key>")),
    "wrongly encoded": coded(item("<Key>deliveries/%FF</Key>"), item()),
    "encoded folder": coded(
        "<CommonPrefixes><Prefix>deliveries/%C3%A9/</Prefix></CommonPrefixes>"
    ),
    "not encoded": page(item("<Key>deliveries/a%20b&lt;€&#10;</Key>"), END),
    "parts of text": page(item("<Key>deliveries/&amp;<!-- note -->x<![CDATA[&y]]></Key>"), END),
    "long key": page(item(f"<Key>deliveries/{'&amp;' * 9000}</Key>"), END),
    "seconds": page(item(time="<LastModified>2026-11-29T10:00:00Z</LastModified>"), END),
    "nanoseconds": page(
        item(time="<LastModified>2026-11-29T10:00:00.123456789Z</LastModified>"), END
    ),
    "other zone": page(item(time="<LastModified>2026-11-29T10:00:00+02:00</LastModified>"), END),
    "no declaration": page(item(), END, head=""),
    "indented": page("\n  ", item("\n  <Key>deliveries/1</Key>\n", more="\n"), "\n", END, "\n"),
}


@pytest.mark.parametrize("body", PAGES.values(), ids=PAGES)
def test_page_is_parsed_as_by_botocore(store: S3DeliveryStore, body: bytes) -> None:
    """The store finds the same keys, sizes, times and marker."""
    ours, theirs = listed(store, body), botocores(store, body)
    for member in ("IsTruncated", "KeyCount", "NextContinuationToken", "CommonPrefixes"):
        assert ours.get(member) == theirs.get(member)
    members = ("Key", "Size", "LastModified")
    files, expected = (
        [[entry[member] for member in members] for entry in answer.get("Contents", ())]
        for answer in (ours, theirs)
    )
    assert files == expected


def test_prefix_of_a_namespace(store: S3DeliveryStore) -> None:
    plain = page(item(), END, head="").decode()
    body = plain.replace("<", "<s3:").replace("<s3:/", "</s3:").replace("xmlns=", "xmlns:s3=")
    assert [entry["Key"] for entry in listed(store, body.encode())["Contents"]] == [
        "deliveries/0/0/1/1"
    ]


BOMB = '<!DOCTYPE x [<!ENTITY a "deliveries/"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
ODD = {
    "document type": page(item("<Key>&b;</Key>"), END, head=BOMB),
    "empty document type": page(item(), END, head="<!DOCTYPE ListBucketResult>"),
    "external entity": page(
        END, head='<!DOCTYPE x [<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;]>'
    ),
    "unknown entity": page(item("<Key>deliveries/&b;</Key>"), END),
    "page": b"<html><body>Back at 10.<br></body></html>",
    "other root": page(item(), END).replace(b"ListBucketResult", b"ListAllMyBucketsResult"),
    "more than one root": page(END) * 2,
    "no end": page(item()),
    "odd end": page(item(), "<IsTruncated>maybe</IsTruncated>"),
    "no value of the end": page(item(), "<IsTruncated/>"),
    "odd size": page(item(size="<Size>many</Size>"), END),
    "no size": page(item(size=""), END),
    "odd time": page(item(time="<LastModified>yesterday</LastModified>"), END),
    "no key": page(item(""), END),
    "nested key": page(item(f"<Name>{KEY}</Name>"), END),
    "odd bytes": page(item(), END).replace(b"deliveries/", b"deliveries/\xff"),
    "other keys": page(item("<Key>other/1</Key>"), END),
    "wrong count": page(item(), "<KeyCount>2</KeyCount>", END),
    "no marker": page(item(), "<IsTruncated>true</IsTruncated>"),
    "empty marker": page(item(), "<IsTruncated>true</IsTruncated><NextContinuationToken/>"),
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_odd_page_is_an_error(store: S3DeliveryStore, body: bytes) -> None:
    with pytest.raises((StoreFailure, StoreUnavailable)):
        listed(store, body)


def test_page_that_is_cut_off_is_an_error(store: S3DeliveryStore) -> None:
    """Wherever it ends."""
    body = page(END, item(), item("<Key>deliveries/2</Key>"))
    for length in range(len(body)):
        with pytest.raises((StoreFailure, StoreUnavailable)):
            listed(store, body[:length])


@pytest.mark.parametrize("status", [200, 503])
def test_error_instead_of_a_page(store: S3DeliveryStore, status: int) -> None:
    """S3 may send an error with status 200."""
    body = b"<Error><Code>SlowDown</Code><Message>too many</Message></Error>"
    with pytest.raises(OSError, match="SlowDown"):
        listed(store, body, status)


def test_botocore_does_not_parse_the_page(
    store: S3DeliveryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither to find an error in it nor to find the keys, which would take most of the time."""
    lengths = []
    looks, parse = handlers._looks_like_special_case_error, RestXMLParser._parse_xml_string_to_dom

    def look(status: int, body: bytes) -> Any:
        lengths.append(len(body))
        return looks(status, body)

    def parse_body(self: Any, body: bytes) -> Any:
        lengths.append(len(body))
        return parse(self, body)

    monkeypatch.setattr(handlers, "_looks_like_special_case_error", look)
    monkeypatch.setattr(RestXMLParser, "_parse_xml_string_to_dom", parse_body)
    assert len(listed(store, page(*[item()] * 1000, END))["Contents"]) == 1000
    assert len(lengths) == 2
    assert max(lengths) < 100
