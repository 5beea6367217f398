"""The conformance suite: what every delivery store promises, as tests."""

from __future__ import annotations

from .conformance.confinement import ConfinedCases
from .conformance.delivery_stores import BeyondCases
from .conformance.django_contract import FileCases
from .conformance.durability import DurableCases
from .conformance.filemeta_methods import ContractCases
from .conformance.memory import LeanCases
from .conformance.never_overwritten import NameCases
from .conformance.pages import PageCases
from .conformance.races import RaceCases
from .conformance.readers import ReaderCases
from .conformance.rewrites import RewriteCases
from .conformance.same_answers import AnswerCases
from .conformance.special_files import SpecialFileCases
from .conformance.symlinks import SymlinkCases
from .conformance.uploads import UploadCases
from .conformance.whole_or_absent import WholeCases
from .conformance.writers import WriterCases


class TestDeliveryStoreMixin(
    ContractCases,
    BeyondCases,
    FileCases,
    UploadCases,
    WholeCases,
    RewriteCases,
    WriterCases,
    NameCases,
    RaceCases,
    DurableCases,
    SymlinkCases,
    SpecialFileCases,
    ConfinedCases,
    AnswerCases,
    PageCases,
    ReaderCases,
    LeanCases,
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
