"""The conformance suite: what every delivery store promises, as tests."""

from __future__ import annotations

from .answers import AnswerCases
from .beyond import BeyondCases
from .confined import ConfinedCases
from .contract import ContractCases
from .durable import DurableCases
from .files import FileCases
from .lean import LeanCases
from .names import NameCases
from .pages import PageCases
from .races import RaceCases
from .readers import ReaderCases
from .rewrites import RewriteCases
from .special import SpecialFileCases
from .symlinks import SymlinkCases
from .uploads import UploadCases
from .whole import WholeCases
from .writers import WriterCases


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
