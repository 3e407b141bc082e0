"""The policy module, compiled into a whole policy (Debian's reference policy; Fedora's needs Fedora's headers) and
asked what it allows."""

import bz2
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conftest import TOP, run

MODULES = Path("/usr/share/selinux/default")
TO_CIL = "/usr/libexec/selinux/hll/pp"


@pytest.fixture(scope="session")
def policy(tmp_path_factory):
    """A binary policy of all modules and the daemon's."""
    work = tmp_path_factory.mktemp("selinux")
    for source in (TOP / "rpm/selinux").iterdir():
        shutil.copy(source, work)
    run("make", "-f", "/usr/share/selinux/devel/Makefile", "NAME=default", "paircached.pp", cwd=work)

    def to_cil(module):
        content = bz2.decompress(module.read_bytes()) if module.suffix == ".bz2" else module.read_bytes()
        done = subprocess.run([TO_CIL], input=content, capture_output=True, check=True)
        cil = work / f"{module.name.split('.')[0]}.cil"
        cil.write_bytes(done.stdout)
        return cil

    modules = [*MODULES.glob("*.pp.bz2"), work / "paircached.pp"]
    assert len(modules) > 100
    with ThreadPoolExecutor(2) as pool:
        cils = list(pool.map(to_cil, modules))
    binary = work / "policy"
    run("secilc", "--disable-neverallow", "--mls=true", "--policyvers=33", f"--output={binary}", "--filecontext=/dev/null", *cils)
    return binary


def allowed(policy, *query):
    """What the policy gives paircached_t unconditionally, as (target, class): permissions."""
    rules = {}
    for line in run("sesearch", "--allow", "--source=paircached_t", *query, policy).splitlines():
        rule = re.fullmatch(r"allow (\w+) (\w+):(\w+) (?:{ (.*) }|(\w+));", line.strip())
        if rule:
            permissions = set((rule[4] or rule[5]).split())
            rules.setdefault((rule[2], rule[3]), set()).update(permissions)
    return rules


def test_systemd_starts_it_in_its_own_domain_even_without_new_privileges(policy):
    transition = run("sesearch", "--type_trans", "--source=init_t", "--target=paircached_exec_t", policy)
    assert "type_transition init_t paircached_exec_t:process paircached_t;" in transition
    assert "nnp_transition" in run("sesearch", "--allow", "--source=init_t", "--target=paircached_t", "--class=process2", policy)


def test_it_may_serve_memcacheds_port_and_bind_and_dial_its_peers(policy):
    rules = allowed(policy, "--class=tcp_socket")
    for port in ["memcache_port_t", "paircached_port_t"]:
        assert {"name_bind", "name_connect"} <= rules[port, "tcp_socket"]
    assert "listen" in rules["paircached_t", "tcp_socket"]
    assert "name_bind" in allowed(policy, "--class=udp_socket")["memcache_port_t", "udp_socket"]


def test_it_may_notify_systemd_and_log(policy):
    own = allowed(policy, "--class=unix_dgram_socket")
    assert {"create", "connect", "write"} <= own["paircached_t", "unix_dgram_socket"]
    assert "sendto" in own["init_t", "unix_dgram_socket"]
    assert "write" in allowed(policy, "--target=devlog_t")["devlog_t", "sock_file"]


def test_it_may_become_its_user_and_no_more(policy):
    rules = allowed(policy, "--class=capability")
    assert rules["paircached_t", "capability"] == {"setuid", "setgid", "net_bind_service"}


def test_it_may_read_its_configuration_and_write_its_own_files(policy):
    rules = allowed(policy, "--class=file")
    assert "read" in rules["paircached_conf_t", "file"]
    assert "write" not in rules["paircached_conf_t", "file"]
    assert {"create", "write", "rename", "unlink"} <= rules["paircached_var_lib_t", "file"]


def test_it_may_read_a_secret_that_systemd_hands_over_and_change_nothing_there(policy):
    rules = allowed(policy, "--class=file")
    for place in ["ramfs_t", "init_runtime_t"]:
        assert {"read", "open"} <= rules[place, "file"] and not rules[place, "file"] & {"write", "create", "unlink"}
    assert "search" in allowed(policy, "--class=dir")["ramfs_t", "dir"]


def test_it_may_serve_on_sockets_that_systemd_opened_for_it(policy):
    opened = run("sesearch", "--allow", "--source=init_t", "--target=paircached_t", "--class=tcp_socket", policy)
    assert "create" in opened and "listen" in opened, opened
    assert "accept" in allowed(policy, "--target=paircached_t", "--class=tcp_socket")["paircached_t", "tcp_socket"]


def test_it_may_not_dial_the_world_run_programs_or_read_passwords(policy):
    rules = allowed(policy)
    ports = {target for (target, kind), can in rules.items() if kind == "tcp_socket" and "name_connect" in can}
    assert ports == {"memcache_port_t", "paircached_port_t", "tor_port_t", "dns_port_t"}
    for what in ["shell_exec_t", "bin_t"]:
        assert "execute_no_trans" not in rules.get((what, "file"), set())
    assert ("shadow_t", "file") not in rules
    writable = {target for (target, kind), can in rules.items() if kind == "file" and "create" in can}
    assert "etc_t" not in writable and "usr_t" not in writable


def test_every_shipped_path_that_is_its_own_has_its_type(package):
    contexts = {}
    for line in (TOP / "rpm/selinux/paircached.fc").read_text().splitlines():
        pattern, *_, context = line.split("\t")
        contexts[pattern] = re.search(r":(\w+_t),", context)[1]

    def type_of(path):
        return next((kind for pattern, kind in contexts.items() if re.fullmatch(pattern, path)), None)

    assert type_of("/usr/bin/paircached") == "paircached_exec_t"
    # The label of a link's target counts.
    assert type_of("/usr/bin/memcached") is None
    assert type_of("/etc/paircached/paircached.toml") == "paircached_conf_t"
    assert {"/usr/bin/paircached", "/etc/paircached/paircached.toml"} <= set(package.files())
