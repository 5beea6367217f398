"""Check that wheel and sdist contain the whole package, and the wheel nothing else."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[1]
PACKAGE = "devilry_storage"
# Listed explicitly: if a checkout lacks them, too, the comparison does not find them missing.
MUST_HAVE = (
    f"{PACKAGE}/py.typed",
    f"{PACKAGE}/migrations/0001_initial.py",
    f"{PACKAGE}/deliveries/migrations/0001_initial.py",
    f"{PACKAGE}/management/commands/purge_deliveries.py",
    f"{PACKAGE}/testing/plugin.py",
    f"{PACKAGE}/static/devilry_storage/stores.css",
    f"{PACKAGE}/templates/admin/devilry_storage/storebrowser/folder.html",
)
# Needed to run the tests, build the manual and develop from an sdist.
SOURCES = (
    ".ci/run",
    ".github/workflows/ci.yml",
    ".pre-commit-config.yaml",
    "docs/conf.py",
    "tests/conftest.py",
    "tox.ini",
    "LICENSE",
    "README.rst",
    "CHANGELOG.rst",
    "CONTRIBUTING.rst",
    "SECURITY.md",
)


def in_checkout() -> set[str]:
    """Return the package's files that git tracks or would track; ignored files are left out."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()}


def in_wheel(wheel: Path) -> set[str]:
    """Return the names of a wheel's files, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            name
            for name in archive.namelist()
            if not PurePosixPath(name).parts[0].endswith(".dist-info")
        }


def in_sdist(sdist: Path) -> set[str]:
    """Return the names of an sdist's files, relative to its top folder."""
    with tarfile.open(sdist) as archive:
        names = (PurePosixPath(member.name) for member in archive if member.isfile())
        return {str(PurePosixPath(*name.parts[1:])) for name in names}


def faults(wheel: set[str], sdist: set[str], checkout: set[str]) -> Iterator[str]:
    """Yield the missing files, and those that do not belong in the wheel."""
    wanted = checkout | set(MUST_HAVE)
    yield from (f"the wheel lacks {name!r}" for name in sorted(wanted - wheel))
    yield from (f"the sdist lacks {name!r}" for name in sorted(wanted - sdist))
    yield from (f"the sdist lacks {name!r}" for name in SOURCES if name not in sdist)
    yield from (f"the wheel should not contain {name!r}" for name in sorted(wheel - wanted))


def main(folder: Path) -> int:
    """Check the wheel and the sdist in a folder, print their faults, return the exit code."""
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    files = in_wheel(wheel)
    found = list(faults(files, in_sdist(sdist), in_checkout()))
    print(*found or [f"{wheel.name} and {sdist.name} are complete: {len(files)} files."], sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
