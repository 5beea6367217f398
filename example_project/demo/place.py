"""The folder in which the demo keeps its database and its files, and which it may empty."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connections

from devilry_storage.deliveries.models import FileMeta
from devilry_storage.resolving import store_for

#: The script of all commands.
MANAGE = Path(__file__).parents[1] / "manage.py"

SETTINGS = MANAGE.parent / "example" / "settings.py"

MARK = ".made-by-the-demo"
_EXPLANATION = "The example project made this folder. Its demo empties it whenever it starts.\n"


def data_folder() -> Path:
    """Return the folder of the example project's data."""
    folder: Path = settings.DATA  # type: ignore[misc]  # the plugin reads the tests' settings
    return folder


def store_kind() -> str:
    """Return what ``DELIVERY_STORE`` chose: ``disk``, ``memory`` or ``s3``."""
    kind: str = settings.STORE_KIND  # type: ignore[misc]
    return kind


def database() -> Path:
    """Return the SQLite file of the chosen store."""
    return Path(settings.DATABASES["default"]["NAME"])


def store_folder() -> Path:
    """Return the folder of the store on disk."""
    return data_folder() / "deliveries"


def empty() -> None:
    """Make the folder, or remove the chosen store's files and database from it.

    Raises FileExistsError for a folder that is not empty and not ours, and for a bucket that is
    not empty; they are left untouched.
    """
    folder = data_folder()
    _claim(folder)
    if store_kind() == "s3":
        _look_at_the_bucket()
    connections.close_all()
    for file in folder.glob(f"{database().name}*"):  # the journal of a crashed one, too
        file.unlink()
    if store_kind() == "disk" and store_folder().exists():
        shutil.rmtree(store_folder())


def _claim(folder: Path) -> None:
    mark = folder / MARK
    if mark.is_file():
        return
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"The demo empties its data folder, but did not make '{folder}' (there is no file "
            f"'{MARK}' in it): move that away, or name another folder in EXAMPLE_DATA."
        )
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(_EXPLANATION)


def _look_at_the_bucket() -> None:
    store = store_for(FileMeta)
    for entry in store.scan():
        raise FileExistsError(
            f"The bucket of AWS_STORAGE_BUCKET_NAME has files already, '{entry.name}' for one, "
            "and the demo removes none of them: empty it, or name another bucket."
        )


@contextmanager
def reserved() -> Iterator[None]:
    """Keep other demos and memory servers away from the database of the chosen store.

    Raises BlockingIOError where one of them has it, FileExistsError as :func:`empty`.
    """
    _claim(data_folder())
    with (data_folder() / f"{store_kind()}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exception:
            raise BlockingIOError(
                f"Another demo or server is at work on '{database()}': end that, or name another "
                "folder in EXAMPLE_DATA."
            ) from exception
        yield
