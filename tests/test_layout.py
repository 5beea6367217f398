"""Layouts. Files are stored under their keys for years, so these tests pin the exact format."""

from __future__ import annotations

import copy
import enum
import itertools
import pickle
import string
import subprocess
import sys
import uuid
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.storage import Storage
from hypothesis import example, given
from hypothesis import strategies as st

from devilry_storage.layout import DEFAULT_INTERVAL, Branch, FlatLayout, HierLayout, Layout

BIGINT = 2**63 - 1

GOLDEN = [
    (1000, 0, "0/0/0"),
    (1000, 1, "0/0/1"),
    (1000, 999, "0/0/999"),
    (1000, 1000, "0/1/1000"),
    (1000, 1005, "0/1/1005"),
    (1000, 2000, "0/2/2000"),
    (1000, 999999, "0/999/999999"),
    (1000, 1000000, "1/0/1000000"),
    (1000, 2001000, "2/1/2001000"),
    (1000, BIGINT, "9223372036854/775/9223372036854775807"),
    (10, 9, "0/0/9"),
    (10, 10, "0/1/10"),
    (10, 99, "0/9/99"),
    (10, 100, "1/0/100"),
    (10, 210, "2/1/210"),
]

# Paths of Devilry 4.0 to 6.3.1 under Python 3, where "/" had become float division.
FLOAT_FOLDERS = [
    "1e-06/0.0/1",
    "9.9e-05/1.4210854715202004e-17/99",
    "0.000999/-1.1368683772161603e-16/999",
    "0.001/0.0/1000",
    "0.012345/0.0/12345",
    "1.0/0.0/1000000",
    "2.001/0.0/2001000",
]

LAYOUTS: list[Layout] = [HierLayout(), HierLayout(10), HierLayout(2), FlatLayout()]

ids = st.integers(min_value=0, max_value=2**70)
intervals = st.integers(min_value=2, max_value=2**40)
layouts = st.one_of(st.builds(HierLayout, intervals), st.just(FlatLayout()))
alphanumerics = string.ascii_letters + string.digits
suffixes = st.text(alphanumerics, min_size=7, max_size=7).map("_{}".format)


def rejects(layout: Layout, key: object) -> bool:
    try:
        layout.parse(key)  # type: ignore[arg-type]
    except ValueError as error:
        return "is not a delivery key" in str(error)
    return False


# -- key() and folder() --


def test_golden_keys(subtests: pytest.Subtests) -> None:
    """Keys equal those of Devilry under Python 2, for both intervals that sites used."""
    for interval, delivery_id, folder in GOLDEN:
        with subtests.test(interval=interval, delivery_id=delivery_id):
            layout = HierLayout(interval)
            assert layout.folder(delivery_id) == folder
            assert layout.key(delivery_id, 17) == f"{folder}/17"
            assert layout.parse(f"{folder}/17") == (delivery_id, 17)


def test_default_interval_is_1000() -> None:
    """As in Devilry."""
    assert HierLayout() == HierLayout(1000) == HierLayout(DEFAULT_INTERVAL)


def test_flat_layout_has_one_folder_per_delivery() -> None:
    """As Devilry's older layout."""
    assert FlatLayout().folder(1005) == "1005"
    assert FlatLayout().key(1005, 17) == "1005/17"
    assert FlatLayout().key(0, 0) == "0/0"


def test_longest_key_of_two_bigints_has_57_characters() -> None:
    """With interval 1000. Keys and alternative names fit into a column of 100 characters."""
    assert len(HierLayout().key(BIGINT, BIGINT)) == 57


def test_longest_key_of_two_bigints_at_any_interval_has_61_characters() -> None:
    """For the interval with the longest keys."""
    assert len(HierLayout(2).key(BIGINT, BIGINT)) == 61
    assert max(len(HierLayout(i).key(BIGINT, BIGINT)) for i in range(2, 2000)) == 61


