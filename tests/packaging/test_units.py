"""The units as systemd sees them. What it can't see without running, the lab's tests do."""

import re
import shutil

import pytest

from conftest import TOP, run

UNITS = TOP / "systemd"
DROP_INS = UNITS / "paircached.service.d"


@pytest.fixture
def units(tmp_path):
    """The two units, where no drop-in of this host applies."""
    for unit in [*UNITS.glob("*.service"), *UNITS.glob("*.socket")]:
        shutil.copy(unit, tmp_path)
    return tmp_path


def exposure(unit):
    said = run("systemd-analyze", "security", "--offline=true", unit)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", said)[1])


def with_drop_in(units, *names):
    directory = units / "paircached.service.d"
    directory.mkdir()
    for name in names:
        shutil.copy(DROP_INS / f"{name}.example", directory / name)
    return units / "paircached.service"


def settings(unit):
    """Every "Name=value" of its [Service] section, comments and continuations resolved."""
    text = unit.read_text().split("[Service]")[1].split("[Install]")[0]
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return {line for line in lines if line and not line.startswith("#")}


@pytest.mark.parametrize("name", ["paircached.service", "paircached@.service"])
def test_the_unit_exposes_little(units, name):
    assert exposure(units / name) <= 2.3


def test_the_drop_in_with_user_exposes_less(units):
    assert exposure(with_drop_in(units, "10-user.conf")) <= 1.2


@pytest.mark.parametrize("name", ["20-memory-file.conf", "30-secret.conf"])
def test_the_other_drop_ins_expose_no_more(units, name):
    before = exposure(units / "paircached.service")
    assert exposure(with_drop_in(units, name)) == before


def test_the_drop_ins_are_none_until_somebody_copies_them(units):
    names = sorted(path.name for path in DROP_INS.iterdir())
    assert names == ["10-user.conf.example", "20-memory-file.conf.example", "30-secret.conf.example"]


@pytest.mark.parametrize("name", [
    "paircached.service", "paircached@11311.service", "paircached.socket", "paircached@11311.socket", "the drop-ins",
])
def test_systemd_finds_no_fault_with_the_unit(units, root, name):
    for unit in units.glob("*.service"):
        # systemd looks whether the programs are there.
        unit.write_text(unit.read_text().replace("ExecStart=/usr/bin/paircached", f"ExecStart={root}/usr/bin/paircached"))
    if name == "the drop-ins":
        unit = with_drop_in(units, "10-user.conf", "20-memory-file.conf", "30-secret.conf")
    else:
        unit = units / name
    run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)


def test_systemd_would_find_a_fault(units):
    unit = units / "paircached.service"
    unit.write_text(unit.read_text().replace("Type=notify", "Typ=notify"))
    with pytest.raises(AssertionError):
        run("systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", unit)


def test_an_instance_differs_from_the_daemon_only_in_its_names():
    main, instance = settings(UNITS / "paircached.service"), settings(UNITS / "paircached@.service")
    assert main - instance == {
        "ExecStart=/usr/bin/paircached",
        "ExecStartPre=-+/usr/bin/install -d -o ${USER} /run/memcached",
        "ReadWritePaths=-/run/memcached",
    }
    assert all("%i" in line for line in instance - main)


def test_the_daemon_can_become_its_user_and_bind_low_ports_and_no_more():
    assert "CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_NET_BIND_SERVICE" in settings(UNITS / "paircached.service")


@pytest.fixture
def host(root, tmp_path):
    """A host with the package's files, for systemctl without a running systemd."""
    shutil.copytree(root, tmp_path / "host", symlinks=True)

    def systemctl(*command, check=True):
        return run("systemctl", f"--root={tmp_path / 'host'}", *command, check=check)

    systemctl.enabled = lambda: sorted(
        path.name for path in (tmp_path / "host/etc/systemd/system").glob("multi-user.target.wants/*")
    )
    return systemctl


@pytest.mark.parametrize("name", ["paircached", "memcached"])
def test_enable_and_disable_mean_the_same_under_both_names(host, name):
    host("enable", name)
    assert host.enabled() == ["paircached.service"]
    assert host("is-enabled", "paircached").strip() == "enabled"
    assert host("is-enabled", "memcached").strip() == "alias"
    host("disable", name)
    assert host.enabled() == []


def test_memcacheds_name_needs_no_enabling(host):
    assert host("is-enabled", "memcached", check=False).strip() == "alias"


@pytest.mark.parametrize("name", ["paircached@11311", "memcached@11311"])
def test_an_instance_can_be_enabled_under_both_names(host, name):
    host("enable", name)
    assert host.enabled() == ["paircached@11311.service"]
