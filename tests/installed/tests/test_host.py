"""What the package put on this host; it says nothing of a daemon elsewhere."""

import os
import shutil
import socket
import subprocess
import unittest

import node


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.returncode, done.stdout.decode()


def is_of_this_host(host):
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.bind((host, 0))
            return True
    except OSError:
        return False


class Host(unittest.TestCase):
    def setUp(self):
        if not is_of_this_host(node.SERVER.host):
            self.skipTest(f"{node.SERVER} is another host")

    def test_memcached_is_another_name_of_the_program(self):
        self.assertEqual(os.path.realpath(shutil.which("memcached")), os.path.realpath(shutil.which("paircached")))

    def test_the_configuration_is_valid(self):
        code, said = run("paircached", "--check-config")
        # Who is not root may not read the file, which can hold paths of secrets.
        if os.geteuid() != 0 and "Permission denied" in said:
            self.skipTest("only root reads the configuration")
        self.assertEqual(code, 0, said)

    def test_pairctl_asks_the_daemon(self):
        code, said = run("pairctl", "-s", str(node.SERVER), "status")
        self.assertEqual(code, 0, said)

    def test_systemd_holds_the_unit_for_well(self):
        if not os.path.isdir("/run/systemd/system"):
            self.skipTest("systemd does not run here")
        _, state = run("systemctl", "show", "--value", "-p", "ActiveState", "paircached.service")
        if state.strip() == "inactive" and node.SERVER.port != 11211:
            self.skipTest("the daemon on this port is not the unit's")
        self.assertEqual(state.strip(), "active")
