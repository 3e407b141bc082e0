"""The source RPM, the stand-ins for missing macros, and what a second build and an upgrade make of it."""

import os
import re

import pytest

from conftest import TOP, run

SPEC = TOP / "rpm" / "paircached.spec"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="rpm --root needs root")


def test_the_binary_rpm_was_built_from_the_source_rpm(package, source_package):
    assert package.tag("SOURCERPM") == source_package.path.name


def test_the_source_rpm_has_all_it_takes_to_build_it(source_package):
    version = source_package.tag("VERSION")
    assert set(source_package.files()) == {
        "macros.fallback",
        "memcached.sysusers",
        f"paircached-{version}-vendor.tar.gz",
        f"paircached-{version}.tar.gz",
        "paircached.spec",
    }


def test_a_build_without_network_gives_a_higher_release_of_the_same(package, higher):
    """The same programs too: compiled once, or twice with the same result."""
    digests = "[%{FILEDIGESTS} %{FILENAMES}\n]"
    assert int(higher.tag("RELEASE")) > int(package.tag("RELEASE"))
    assert higher.query("--queryformat", digests) == package.query("--queryformat", digests)


@needs_root
def test_every_build_and_the_tests_in_it_see_no_network_but_loopback(package, tmp_path):
    rpmbuild = tmp_path / "bin" / "rpmbuild"
    rpmbuild.parent.mkdir()
    rpmbuild.write_text('#!/bin/sh\ncase "$*" in *--rebuild*) ip -o link >"$OUT/links"; exit 1 ;; esac\n')
    rpmbuild.chmod(0o755)
    # The archive of the crates is there already; making it anew would take longer than all the rest.
    built = TOP / "target" / "rpm"
    (tmp_path / "SOURCES").mkdir()
    for file in [*built.glob("SOURCES/*-vendor.tar.gz"), built / "crates.lock"]:
        (tmp_path / file.relative_to(built)).symlink_to(file)
    environment = os.environ | {"OUT": str(tmp_path), "PATH": f"{rpmbuild.parent}:{os.environ['PATH']}"}
    run(TOP / "rpm" / "build", check=False, env=environment)
    assert [line.split(": ")[1] for line in (tmp_path / "links").read_text().splitlines()] == ["lo"]


class Host:
    """A directory with an rpm database of its own, for what rpm does to files."""

    def __init__(self, path):
        self.path = path
        self.sysconfig = path / "etc/sysconfig/memcached"

    def rpm(self, *arguments):
        run("rpm", f"--root={self.path}", "--nodeps", "--noscripts", *arguments)

    def edit(self):
        self.sysconfig.write_text('PORT="11999"\n')


@pytest.fixture
def host(tmp_path):
    (tmp_path / "host").mkdir()
    return Host(tmp_path / "host")


@needs_root
def test_an_upgrade_keeps_the_edited_sysconfig(host, package, higher):
    host.rpm("--install", package.path)
    host.edit()
    host.rpm("--upgrade", higher.path)
    assert host.sysconfig.read_text() == 'PORT="11999"\n'


@needs_root
def test_a_removal_leaves_the_edited_sysconfig_aside_and_nothing_else(host, package):
    host.rpm("--install", package.path)
    host.edit()
    host.rpm("--erase", "paircached")
    left = [str(path.relative_to(host.path)) for path in host.path.rglob("*") if path.is_file()]
    assert [path for path in left if "rpmdb" not in path and "lib/rpm" not in path] == ["etc/sysconfig/memcached.rpmsave"]


@needs_root
def test_a_swap_for_memcached_keeps_memcacheds_edited_sysconfig(host, package, tmp_path):
    spec = tmp_path / "memcached.spec"
    spec.write_text(
        "Name: memcached\nVersion: 1.6.9\nRelease: 7\nSummary: A stand-in\nLicense: BSD\nBuildArch: noarch\n"
        "%description\nA stand-in.\n%install\nmkdir -p %{buildroot}/etc/sysconfig\n"
        "echo PORT=11211 > %{buildroot}/etc/sysconfig/memcached\n"
        "%files\n%config(noreplace) /etc/sysconfig/memcached\n"
    )
    run("rpmbuild", "-bb", "--quiet", f"--define=_topdir {tmp_path}", spec)
    host.rpm("--install", *(tmp_path / "RPMS").rglob("*.rpm"))
    host.edit()
    # "dnf swap" puts the new one before it takes the old one, in one transaction, which is why the file is no conflict.
    host.rpm("--install", "--replacefiles", package.path)
    host.rpm("--erase", "memcached")
    assert host.sysconfig.read_text() == 'PORT="11999"\n'


