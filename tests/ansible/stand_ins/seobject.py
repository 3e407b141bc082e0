"""Stands in for the module of policycoreutils that keeps SELinux's port labels, on machines without SELinux: a file has
what the policy says of ports, and what was said locally. It refuses what the real one refuses."""

import json
import os
from pathlib import Path

FILE = Path(os.environ["SEOBJECT_FILE"])


class portRecords:  # noqa: N801
    def __init__(self, store):
        self.ports = json.loads(FILE.read_text())

    def set_reload(self, load):
        pass

    def _said(self, local):
        return self.ports["local"] if local else {**self.ports["policy"], **self.ports["local"]}

    def get_all(self, locallist=False):
        return {(int(port), int(port), "tcp"): (kind, "s0") for port, kind in self._said(locallist).items()}

    def get_all_by_type(self, locallist=False):
        kinds = {}
        for port, kind in self._said(locallist).items():
            kinds.setdefault((kind, "tcp"), []).append(port)
        return kinds

    def add(self, port, protocol, level, kind):
        if port in self._said(local=False):
            raise ValueError(f"Port {protocol}/{port} already defined")
        self.modify(port, protocol, level, kind)

    def modify(self, port, protocol, level, kind):
        self.ports["local"][port] = kind
        FILE.write_text(json.dumps(self.ports))

    def delete(self, port, protocol):
        if port not in self.ports["local"]:
            where = "is defined in policy, cannot be deleted" if port in self.ports["policy"] else "is not defined"
            raise ValueError(f"Port {protocol}/{port} {where}")
        del self.ports["local"][port]
        FILE.write_text(json.dumps(self.ports))
