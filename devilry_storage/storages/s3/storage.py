"""Django's Storage API on a bucket, for names that the caller has validated."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Hashable, Iterator, Mapping
from copy import copy
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from botocore.exceptions import BotoCoreError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.utils.encoding import filepath_to_uri
from django.utils.timezone import make_naive
from django.views.decorators.debug import sensitive_variables
from storages.backends.s3 import S3Storage

from ...names import RESERVED
from ...rfc9110 import content_disposition
from ..reader import Reader
from . import checksums
from .bucket import Bucket
from .listing import listed, parse_listing
from .options import check_location, check_options, client_config, transfer
from .reading import RangeReader, Ranges
from .redaction import redact_logs
from .validation import check_raw, is_encoded

# Buffer size of readers. Smaller reads are served from the buffer.
_BUFFER = 64 * 1024


_Storage = TypeVar("_Storage", bound="BucketStorage")


def _sign_for_the_region(context: dict[str, Any], **kwargs: Any) -> None:
    # By default botocore signs URLs for the global host, which does not know a new bucket for
    # hours, and never knows those in newer regions.
    context["use_global_endpoint"] = False


class BucketStorage(S3Storage):  # type: ignore[misc]  # django-storages is not typed
    """S3Storage with one client for all threads, and with limits for every request.

    The options and settings are those of django-storages. Its attributes ``connection`` and
    ``bucket`` still work, with our timeouts, but this class does not use them.
    """

    attempts: int
    deadline: float
    public_endpoint_url: str | None
    _fixed_remote: Bucket | None = None

    def __init__(self, **options: Any) -> None:
        # Check the location first, because django-storages expects a string.
        check_location(self, {**self.get_default_settings(), **options}["location"])
        super().__init__(**options)
        if "file_overwrite" not in options and not hasattr(settings, "AWS_S3_FILE_OVERWRITE"):
            # django-storages overwrites files by default.
            self.file_overwrite = False
        check_options(self, options)
        self.client_config = client_config(self)
        self.transfer = transfer(self)
        self._remote: tuple[object, Bucket] | None = None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_remote": None}

    @property
    def remote(self) -> Bucket:
        """The bucket and the prefix of this store, which may be properties of a subclass."""
        if self._fixed_remote is not None:
            return self._fixed_remote
        now = self.bucket_name, self.location
        # Other threads may exchange it for that of another tenant.
        kept = self._remote
        if kept is None or kept[0] != now:
            kept = self._remote = now, self._make_remote(*now)
        return kept[1]

    def _make_remote(self, bucket_name: str, location: str) -> Bucket:
        check_location(self, location)
        return Bucket(
            bucket_name,
            f"{location.strip('/')}/".lstrip("/"),
            self._connection_key(),
            self._make_client,
            self._parameters,
            self.attempts,
            self.deadline,
        )

    def _at(self: _Storage, remote: Bucket) -> _Storage:
        """Return a copy of the storage that keeps this bucket and prefix."""
        storage = copy(self)
        storage._fixed_remote = remote
        return storage

    def _public_remote(self) -> Bucket:
        """Return the bucket at the endpoint that browsers can reach, for signing only."""
        if self.public_endpoint_url is None:
            return self.remote
        public = copy(self)
        public.endpoint_url = self.public_endpoint_url
        connection, make_client = public._connection_key(), public._make_client
        return replace(self.remote, connection=connection, make_client=make_client)

    def _connection_key(self) -> Hashable:
        """Return a key that is equal for configurations that can share a client.

        It is a digest, because it is part of other keys, and the configuration contains secrets.
        """
        options = (
            *("access_key", "secret_key", "security_token", "session_profile"),
            *("region_name", "use_ssl", "endpoint_url", "verify"),
        )
        config = sorted(vars(self.client_config).items())
        values = *(getattr(self, option) for option in options), config
        return sha256(repr(values).encode()).hexdigest()

    def _make_client(self) -> Any:
        redact_logs()
        try:
            client = self._create_session().client(
                "s3",
                region_name=self.region_name,
                use_ssl=self.use_ssl,
                endpoint_url=self.endpoint_url,
                verify=self.verify,
                config=self.client_config,
            )
        except (BotoCoreError, ValueError) as exception:
            raise ImproperlyConfigured(
                f"Invalid configuration of {type(self).__name__} for bucket {self.bucket_name!r}: "
                f"{exception}."
            ) from None
        client.meta.events.register("provide-client-params.s3.GetObject", _sign_for_the_region)
        client.meta.events.register_last("before-parameter-build", checksums.not_of_a_range)
        client.meta.events.register("before-call.s3", checksums.prefer_md5)
        client.meta.events.register("before-parse.*.ListObjectsV2", parse_listing)
        client.meta.events.register("before-parse.s3", check_raw)
        return client

    def _parameters(self, name: str) -> dict[str, Any]:
        """Return the parameters that the site adds to requests that write an object."""
        acl = {"ACL": self.default_acl} if self.default_acl else {}
        return {**acl, **self.get_object_parameters(name)}

    # -- Django's Storage API --

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        remote = self.remote
        raw = io.BufferedReader(RangeReader(remote, name), _BUFFER)
        return Reader(self._at(remote), name, raw, mode)

    def exists(self, name: str) -> bool:
        try:
            self.remote.call("head_object", name)
        except FileNotFoundError:
            return False
        return True

    def delete(self, name: str) -> None:
        try:
            self.remote.call("delete_object", name)
        except FileNotFoundError:
            pass

    def size(self, name: str) -> int:
        found = self.remote.call("head_object", name)
        if is_encoded(found):
            return Ranges(self.remote, name).measure()
        return int(found["ContentLength"])

    def get_modified_time(self, name: str) -> datetime:
        return self._time(self.remote.call("head_object", name)["LastModified"])

    def _time(self, time: datetime) -> datetime:
        # Remove the fractions of a second, which only listings contain.
        time = time.astimezone(timezone.utc).replace(microsecond=0)
        return time if settings.USE_TZ else make_naive(time)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        folders: list[str] = []
        files: list[str] = []
        for inner, leaves, _token in listed(self.remote, path, Delimiter="/"):
            folders += map(posixpath.basename, inner)
            files += [posixpath.basename(name) for name, _entry in leaves]
        return folders, files

    def contents(self, folder: str = "", **limits: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield each file below a folder, except the store's own."""
        for _folders, files, _token in listed(self.remote, folder, **limits):
            for name, entry in files:
                if not name.startswith(f"{RESERVED}/"):
                    yield name, entry

    @sensitive_variables()
    def url(  # noqa: PLR0913  # S3Storage's arguments, and ours
        self,
        name: str,
        parameters: Mapping[str, Any] | None = None,
        expire: int | None = None,
        http_method: str | None = None,
        *,
        filename: str = "",
        content_type: str = "",
        as_attachment: bool = True,
    ) -> str:
        parameters = dict(parameters or {})
        if filename:
            header = content_disposition(filename, inline=not as_attachment)
            parameters.setdefault("ResponseContentDisposition", header)
        if content_type:
            parameters.setdefault("ResponseContentType", content_type)
        seconds = self.querystring_expire if expire is None else expire
        if self.custom_domain:
            return self._cloudfront_url(self.remote.key(name), parameters, seconds)
        return self._public_remote().presigned_url(name, parameters, seconds, http_method)

    def _cloudfront_url(self, key: str, parameters: Mapping[str, Any], seconds: int) -> str:
        # CloudFront passes the query string to S3 without changes.
        names = self.remote.query_names("get_object")
        query = {names.get(key, key): value for key, value in parameters.items()}
        url = f"{self.url_protocol}//{self.custom_domain}/{filepath_to_uri(key)}"
        if query:
            url = f"{url}?{urlencode(query, quote_via=quote)}"
        expires = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        signed: str = self.cloudfront_signer.generate_presigned_url(url, date_less_than=expires)
        return signed
