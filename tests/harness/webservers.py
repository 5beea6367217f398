"""Run nginx and Apache in front of a site, with the configuration in the manual.

The server is a child process on a free port of 127.0.0.1. Its configuration is the file in
``docs/webservers`` with other ports and another folder, inside a configuration like Debian's.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from . import machine

DOCS = Path(__file__).parents[2] / "docs" / "webservers"
PATIENCE = 30.0

_NGINX = """\
daemon off;
{user}
worker_processes 1;
pid "{folder}/nginx.pid";
error_log "{folder}/error.log";
events {{}}
http {{
    default_type application/octet-stream;
    sendfile on;
    gzip on;
    access_log off;
    {paths}
    {site}
}}
"""
_APACHE = """\
ServerName localhost
ServerRoot "{folder}"
{user}
PidFile "{folder}/apache.pid"
ErrorLog "{folder}/error.log"
DefaultRuntimeDir "{folder}"
Mutex file:{folder}
{modules}
Listen 127.0.0.1:{port}
{site}
"""
_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "xsendfile")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class WebServer:
    """A web server, its configuration in the manual, and the matching django-sendfile backend."""

    component: machine.Component
    backend: str
    configuration: Path
    command: tuple[str, ...]


NGINX = WebServer(
    machine.NGINX,
    "django_sendfile.backends.nginx",
    DOCS / "nginx.conf",
    ("nginx", "-e", "{folder}/error.log", "-p", "{folder}", "-c", "{folder}/web.conf"),
)
APACHE = WebServer(
    machine.APACHE,
    "django_sendfile.backends.xsendfile",
    DOCS / "apache.conf",
    ("apache2", "-D", "FOREGROUND", "-f", "{folder}/web.conf"),
)


@contextmanager
def running(server: WebServer, folder: Path, root: Path, site: str) -> Iterator[str]:
    """Run a web server in front of the site at a URL, and yield the URL of the web server.

    ``folder`` is for its own files, and ``root`` is the folder of the store. The user that runs
    the workers (``www-data`` if the tests run as root) must be able to read both. The test is
    skipped if the server is not installed.
    """
    machine.need(server.component)
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    text = _adapted(server.configuration.read_text(), port, root, site)
    file = folder / "web.conf"
    file.write_text(_nginx(folder, text) if server is NGINX else _apache(folder, port, text))
    command = [part.format(folder=folder) for part in server.command]
    with (folder / "output").open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _wait_for(port, child, folder)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(PATIENCE)


def _adapted(configuration: str, port: int, root: Path, site: str) -> str:
    """Return the configuration of the manual with the ports and the folder of the test."""
    for shown, used in {
        "*:80": f"127.0.0.1:{port}",
        "127.0.0.1:8000": urlsplit(site).netloc,
        "/srv/deliveries": str(root).replace("\\", "\\\\").replace('"', '\\"'),
    }.items():
        assert shown in configuration
        configuration = configuration.replace(shown, used)
    return configuration


def _nginx(folder: Path, site: str) -> str:
    paths = " ".join(f'{kind}_temp_path "{folder}/{kind}";' for kind in _TEMPORARY)
    user = "user www-data;" if machine.is_root() else ""
    return _NGINX.format(folder=folder, paths=paths, user=user, site=site)


def _apache(folder: Path, port: int, site: str) -> str:
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES
    )
    user = "User www-data\nGroup www-data" if machine.is_root() else ""
    return _APACHE.format(folder=folder, modules=modules, port=port, user=user, site=site)


def _wait_for(port: int, child: subprocess.Popen[bytes], folder: Path) -> None:
    until = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < until:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), PATIENCE)):
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    paths = (folder / "output", folder / "error.log")
    logs = [path.read_text() for path in paths if path.exists()]
    raise AssertionError("The web server does not respond: " + "\n".join(logs))
