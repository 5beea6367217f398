"""Django's contract of a storage on a bucket, for names that were validated before."""

from __future__ import annotations

import io
import posixpath
from collections.abc import Hashable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlencode

from botocore.exceptions import BotoCoreError
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.files import File
from django.utils.encoding import filepath_to_uri
from django.utils.timezone import make_naive
from storages.backends.s3 import S3Storage

from ...names import RESERVED
from ...rfc9110 import content_disposition
from ..reader import open_reader
from .bucket import Bucket
from .options import client_config, refuse_location, refuse_what_breaks_a_promise, transfer
from .reading import RangeReader, Ranges
from .redaction import keep_out_of_logs
from .validation import check_raw, is_encoded

# How long a reader's own buffer is: what is read in smaller pieces comes from it.
_BUFFER = 64 * 1024


def _sign_for_the_region(context: dict[str, Any], **kwargs: Any) -> None:
    # Else botocore signs URLs for the host of all regions, which knows nothing of a new bucket for
    # hours, and of the newer regions' never.
    context["use_global_endpoint"] = False


class BucketStorage(S3Storage):  # type: ignore[misc]  # django-storages is not typed
    """S3Storage, with one client for all threads and every request bounded.

    Of django-storages it takes the options and settings; its own ``connection`` and ``bucket``
    still work, with our time limits, but nothing here uses them.
    """

    attempts: int
    deadline: float

    def __init__(self, **options: Any) -> None:
        # Before django-storages, which takes it for text.
        refuse_location(self, {**self.get_default_settings(), **options}["location"])
        super().__init__(**options)
        if "file_overwrite" not in options and not hasattr(settings, "AWS_S3_FILE_OVERWRITE"):
            # django-storages' default is what a delivery store never does.
            self.file_overwrite = False
        refuse_what_breaks_a_promise(self, options)
        self.client_config = client_config(self)
        self.transfer = transfer(self, self.client_config)
        self._remote: Bucket | None = None

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {**state, "_remote": None}

    @property
    def remote(self) -> Bucket:
        """The bucket, below our location."""
        if self._remote is None:
            self._remote = Bucket(
                self.bucket_name,
                f"{self.location.strip('/')}/".lstrip("/"),
                self._connection_key(),
                self._make_client,
                self._parameters,
                self.attempts,
                self.deadline,
            )
        return self._remote

    def _connection_key(self) -> Hashable:
        """Return what tells the client of this configuration from others."""
        options = (
            *("access_key", "secret_key", "security_token", "session_profile"),
            *("region_name", "use_ssl", "endpoint_url", "verify"),
        )
        config = sorted(vars(self.client_config).items())
        return (*(getattr(self, option) for option in options), repr(config))

    def _make_client(self) -> Any:
        keep_out_of_logs()
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
                f"{type(self).__name__} for bucket {self.bucket_name!r} cannot be used as it is "
                f"configured: {exception}."
            ) from exception
        client.meta.events.register("provide-client-params.s3.GetObject", _sign_for_the_region)
        client.meta.events.register("before-parse.s3", check_raw)
        return client

    def _parameters(self, name: str) -> dict[str, Any]:
        """Return what the site adds to requests that write an object."""
        acl = {"ACL": self.default_acl} if self.default_acl else {}
        return {**acl, **self.get_object_parameters(name)}

    # -- Django's contract --

    def _open(self, name: str, mode: str = "rb") -> File[Any]:
        raw = io.BufferedReader(RangeReader(self.remote, name), _BUFFER)
        return open_reader(self, name, raw, mode)

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
        # A listing knows fractions of a second, where all else does not.
        time = time.astimezone(timezone.utc).replace(microsecond=0)
        return time if settings.USE_TZ else make_naive(time)

    def listdir(self, path: str) -> tuple[list[str], list[str]]:
        prefix = self.remote.key(f"{path}/" if path else "")
        folders: list[str] = []
        files: list[str] = []
        for page in self.remote.pages("list_objects_v2", Prefix=prefix, Delimiter="/"):
            folders += [
                each["Prefix"].removeprefix(prefix).rstrip("/")
                for each in page.get("CommonPrefixes", ())
            ]
            files += [each["Key"].removeprefix(prefix) for each in page.get("Contents", ())]
        # An object that ends in a slash is some tool's idea of a folder.
        ours = "" if path else RESERVED
        return [each for each in folders if each not in {"", ours}], [
            each for each in files if each
        ]

    def contents(self, folder: str = "", **limits: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield (name, description) of what lies below a folder, as ListObjectsV2 describes it."""
        prefix = self.remote.key(f"{folder}/" if folder else "")
        for page in self.remote.pages("list_objects_v2", Prefix=prefix, **limits):
            for each in page.get("Contents", ()):
                name = each["Key"].removeprefix(self.remote.prefix)
                if not name.endswith("/") and posixpath.dirname(name).split("/")[0] != RESERVED:
                    yield name, each

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
        return self.remote.presigned_url(name, parameters, seconds, http_method)

    def _cloudfront_url(self, key: str, parameters: Mapping[str, Any], seconds: int) -> str:
        # CloudFront passes a query on to S3 as it is.
        names = self.remote.query_names("get_object")
        query = {names.get(each, each): value for each, value in parameters.items()}
        url = f"{self.url_protocol}//{self.custom_domain}/{filepath_to_uri(key)}"
        if query:
            url = f"{url}?{urlencode(query, quote_via=quote)}"
        ends = datetime.now(timezone.utc) + timedelta(seconds=seconds)
        signed: str = self.cloudfront_signer.generate_presigned_url(url, date_less_than=ends)
        return signed
