"""From source, as the README says."""

import os
import resource
import subprocess
from pathlib import Path

from conftest import eventually, free_port

TOP = Path(__file__).resolve().parents[2]


def test_make_install_puts_programs_and_manual_pages_in_their_places(tmp_path):
    command = ["make", "-s", "install", f"DESTDIR={tmp_path}", "PREFIX=/usr/local/paircached"]
    subprocess.run(command, cwd=TOP, check=True)
    prefix = tmp_path / "usr/local/paircached"
    found = {str(path.relative_to(prefix)) for path in prefix.rglob("*") if path.is_file()}
    assert found == {
        "bin/paircached",
        "bin/pairctl",
        "share/man/man1/pairctl.1",
        "share/man/man5/paircached.toml.5",
        "share/man/man8/paircached.8",
    }


def test_connections_that_the_system_does_not_grant_are_named_at_the_start(programs, tmp_path):
    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
        # Root may raise its limits, unless it has become somebody else.
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)

    program = tmp_path / "paircached"
    program.write_bytes((programs / "paircached").read_bytes())
    program.chmod(0o755)
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(0o755)
    port = str(free_port())
    options = ["--sysconfig=-/nonexistent", "--config=-/nonexistent", "-l", "127.0.0.1"]
    log = tmp_path / "log"
    with log.open("w") as stderr:
        daemon = subprocess.Popen(
            [program, *options, "-u", "nobody", "-p", port, "-m", "2048", "-c", "65536"],
            stderr=stderr, preexec_fn=few_files,
        )  # fmt: skip
    try:
        eventually("it started", lambda: "event=started" in log.read_text())
        assert "event=connections_limited asked=65536 granted=936" in log.read_text()
    finally:
        daemon.terminate()
    assert daemon.wait(20) == 0
