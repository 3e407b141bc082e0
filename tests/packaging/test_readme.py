"""What the README shows to be typed: each block is run by a test, here or by the one that is named."""

import os
import re

import pytest

from conftest import TOP, run, existing_tests

README = (TOP / "README.md").read_text()

# By how each block begins. Tests have other addresses, ports and places, but the same words.
BLOCKS = {
    "make run": "test_make_run_shows_a_write_arriving_and_stops_on_ctrl_c",
    "yum install paircached": "test_a_removal_stops_the_service_and_leaves_the_edited_sysconfig_aside",
    "make && make install": "test_make_install_puts_programs_and_manual_pages_in_their_places",
    "ansible-playbook": "test_provisioning_again_changes_nothing_on_any_machine",
    '[replication]\npeer = "192.0.2.2"\n```': "test_the_daemon_takes_the_tables",
    "paircached -d": "test_the_command_lines_of_repcached_make_a_pair",
    "umask 027": "test_the_secret_that_it_makes_is_taken",
    '[replication]\npeer = "192.0.2.2"\nsecret_file': "test_the_secret_that_it_makes_is_taken",
    '[replication]\npeer = "cache2': "test_two_with_certificates_replicate_values_of_every_size_both_ways",
    "$ telnet": "test_what_a_raw_session_sets_on_one_node_is_read_on_the_other",
    'OPTIONS="-Z': "test_values_of_every_size_go_in_and_come_out",
}


def blocks():
    """Every block but the drawing at the top, with the marks around it."""
    found = re.findall(r"^```\w*\n(.*?^```)$", README, re.M | re.S)
    return [block for block in found if "+---" not in block]


def block_that_begins(words):
    found = [block for block in blocks() if block.startswith(words)]
    assert len(found) == 1, words
    return found[0].removesuffix("```")


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.split("\n")[0][:30])
def test_every_block_is_run_by_a_test(block):
    runners = [runner for words, runner in BLOCKS.items() if block.startswith(words)]
    assert len(runners) == 1
    assert runners[0] in existing_tests()


def test_no_test_is_named_for_a_block_that_is_gone():
    for words in BLOCKS:
        assert any(block.startswith(words) for block in blocks()), words


def configured(root, toml, path):
    """What the packaged daemon makes of these tables."""
    path.write_text(toml)
    return run(root / "usr/bin/paircached", "--check-config", "--sysconfig=-/nonexistent", f"--config={path}", "-u", "root")


def test_the_daemon_takes_the_tables(root, tmp_path):
    table = block_that_begins('[replication]\npeer = "192.0.2.2"\n```')
    assert re.search(r"replication.peer = 192.0.2.2\b", configured(root, table, tmp_path / "toml"))


def test_the_secret_that_it_makes_is_taken(root, tmp_path):
    place = str(tmp_path / "secret")
    typed = block_that_begins("umask 027").replace("/etc/paircached/secret", place)
    # Not every machine that runs the tests has the package's group.
    run("bash", "-euc", typed.replace("chgrp memcached", f"chgrp {os.getgid()}"))
    table = block_that_begins('[replication]\npeer = "192.0.2.2"\nsecret_file').replace("/etc/paircached/secret", place)
    assert place in configured(root, table, tmp_path / "toml")
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o640


def test_every_goal_of_make_that_it_names_is_one():
    goals = set(re.findall(r"^([a-z][\w-]*):", (TOP / "Makefile").read_text(), re.M))
    named = set(re.findall(r"`make ([a-z][\w-]*)", README)) | set(re.findall(r"^make ([a-z][\w-]*)", README, re.M))
    assert {"run", "test", "bench", "fuzz", "lab", "lab-demo", "rpm"} <= named
    assert named - goals == set()


def test_every_command_of_pairctl_that_it_names_is_one(root):
    known = run(root / "usr/bin/pairctl", "--help")
    for command in set(re.findall(r"`pairctl (?:-s \S+ )?([a-z]+)", README)):
        assert re.search(rf"^  {command} ", known, re.M), command


def test_every_file_that_it_links_to_is_there():
    for path in re.findall(r"\]\((?!https?:)([^)#]+)\)", README):
        assert (TOP / path).exists(), path
