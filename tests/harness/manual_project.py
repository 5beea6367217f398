"""Make a project by following a page of the manual."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

from .manual import ROOT, Block, blocks

EXERCISES = """
from django.db import models


class Exercise(models.Model):
    title = models.CharField(max_length=100)
"""
#: An object that the README expects.
README_FILES = {
    "exercises/models.py": EXERCISES,
    "mysite/settings.py": 'INSTALLED_APPS += ["exercises"]\n',
}
REQUEST = """
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory

upload = SimpleUploadedFile("answer.txt", b"An answer.")
request = RequestFactory().post("/", {"file": upload, "content": upload})
"""
GIVEN = {
    "README.rst": f"""
{REQUEST}
from exercises.models import Exercise, Handin

exercise = Exercise.objects.create(title="Essays")
""",
    "start.rst": "",
    "adopting.rst": f"""
{REQUEST}
import datetime
import io
import pathlib
import types

from django.contrib.auth.models import User
from django.core.files.base import ContentFile
from exercises.models import Team

request.user = User.objects.get_or_create(username="alice")[0]
team = Team.objects.create(name="a team")
upload.seek(0)
picture = pathlib.Path("picture.png")
picture.write_bytes(b"a picture")
when = datetime.datetime(2019, 1, 1, tzinfo=datetime.timezone.utc)
old_uploads = [
    types.SimpleNamespace(file=ContentFile(b"old", name="x"), title="old.txt", uploaded=when)
]
""",
}


#: Warnings inside pip are not errors of ours.
_OF_PIP = {"PYTHONWARNINGS": "", "PYTHONDEVMODE": ""}


class Project:
    """A project of ``django-admin startproject mysite`` that follows a page."""

    def __init__(self, folder: Path, python: Path | str, wheel: Path | None = None) -> None:
        self.folder = folder
        self.python = str(python)
        self.wheel = wheel
        path = [] if wheel else [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        self.environment = {
            **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            **({"PYTHONPATH": os.pathsep.join(path)} if path else {}),
            "PYTHONWARNINGS": "error",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        self.environment.pop("DJANGO_SETTINGS_MODULE", None)

    def do(self, page: Path) -> None:
        """Run the blocks of a page in order."""
        waiting: list[Block] = []
        for block in blocks(page):
            if block.path == "settings.py":
                continue  # one way of several: see test_settings_of_the_page_pass_the_checks
            if block.language in {"python", "pycon"} and not block.path:
                waiting.append(block)
                continue
            self.run(waiting, page)
            waiting = []
            if block.path:
                self.add(block.path, block.text)
            elif block.language == "console":
                self._console(block)
            else:
                assert block.language in {"sh", "text"}, block
        self.run(waiting, page)

    def add(self, path: str, text: str) -> None:
        """Add text to a file of the project."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(f"\n{text}")

    def command(self, *arguments: str) -> str:
        """Run a command in the project's folder and return what it prints."""
        done = subprocess.run(
            [self.python if word == "python" else word for word in arguments],
            cwd=self.folder,
            env=self.environment | (_OF_PIP if "pip" in arguments else {}),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, waiting: list[Block], page: Path) -> None:
        """Run blocks in one process, after the code that the page expects."""
        if not waiting:
            return
        given = Block("python", "the code that the page expects", GIVEN[page.name])
        file = self.folder / "blocks.json"
        file.write_text(json.dumps([given, *waiting]))
        self.command("python", str(Path(__file__).with_name("manual.py")), str(file))

    def _console(self, block: Block) -> None:
        output = ""
        for line in block.text.splitlines():
            if line.startswith("$ "):
                # Django puts a no-break space between a number and its unit.
                output = self._type(shlex.split(line[2:])).replace("\xa0", " ")
            else:
                assert line in output.replace("\xa0", " "), (
                    f"{block.where}: {line!r} not in {output!r}"
                )

    def _type(self, words: list[str]) -> str:
        if words[0] == "cd":
            self.folder /= words[1]
            return ""
        if words[0] == "django-admin":
            # Django's script belongs to the environment of this run, not of the project.
            words[:1] = ["python", "-m", "django"]
        if words == ["python", "-m", "pip", "install", "./devilry-storage"]:
            assert self.wheel
            # Django is already installed: see project_of_wheel.
            words[-1:] = ["--no-index", "--no-deps", "--quiet", str(self.wheel)]
        return self.command(*words)
