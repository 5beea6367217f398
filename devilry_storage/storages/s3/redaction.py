"""What botocore logs at DEBUG, without the secrets in it.

It logs each request with its headers, and what it signs: session tokens, keys of SSE-C, and the
signatures that make a URL work. Who turns DEBUG on to find a fault shows the log to others.

A filter on the few loggers that do so takes the values out and leaves the rest of a record. To
raise the level of these loggers would take the log from a site that needs it; a filter of a
handler would miss handlers that a site adds later. Where nobody asks for DEBUG it costs nothing.
"""

from __future__ import annotations

import logging
import re

#: Each has the filter, for the filters of a parent are not asked for a child's records.
LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.tokens")

# As botocore spells them in headers, queries and parameters, STS and SSO in their answers.
_NAMES = (
    "x-amz-security-token",
    "X-Amz-Security-Token",
    "sso_bearer_token",
    "SessionToken",
    "sessionToken",
    "SecretAccessKey",
    "secretAccessKey",
    "WebIdentityToken",
    "SAMLAssertion",
    "accessToken",
    "refreshToken",
    "clientSecret",
    "SSECustomerKey",
    "customer-key",
    "Signature",
)

# A name and its value as a header, in a query, in XML, in JSON, or in the repr of a dict. One for
# each name: a record may hold a part of a file, and Python finds one fixed beginning in it many
# times as fast as one of several.
_SECRETS = [
    re.compile(rf"""({name}(?:['"]?\s*[:=]\s*(?:b?['"])?|>))([^'"\s&,<]+)""") for name in _NAMES
]


def redacted(record: logging.LogRecord) -> bool:
    """Take the secrets out of a record, and let it pass."""
    text = kept = record.getMessage()
    for secret in _SECRETS:
        kept = secret.sub(r"\1***", kept)
    if kept != text:
        record.msg, record.args = kept, ()
    return True


def keep_out_of_logs() -> None:
    """Let botocore log no secrets, in this process; asked again it changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(redacted)
