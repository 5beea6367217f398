"""Verify URLs that are signed for CloudFront."""

from __future__ import annotations

import functools
import json
from base64 import b64decode
from urllib.parse import parse_qs, urlsplit

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

KEY_ID = "K2JCJMDEHXQW5F"


@functools.cache
def _private_key(owner: str) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(owner: str = "site") -> str:
    """Return a private key in the format of the option ``cloudfront_key``."""
    return (
        _private_key(owner)
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        .decode()
    )


def verify(url: str) -> int:
    """Return when a URL expires, in seconds since 1970.

    Raises InvalidSignature unless the site has signed the URL. The signed policy has the URL
    without the parameters of the signature
    (https://docs.aws.amazon.com/AmazonCloudFront/latest/DeveloperGuide/,
    "Create a signed URL using a canned policy").
    """
    query = parse_qs(urlsplit(url).query)
    expires = int(query["Expires"][0])
    statement = {
        "Resource": url.partition("Expires=")[0][:-1],
        "Condition": {"DateLessThan": {"AWS:EpochTime": expires}},
    }
    policy = json.dumps({"Statement": [statement]}, separators=(",", ":"))
    signature = query["Signature"][0].translate(str.maketrans("-_~", "+=/"))
    _private_key("site").public_key().verify(
        b64decode(signature, validate=True), policy.encode(), padding.PKCS1v15(), hashes.SHA1()
    )
    return expires
