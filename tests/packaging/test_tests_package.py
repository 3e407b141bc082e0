"""The package of tests, unpacked and run against the packaged daemon."""

import contextlib
import os
import socket
import subprocess
import sys
import time

import pytest

from conftest import run


@pytest.fixture(scope="module")
def unpacked(tests_package, tmp_path_factory):
    return tests_package.unpack(tmp_path_factory.mktemp("tests"))


@pytest.fixture
def daemon(root):
    """The port of the packaged daemon, by itself and without files."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    user = ["-u", "root"] if os.geteuid() == 0 else []
    files = ["--sysconfig=-/nonexistent", "--config=-/nonexistent"]
    process = subprocess.Popen([root / "usr/bin/paircached", *files, *user, "-l", "127.0.0.1", "-p", str(port)])
    try:
        end = time.monotonic() + 20
        while not answers(port):
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        yield port
    finally:
        process.kill()
        process.wait()


def answers(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True


def run_tests(unpacked, root, *options):
    path = f"{root / 'usr/bin'}:{os.environ['PATH']}"
    command = [sys.executable, unpacked / "usr/libexec/paircached/run-tests", *options]
    return subprocess.run(command, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=120)


def test_it_needs_the_daemon_of_the_same_build_and_python(package, tests_package):
    version = "-".join(package.tag(name) for name in ("VERSION", "RELEASE"))
    needs = tests_package.query("--requires")
    assert f"paircached = {version}" in needs and "python3" in needs
    assert tests_package.tag("ARCH") == "noarch"
    # One command, its modules, and what to read; nothing is configured and nothing runs by itself.
    assert all(path.startswith(("/usr/libexec/paircached", "/usr/share/doc/paircached-tests")) for path in tests_package.files())
    assert tests_package.query("--scripts") == []


def test_its_one_command_is_green_for_the_packaged_daemon(unpacked, root, daemon):
    done = run_tests(unpacked, root, "--server", f"127.0.0.1:{daemon}", "--verbose")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("... ok") > 12
    # Not one file more than rpm knows of.
    assert not list(unpacked.rglob("__pycache__"))


def test_it_is_red_where_nobody_answers_and_says_who(unpacked, root):
    done = run_tests(unpacked, root, "--server", "127.0.0.1:1")
    assert done.returncode == 1
    assert "127.0.0.1:1 does not answer" in done.stderr


def test_it_is_red_where_the_daemon_answers_otherwise(unpacked, root, daemon):
    module = unpacked / "usr/libexec/paircached/tests/test_commands.py"
    before = module.read_text()
    module.write_text(before.replace('b"NOT_STORED\\r\\n"', 'b"STORED\\r\\n"', 1))
    try:
        assert module.read_text() != before
        done = run_tests(unpacked, root, "--server", f"127.0.0.1:{daemon}")
    finally:
        module.write_text(before)
    assert done.returncode == 1 and "FAIL: test_add_and_replace" in done.stderr


def test_it_speaks_no_python_newer_than_el9s(unpacked):
    """3.9, by its grammar."""
    import ast

    for module in [unpacked / "usr/libexec/paircached/run-tests", *unpacked.rglob("*.py")]:
        ast.parse(module.read_text(), feature_version=(3, 9))
    assert run(sys.executable, unpacked / "usr/libexec/paircached/run-tests", "--help").startswith("usage")
