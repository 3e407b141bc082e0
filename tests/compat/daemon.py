"""Starting the daemon under test on a port of its own, and stopping it by its pid."""

import functools
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from .wire import PATIENCE, Client, eventually

TOP = Path(__file__).resolve().parents[2]
SASL_PLUGINS = sorted(Path("/usr").glob("lib*/**/sasl2/libplain.so"))


def binaries():
    """The programs to test: one named by the environment, or memcached and paircached."""
    if named := os.environ.get("MEMCACHED_UNDER_TEST"):
        return [Path(named)]
    theirs = shutil.which("memcached", path=os.environ.get("PATH", "") + ":/usr/bin")
    return [Path(theirs or "/usr/bin/memcached"), ours()]


def ours():
    """The newest build of paircached."""
    if named := os.environ.get("PAIRCACHED"):
        return Path(named)
    builds = [TOP / "target" / profile / "paircached" for profile in ("debug", "release")]
    built = [path for path in builds if path.exists()]
    if not built:
        raise pytest.UsageError("build paircached first, or name one in PAIRCACHED or MEMCACHED_UNDER_TEST")
    return max(built, key=lambda path: path.stat().st_mtime)


def own_files(binary):
    """Arguments that keep this machine's configuration out of the tests."""
    if binary.resolve().name != "paircached":
        return []
    return ["--sysconfig=-/nonexistent", "--config=-/nonexistent"]


def run(binary, *args, env=None, timeout=10):
    """Run to the end, which must come soon: for starts that must fail."""
    command = [str(binary), *own_files(binary), *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, env=env, check=False
    )
    return done


@functools.cache
def version_of(binary):
    """The version as bytes; a daemon that wants to know who asks does not tell it."""
    return run(binary, "-V").stdout.split()[1].encode()


class Server:
    """A running daemon."""

    def __init__(
        self, binary, folder, *args, listen=("-l", "127.0.0.1", "-p", "-1"), path=None, tls=None, env=None
    ):
        self.binary, self.folder = binary, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.port_file = folder / "port"
        self.port_file.unlink(missing_ok=True)
        self.path = path  # of a unix socket to speak to
        self.tls = tls  # how to speak to it through TLS
        self.log = folder / "stderr"
        user = ["-u", "root"] if os.geteuid() == 0 and "-u" not in args else []
        self.command = [str(binary), *own_files(binary), *user, *listen, *map(str, args)]
        self.environment = {**os.environ, **(env or {}), "MEMCACHED_PORT_FILENAME": str(self.port_file)}
        self.version_text = version_of(binary)
        self.version = tuple(int(part) for part in self.version_text.split(b"."))
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment
            )
        if "-s" in args:
            self.path = args[args.index("-s") + 1]
        try:
            eventually(f"{self.command} listens", self._listens)
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self):
        return self.process.pid

    def _listens(self):
        assert self.process.poll() is None, f"{self.command} ended: {self.log.read_text()}"
        if self.path:
            return Path(self.path).exists() and self._answers()
        return self.port_file.exists()

    def _answers(self):
        try:
            self.connect(PATIENCE).close()
        except OSError:
            return False
        return True

    @property
    def port(self):
        first = self.port_file.read_text().splitlines()[0]
        assert first.startswith("TCP INET: "), first
        return int(first.removeprefix("TCP INET: "))

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def connect(self, patience):
        if self.path:
            made = socket.socket(socket.AF_UNIX)
            made.settimeout(patience)
            made.connect(str(self.path))
        else:
            made = socket.create_connection(("127.0.0.1", self.port), patience)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                made = self.tls.wrap_socket(made, server_hostname="localhost")
        return made

    def client(self):
        return Client(self)

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        """The exit code, which must come soon."""
        return self.process.wait(PATIENCE)

    def stop(self):
        """The quick way; test_signals.py shows the polite ones."""
        self.process.kill()
        self.process.wait()
