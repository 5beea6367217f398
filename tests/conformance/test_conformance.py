"""Every store passes the conformance suite; so do stores made of Django's own storages."""

from __future__ import annotations

from django.core.files.storage import FileSystemStorage, InMemoryStorage
from django.test import SimpleTestCase

from devilry_storage.storages import DeliveryStoreMixin, FsDeliveryStore, FsHierDeliveryStore
from devilry_storage.testing import MemoryDeliveryStore, TestDeliveryStoreMixin
from devilry_storage.testing.conformance.concurrent_writers import ConcurrentWriterCases
from devilry_storage.testing.conformance.django_contract import DjangoContractCases, UploadCases
from devilry_storage.testing.conformance.interface import FileMetaMethodCases, StoreMethodCases
from devilry_storage.testing.conformance.whole_or_absent import WholeOrAbsentCases
from devilry_storage.testing.conformance.writers import RewriteCases, WriterCases


class TestFsDeliveryStore(TestDeliveryStoreMixin, SimpleTestCase):
    def make_store(self) -> FsDeliveryStore:
        return FsDeliveryStore(location=self.tmp_path / "store")


class TestFsHierDeliveryStore(TestDeliveryStoreMixin, SimpleTestCase):
    def make_store(self) -> FsHierDeliveryStore:
        return FsHierDeliveryStore(location=self.tmp_path / "store", interval=10)


class TestFsHierDeliveryStoreWithoutFsync(
    FileMetaMethodCases,
    StoreMethodCases,
    DjangoContractCases,
    UploadCases,
    WholeOrAbsentCases,
    RewriteCases,
    WriterCases,
    ConcurrentWriterCases,
    SimpleTestCase,
):
    """Only cases that write and delete, because ``durable`` affects nothing else."""

    def make_store(self) -> FsHierDeliveryStore:
        return FsHierDeliveryStore(location=self.tmp_path / "store", durable=False)


class TestMemoryDeliveryStore(TestDeliveryStoreMixin, SimpleTestCase):
    def make_store(self) -> MemoryDeliveryStore:
        return MemoryDeliveryStore()


class MixinOnFileSystemStorage(DeliveryStoreMixin, FileSystemStorage):
    atomic_create = whole_or_absent = durable = confined = atomic_copy = False
    bounded_memory = True


class TestStoreMadeOfFileSystemStorage(TestDeliveryStoreMixin, SimpleTestCase):
    def make_store(self) -> MixinOnFileSystemStorage:
        return MixinOnFileSystemStorage(location=self.tmp_path / "store")


class MixinOnInMemoryStorage(DeliveryStoreMixin, InMemoryStorage):
    atomic_create = whole_or_absent = durable = bounded_memory = atomic_copy = False
    confined = True


class TestStoreMadeOfInMemoryStorage(TestDeliveryStoreMixin, SimpleTestCase):
    def make_store(self) -> MixinOnInMemoryStorage:
        return MixinOnInMemoryStorage()
