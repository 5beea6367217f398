"""Store a store's own objects in its bucket: its mark, and the records of its sites."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass

from ...names import RESERVED
from ..protocols import LONGEST_OWN
from .bucket import Bucket
from .reading import Ranges
from .writing import Publication


@dataclass(frozen=True)
class BucketObjects:
    """A store's own objects below its location, see `OwnObjects`."""

    _bucket: Bucket
    _publication: Callable[..., Publication]

    @property
    def location(self) -> Hashable:
        return self._bucket.identity

    def read(self, path: str) -> bytes | None:
        try:
            return b"".join(Ranges(self._bucket, self._name(path)).stream(0, LONGEST_OWN + 1))
        except FileNotFoundError:
            return None

    def create(self, path: str, data: bytes) -> bool:
        try:
            self._publication(self._name(path), "", "").put(data)
        except FileExistsError:
            return False
        return True

    def replace(self, path: str, data: bytes) -> None:
        self._publication(self._name(path), "", "").put(data, create=False)

    def names(self, folder: str) -> list[str]:
        prefix = self._bucket.key(f"{self._name(folder)}/")
        page = next(self._bucket.pages("list_objects_v2", Prefix=prefix))
        return [entry["Key"].removeprefix(prefix) for entry in page.get("Contents", ())]

    def volume(self) -> Hashable:
        return "bucket"

    def expect(self, *, known: bool) -> None:
        """Do nothing, because every request fails if the bucket does not exist."""

    def _name(self, path: str) -> str:
        return f"{RESERVED}/{path}"