@given(st.integers(2, 2**63), st.integers(0, BIGINT), st.integers(0, BIGINT))
def test_no_key_of_two_bigints_is_longer_than_61_characters(
    interval: int, delivery_id: int, filemeta_id: int
) -> None:
    """For all intervals and ids."""
    assert len(HierLayout(interval).key(delivery_id, filemeta_id)) <= 61


@given(layouts, st.tuples(ids, ids), st.tuples(ids, ids))
@example(FlatLayout(), (1, 11), (11, 1))
@example(HierLayout(2), (1, 11), (11, 1))
def test_keys_are_unique(layout: Layout, one: tuple[int, int], other: tuple[int, int]) -> None:
    """Different files have different keys in every layout."""
    assert (layout.key(*one) == layout.key(*other)) == (one == other)


@given(layouts, ids, ids)
def test_keys_are_in_the_folder_of_their_delivery(
    layout: Layout, delivery_id: int, filemeta_id: int
) -> None:
    """folder() returns the folder of all keys of one delivery."""
    folder = layout.folder(delivery_id)
    assert layout.key(delivery_id, filemeta_id) == f"{folder}/{filemeta_id}"


@given(intervals, ids)
def test_folders_below_the_top_have_at_most_interval_folders(
    interval: int, delivery_id: int
) -> None:
    """Only the number of top folders is unlimited."""
    top, sub, delivery = map(int, HierLayout(interval).folder(delivery_id).split("/"))
    assert 0 <= sub < interval
    assert delivery == delivery_id
    assert 0 <= delivery_id - top * interval**2 - sub * interval < interval


class NamedNumber(enum.IntEnum):
    SEVEN = 7

    def __str__(self) -> str:
        return "seven"

    def __format__(self, spec: str) -> str:
        return "seven"


def test_subclasses_of_int_become_digits() -> None:
    """Such as enumerations with another string representation."""
    keys = [
        (layout.key(NamedNumber.SEVEN, NamedNumber.SEVEN), layout.folder(NamedNumber.SEVEN))
        for layout in LAYOUTS
    ]
    assert keys == [(layout.key(7, 7), layout.folder(7)) for layout in LAYOUTS]


# -- Invalid ids --


INVALID_IDS = [
    (uuid.UUID(int=5), TypeError, "'00000000-0000-0000-0000-000000000005' is a UUID"),
    (None, TypeError, "'None' is not an id: save the object first"),
    (True, TypeError, "'True' is a bool"),
    (False, TypeError, "'False' is a bool"),
    ("17", TypeError, "'17' is a str"),
    (b"17", TypeError, "is a bytes"),
    (17.0, TypeError, "'17.0' is a float"),
    (float("nan"), TypeError, "'nan' is a float"),
    (Decimal(17), TypeError, "'17' is a Decimal"),
    (1 + 0j, TypeError, "is a complex"),
    ([17], TypeError, "is a list"),
    (-1, ValueError, "'-1' is negative"),
    (-(2**63), ValueError, "'-9223372036854775808' is negative"),
]


CALLS: list[tuple[str, Callable[[Layout, Any], str]]] = [
    ("Delivery id", lambda layout, value: layout.key(value, 1)),
    ("Delivery id", lambda layout, value: layout.folder(value)),
    ("FileMeta id", lambda layout, value: layout.key(1, value)),
]


@pytest.mark.filterwarnings("ignore::BytesWarning")
def test_invalid_ids_are_rejected(subtests: pytest.Subtests) -> None:
    """The message has the kind of id, its value and its type."""
    for layout, (value, error, says) in itertools.product(LAYOUTS, INVALID_IDS):
        with subtests.test(layout=layout, value=value):
            for what, call in CALLS:
                with pytest.raises(error) as caught:
                    call(layout, value)
                assert type(caught.value) is error
                assert str(caught.value).startswith(what)
                assert says in str(caught.value)


def test_error_for_uuid_has_a_remedy() -> None:
    """It says what models with UUID primary keys need."""
    with pytest.raises(TypeError, match=r"integer primary keys \(or a key_ids\(\)"):
        HierLayout().key(uuid.uuid4(), 1)  # type: ignore[arg-type]


