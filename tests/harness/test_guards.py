"""The guards name existing source text and tests."""

from __future__ import annotations

from pathlib import Path

from ..guards.__main__ import PACKAGE, ROOT, all_guards


def test_each_guard_occurs_once_in_its_module() -> None:
    """If the source of a guard changes, the guard must change as well."""
    sources = {guard.module: (ROOT / PACKAGE / guard.module).read_text() for guard in all_guards()}
    assert [g.intact for g in all_guards() if sources[g.module].count(g.intact) != 1] == []
    assert [g.intact for g in all_guards() if g.intact == g.broken] == []


def test_each_guard_names_tests_that_exist() -> None:
    """Cases of the conformance suite are looked up in the package."""
    suite = "".join(path.read_text() for path in (ROOT / PACKAGE / "testing").rglob("*.py"))

    def exists(node: str) -> bool:
        file, *names = node.split("::")
        path = ROOT / file
        if not path.is_file():
            return False
        text = path.read_text() + suite
        return all(f"{name.partition('[')[0]}(" in text for name in names)

    assert [node for guard in all_guards() for node in guard.tests if not exists(node)] == []


def test_guards_cover_every_part_of_the_package() -> None:
    """There are at least a hundred, in every part that keeps a promise."""
    parts = {Path(guard.module).parts[0].removesuffix(".py") for guard in all_guards()}
    assert {
        "storages",
        "abstract_models",
        "deletion",
        "identity",
        "serving",
        "admin",
        "checks",
    } <= parts
    assert len(all_guards()) >= 100
