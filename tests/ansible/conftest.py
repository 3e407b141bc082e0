"""Runs playbooks of this repository against "hosts" that are all this machine, with facts made up by the test."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HERE = Path(__file__).parent
ANSIBLE = HERE.parent.parent / "ansible"
ROLE = ANSIBLE / "roles" / "paircached"
BIN = Path(sys.executable).parent


def tool(name, *arguments, **variables):
    """Runs one of Ansible's tools in ansible/, as a user would, and returns the finished process."""
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "NO_COLOR": "1", **variables}
    return subprocess.run(
        [BIN / name, *map(str, arguments)],
        cwd=ANSIBLE, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900,
    )


class Run:
    """What ansible-playbook did."""

    def __init__(self, process):
        self.text = process.stdout + process.stderr
        self.succeeded = process.returncode == 0
        try:
            result = json.loads(process.stdout[process.stdout.index("{"):])
        except ValueError as error:
            raise AssertionError(f"no result from ansible-playbook:\n{self.text}") from error
        self.stats = result["stats"]
        self.tasks = [task for play in result["plays"] for task in play["tasks"]]

    def changed(self):
        return sum(host["changed"] for host in self.stats.values())

    def failures(self):
        """The messages of all failed tasks, and what failed commands said, in one string."""
        return "\n".join(
            json.dumps([host.get(word, "") for word in ("msg", "stderr", "results")]) for task in self.tasks for host in task["hosts"].values()
            if host.get("failed")
        )

    def actions(self):
        return {host["action"] for task in self.tasks for host in task["hosts"].values() if "action" in host}


@pytest.fixture
def play(tmp_path):
    """play(playbook, {"node1": {...}, "node2": {...}}, extra={...}, variable=value): runs it and returns a Run.

    The variables are the group's; `extra` goes to the command line, where it wins over the role's own.
    """

    def run(playbook, hosts, extra=None, **variables):
        inventory = {
            "paircached": {
                "hosts": hosts,
                "vars": {
                    "ansible_connection": "local",
                    "ansible_become": False,
                    "ansible_python_interpreter": sys.executable,
                    **variables,
                },
            }
        }
        file = tmp_path / "hosts.yml"
        file.write_text(yaml.safe_dump(inventory))
        extra = json.dumps(extra or {})
        return Run(tool("ansible-playbook", "-i", file, "-e", extra, playbook, ANSIBLE_STDOUT_CALLBACK="ansible.posix.json"))

    return run
