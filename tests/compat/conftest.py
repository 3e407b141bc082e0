"""Every test runs once per daemon under test; see daemon.binaries()."""

import contextlib
import os

import pytest

from . import daemon

# libsasl looks for its plugins as soon as pylibmc is imported, and a wheel's own in the wrong place.
if daemon.SASL_PLUGINS:
    os.environ.setdefault("SASL_PATH", str(daemon.SASL_PLUGINS[0].parent))


def pytest_generate_tests(metafunc):
    if "binary" in metafunc.fixturenames:
        found = daemon.binaries()
        names = [path.resolve().name for path in found]
        metafunc.parametrize("binary", found, ids=names, scope="session")


@pytest.fixture(scope="session")
def shared(binary, tmp_path_factory):
    """One daemon for all the tests that leave no trace but items."""
    server = daemon.Server(binary, tmp_path_factory.mktemp("shared"))
    yield server
    server.stop()


@pytest.fixture
def server(shared):
    """The shared daemon, emptied."""
    with shared.client() as client:
        client.ask(b"flush_all\r\n", b"OK\r\n")
    return shared


@pytest.fixture
def client(server):
    with server.client() as made:
        yield made


@pytest.fixture
def launch(binary, tmp_path):
    """Start daemons with options of the test's own; they end with the test."""
    with contextlib.ExitStack() as stack:
        number = iter(range(1000))

        def start(*args, folder=None, **more):
            server = daemon.Server(binary, folder or tmp_path / f"daemon-{next(number)}", *args, **more)
            stack.callback(server.stop)
            return server

        yield start
