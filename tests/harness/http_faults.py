"""What an :class:`~tests.harness.http_proxy.HttpProxy` can be told to break."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class LoseReply:
    """The server carries the request out; the client sees a closed connection."""


@dataclass(frozen=True)
class CutRequest:
    """So many bytes of the body go up, then both connections are closed."""

    after: int


@dataclass(frozen=True)
class CutReply:
    """So many bytes of the body come down, then the connection is closed."""

    after: int


@dataclass(frozen=True)
class StallReply:
    """So many bytes of the body come down, then nothing more."""

    after: int


@dataclass(frozen=True)
class Answer:
    """The proxy answers with an error of S3; the server never sees the request."""

    status: int
    code: str
    message: str = "planned"


@dataclass(frozen=True)
class Delay:
    """The request is held up for so many seconds, and passed on whoever still waits for it."""

    seconds: float


@dataclass(frozen=True)
class DelayReply:
    """The server carries the request out at once; its reply is held up for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class BlackHole:
    """The request is read and never answered."""


@dataclass(frozen=True)
class FlipBit:
    """One bit of the reply's body is another one; everything else is as it was."""

    position: int
    bit: int = 0


@dataclass(frozen=True)
class FlipRequestBit:
    """One bit of the request's body is another one; everything else is as it was."""

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
    """The client gets what a function makes of the server's reply, byte for byte.

    ``reaches``: the server gets the request; else the function gets an empty reply. ``closes``:
    the connection is closed afterwards. Of a reply to HEAD only the head is sent.
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
    """Return a piece of a body as the fault lets it pass, after so many bytes of the same body."""
    if isinstance(fault, (CutRequest, CutReply, StallReply)):
        return piece[: max(0, fault.after - before)]
    if isinstance(fault, (FlipBit, FlipRequestBit)):
        place = fault.position - before
        if 0 <= place < len(piece):
            return piece[:place] + bytes([piece[place] ^ 1 << fault.bit]) + piece[place + 1 :]
    return piece


def ends(before: int, fault: Fault | None) -> bool:
    """Tell whether no more of a body passes after so many bytes."""
    return isinstance(fault, (CutRequest, CutReply, StallReply)) and before >= fault.after