@pytest.fixture
def parsed():
    """The spec as rpm sees it, on a system with the given macros."""

    def parse(macros):
        defines = [f"--define={name} {body}" for name, body in macros.items()]
        return run("rpmspec", "--parse", f"--define=_sourcedir {TOP / 'rpm'}", *defines, SPEC)

    return parse


DISTRIBUTION = {
    "_unitdir": "/distribution/system",
    "_sysusersdir": "/distribution/sysusers.d",
    "systemd_post()": "distribution-post %*",
    "systemd_preun()": "distribution-preun %*",
    "systemd_postun()": "distribution-postun %*",
    "sysusers_create_compat()": "distribution-sysusers",
    "rust_arches": "x86_64 aarch64 s390x",
    "build_rustflags": "-Cdistribution",
    "__cargo": "distribution-cargo",
    "cargo_prep(v:)": "distribution-prep",
    "cargo_build()": "distribution-build",
    "cargo_test()": "distribution-test",
    "cargo_license()": "distribution-license",
    "cargo_license_summary()": "distribution-license-summary",
    "cargo_vendor_manifest()": "distribution-manifest",
}


def test_no_macro_is_left_unexpanded_where_the_distribution_has_none(parsed):
    left = [line for line in parsed({}).splitlines() if re.search(r"%\{?[a-z_]{3,}", line)]
    sections = "%(package|description|prep|build|install|check|pre|post|preun|postun|files|changelog|license|doc|dir|attr|config)"
    assert [line for line in left if not re.match(rf"{sections}\b", line) and not line.startswith("#")] == []


def test_the_distributions_macros_stay_where_it_has_them(parsed):
    spec = parsed(DISTRIBUTION)
    for word in ("post paircached.service", "preun paircached.service", "postun paircached.service", "sysusers",
                 "build", "test", "license", "license-summary", "manifest"):  # fmt: skip
        assert f"distribution-{word}" in spec
    assert "/distribution/system/paircached.service" in spec
    assert "systemctl" not in re.sub("#.*", "", spec)


def test_an_older_rust_toolset_gets_the_stand_ins_for_rust_alone(parsed):
    older = {name: body for name, body in DISTRIBUTION.items() if name != "cargo_vendor_manifest()"}
    spec = parsed(older)
    assert "distribution-prep" not in spec and "distribution-cargo build" in spec
    assert "distribution-post paircached.service" in spec


def test_where_rpm_makes_users_by_itself_the_package_does_not(parsed):
    assert "distribution-sysusers" in parsed(DISTRIBUTION | {"fedora": "41"})
    assert "distribution-sysusers" not in parsed(DISTRIBUTION | {"fedora": "42"})



SELINUX = {
    "selinux_modules_install(s:p:)": "distribution-install-module %1",
    "selinux_modules_uninstall(s:p:)": "distribution-uninstall-module %1",
    "selinux_relabel_pre(s:)": "distribution-relabel-pre",
    "selinux_relabel_post(s:)": "distribution-relabel-post",
}


@pytest.mark.parametrize("system", [{"fedora": "43"}, {"rhel": "9"}, {"rhel": "10"}])
def test_where_there_are_policy_headers_there_is_a_package_with_the_policy(parsed, system):
    spec = parsed(DISTRIBUTION | SELINUX | system)
    module = "/usr/share/selinux/packages/targeted/paircached.pp.bz2"
    assert f"distribution-install-module {module}" in spec
    for part in ["%package selinux", "BuildRequires:  selinux-policy-devel", "distribution-relabel-post",
                 "distribution-uninstall-module paircached", "semanage port -a -t paircached_port_t -p tcp 11212"]:
        assert part in spec
    assert re.search(r"^Requires: +\(paircached-selinux = \S+ if selinux-policy-targeted\)$", spec, re.M)
    # Nothing of it needs the main package, so it brings the licence itself.
    assert re.search(r"^%files selinux\n%license LICENSE$", spec, re.M)


def test_elsewhere_there_is_none(parsed):
    assert "selinux-policy" not in re.sub("#.*", "", parsed({}))