# -- parse() --


@given(layouts, ids, ids)
def test_parse_is_the_inverse_of_key(layout: Layout, delivery_id: int, filemeta_id: int) -> None:
    """parse() is the inverse of key()."""
    assert layout.parse(layout.key(delivery_id, filemeta_id)) == (delivery_id, filemeta_id)


@given(layouts, ids, ids, suffixes)
@example(FlatLayout(), 0, 0, "_0000000")
@example(HierLayout(), 1005, 17, "_aZ09bY8")
def test_alternative_names_parse_to_the_ids_of_their_key(
    layout: Layout, delivery_id: int, filemeta_id: int, suffix: str
) -> None:
    """They consist of the key, an underscore and seven characters."""
    key = layout.key(delivery_id, filemeta_id)
    assert layout.parse(key + suffix) == (delivery_id, filemeta_id)


def test_alternative_names_of_django_parse() -> None:
    """The suffix is that of Storage.get_alternative_name()."""
    for layout, _ in itertools.product(LAYOUTS, range(50)):
        name = Storage().get_alternative_name(layout.key(1005, 17), "")
        assert layout.parse(name) == (1005, 17)


def test_suffixes_of_another_length_do_not_parse() -> None:
    """Django's suffix has exactly seven characters."""
    lengths = [*range(7), *range(8, 20)]
    names = [
        (layout, f"{layout.key(1005, 17)}_{fill * length}")
        for layout, length, fill in itertools.product(LAYOUTS, lengths, "a0Z")
    ]
    assert [(layout, name) for layout, name in names if not rejects(layout, name)] == []


MUTATIONS = [
    "",
    "/",
    "0",
    "0/1",
    "0/1/1005",
    "0/1/1005/",
    "/0/1/1005/17",
    "0/1/1005/17/",
    "0//1/1005/17",
    "0/1/1005//17",
    "./0/1/1005/17",
    "0/1/1005/../1005/17",
    "0/1/1005/./17",
    "0/1/1005/17/0",
    "0/0/1/1005/17",
    "0\\1\\1005\\17",
    "0/1/1005\\17",
    "0:1:1005:17",
    # the right ids in the wrong branch
    "0/2/1005/17",
    "0/0/1005/17",
    "1/1/1005/17",
    "1/0/1005/17",
    "0/1000/1000000/17",
    "0/1005/1005/17",
    # other spellings of digits
    "00/1/1005/17",
    "0/01/1005/17",
    "0/1/01005/17",
    "0/1/1005/017",
    "0/1/1005/00",
    "+0/1/1005/17",
    "0/+1/1005/17",
    "0/1/+1005/17",
    "0/1/1005/+17",
    "-0/1/1005/17",
    "0/1/1005/-17",
    "0/1/1005/-0",
    "0/1/1_005/17",
    "0/1/1005/1_7",
    "0/1/1,005/17",
    "0/1/1005/17.0",
    "0/1/1005/1e1",
    "0/1/1005/0x11",
    "0/1/1005/0o21",
    "0/1/1005/0b1",
    "0/1/1005/١٧",  # Arabic-Indic
    "0/1/١٠٠٥/17",
    "٠/1/1005/17",
    "0/1/1005/۱۷",  # Extended Arabic-Indic
    "0/1/1005/१७",  # Devanagari
    "0/1/1005/１７",  # fullwidth
    "０/1/1005/17",
    "0/1/1005/1٧",  # a mixture
    "0/1/100５/17",
    "0/1/1005/1７",
    "0/1/1005/𝟏𝟕",  # mathematical
    "0/1/1005/1⁷",  # superscript
    "0/1/1005/⑰",
    "0/1/1005/Ⅻ",
    "0／1／1005／17",  # fullwidth slashes
    "0∕1∕1005∕17",
    # additional characters
    "0/1/1005/17\n",
    "0/1/1005/17\r\n",
    "\n0/1/1005/17",
    "0/1/1005/17 ",
    " 0/1/1005/17",
    "0/1/ 1005/17",
    "0/1/1005 /17",
    "0/1/1005\n/17",
    "0/1/1005/17\t",
    "0/1/1005/17\0",
    "\0000/1/1005/17",
    "0/1/1005/17\u200b",
    "\ufeff0/1/1005/17",
    "0/1/1005/17\u2028",
    "0/1/1005/17\u00a0",
    "0/1/1005/17.txt",
    "0/1/1005/17.",
    "0/1/1005/17~",
    "0/1/1005/17?x=1",
    "0/1/1005/17#x",
    "0/1/1005/%31%37",
    "0%2F1%2F1005%2F17",
    "media/0/1/1005/17",
    "0/1/1005/17,0/1/1005/18",
    # suffixes that are not Django's
    "0/1/1005/17_",
    "0/1/1005/17_abcdef",
    "0/1/1005/17_abcdefgh",
    "0/1/1005/17_abc-efg",
    "0/1/1005/17_abc_efg",
    "0/1/1005/17_abcdef ",
    "0/1/1005/17_abcdef\n",
    "0/1/1005/17_abcdefg\n",
    "0/1/1005/17_abcdéfg",
    "0/1/1005/17_ａbcdefg",
    "0/1/1005/17_١٢٣٤٥٦٧",
    "0/1/1005/17-abcdefg",
    "0/1/1005/17abcdefg",
    "0/1/1005/17__abcdefg",
    "0/1/1005/17_abcdefg_hijklmn",
    "0/1/1005/17_abcdefg.txt",
    "0/1/1005/_abcdefg",
    "0/1/1005_abcdefg/17",
    "0/1_abcdefg/1005/17",
    # more digits than Python converts to an integer
    "0/1/1005/" + "9" * 5000,
    "9" * 5000 + "/1/1005/17",
    "0/1/" + "9" * 5000 + "/17",
]


