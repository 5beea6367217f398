"""Remove secrets from the records that botocore logs at level DEBUG.

botocore logs each request with its headers, and the strings that it signs. These contain session
tokens, SSE-C keys, and the signatures that make a URL valid. Sites that enable DEBUG to find an
error may share the log.

A filter on the few loggers concerned replaces the values and keeps the rest of a record. Raising
the level of these loggers would remove records that a site needs, and a filter on a handler would
miss handlers that are added later. At higher levels the filter costs nothing.
"""

import logging
import re

#: Loggers that get the filter. A logger does not apply its filters to records of its children.
LOGGERS = ("botocore.auth", "botocore.endpoint", "botocore.parsers", "botocore.tokens")

# Spellings of botocore in headers, queries and parameters, and of the responses of STS and SSO.
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

# A name and its value as a header, in a query, in XML, in JSON, or in the repr of a dict. There is
# one pattern for each name, because a record may contain a part of a file, in which Python finds
# one fixed prefix much faster than several alternatives.
_SECRETS = [
    re.compile(rf"""({name}(?:['"]?\s*[:=]\s*(?:b?['"])?|>))([^'"\s&,<]+)""") for name in _NAMES
]


def redact(record: logging.LogRecord) -> bool:
    """Replace the secrets in a record, and return True so that it is logged."""
    message = redacted = record.getMessage()
    for secret in _SECRETS:
        redacted = secret.sub(r"\1***", redacted)
    if redacted != message:
        record.msg, record.args = redacted, ()
    return True


def redact_logs() -> None:
    """Add the filter to botocore's loggers, once in each process."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(redact)
