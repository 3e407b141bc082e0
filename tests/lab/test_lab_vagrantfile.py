"""The Vagrantfile by itself, for each of its providers."""

import os
import subprocess

import pytest

from nodes import TOP


def vagrant(*arguments, tmp_path, provider, path=()):
    environment = os.environ | {
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "state"),
        "VAGRANT_DEFAULT_PROVIDER": provider,
        "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]),
    }
    return subprocess.run(
        ["vagrant", *arguments], cwd=TOP / "vagrant", env=environment, timeout=60,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )


def assert_valid(done):
    assert (done.returncode, done.stdout) == (0, "Vagrantfile validated successfully.\n")


def test_it_is_valid_for_docker(deployed, tmp_path):
    assert_valid(vagrant("validate", tmp_path=tmp_path, provider="docker"))


def test_it_is_valid_for_virtualbox(tmp_path):
    # Vagrant asks only whether VirtualBox is there, and a stub can say so.
    stub = tmp_path / "VBoxManage"
    stub.write_text('#!/bin/sh\nif [ "$1" = --version ]; then echo 7.0.20r1; fi\n')
    stub.chmod(0o755)
    assert_valid(vagrant("validate", tmp_path=tmp_path, provider="virtualbox", path=[tmp_path]))


def test_it_is_valid_for_libvirt(tmp_path):
    if "vagrant-libvirt" not in vagrant("plugin", "list", tmp_path=tmp_path, provider="libvirt").stdout:
        pytest.skip("vagrant-libvirt is not installed")
    assert_valid(vagrant("validate", tmp_path=tmp_path, provider="libvirt"))
