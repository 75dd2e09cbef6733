"""What the documents say exists."""

import re

import pytest
from conftest import ROOT

from cityseg_ext.apis.options import OPTIONS, markdown_table

DOCUMENTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_pictures_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(path):
    for name in re.findall(r"\b((?:configs|tools|cityseg_ext|tests|docs)/[\w./-]+\.(?:py|md|png))", path.read_text()):
        assert (ROOT / name).is_file(), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_to_sections_lead_to_headings(path):
    for target, section in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", path.read_text()):
        if "://" not in target:
            assert section in sections(path.parent / target if target else path), f"{target}#{section}"


def sections(path):
    """The names that GitHub gives to the headings of a document."""
    text = re.sub(r"^( *)```.*?^\1```$", "", path.read_text(), flags=re.M | re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_picture_is_shown():
    shown = {name for path in DOCUMENTS for name in re.findall(r"!\[[^\]]*\]\([^)]*?([^/)]+)\)", path.read_text())}
    for path in (ROOT / "docs" / "images").iterdir():
        assert path.name in shown, path


def test_every_config_has_its_row_in_the_readme():
    text = (ROOT / "README.md").read_text()
    for path in (ROOT / "configs").glob("*.py"):
        assert f"`{path.name}`" in text


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_options_are_those_of_some_script(path):
    sources = [path for folder in ("tools", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    scripts = "".join(path.read_text() for path in [*sources, ROOT / "cityseg_ext" / "__main__.py"])
    table = {option.flag for option in OPTIONS} | {"--help", "--no-weighted-sampler"}
    for option in re.findall(r"(?<=[`\s])(--[a-z][a-z-]+)", path.read_text()):
        assert f'"{option}"' in scripts or option in table, option


def test_the_table_of_options_is_that_of_the_code():
    assert markdown_table() in (ROOT / "docs" / "training.md").read_text()


def test_named_tests_exist():
    text = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for path in (ROOT / "docs" / "reliability.md", ROOT / "docs" / "security.md"):
        for name in re.findall(r"`(test_\w+)(?:\.py)?`", path.read_text()):
            assert f"def {name}(" in text or list((ROOT / "tests").rglob(f"{name}.py")), f"{path.name}: {name}"
