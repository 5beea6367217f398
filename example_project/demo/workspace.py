"""The data folder of the demo, with its database and files. The demo may empty it."""

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

#: The script that runs all commands.
MANAGE = Path(__file__).parents[1] / "manage.py"

SETTINGS = MANAGE.parent / "example" / "settings.py"

MARK = ".made-by-the-demo"
_EXPLANATION = "The example project made this folder. Its demo empties it whenever it starts.\n"


def data_folder() -> Path:
    """Return the folder of the example project's data."""
    folder: Path = settings.DATA  # type: ignore[misc]  # the plugin reads the tests' settings
    return folder


def store_kind() -> str:
    """Return the kind of store selected by ``DELIVERY_STORE``: ``disk``, ``memory`` or ``s3``."""
    kind: str = settings.STORE_KIND  # type: ignore[misc]
    return kind


def database() -> Path:
    """Return the SQLite file for the selected store."""
    return Path(settings.DATABASES["default"]["NAME"])


def store_folder() -> Path:
    """Return the folder of the store on disk."""
    return data_folder() / "deliveries"


def empty() -> None:
    """Create the data folder, or remove files and database of the selected store from it.

    Raises FileExistsError, and removes nothing, if the folder is not empty and was not created by
    the demo, or if the bucket is not empty.
    """
    folder = data_folder()
    _claim(folder)
    if store_kind() == "s3":
        _check_bucket()
    connections.close_all()
    for file in folder.glob(f"{database().name}*"):  # including journals
        file.unlink()
    if store_kind() == "disk" and store_folder().exists():
        shutil.rmtree(store_folder())


def _claim(folder: Path) -> None:
    mark = folder / MARK
    if mark.is_file():
        return
    if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(
            f"The demo empties its data folder, but did not create '{folder}' (it has no file "
            f"'{MARK}'): move it away, or set EXAMPLE_DATA to another folder."
        )
    folder.mkdir(parents=True, exist_ok=True)
    mark.write_text(_EXPLANATION)


def _check_bucket() -> None:
    store = store_for(FileMeta)
    for entry in store.scan():
        raise FileExistsError(
            f"The bucket of AWS_STORAGE_BUCKET_NAME already has files, such as '{entry.name}', "
            "and the demo does not remove them: empty it, or use another bucket."
        )


@contextmanager
def reserved() -> Iterator[None]:
    """Lock the database of the selected store against other demos and servers.

    Raises BlockingIOError if it is locked, FileExistsError as :func:`empty` does.
    """
    _claim(data_folder())
    with (data_folder() / f"{store_kind()}.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exception:
            raise BlockingIOError(
                f"Another demo or server is using '{database()}': stop it, or set EXAMPLE_DATA to "
                "another folder."
            ) from exception
        yield
