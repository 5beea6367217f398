"""Send the most frequent requests past the layers of botocore that take most of their time.

They use the endpoint, the credentials, the signer and the connections of a boto3 client, and have
the headers that it would send. Whatever is unusual is left to the client itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import FunctionType
from typing import Any
from uuid import uuid4

from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.awsrequest import AWSPreparedRequest, prepare_request_dict
from botocore.client import BaseClient
from botocore.endpoint import Endpoint, convert_to_response_dict
from botocore.httpchecksum import handle_checksum_body, resolve_response_checksum_algorithms

from .listing import parsed_listing
from .validation import check_raw, has_root

#: Whether requests are sent so. Tests compare both ways.
enabled = True

# Parameters to which no handler of botocore adds anything, by operation.
_COMMON = {"Bucket", "Key", "RequestPayer", "ExpectedBucketOwner"}
_USUAL = {
    "put_object": {
        *("Body", "Metadata", "ContentType", "ContentDisposition", "CacheControl", "IfNoneMatch"),
        *("ContentMD5", "ChecksumAlgorithm", "ChecksumSHA256", "ACL", "StorageClass"),
        *("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"),
    },
    "get_object": {"Range", "IfMatch", "ChecksumMode"},
    "delete_object": set[str](),
    "list_objects_v2": {"Prefix", "Delimiter", "MaxKeys", "ContinuationToken", "EncodingType"},
}

# Headers of a response, and the members that the store uses.
_MEMBERS = {"etag": "ETag", "content-range": "ContentRange", "content-encoding": "ContentEncoding"}

# Events at which a handler could see or change a request or its response.
_EVENTS = (
    *("provide-client-params", "before-parameter-build", "before-endpoint-resolution"),
    *("before-call", "request-created", "choose-signer", "before-sign", "before-send"),
    *("before-parse", "response-received", "needs-retry", "after-call", "after-call-error"),
)

# The bucket is in another region. botocore finds out which.
_REDIRECTS = {301, 302, 307, 308}


@dataclass(frozen=True)
class _Route:
    """What all requests of an operation on a bucket have in common."""

    model: Any
    url: str
    user_agent: str
    defaults: Mapping[str, Any]
    context: Mapping[str, Any] = field(repr=False)


class DirectClient:
    """Sends the usual requests of a boto3 client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._routes: dict[tuple[str, str], _Route | None] = {}
        self._handlers: object = None
        self._is_unhandled = False

    def send(self, operation: str, parameters: Mapping[str, Any]) -> Any:
        """Return the response with the members that the store uses, as the client would.

        Raise the same exceptions. Return None if the client must send the request.
        """
        if not (enabled and operation in _USUAL and self._is_unchanged(operation)):
            return None
        at = operation, parameters["Bucket"]
        if at not in self._routes:
            try:
                self._routes[at] = self._route(*at)
            except (AttributeError, KeyError, TypeError):  # in another version of botocore
                self._routes[at] = None
        route = self._routes[at]
        request = route and self._request(operation, route, parameters)
        if not route or not request:
            return None
        answer = self._answer(route, request)
        if answer["status_code"] < 300:
            return _result(answer)
        error = self._client._response_parser.parse(answer, route.model.output_shape)
        details = error.get("Error", {})
        elsewhere = answer["status_code"] in _REDIRECTS or "Region" in details
        if elsewhere or details.get("Code") == "IllegalLocationConstraintException":
            self._routes[at] = None
            return None
        raise self._client.exceptions.from_code(details.get("Code"))(error, route.model.name)

    # -- What is usual --

    def _is_unchanged(self, operation: str) -> bool:
        """Return whether only functions of botocore and of the store handle the operation."""
        functions = (
            BaseClient._make_api_call,
            Endpoint.make_request,
            Endpoint.prepare_request,
            getattr(type(self._client), operation),
        )
        if operation in vars(self._client) or not all(map(_is_of_botocore, functions)):
            return False
        emitter = self._client.meta.events._emitter
        current = emitter._lookup_cache  # another one after a handler was registered
        if self._handlers is not current:
            self._is_unhandled = all(
                _is_known(handler)
                for event in _EVENTS
                for name in map(self._client.meta.method_to_api_mapping.get, _USUAL)
                for handler in emitter._handlers.prefix_search(f"{event}.s3.{name}")
            )
            self._handlers = current
        return self._is_unhandled

    def _route(self, operation: str, bucket: str) -> _Route | None:
        """Ask botocore for the endpoint; return None if anything is special about it."""
        client = self._client
        name = client.meta.method_to_api_mapping[operation]
        model = client.meta.service_model.operation_model(name)
        context = {
            "client_region": client.meta.region_name,
            "client_config": client.meta.config,
            "has_streaming_input": model.has_streaming_input,
            "auth_type": model.resolved_auth_type,
        }
        given = {"Bucket": bucket, "Key": "key"}
        given = {key: given[key] for key in given.keys() & model.input_shape.members.keys()}
        parameters = client._emit_api_params(
            api_params=dict(given), operation_model=model, context=context
        )
        url, headers, _ = client._resolve_endpoint_ruleset(model, parameters, context)
        usual = (
            ":" not in bucket  # an access point
            and parameters.items() >= given.items()
            and not headers
            and AUTH_TYPE_MAPS.get(context["auth_type"]) is S3SigV4Auth
            and context["signing"].keys() == {"region", "signing_name", "disableDoubleEncoding"}
        )
        if not usual:
            return None
        resolve_response_checksum_algorithms({"context": context}, model, parameters)
        return _Route(model, url, client._user_agent_creator.to_string(), parameters, context)

    def _request(
        self, operation: str, route: _Route, parameters: Mapping[str, Any]
    ) -> AWSPreparedRequest | None:
        """Return the request without a signature, or None if a parameter is unusual."""
        if parameters.keys() - _USUAL[operation] - _COMMON:
            return None
        parameters = {**route.defaults, **parameters}
        if "Range" in parameters:
            parameters.pop("ChecksumMode", None)  # that of the whole object
        if "Body" in parameters:
            parameters["Body"] = bytes(parameters["Body"])
            checksums = {"ContentMD5", "ChecksumSHA256"} & parameters.keys()
            if not checksums or "ContentType" not in parameters:
                return None  # botocore adds them
        made = self._client._serializer.serialize_to_request(parameters, route.model)
        headers = made["headers"]
        if not all(value.isascii() for value in headers.values()):
            return None
        prepare_request_dict(made, route.url, dict(route.context), route.user_agent)
        request = AWSPreparedRequest(
            made["method"],
            made["url"],
            headers,
            made["body"] or None,
            route.model.has_streaming_output,
        )
        # botocore signs a request before it prepares it.
        request.context, request.params = made["context"], None
        return request

    def _answer(self, route: _Route, request: AWSPreparedRequest) -> dict[str, Any]:
        """Sign and send the request, and check the response."""
        signing = route.context["signing"]
        auth = self._client._request_signer.get_auth_instance(
            signing["signing_name"], signing["region"], route.context["auth_type"]
        )
        auth.headers_to_sign = cache(auth.headers_to_sign)  # it is called twice
        auth.add_auth(request)
        request.headers["amz-sdk-invocation-id"] = str(uuid4())
        request.headers["amz-sdk-request"] = "attempt=1; max=1"
        response = self._client._endpoint.http_session.send(request)
        answer: dict[str, Any] = convert_to_response_dict(response, route.model)
        if "Range" not in request.headers:
            handle_checksum_body(response, answer, route.context, route.model)
        body = answer["body"]
        if answer["status_code"] == 200 and isinstance(body, bytes) and has_root(body, "Error"):
            answer["status_code"] = 500  # as in botocore
        check_raw(route.model, answer)
        return answer


def _result(answer: Mapping[str, Any]) -> dict[str, Any]:
    headers = {name.lower(): value for name, value in answer["headers"].items()}
    metadata = {"HTTPStatusCode": answer["status_code"], "HTTPHeaders": headers}
    found = {member: headers[name] for name, member in _MEMBERS.items() if name in headers}
    if not isinstance(answer["body"], bytes):
        found["Body"] = answer["body"]
        if "content-length" in headers:
            found["ContentLength"] = int(headers["content-length"])
    elif answer["body"]:
        found |= parsed_listing(answer["body"])
    return {**found, "ResponseMetadata": metadata}


def _is_of_botocore(function: Any) -> bool:
    """Return whether a function is botocore's own, not wrapped to trace or to mock it."""
    if type(function) is not FunctionType:
        return False
    return str(function.__globals__.get("__name__")).startswith("botocore.")


def _is_known(handler: Callable[..., Any]) -> bool:
    """Return whether an event handler is one of botocore, boto3 or the store."""
    function = getattr(handler, "func", handler)  # of functools.partial
    module = getattr(function, "__module__", None) or ""
    known = {"botocore", "boto3", __name__.partition(".")[0]}
    return module.partition(".")[0] in known and module != "botocore.stub"