def test_mutated_keys_do_not_parse() -> None:
    """A key has exactly one spelling, so different names are different files."""
    assert [key for key in MUTATIONS if not rejects(HierLayout(), key)] == []
    # Flat keys: only the ids, with the same mutations.
    flat = [key.removeprefix("0/1/") for key in MUTATIONS]
    assert [key for key in flat if not rejects(FlatLayout(), key)] == ["0/1"]


characters = st.sampled_from(alphanumerics + "/\\_-+. \n\0٣３٠𝟏⁷") | st.characters()


@st.composite
def mutated_keys(draw: st.DrawFn) -> tuple[Layout, str]:
    """Return a layout and a key, perhaps with a suffix, in which some characters were changed."""
    layout = draw(st.one_of(st.builds(HierLayout, st.sampled_from([2, 10, 1000])), layouts))
    text = layout.key(draw(ids), draw(st.integers(0, 10**6)))
    text += draw(st.one_of(st.just(""), suffixes))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        stop = min(len(text), start + draw(st.integers(0, 2)))
        text = text[:start] + draw(st.text(characters, max_size=2)) + text[stop:]
    return layout, text


@given(
    st.one_of(
        mutated_keys(),
        st.tuples(layouts, st.text("0123456789/_ab-+.\n ", max_size=30)),
        st.tuples(layouts, st.text()),
        st.tuples(
            st.sampled_from([FlatLayout(), HierLayout(2), HierLayout(1000)]),
            st.from_regex(r"\d{1,3}(/\d{1,4}){1,3}(_\w{5,9})?\s?", fullmatch=True),
        ),
    )
)
def test_only_keys_and_alternative_names_parse(case: tuple[Layout, str]) -> None:
    """The parsed text equals key() of the ids, plus a suffix."""
    layout, text = case
    try:
        parsed = layout.parse(text)
    except ValueError:
        return
    key = layout.key(*parsed)
    assert text.startswith(key)
    rest = text[len(key) :]
    assert not rest or (rest[0] == "_" and len(rest) == 8 and set(rest[1:]) <= set(alphanumerics))


