"""`make run`, as the README promises it."""

import os
import signal
import subprocess
from pathlib import Path

from conftest import free_port


def test_make_run_shows_a_write_arriving_and_stops_on_ctrl_c(programs):
    ports = " ".join(str(free_port()) for _ in range(4))
    run = Path(__file__).with_name("run")
    process = subprocess.Popen(
        [run, programs], env={**os.environ, "PORTS": ports},
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        shown = ""
        for line in process.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        assert "STORED" in shown
        assert "VALUE name 0 4\njack\nEND" in shown
    finally:
        os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0
