"""Faults for an :class:`~tests.harness.http_proxy.HttpProxy`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoseReply:
    """The server executes the request, but the client's connection is closed without a reply."""


@dataclass(frozen=True)
class CutRequest:
    """Both connections are closed after this number of bytes of the request's body."""

    after: int


@dataclass(frozen=True)
class CutReply:
    """The connection is closed after this number of bytes of the reply's body."""

    after: int


@dataclass(frozen=True)
class StallReply:
    """The reply stalls after this number of bytes of its body."""

    after: int


@dataclass(frozen=True)
class Answer:
    """The proxy replies with an error of S3; the server does not get the request."""

    status: int
    code: str
    message: str = "planned"


@dataclass(frozen=True)
class Delay:
    """The request is delayed, and passed on even if the client has given up."""

    seconds: float


@dataclass(frozen=True)
class DelayReply:
    """The server executes the request at once; its reply is delayed."""

    seconds: float


@dataclass(frozen=True)
class BlackHole:
    """The request is read, and there is never a reply."""


@dataclass(frozen=True)
class FlipBit:
    """One bit of the reply's body is flipped; everything else is unchanged."""

    position: int
    bit: int = 0


@dataclass(frozen=True)
class FlipRequestBit:
    """One bit of the request's body is flipped; everything else is unchanged."""

    position: int
    bit: int = 0


@dataclass(frozen=True)
class Reply:
    """The server's reply to a request; header names are in lower case, the body is not chunked."""

    method: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Replace:
    """The client gets the bytes that a function makes of the server's reply.

    If ``reaches`` is False, the server does not get the request and the function gets an empty
    reply. If ``closes`` is True, the connection is closed afterwards. For HEAD only the head of
    the new reply is sent.
    """

    make: Callable[[Reply], bytes]
    reaches: bool = True
    closes: bool = False


Fault = (
    LoseReply
    | CutRequest
    | CutReply
    | StallReply
    | Answer
    | Delay
    | DelayReply
    | BlackHole
    | FlipBit
    | FlipRequestBit
    | Replace
)

GOING_UP = (CutRequest, FlipRequestBit)
COMING_DOWN = (CutReply, StallReply, FlipBit)


def harmed(piece: bytes, before: int, fault: Fault | None) -> bytes:
    """Apply the fault to a piece of a body; ``before`` is the number of bytes before the piece."""
    if isinstance(fault, (CutRequest, CutReply, StallReply)):
        return piece[: max(0, fault.after - before)]
    if isinstance(fault, (FlipBit, FlipRequestBit)):
        index = fault.position - before
        if 0 <= index < len(piece):
            return piece[:index] + bytes([piece[index] ^ 1 << fault.bit]) + piece[index + 1 :]
    return piece


def ends(before: int, fault: Fault | None) -> bool:
    """Return whether the fault ends a body after this number of bytes."""
    return isinstance(fault, (CutRequest, CutReply, StallReply)) and before >= fault.after