def test_float_paths_of_devilry_do_not_parse() -> None:
    """Files that Devilry stored under Python 3 are imported by their recorded names only."""
    for layout in HierLayout(), FlatLayout():
        assert [folder for folder in FLOAT_FOLDERS if not rejects(layout, f"{folder}/17")] == []


@given(st.integers(0, 10**12), st.sampled_from([10, 1000]))
def test_no_float_path_parses(delivery_id: int, interval: int) -> None:
    """For all ids."""
    top = delivery_id / (interval * interval)
    sub = (delivery_id - top * interval * interval) / interval
    assert rejects(HierLayout(interval), f"{top}/{sub}/{delivery_id}/17")


def test_values_other_than_str_do_not_parse() -> None:
    """Even None, the content of a row without a file, is a ValueError."""
    values = [None, b"0/0/1/1", 17, ("0/0/1/1",), uuid.UUID(int=1)]
    for layout in LAYOUTS:
        assert [value for value in values if not rejects(layout, value)] == []


def test_error_for_wrong_branch_has_the_right_branch() -> None:
    """It helps users who have moved a folder."""
    with pytest.raises(ValueError, match="is not a delivery key") as caught:
        HierLayout().parse("0/2/1005/17")
    assert str(caught.value) == (
        "'0/2/1005/17' is not a delivery key: delivery 1005 belongs in '0/1/1005'."
    )


def test_error_for_invalid_key_shows_an_example(subtests: pytest.Subtests) -> None:
    """The message quotes the name, escaped, and shows what keys look like."""
    for layout, looks in (HierLayout(), "'0/1/1005/17'"), (FlatLayout(), "'1005/17'"):
        with subtests.test(layout=layout):
            with pytest.raises(ValueError, match="is not a delivery key") as caught:
                layout.parse("avatars/\u202eme\n.png")
            assert str(caught.value) == (
                r"'avatars/\u202eme\n.png' is not a delivery key: keys look like " + looks + "."
            )


def test_keys_of_one_layout_do_not_parse_in_the_other() -> None:
    """The two layouts cannot be confused."""
    assert rejects(FlatLayout(), HierLayout().key(5, 6))
    assert rejects(HierLayout(), FlatLayout().key(5, 6))


# -- Branches --


def test_branches_are_in_numeric_order() -> None:
    """10 follows 2. Each branch has the range of its delivery ids."""
    assert HierLayout().branches(["10", "2", "0", "1"]) == [
        Branch("0", range(1000000)),
        Branch("1", range(1000000, 2000000)),
        Branch("2", range(2000000, 3000000)),
        Branch("10", range(10000000, 11000000)),
    ]
    assert HierLayout().branches(["2/10", "2/9", "2/999"]) == [
        Branch("2/9", range(2009000, 2010000)),
        Branch("2/10", range(2010000, 2011000)),
        Branch("2/999", range(2999000, 3000000)),
    ]
    assert HierLayout(10).branches(["1/0/100", "0/1/15", "0/1/9", "0/0/9"]) == [
        Branch("0/0/9", range(9, 10)),
        Branch("0/1/15", range(15, 16)),
        Branch("1/0/100", range(100, 101)),
    ]


def test_flat_branches_are_in_numeric_order() -> None:
    """In the flat layout each folder is one delivery."""
    assert FlatLayout().branches(["10", "9", "x", "07", "0", "1/2"]) == [
        Branch("0", range(1)),
        Branch("9", range(9, 10)),
        Branch("10", range(10, 11)),
    ]


def test_foreign_folders_are_not_branches() -> None:
    """Folders of other programs are skipped."""
    names = [
        *["", "/", "0/", "/0", "00", "01", "-1", "+1", "1.0", "1e-06", " 1", "1\n", "0/1/1005/17"],
        *["0//1", "٣", "３", "x", "lost+found", ".devilry-storage", "1_abcdefg", "..", "9" * 5000],
    ]
    for layout in LAYOUTS:
        assert [name for name in names if layout.branches([name])] == []


