"""Lint, syntax, and the agreement of what the role has, what it checks and what it tells."""

import json
import re
import shutil

import pytest
import yaml
from conftest import ANSIBLE, tool



class Role:
    """A role, and what it says of itself."""

    def __init__(self, name):
        self.name = name
        self.path = ANSIBLE / "roles" / name
        self.specs = yaml.safe_load((self.path / "meta" / "argument_specs.yml").read_text())["argument_specs"]
        self.options = self.specs["main"]["options"]
        self.defaults = yaml.safe_load((self.path / "defaults" / "main.yml").read_text())
        self.readme = (self.path / "README.md").read_text()


ROLES = ["paircached", "paircached_frontend", "paircached_twemproxy"]


@pytest.fixture(params=ROLES)
def role(request):
    return Role(request.param)


def test_ansible_lint_passes_in_the_production_profile():
    lint = tool("ansible-lint", "--nocolor")
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert "Profile 'production' was required, and it passed" in lint.stderr + lint.stdout


def test_ansible_lint_would_see_a_fault(tmp_path):
    copy = shutil.copytree(ANSIBLE, tmp_path / "ansible")
    service = copy / "roles" / "paircached" / "tasks" / "service.yml"
    service.write_text(service.read_text().replace("ansible.builtin.systemd_service", "systemd"))
    assert tool("ansible-lint", "--nocolor", "--project-dir", copy, copy).returncode != 0


def test_yamllint_passes():
    lint = tool("yamllint", "--strict", ".")
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("playbook", sorted(path.name for path in ANSIBLE.glob("*.yml") if path.name != "requirements.yml"))
def test_the_playbooks_are_understood(playbook):
    syntax = tool("ansible-playbook", "--syntax-check", playbook)
    assert syntax.returncode == 0, syntax.stdout + syntax.stderr


def test_the_example_inventory_is_understood():
    listing = tool("ansible-inventory", "--list")
    assert len(json.loads(listing.stdout)["paircached"]["hosts"]) == 2


def test_the_example_inventory_of_several_pairs_is_understood():
    listing = tool("ansible-inventory", "-i", "inventory/several-pairs.yml", "--list")
    hosts = json.loads(listing.stdout)["_meta"]["hostvars"].values()
    assert [host.get("paircached_pair") for host in hosts].count("pages") == 2


def test_every_variable_has_a_default_and_a_specification(role):
    assert sorted(role.defaults) == sorted(role.options)


def test_every_specification_has_the_value_of_the_default(role):
    specified = {name: option.get("default") for name, option in role.options.items()}
    assert specified == role.defaults


def test_every_entry_point_takes_the_same_variables(role):
    for name, entry in role.specs.items():
        assert entry["options"] == role.options, name


def test_the_readme_describes_every_variable_as_it_is_specified(role):
    rows = re.findall(r"^\| `(paircached_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", role.readme, re.M)
    expected = []
    for name, option in role.options.items():
        default = option.get("default")
        shown = default if isinstance(default, str) and default else json.dumps(default)
        choices = ", ".join(f"`{choice}`" for choice in option.get("choices", []))
        expected.append((
            name,
            option["type"],
            "" if default is None else f"`{shown}`",
            option["description"] + (f" One of {choices}." if choices else ""),
        ))
    assert rows == expected


def test_no_task_uses_a_variable_that_nobody_defines(role):
    text = "".join(file.read_text() for file in role.path.rglob("*") if file.is_file() and file.name != "README.md")
    used = set(re.findall(r"(?<![\w.])paircached_\w+", text))
    # A type of the policy, names, and what one role reads of the others: no variables of this one.
    others = {"paircached_port_t", "paircached_frontend", "paircached_twemproxy"}
    others |= {name for other in ROLES for name in Role(other).defaults}
    assert used - set(role.defaults) <= others
    private = set(re.findall(r"\b__paircached_\w+", text))
    here = definitions(text)
    # Some entry points are told what to do by the playbook that uses them.
    playbooks = definitions("".join(playbook.read_text() for playbook in ANSIBLE.glob("*.yml")))
    assert private <= here | playbooks
    assert here <= private


def definitions(text):
    """Private variables that some YAML gives a value."""
    return set(re.findall(r"^ *(__paircached_\w+):", text, re.M)) | set(re.findall(r"register: (__paircached_\w+)", text))
