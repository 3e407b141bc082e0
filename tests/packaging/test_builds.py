"""Builds from nothing: minutes each, so `make test-all` runs them and `make test` does not."""

import os
import re
import subprocess

import pytest

from conftest import TOP, only, run


def build(out, **environment):
    run(TOP / "rpm/build", env=os.environ | {"OUT": str(out), "CHECK": "no"} | environment)
    return out / "repo"


def test_two_builds_of_one_source_are_the_same_byte_for_byte(package, tests_package, tmp_path):
    """Compiled again, and in another place."""
    repository = build(tmp_path)
    for first in [package, tests_package]:
        assert (repository / first.path.name).read_bytes() == first.path.read_bytes()


@pytest.fixture(scope="module")
def portable(tmp_path_factory):
    out = tmp_path_factory.mktemp("portable")
    build(out, PORTABLE="yes")
    return only(out / "repo-portable", "*.x86_64.rpm")


def newest_libc(text):
    """The newest version of the C library that is named in it."""
    return max(tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", text))


def test_the_portable_package_needs_no_more_than_the_c_library_of_el8(portable, tmp_path):
    root = portable.unpack(tmp_path)
    for program in ["paircached", "pairctl"]:
        assert newest_libc(run("objdump", "--dynamic-syms", root / "usr/bin" / program)) <= (2, 28)
        assert subprocess.check_output([root / "usr/bin" / program, "--version"], text=True).startswith(("memcached", "pairctl"))
    assert newest_libc("\n".join(portable.query("--requires"))) <= (2, 28)


def test_the_portable_package_holds_the_same_files(portable, package):
    assert portable.files() == package.files()
    assert ".portable" in portable.tag("RELEASE")