def test_folders_without_possible_ids_are_not_branches() -> None:
    """The number of a branch is below the interval, and a delivery is in its own branch."""
    names = ["0/1000", "0/10000", "3/1000", "0/2/1005", "1/1/1005"]
    assert [name for name in names if HierLayout().branches([name])] == []


@given(intervals, ids, ids)
def test_branches_of_a_key_contain_its_delivery(
    interval: int, delivery_id: int, filemeta_id: int
) -> None:
    """Top folder, branch and delivery folder contain the id, with decreasing numbers of ids."""
    layout = HierLayout(interval)
    top, sub, delivery, _ = layout.key(delivery_id, filemeta_id).split("/")
    branches = layout.branches([f"{top}/{sub}/{delivery}", top, f"{top}/{sub}"])
    assert {branch.name for branch in branches} == {top, f"{top}/{sub}", f"{top}/{sub}/{delivery}"}
    assert all(delivery_id in branch.ids for branch in branches)
    assert sorted(b.ids.stop - b.ids.start for b in branches) == [1, interval, interval**2]


@given(st.integers(2, 50), st.lists(st.integers(0, 10**4), max_size=20))
def test_branches_of_one_level_do_not_overlap(interval: int, tops: list[int]) -> None:
    """Iterating over them in order visits all deliveries once, in the order of their ids."""
    branches = HierLayout(interval).branches({str(top) for top in tops})
    assert len(branches) == len(set(tops))
    for one, other in itertools.pairwise(branches):
        assert one.ids.stop <= other.ids.start


def test_empty_store_has_no_branches() -> None:
    """The names may be any iterable."""
    assert HierLayout().branches([]) == FlatLayout().branches(iter(())) == []


# -- Layouts as values --


def test_layouts_are_equal_by_value() -> None:
    """They are also hashable."""
    assert HierLayout(10) == HierLayout(10)
    assert HierLayout(10) != HierLayout(11)
    assert FlatLayout() == FlatLayout()
    flat, hier = LAYOUTS[-1], LAYOUTS[0]
    assert flat != hier
    assert len({HierLayout(10), HierLayout(10), HierLayout(), FlatLayout(), FlatLayout()}) == 3


def test_layouts_can_be_pickled_and_copied() -> None:
    """Stores are sent to worker processes with their layout."""
    assert [pickle.loads(pickle.dumps(layout)) for layout in LAYOUTS] == LAYOUTS
    assert [copy.deepcopy(layout) for layout in LAYOUTS] == LAYOUTS


def test_interval_is_read_only() -> None:
    """The layout of a store never changes."""
    with pytest.raises(AttributeError):
        HierLayout().interval = 10  # type: ignore[misc]


def test_interval_below_2_is_rejected(subtests: pytest.Subtests) -> None:
    """With 1 every folder would be a top folder, and 0 would divide by zero."""
    for interval in 1, 0, -1, -1000:
        message = f"interval '{interval}' is too small: use at least 2"
        with subtests.test(interval=interval), pytest.raises(ValueError, match=message):
            HierLayout(interval)


def test_interval_must_be_an_integer(subtests: pytest.Subtests) -> None:
    """1000.0, for example, caused Devilry's float paths."""
    message = "is not an integer: use one of at least 2"
    intervals: list[Any] = [None, "1000", 1000.0, True, float("nan"), Decimal(1000)]
    for interval in intervals:
        with subtests.test(interval=interval):
            with pytest.raises(TypeError, match=message) as caught:
                HierLayout(interval)
            assert repr(interval) in str(caught.value)


def test_layout_works_without_django() -> None:
    """Reports and importers can use keys without Django."""
    code = (
        "import sys; sys.modules['django'] = None; import devilry_storage.layout as layout; "
        "print(layout.HierLayout().key(1005, 17))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0/1/1005/17\n"
