"""The client of the lab: its welcome, and the story that the lab tells."""

import re
import shlex
import subprocess

import pytest

from conftest import NET
from nodes import TOP, lab, vagrant, wait_until


@pytest.fixture
def welcome(pair, client):
    """What somebody who logs in to the client reads."""
    done = subprocess.run(
        ["ssh", "-tt", "-F", client.ssh_config, client.name], input="exit\n", timeout=60,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    return done.stdout.replace("\r\n", "\n")


def commands(text):
    return re.findall(r"^ +\$ (.*)$", text, re.M)


def test_every_command_that_the_welcome_shows_works(welcome, pair, client):
    here, elsewhere = map(commands, welcome.split("Where vagrant runs"))
    assert len(here) >= 9 and len(elsewhere) == 3
    said = {command: client.run_as_user(command) for command in here}
    pair.wait_until_both_hold({"name": b"jack"})
    reads = [text for command, text in said.items() if "get name" in command]
    assert len(reads) == 2 and all("jack" in text for text in reads)
    assert any("b'jack'" in text for text in said.values())
    for command in elsewhere:
        if command == "./lab demo":
            # The test of the story runs it.
            continue
        vagrant(*shlex.split(command)[1:], minutes=2)
        pair.wait_until_in_sync()


def test_the_story_ends_well_by_itself_and_says_what_happens(pair):
    done = subprocess.run(["make", "lab-demo"], cwd=TOP, timeout=240, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    told = done.stdout
    assert done.returncode == 0, told + done.stderr
    chapters = re.findall(r"^== (.*)$", told, re.M)
    assert [chapter.split(":")[0] for chapter in chapters] == [
        "A pair, one address in front of it, and a client", "Customers come", "node1 dies", "node1 is repaired",
        "Is it all there?",
    ]  # fmt: skip
    assert "Nothing was missing" in told and "node2 serves them now" in told
    print(told)


RUN_TESTS = f"/usr/libexec/paircached/run-tests --server {NET}.11 --peer {NET}.12"


def test_the_installed_tests_find_the_pair_well(pair, client):
    assert client.run_as_user(RUN_TESTS).splitlines()[-1].startswith("OK")
    # On a node they also look at what the package put there.
    pair.node1.run("dnf -y install paircached-tests")
    try:
        assert pair.node1.run("/usr/libexec/paircached/run-tests").splitlines()[-1].startswith("OK")
    finally:
        pair.node1.run("dnf -y remove paircached-tests")


def test_the_installed_tests_say_when_nobody_answers(pair, client):
    with pytest.raises(AssertionError, match="192.168.*:11299 does not answer: .*refused"):
        client.run_as_user(RUN_TESTS.replace(".11 ", ".11:11299 "))


def test_the_story_and_the_installed_tests_fail_where_the_pair_is_broken(pair, client):
    with pair.cut():
        for node in pair.nodes:
            wait_until(f"{node} notices", lambda node=node: not node.is_in_sync())
        with pytest.raises(AssertionError, match="Not as promised: the pair is not whole"):
            lab("demo", minutes=3)
        with pytest.raises(AssertionError, match=r"FAIL: test_what_one_takes_arrives_on_the_other(.|\n)*FAILED"):
            client.run_as_user(f"{RUN_TESTS} --patience 1")
    pair.wait_until_in_sync()
