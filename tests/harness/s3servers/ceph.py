"""A script that runs Ceph on this machine: one monitor, manager, object store and S3 gateway.

The data is in memory. The daemons end with this process, even if it is killed.

    python ceph.py FOLDER PORT MONITOR-PORT ACCESS-KEY SECRET
"""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_SECONDS = 60.0

_CONFIGURATION = """
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = v2:127.0.0.1:{monitor}
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 1
osd_pool_default_pgp_num = 1
osd_pool_default_pg_autoscale_mode = off
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
mon_max_pg_per_osd = 1000
osd_crush_chooseleaf_type = 0
auth_allow_insecure_global_id_reclaim = false
mon_data = {folder}/mon
mgr_data = {folder}/mgr
osd_data = {folder}/osd
rgw_data = {folder}/rgw
mon_data_avail_crit = 1
mon_data_avail_warn = 2
osd_objectstore = memstore
memstore_device_bytes = 8589934592
log_file = {folder}/$name.log
admin_socket = {folder}/$name.asok
pid_file = {folder}/$name.pid
run_dir = {folder}
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 32
keyring = {folder}/keyring
[mgr]
public_addr = 127.0.0.1
keyring = {folder}/mgr/keyring
[osd]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
keyring = {folder}/osd/keyring
[client.rgw.a]
keyring = {folder}/rgw/keyring
"""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return


class Cluster:
    def __init__(self, folder: Path, port: int, monitor: int) -> None:
        self.folder, self.port, self.monitor = folder, port, monitor
        self.fsid = str(uuid.uuid4())
        for name in ("mon", "mgr", "osd", "rgw"):
            (folder / name).mkdir()
        self._conf = folder / "ceph.conf"
        text = _CONFIGURATION.format(folder=folder, port=port, monitor=monitor, fsid=self.fsid)
        self._conf.write_text(text)

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a command of Ceph to its end, and return its output."""
        name, *arguments = command
        configured = [] if name in {"ceph-authtool", "monmaptool"} else ["-c", str(self._conf)]
        return subprocess.run(
            [name, *configured, *arguments],
            input=text,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=_SECONDS,
        ).stdout.strip()

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a daemon."""
        name, *arguments = command
        return subprocess.Popen(
            [name, "-c", str(self._conf), *arguments, "-f", "--setuser", "root"],
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  # one thread only
        )

    def make_monitor(self) -> None:
        keyring, monmap = str(self.folder / "keyring"), str(self.folder / "monmap")
        caps: tuple[str, ...] = ("--cap", "mon", "allow *")
        self.run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", *caps)
        caps = (*caps, "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
        self.run("ceph-authtool", keyring, "--gen-key", "-n", "client.admin", *caps)
        address = f"v2:127.0.0.1:{self.monitor}"
        self.run(
            "monmaptool", "--create", "--fsid", self.fsid, "--addv", "a", f"[{address}]", monmap
        )
        made = ("--mkfs", "--monmap", monmap, "--keyring", keyring, "--setuser", "root")
        self.run("ceph-mon", "-i", "a", *made)

    def keyring(self, name: str, folder: str, *caps: str) -> None:
        made = self.run("ceph", "auth", "get-or-create", name, *caps)
        (self.folder / folder / "keyring").write_text(f"{made}\n")

    def make_osd(self) -> str:
        identifier, secret = str(uuid.uuid4()), self.run("ceph-authtool", "--gen-print-key")
        task = json.dumps({"cephx_secret": secret})
        number = self.run("ceph", "osd", "new", identifier, "-i", "-", text=task)
        keyring = str(self.folder / "osd" / "keyring")
        name = ("--name", f"osd.{number}", "--add-key", secret)
        self.run("ceph-authtool", "--create-keyring", keyring, *name)
        self.run("ceph-osd", "-i", number, "--mkfs", "--osd-uuid", identifier, "--setuser", "root")
        return number


def main() -> int:
    folder, port, monitor, key, secret = sys.argv[1:]
    cluster = Cluster(Path(folder), int(port), int(monitor))
    cluster.make_monitor()
    first = cluster.start("ceph-mon", "-i", "a")
    _wait_for(int(monitor))
    cluster.keyring("mgr.a", "mgr", "mon", "allow profile mgr", "osd", "allow *")
    cluster.keyring("client.rgw.a", "rgw", "mon", "allow rw", "osd", "allow rwx")
    cluster.start("ceph-mgr", "-i", "a")
    cluster.start("ceph-osd", "-i", cluster.make_osd())
    cluster.start("radosgw", "-n", "client.rgw.a")
    _wait_for(int(port))
    keys = (f"--access-key={key}", f"--secret={secret}")
    cluster.run("radosgw-admin", "user", "create", "--uid=lab", "--display-name=lab", *keys)
    return first.wait()


if __name__ == "__main__":
    sys.exit(main())
