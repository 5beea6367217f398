"""The conformance suite, which tests the promises of a delivery store."""

from __future__ import annotations

from .conformance.bounded_memory import BoundedMemoryCases
from .conformance.concurrent_writers import ConcurrentWriterCases
from .conformance.confinement import ConfinementCases
from .conformance.django_contract import DjangoContractCases, UploadCases
from .conformance.durability import DurabilityCases
from .conformance.interface import FileMetaMethodCases, StoreMethodCases
from .conformance.never_overwritten import NeverOverwrittenCases
from .conformance.pages import PageCases
from .conformance.planted_files import SpecialFileCases, SymlinkCases
from .conformance.readers import ReaderCases
from .conformance.same_behaviour import SameBehaviourCases
from .conformance.whole_or_absent import WholeOrAbsentCases
from .conformance.writers import RewriteCases, WriterCases


class TestDeliveryStoreMixin(
    FileMetaMethodCases,
    StoreMethodCases,
    DjangoContractCases,
    UploadCases,
    WholeOrAbsentCases,
    RewriteCases,
    WriterCases,
    NeverOverwrittenCases,
    ConcurrentWriterCases,
    DurabilityCases,
    SymlinkCases,
    SpecialFileCases,
    ConfinementCases,
    SameBehaviourCases,
    PageCases,
    ReaderCases,
    BoundedMemoryCases,
):
    """Test a delivery store. Mix it into a TestCase and return the store to test::

        class TestMyDeliveryStore(TestDeliveryStoreMixin, SimpleTestCase):
            def make_store(self):
                return MyDeliveryStore(self.tmp_path)

    ``make_store()`` returns an empty store; it is called once for each case. ``self.tmp_path`` is
    a temporary folder, which is removed after the case. If a flag of the store is False, the cases
    that need it are skipped; if it is None, they are run. Cases that need the store's folder on
    disk find it by ``disk_root()``. If you override ``setUp()``, call ``super().setUp()``.
    """
