"""A FileMeta that needs no database."""

from __future__ import annotations

from ..storages import DeliveryStoreMixin


class PlainFileMeta:
    """A FileMeta in memory, for tests of stores.

    ``content`` is the stored name or None, ``size`` the number of bytes and ``sha256`` a
    hexadecimal digest. There are no tombstones: a removed or replaced file is deleted at once.
    """

    def __init__(
        self,
        store: DeliveryStoreMixin,
        delivery_id: int | None,
        id: int | None,  # noqa: A002  # the name in models
        content: str | None = None,
    ) -> None:
        self.store = store
        self.delivery_id = delivery_id
        self.id = id
        self.content = content
        self.size = 0
        self.sha256 = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.delivery_id}/{self.id}>"

    def key_ids(self) -> tuple[int | None, int | None]:
        return self.delivery_id, self.id

    def record_stored(self, name: str, size: int, sha256: str) -> None:
        replaced, self.content = self.content, name
        self.size, self.sha256 = size, sha256
        if replaced:
            self.store.delete(replaced)

    def record_removed(self) -> None:
        if self.content:
            self.store.delete(self.content)
        self.content, self.size, self.sha256 = None, 0, ""
