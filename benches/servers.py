"""Daemons to be measured: started on a port of their own, asked, and stopped."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
TICK = os.sysconf("SC_CLK_TCK")
START = 20  # seconds that a server may take
REPLY = 60  # seconds


class Failed(Exception):
    """What went wrong, for the user."""


def add_programs(parser):
    """The arguments that say what is measured."""
    parser.add_argument("--programs", type=Path, default=TOP / "target/release", help="where paircached and pairctl are")
    parser.add_argument("--memcached", type=Path, default=shutil.which("memcached") or "/usr/bin/memcached")


def both(options):
    """The programs to compare: theirs and ours."""
    return options.memcached, options.programs / "paircached"


class Server:
    """A daemon, on `cores` if they are named; an urgent one does not wait for what else the machine does."""

    def __init__(self, program, *args, cores=None, urgent=False):
        self.folder = tempfile.TemporaryDirectory()
        port_file, self.log = Path(self.folder.name) / "port", Path(self.folder.name) / "log"
        command = [str(program), "-l", "127.0.0.1", "-p", "-1", *map(str, args)]
        if program.name == "paircached":
            command[1:1] = ["--sysconfig=-/nonexistent", "--config=-/nonexistent"]
        if os.geteuid() == 0:
            command += ["-u", "root"]

        def prepare():
            if cores:
                os.sched_setaffinity(0, cores)
            if urgent and os.geteuid() == 0:
                os.nice(-20)

        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "MEMCACHED_PORT_FILENAME": str(port_file)},
                preexec_fn=prepare,
            )
        try:
            self.port = self._port(port_file)
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _port(self, port_file):
        deadline = time.monotonic() + START
        while time.monotonic() < deadline and self.process.poll() is None:
            text = port_file.read_text() if port_file.exists() else ""
            if found := re.search(r"^TCP INET: (\d+)$", text, re.MULTILINE):
                return int(found[1])
            time.sleep(0.001)
        raise Failed(f"{self.process.args[0]} does not start: {self.log.read_text()[-500:]}")

    def cpu(self):
        """Seconds of CPU that it took so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def resident(self):
        """Bytes of memory that it holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def connect(self):
        made = socket.create_connection(("127.0.0.1", self.port), REPLY)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def stats(self):
        with self.connect() as client:
            client.sendall(b"stats\r\nquit\r\n")
            return dict(re.findall(r"STAT (\S+) (.*)\r", client.makefile("rb").read().decode()))

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(START)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


class Filler:
    """Sends sets and deletes without waiting for an answer to each."""

    PORTION = 1 << 18

    def __init__(self, server):
        self.socket = server.connect()
        self.file = self.socket.makefile("rb")
        self.buffer = bytearray()

    def send(self, request):
        self.buffer += request
        if len(self.buffer) > self.PORTION:
            self.flush()

    def flush(self):
        """Sends what waits, and waits until it is done."""
        self.socket.sendall(self.buffer + b"mn\r\n")
        self.buffer.clear()
        while (line := self.file.readline()) != b"MN\r\n":
            if not line:
                raise Failed("the server hung up")

    def fill(self, first, end, size):
        """Sets keys of 14 bytes to values of `size` bytes."""
        value = b"x" * size
        for start in range(first, end, 2000):
            keys = range(start, min(end, start + 2000))
            self.send(b"".join(b"set key-%010d 0 0 %d noreply\r\n%b\r\n" % (key, size, value) for key in keys))
        self.flush()

    def close(self):
        self.flush()
        self.file.close()
        self.socket.close()


def table(head, rows, widths):
    """Prints a table line by line as its rows come."""
    for row in ([head], rows):
        for cells in row:
            print("".join(f"{cell:<{width}}" if not i else f"{cell:>{width}}" for i, (cell, width) in enumerate(zip(cells, widths))), flush=True)
