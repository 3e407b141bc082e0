"""What the documents say of the tests, and what a review of the package would read in the sources."""

import re
import tarfile
import tomllib

import pytest

from conftest import TOP, existing_tests

REVIEW = TOP / "docs/packaging-review.md"
VERIFICATION = TOP / "docs/verification.md"
README = TOP / "README.md"
SPEC = TOP / "rpm/paircached.spec"
FOREIGN = (b"\x7fELF", b"!<arch>\n", b"MZ\x90")


def rows(document):
    """The cells of every row of its tables, without the heads."""
    lines = re.findall(r"^\| (.*) \|$", document.read_text(), re.M)
    cells = [re.split(r" (?<!\\)\| ?", f"{line} ")[:3] for line in lines]
    return [row for row in cells if row[-1].strip() != "checked" and row[0] != "what"]


@pytest.mark.parametrize("document", [REVIEW, VERIFICATION], ids=lambda path: path.name)
def test_every_test_that_a_document_names_exists(document):
    named = set(re.findall(r"`(test_\w+)`", document.read_text()))
    assert named - existing_tests() == set()
    for path in re.findall(r"`((?:tests|docs|rpm|vagrant|ansible|systemd)/[\w./-]+)`", document.read_text()):
        assert (TOP / path).exists(), path


def test_every_point_of_the_review_says_how_it_is_checked():
    points = rows(REVIEW)
    assert len(points) > 30
    assert [row[0] for row in points if len(row) != 3 or not row[2].strip()] == []


def test_everything_that_is_not_verified_comes_with_the_commands_that_would():
    points = rows(VERIFICATION)
    assert len(points) >= 8
    assert [row[0] for row in points if len(row) != 3 or "`" not in row[2]] == []


def test_a_test_that_does_not_exist_would_be_noticed():
    assert "test_that_nobody_wrote" not in existing_tests()
    assert "test_a_test_that_does_not_exist_would_be_noticed" in existing_tests()


def test_the_spec_is_plain_text_and_named_after_the_package():
    text = SPEC.read_bytes().decode("ascii")
    assert re.search(r"^Name: +paircached$", text, re.M)


def test_every_file_name_of_the_packages_is_ascii(package, tests_package):
    assert all(path.isascii() for path in [*package.files(), *tests_package.files()])


def test_nothing_that_runs_reads_the_documentation(package, root):
    units = "".join(unit.read_text() for unit in (root / "usr/lib/systemd/system").glob("*.s*") if not unit.is_symlink())
    for text in [units, *package.query("--scripts")]:
        assert "/usr/share/doc" not in text


def test_the_profile_keeps_what_a_debugger_needs():
    profiles = tomllib.loads((TOP / "Cargo.toml").read_text())["profile"]
    assert not any(profile.get("strip") for profile in profiles.values())


def test_the_least_rust_is_the_same_everywhere():
    least = tomllib.loads((TOP / "Cargo.toml").read_text())["package"]["rust-version"]
    assert re.search(rf"^BuildRequires: +rust-toolset >= {re.escape(least)}$", SPEC.read_text(), re.M)
    assert f"Rust {least}" in README.read_text()


def test_the_sources_hold_nothing_that_was_compiled(source_package, tmp_path):
    found = []
    for archive in source_package.unpack(tmp_path).glob("*.tar.gz"):
        with tarfile.open(archive) as files:
            for member in files:
                if member.isfile() and files.extractfile(member).read(8).startswith(FOREIGN):
                    found.append(member.name)
    assert found == []
