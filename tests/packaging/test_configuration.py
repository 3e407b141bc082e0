"""The shipped configuration, read by the shipped daemon."""

import re

import pytest
import trustme

from conftest import run

ACTIVE = re.compile(r"^#(?=\w+ = )", re.MULTILINE)


@pytest.fixture
def effective(root):
    """What the daemon makes of a sysconfig and a TOML file: every value with its source."""

    def check(sysconfig, toml):
        said = run(root / "usr/bin/paircached", "--check-config", f"--sysconfig={sysconfig}", f"--config={toml}")
        rows = (re.fullmatch(r"(\S+) = (.*?) +# (.*)", line) for line in said.splitlines())
        return {row[1]: (row[2], row[3]) for row in rows if row}

    return check


@pytest.fixture
def sysconfig(root):
    return root / "etc/sysconfig/memcached"


@pytest.fixture
def toml(root):
    return root / "etc/paircached/paircached.toml"


def test_the_shipped_files_are_valid_and_name_no_peer(effective, sysconfig, toml):
    values = effective(sysconfig, toml)
    assert values["tcp_port"][0] == "11211"
    assert values["user"][0] == "memcached"
    assert values["max_connections"][0] == "1024"
    assert values["memory"][0] == "64m"
    assert values["replication.peer"] == ("none", "default")


def test_the_shipped_sysconfig_listens_where_fedoras_memcached_does(effective, sysconfig, toml):
    listen, source = effective(sysconfig, toml)["listen"]
    assert re.findall(r"[\w.:]+", listen)[0] == "127.0.0.1" and "::1" in listen
    assert str(sysconfig) in source


def test_the_shipped_toml_shows_every_setting_with_its_default(effective, sysconfig, toml, tmp_path):
    active, users = tmp_path / "active.toml", tmp_path / "users"
    users.write_text("user:password\n")
    secret = tmp_path / "secret"
    secret.write_text("sixteen characters and more\n")
    secret.chmod(0o600)
    authority = trustme.CA()
    made = authority.issue_cert("cache1.example.net")
    for name, pem in [("chain", made.cert_chain_pems[0]), ("key", made.private_key_pem), ("ca", authority.cert_pem)]:
        (tmp_path / f"link-{name}.pem").write_bytes(pem.bytes())
    text = ACTIVE.sub("", toml.read_text()).replace("/etc/paircached/users", str(users))
    text = text.replace("/etc/paircached/secret", str(secret)).replace("/etc/paircached/link-", f"{tmp_path}/link-")
    default, shown = effective(sysconfig, toml), {}
    # The link is sealed by one of the two.
    for left_out in ("secret_file = ", "tls_"):
        lines = text.splitlines(keepends=True)
        active.write_text("".join(f"#{line}" if line.startswith(left_out) else line for line in lines))
        values = effective(sysconfig, active)
        shown |= {name: value for name, value in values.items() if str(active) in value[1] or name not in shown}
    ours = {name for name in shown if name.startswith(("replication.", "monitor.", "auth.", "log."))}
    assert {name for name in ours if str(active) not in shown[name][1]} == set()
    # Examples, for these have no default.
    differing = {name for name in ours if shown[name][0] != default[name][0]}
    examples = {"replication.peer", "replication.listen", "replication.secret_file", "monitor.listen", "monitor.peer"}
    certificates = {f"replication.tls_{name}" for name in ("chain_cert", "key", "ca_cert", "peer_name")}
    assert differing == examples | certificates | {"auth.ascii_file", "auth.sasl_file"}


def test_a_fault_in_the_toml_would_be_found(effective, sysconfig, toml, tmp_path):
    faulty = tmp_path / "faulty.toml"
    faulty.write_text(toml.read_text().replace("#window =", "windw ="))
    with pytest.raises(AssertionError, match=r"ended with 78(.|\n)*faulty.toml:\d+.*windw"):
        effective(sysconfig, faulty)
