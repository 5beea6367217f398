"""nginx and Apache in front of a site, with the configuration that the manual shows.

Each runs as a child process on a free port of 127.0.0.1, from the file in ``docs/webservers``;
only the ports and the folder of the store are put in, and around it what Debian's own
configuration has.
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
pid "{place}/nginx.pid";
error_log "{place}/error.log";
events {{}}
http {{
    default_type application/octet-stream;
    sendfile on;
    gzip on;
    access_log off;
    {places}
    {site}
}}
"""
_APACHE = """\
ServerName localhost
ServerRoot "{place}"
{user}
PidFile "{place}/apache.pid"
ErrorLog "{place}/error.log"
DefaultRuntimeDir "{place}"
Mutex file:{place}
{modules}
Listen 127.0.0.1:{port}
{site}
"""
_MODULES = ("mpm_event", "authz_core", "proxy", "proxy_http", "xsendfile")
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@dataclass(frozen=True)
class WebServer:
    """A web server: the manual's configuration of it, and the settings that go with it."""

    component: machine.Component
    backend: str
    configuration: Path
    command: tuple[str, ...]


NGINX = WebServer(
    machine.NGINX,
    "django_sendfile.backends.nginx",
    DOCS / "nginx.conf",
    ("nginx", "-e", "{place}/error.log", "-p", "{place}", "-c", "{place}/web.conf"),
)
APACHE = WebServer(
    machine.APACHE,
    "django_sendfile.backends.xsendfile",
    DOCS / "apache.conf",
    ("apache2", "-D", "FOREGROUND", "-f", "{place}/web.conf"),
)


@contextmanager
def running(server: WebServer, place: Path, root: Path, site: str) -> Iterator[str]:
    """Run a web server before the site at that URL, and give the URL of the web server.

    ``place`` is a folder for its own files and ``root`` that of the store; who runs the workers
    (``www-data`` where the tests are root) must be able to read both. Skips where there is none.
    """
    machine.need(server.component)
    with closing(socket.create_server(("127.0.0.1", 0))) as probe:
        port = probe.getsockname()[1]
    text = _put_in(server.configuration.read_text(), port, root, site)
    file = place / "web.conf"
    file.write_text(_nginx(place, text) if server is NGINX else _apache(place, port, text))
    command = [part.format(place=place) for part in server.command]
    with (place / "output").open("wb") as output:
        child = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _wait_for(port, child, place)
        yield f"http://127.0.0.1:{port}"
    finally:
        child.send_signal(signal.SIGTERM)
        child.wait(PATIENCE)


def _put_in(configuration: str, port: int, root: Path, site: str) -> str:
    """Return the configuration of the manual with what is another here."""
    for shown, meant in {
        "*:80": f"127.0.0.1:{port}",
        "127.0.0.1:8000": urlsplit(site).netloc,
        "/srv/deliveries": str(root).replace("\\", "\\\\").replace('"', '\\"'),
    }.items():
        assert shown in configuration
        configuration = configuration.replace(shown, meant)
    return configuration


def _nginx(place: Path, site: str) -> str:
    places = " ".join(f'{kind}_temp_path "{place}/{kind}";' for kind in _TEMPORARY)
    user = "user www-data;" if machine.is_root() else ""
    return _NGINX.format(place=place, places=places, user=user, site=site)


def _apache(place: Path, port: int, site: str) -> str:
    modules = "\n".join(
        f"LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so" for name in _MODULES
    )
    user = "User www-data\nGroup www-data" if machine.is_root() else ""
    return _APACHE.format(place=place, modules=modules, port=port, user=user, site=site)


def _wait_for(port: int, child: subprocess.Popen[bytes], place: Path) -> None:
    until = time.monotonic() + PATIENCE
    while child.poll() is None and time.monotonic() < until:
        try:
            with closing(socket.create_connection(("127.0.0.1", port), PATIENCE)):
                return
        except ConnectionRefusedError:
            time.sleep(0.02)
    logs = [path.read_text() for path in (place / "output", place / "error.log") if path.exists()]
    raise AssertionError("The web server does not answer: " + "\n".join(logs))
