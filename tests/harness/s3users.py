"""Users of an S3 server who may do what a policy of IAM allows them, and nothing else."""

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
    """Make a user with this policy, None for no policy at all; return options of a storage."""
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
        # Attached, not put into the user: in that form SeaweedFS knows more actions.
        made = iam.create_policy(PolicyName=name, PolicyDocument=json.dumps(policy))
        iam.attach_user_policy(UserName=name, PolicyArn=made["Policy"]["Arn"])
    iam.close()
    return {"access_key": key["AccessKeyId"], "secret_key": key["SecretAccessKey"]}


@contextmanager
def everybody_may(server: Server) -> Iterator[None]:
    """Let everybody do everything within the block, and after it each what the policies allow.

    That is how moto is set up, which has no user who may do everything. Others need nothing.
    """
    _ask_for_rights(server, after="inf")
    yield
    _ask_for_rights(server, after="0")


def _ask_for_rights(server: Server, after: str) -> None:
    if server.name != "moto":
        return
    request = urllib.request.Request(
        f"{server.endpoint_url}/moto-api/reset-auth",
        data=after.encode(),  # so many requests
        headers={"Content-Type": "text/plain"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert answer.status == 200
