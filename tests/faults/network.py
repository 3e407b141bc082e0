"""Two hosts joined by a cable: network namespaces without names, which go when this process goes."""

import contextlib
import ctypes
import os
import random
import socket
import subprocess
import threading
import time
from queue import SimpleQueue

LIBC = ctypes.CDLL(None, use_errno=True)
CLONE_NEWNET = 0x40000000
HOME = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def call(function, *arguments):
    if function(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function.__name__}: {os.strerror(number)}")


class Host:
    """A host with an address of its own. What a thread does `inside` it, it does on its network."""

    def __init__(self, address):
        self.address = address
        with self.restored():
            call(LIBC.unshare, CLONE_NEWNET)
            self.network = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    @staticmethod
    @contextlib.contextmanager
    def restored():
        try:
            yield
        finally:
            call(LIBC.setns, HOME, CLONE_NEWNET)

    @contextlib.contextmanager
    def inside(self):
        """Only this thread goes there, and comes back."""
        with self.restored():
            call(LIBC.setns, self.network, CLONE_NEWNET)
            yield

    def run(self, *command):
        with self.inside():
            path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
            subprocess.run(command, check=True, capture_output=True, timeout=60, env={**os.environ, "PATH": path})

    def deafen(self):
        """Whatever comes by the cable is dropped; what goes out arrives."""
        self.run("iptables", "-w", "-I", "INPUT", "-i", "cable", "-j", "DROP")

    def hear(self):
        self.run("iptables", "-w", "-F", "INPUT")

    def connect(self, address, timeout):
        with self.inside():
            return socket.create_connection(address, timeout)

    def close(self):
        os.close(self.network)


def cable():
    """Two hosts that reach each other."""
    hosts = Host("192.0.2.1"), Host("192.0.2.2")
    far = f"/proc/{os.getpid()}/fd/{hosts[1].network}"
    hosts[0].run("ip", "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", far)
    for host in hosts:
        host.run("ip", "address", "add", f"{host.address}/24", "dev", "cable")
        host.run("ip", "link", "set", "cable", "up")
        host.run("ip", "link", "set", "lo", "up")
    return hosts


class LongRoad:
    """Passes connections on to a host, each piece late by up to `delay` seconds, in order."""

    def __init__(self, host, target, delay):
        self.host, self.target, self.delay = host, target, delay
        with host.inside():
            self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.streams = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
            except OSError:
                return
            try:
                far = self.host.connect(self.target, 10)
            except OSError:  # it does not listen yet
                near.close()
                continue
            far.settimeout(None)
            self.streams += [near, far]
            for stream in (near, far):
                stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for one, other in ((near, far), (far, near)):
                pieces = SimpleQueue()
                threading.Thread(target=self.take, args=(one, pieces), daemon=True).start()
                threading.Thread(target=self.give, args=(other, pieces), daemon=True).start()

    def take(self, stream, pieces):
        data = b"x"
        while data:
            try:
                data = stream.recv(1 << 16)
            except OSError:
                data = b""
            pieces.put((time.monotonic() + random.random() * self.delay, data))

    @staticmethod
    def give(stream, pieces):
        while True:
            due, data = pieces.get()
            time.sleep(max(0, due - time.monotonic()))  # the length of the road
            try:
                if not data:
                    stream.shutdown(socket.SHUT_WR)
                    return
                stream.sendall(data)
            except OSError:
                return

    def close(self):
        self.listener.close()
        for stream in self.streams:
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)
            stream.close()
