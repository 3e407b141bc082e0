"""The Vagrantfile by itself, for each of its providers."""

import os
import subprocess

from nodes import TOP


def vagrant(*arguments, tmp_path, provider, path=(), directory=TOP / "vagrant"):
    environment = os.environ | {
        "VAGRANT_DOTFILE_PATH": str(tmp_path / "state"),
        "VAGRANT_DEFAULT_PROVIDER": provider,
        # It has to be there, whatever it holds.
        "LAB_REPO": str(tmp_path),
        "PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]]),
    }
    return subprocess.run(
        ["vagrant", *arguments], cwd=directory, env=environment, timeout=240,
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


LIBVIRT = """
class InPlaceOfLibvirt < Vagrant.plugin("2")
  name "libvirt's place"
  settings = Class.new(Vagrant.plugin("2", :config)) { attr_accessor :memory, :cpus }
  config(:libvirt, :provider) { settings }
  place = Class.new(Vagrant.plugin("2", :provider)) do
    def state = Vagrant::MachineState.new(:not_created, "not created", "not created")
  end
  provider(:libvirt) { place }
end
"""


def test_it_is_valid_for_libvirt(tmp_path):
    # The provider is a plugin, which may not be here; one that knows the same settings takes its place.
    if "vagrant-libvirt" in vagrant("plugin", "list", tmp_path=tmp_path, provider="libvirt").stdout:
        directory = TOP / "vagrant"
    else:
        directory = tmp_path
        (directory / "Vagrantfile").write_text(f'{LIBVIRT}load "{TOP}/vagrant/Vagrantfile"\n')
    assert_valid(vagrant("validate", tmp_path=tmp_path, provider="libvirt", directory=directory))


def test_a_setting_that_libvirt_does_not_know_would_be_found(tmp_path):
    faulty = (TOP / "vagrant/Vagrantfile").read_text().replace("machine.cpus", "machine.cpu_count")
    (tmp_path / "Faulty").write_text(faulty.replace("__dir__", f'"{TOP}/vagrant"'))
    (tmp_path / "Vagrantfile").write_text(f'{LIBVIRT}load "{tmp_path}/Faulty"\n')
    done = vagrant("validate", tmp_path=tmp_path, provider="libvirt", directory=tmp_path)
    assert done.returncode != 0 and "cpu_count" in done.stdout
