"""What the binary RPM holds and promises."""

import re
import tomllib

import pytest

from conftest import TOP, run

CONFIG = "cn"  # rpm's letters for %config(noreplace)
PROGRAMS = ["/usr/bin/paircached", "/usr/bin/pairctl"]

FILES = {
    "/etc/paircached": ["drwxr-xr-x", "root:root", "", ""],
    "/etc/paircached/paircached.toml": ["-rw-r-----", "root:memcached", CONFIG, ""],
    "/etc/sysconfig/memcached": ["-rw-r--r--", "root:root", CONFIG, ""],
    "/usr/bin/memcached": ["lrwxrwxrwx", "root:root", "", "paircached"],
    "/usr/bin/paircached": ["-rwxr-xr-x", "root:root", "", ""],
    "/usr/bin/pairctl": ["-rwxr-xr-x", "root:root", "", ""],
    "/usr/lib/firewalld": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/lib/firewalld/services": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/lib/firewalld/services/paircached-monitor.xml": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/firewalld/services/paircached-replication.xml": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/firewalld/services/paircached.xml": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/systemd/system/memcached.service": ["lrwxrwxrwx", "root:root", "", "paircached.service"],
    "/usr/lib/systemd/system/memcached@.service": ["lrwxrwxrwx", "root:root", "", "paircached@.service"],
    "/usr/lib/systemd/system/paircached.service": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/systemd/system/paircached.socket": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/systemd/system/paircached@.service": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/systemd/system/paircached@.socket": ["-rw-r--r--", "root:root", "", ""],
    "/usr/lib/sysusers.d/memcached.conf": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/bash-completion/completions/paircached": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/bash-completion/completions/pairctl": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/doc/paircached": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/share/doc/paircached/CHANGELOG.md": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/doc/paircached/README.md": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/doc/paircached/paircached.service.d": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/share/doc/paircached/paircached.service.d/10-user.conf.example": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/doc/paircached/paircached.service.d/20-memory-file.conf.example": [
        "-rw-r--r--", "root:root", "d", "",
    ],
    "/usr/share/doc/paircached/paircached.service.d/30-secret.conf.example": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/fish/vendor_completions.d/paircached.fish": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/fish/vendor_completions.d/pairctl.fish": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/licenses/paircached": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/share/licenses/paircached/LICENSE": ["-rw-r--r--", "root:root", "l", ""],
    "/usr/share/licenses/paircached/LICENSE.crates": ["-rw-r--r--", "root:root", "l", ""],
    "/usr/share/licenses/paircached/LICENSE.dependencies": ["-rw-r--r--", "root:root", "l", ""],
    "/usr/share/licenses/paircached/cargo-vendor.txt": ["-rw-r--r--", "root:root", "l", ""],
    "/usr/share/man/man1/memcached.1.gz": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/man/man1/pairctl.1.gz": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/man/man5/paircached.toml.5.gz": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/man/man8/paircached.8.gz": ["-rw-r--r--", "root:root", "d", ""],
    "/usr/share/paircached": ["drwxr-xr-x", "root:root", "", ""],
    "/usr/share/paircached/grafana-dashboard.json": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/paircached/prometheus-rules.yml": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/zsh/site-functions/_paircached": ["-rw-r--r--", "root:root", "", ""],
    "/usr/share/zsh/site-functions/_pairctl": ["-rw-r--r--", "root:root", "", ""],
}


def linked_crates(form):
    """One line for each crate in the programs on this system."""
    tree = run(
        "cargo", "tree", "--locked", "--offline", "--edges=no-build,no-dev,no-proc-macro", "--no-dedupe",
        "--prefix=none", f"--format={form}", cwd=TOP,
    )  # fmt: skip
    return set(tree.splitlines())


def test_it_holds_these_files_with_these_modes_and_no_others(package):
    assert package.files() == FILES


def test_its_version_is_the_crates(package):
    manifest = tomllib.loads((TOP / "Cargo.toml").read_text())
    assert package.tag("VERSION") == manifest["package"]["version"]
    assert package.query("--changelog")[0].endswith(f"{package.tag('VERSION')}-{package.tag('RELEASE')}")


def test_it_takes_memcacheds_place(package):
    provides = package.query("--provides")
    assert "memcached = 1.6.45" in provides
    assert package.query("--conflicts") == ["memcached"]
    # Obsoletes would replace memcached on hosts that never asked for it.
    assert package.query("--obsoletes") == []


def test_it_names_every_crate_inside_as_bundled(package):
    provides = set(package.query("--provides"))
    crates = {line.split()[0]: line.split()[1] for line in linked_crates("{p}") if "paircached" not in line}
    assert len(crates) > 20
    wanted = {f"bundled(crate({name})) = {version[1:].split('+')[0]}" for name, version in crates.items()}
    assert wanted - provides == set()


def test_its_licence_tag_covers_the_crates_inside(package):
    def parts(licence):
        alternatives = re.split(r" OR |/", licence.strip("()"))
        return frozenset(alternatives)

    tag = {parts(part) for part in package.tag("LICENSE").split(" AND ")}
    assert tag == {parts(part) for line in linked_crates("{l}") for part in line.split(" AND ")}


