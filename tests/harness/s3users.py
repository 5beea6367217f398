"""Users of an S3 server with only the rights of an IAM policy."""

from __future__ import annotations

import json
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config

from .s3servers import Server

Policy = dict[str, Any]


def user(server: Server, policy: Policy | None) -> dict[str, str]:
    """Make a user with a policy, or without any, and return the options of a storage."""
    iam = boto3.session.Session().client(
        "iam",
        endpoint_url=server.endpoint_url,
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        region_name=server.region,
        config=Config(connect_timeout=2, read_timeout=10, proxies={}),
    )
    name = f"user{uuid.uuid4().hex}"
    iam.create_user(UserName=name)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    if policy is not None:
        # Attach the policy: SeaweedFS supports more actions in this form than inline.
        made = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))
        iam.attach_user_policy(UserName=name, PolicyArn=made["Policy"]["Arn"])
    iam.close()
    return {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}


@contextmanager
def everybody_may(server: Server) -> Iterator[None]:
    """Enforce the policies only after the block, so that a test can prepare its files.

    Only moto needs this, because it has no user with all rights.
    """
    _ask_for_rights(server, after="inf")
    yield
    _ask_for_rights(server, after="0")


def _ask_for_rights(server: Server, after: str) -> None:
    if server.name != "moto":
        return
    request = urllib.request.Request(
        f"{server.endpoint_url}/moto-api/reset-auth",
        data=after.encode(),  # the number of requests without checks
        headers={"Content-Type": "text/plain"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        assert response.status == 200
