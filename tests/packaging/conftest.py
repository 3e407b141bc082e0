"""The built package, and what it holds unpacked. PAIRCACHED_REPO names a directory of built RPMs to test instead."""

import io
import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]


def run(*command, check=True, **options):
    """The standard output of a command that must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def existing_tests():
    """The name of every test in Python, from the sources."""
    found = set()
    for file in (TOP / "tests").rglob("*.py"):
        found |= set(re.findall(r"^\s*def (test_\w+)\(", file.read_text(), re.M))
    return found


class Package:
    """An RPM file."""

    def __init__(self, path):
        self.path = path

    def query(self, *options):
        return run("rpm", "--query", "--package", *options, self.path).splitlines()

    def tag(self, name):
        return "\n".join(self.query("--queryformat", f"%{{{name}}}"))

    def files(self):
        """Each path with its type and mode, owner, flags and link target, in rpm's own letters."""
        tags = "%{FILENAMES}|%{FILEMODES:perms}|%{FILEUSERNAME}:%{FILEGROUPNAME}|%{FILEFLAGS:fflags}|%{FILELINKTOS}"
        rows = (line.split("|") for line in self.query("--queryformat", f"[{tags}\n]"))
        return {name: rest for name, *rest in rows if "/.build-id" not in name}

    def unpack(self, where):
        """Writes its files below a directory, with nobody's ownership and without scriptlets."""
        with self.path.open("rb") as rpm:
            archive = subprocess.run(["rpm2archive", "-"], stdin=rpm, capture_output=True, check=True).stdout
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            files.extractall(where, filter="data")
        return where


def build(release=1, within=(), **variables):
    """Runs rpm/build and returns the repository it made."""
    environment = os.environ | {"RELEASE": str(release), **variables}
    run(*within, TOP / "rpm" / "build", env=environment)
    return TOP / "target" / "rpm" / ("repo" if release == 1 else f"repo-{release}")


def only(directory, pattern):
    found = list(directory.glob(pattern))
    assert len(found) == 1, f"{pattern} in {directory}: {found}"
    return Package(found[0])


@pytest.fixture(scope="session")
def repository():
    given = os.environ.get("PAIRCACHED_REPO")
    return Path(given).resolve() if given else build()


@pytest.fixture(scope="session")
def package(repository):
    return only(repository, "paircached-[0-9]*.x86_64.rpm")


@pytest.fixture(scope="session")
def tests_package(repository):
    return only(repository, "paircached-tests-[0-9]*.noarch.rpm")


@pytest.fixture(scope="session")
def source_package(repository):
    return only(repository, "paircached-[0-9]*.src.rpm")


@pytest.fixture(scope="session")
def higher(repository):
    """The same package as a higher release, built where there is no network but loopback; its tests ran for the first."""
    isolated = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$0"')
    return only(build(2, within=isolated, CHECK="no"), "paircached-[0-9]*.x86_64.rpm")


@pytest.fixture(scope="session")
def root(package, tmp_path_factory):
    return package.unpack(tmp_path_factory.mktemp("package") / "root")