def test_it_brings_the_licence_text_of_every_crate_inside(root):
    texts = (root / "usr/share/licenses/paircached/LICENSE.crates").read_text()
    missing = [
        line
        for line in linked_crates("{p}")
        if "paircached" not in line and " ".join(line.split()[:2]).replace(" v", " ") not in texts
    ]
    assert missing == []
    assert texts.count("Permission is hereby granted, free of charge") > 5


def test_its_scriptlets_are_shell_without_macros_left_over(package, tmp_path):
    scriptlets = [package.tag(name) for name in ("PREIN", "POSTIN", "PREUN", "POSTUN")]
    for text in scriptlets:
        assert text.strip() not in ("", "(none)")
        assert not re.search(r"%\{?\w", text), text
        file = tmp_path / "scriptlet"
        file.write_text(text)
        run("sh", "-n", file)


def test_no_scriptlet_starts_or_restarts_the_daemon(package):
    text = "\n".join(package.query("--scripts"))
    assert "daemon-reload" in text
    assert not re.search(r"\b(re)?start\b|enable", text)


def test_its_user_is_made_before_its_files_are_unpacked(package, root):
    user = (root / "usr/lib/sysusers.d/memcached.conf").read_text().strip()
    assert user in package.tag("PREIN")
    assert user.startswith("u memcached ")


def test_the_sysusers_file_makes_user_and_group(root, tmp_path):
    (tmp_path / "etc").mkdir()
    run("systemd-sysusers", f"--root={tmp_path}", root / "usr/lib/sysusers.d/memcached.conf")
    name, _, _, _, _, home, shell = (tmp_path / "etc/passwd").read_text().strip().split(":")
    assert (name, home) == ("memcached", "/")
    assert shell.endswith("nologin")
    assert (tmp_path / "etc/group").read_text().startswith("memcached:")


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_runs_with_the_c_library_of_el9(root, program):
    symbols = run("objdump", "--dynamic-syms", root / program[1:])
    versions = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", symbols)}
    assert versions, "no symbol of the C library at all"
    assert max(versions) <= (2, 34)


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_program_is_hardened_and_stripped(root, program):
    headers = run("readelf", "--headers", "--dynamic", root / program[1:])
    assert "DYN (Position-Independent Executable" in headers or "DYN (Shared object" in headers
    assert "GNU_RELRO" in headers and re.search(r"FLAGS.*\bNOW\b", headers)
    assert "RPATH" not in headers and "RUNPATH" not in headers
    assert ".symtab" not in headers


def test_no_program_knows_where_it_was_built(root):
    for program in PROGRAMS:
        assert str(TOP).encode() not in (root / program[1:]).read_bytes()


@pytest.mark.parametrize("page", ["man8/paircached.8", "man5/paircached.toml.5", "man1/pairctl.1", "man1/memcached.1"])
def test_the_manual_page_reads_well(root, page):
    manual = root / "usr/share/man"
    text = re.sub(".\b", "", run("mandoc", "-T", "ascii", manual / f"{page}.gz", cwd=manual))
    assert "NAME" in text and "SYNOPSIS" in text


def test_rpmlint_has_nothing_to_say(package, tests_package, source_package):
    packages = [package.path, tests_package.path, source_package.path]
    said = run("rpmlint", "--config", TOP / "rpm/rpmlint.toml", *packages, check=False)
    assert "0 errors, 0 warnings" in said, said


@pytest.mark.parametrize(
    "line, candidates",
    [
        (["paircached", "--check-c"], ["--check-config"]),
        (["pairctl", "heal"], ["health"]),
        (["pairctl", "health", "--time"], ["--timeout"]),
    ],
)
def test_bash_completes_the_command_lines(root, line, candidates):
    program = line[0]
    script = root / "usr/share/bash-completion/completions" / program
    words = " ".join(f"'{word}'" for word in line)
    said = run(
        "bash", "-euc",
        f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; "
        f"_{program} {program} '{line[-1]}' '{line[-2]}'; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
    )  # fmt: skip
    assert said.split() == candidates


@pytest.mark.parametrize("service", ["paircached", "paircached-replication", "paircached-monitor"])
def test_firewalld_is_told_the_ports_that_are_the_defaults(root, service):
    import xml.etree.ElementTree as tree

    described = tree.parse(root / f"usr/lib/firewalld/services/{service}.xml").getroot()
    assert described.tag == "service" and described.findtext("short") and described.findtext("description")
    ports = [(port.get("protocol"), port.get("port")) for port in described.findall("port")]
    shown = (TOP / "rpm/paircached.toml").read_text()
    expected = {
        "paircached": "11211",
        "paircached-replication": re.search(r"^#port = (\d+)", shown, re.M)[1],
        "paircached-monitor": re.search(r'^#listen = \["127.0.0.1:(\d+)"', shown, re.M)[1],
    }
    assert ports == [("tcp", expected[service])]
