"""A real sshd on the loopback, with keys made for the test, for a worker on another machine."""

from __future__ import annotations

import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from support.worker_bed import LOGIC, PATIENCE

SYSTEM = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
FAR = [sys.executable, str(Path(__file__).with_name("far_worker.py"))]
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
"""


class Sshd:
    """A running sshd that lets this user in by a key."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("host", "user", "stranger"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder))
        host = (folder / "host.pub").read_text()
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {host}")
        program = shutil.which("sshd", path=SYSTEM)
        assert program is not None
        self._log = open(folder / "log", "wb")  # noqa: SIM115 - closed with the server
        command = [program, "-D", "-e", "-f", str(folder / "config")]
        self.popen = subprocess.Popen(command, stderr=self._log, start_new_session=True)

    def command(self, *remote: str, port: int = 0, key: str = "user") -> list[str]:
        """What runs a command line over ssh, as a user would type it in the panel."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": str(self.folder / "known"),
        }
        given = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        where = ["-p", str(port or self.port), "-i", str(self.folder / key), f"{getpass.getuser()}@127.0.0.1"]
        return ["ssh", "-F", "none", *given, *where, *remote]

    def worker(self, command: Sequence[str], far: bool = True) -> list[str]:
        """A worker over ssh; far: on a machine with another disk."""
        variables = [f"PYTHONPATH={LOGIC}", f"TMPDIR={os.environ.get('TMPDIR', '')}"]
        return self.command(shlex.join(["env", *variables, *(FAR if far else []), *command]))

    def wait(self) -> None:
        """Until it answers. Skips where this machine lets nobody in."""
        deadline = time.monotonic() + PATIENCE
        while self.popen.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.05)
        tried = subprocess.run(self.command("true"), capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"sshd lets nobody in: {tried.stderr.strip()} {(self.folder / 'log').read_text()}")

    def close(self) -> None:
        """End it."""
        self.popen.terminate()
        self.popen.wait()
        self._log.close()


@pytest.fixture(name="sshd", scope="session")
def running_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One server for all tests of a run; skips where a program is missing."""
    for program in ("sshd", "ssh", "ssh-keygen"):
        if shutil.which(program, path=SYSTEM) is None:
            pytest.skip(f"{program} is not installed")
    if os.getuid() == 0:  # what an installation makes when the service starts
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    try:
        server.wait()
        yield server
    finally:
        server.close()
