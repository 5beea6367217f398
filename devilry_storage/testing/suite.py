"""The conformance suite: what every delivery store promises, as tests."""

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
    """Tests any delivery store. Mix it in before a TestCase and say which store to test::

        class TestMyDeliveryStore(TestDeliveryStoreMixin, SimpleTestCase):
            def make_store(self):
                return MyDeliveryStore(self.tmp_path)

    ``make_store()`` returns the store, empty, once for each case; ``self.tmp_path`` is a temporary
    folder that is removed afterwards. A flag of the store that is False skips the cases that name
    it, None demands them. Cases that have to reach the store's own folder find it by
    ``disk_root()``. If you override ``setUp``, call ``super().setUp()`` in it.
    """
