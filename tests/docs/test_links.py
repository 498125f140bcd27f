"""Links between the project's own texts lead somewhere; `make docs` looks at the built pages."""

import pydoc
import re
from pathlib import Path

import pytest

from inarch.models import registry

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "architectures"
FOLDERS = (".", ".github", ".github/ISSUE_TEMPLATE", "docs", "docs/contribute", "docs/tasks")
TEXTS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
LABEL = re.compile(r"^\((.+)\)=$", re.MULTILINE)


def dead_links(path, text):
    """The links of a page to no file, or to no heading of one."""
    found = []
    for link in LINK.findall(FENCED.sub("", text)):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, place = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        if target.parent == GENERATED:
            there = target.stem in {"index", *registry.architectures()}
        else:
            there = target.exists()
        if there and place and target.suffix == ".md" and target.parent != GENERATED:
            there = place in places(text if target == path else target.read_text("utf-8"))
        if not there:
            found.append(link)
    return found


def places(text):
    """Return the fragments that a link can have: of headings and of labels."""
    headings = HEADING.findall(FENCED.sub("", text))
    slugs = (re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings)
    return {*slugs, *LABEL.findall(text)}


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_is_dead(path):
    assert dead_links(path, path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "link",
    ["docs/nothing.md", "docs/verify.md#nothing", "#nothing", "docs/architectures/no_bert.md"],
)
def test_a_dead_link_is_noticed(link):
    path = ROOT / "README.md"
    right = "# One heading\n[a](docs/verify.md#golden-files) [b](#one-heading) [c](https://a.b/c)\n"
    assert dead_links(path, right) == []
    assert dead_links(path, f"{right}[d]({link})") == [link]


API = (ROOT / "docs" / "api.md").read_text("utf-8")
OBJECTS = re.findall(r"^\.\. auto\w+:: (\S+)\n(?: +:members: (.+))?", API, re.MULTILINE)


@pytest.mark.parametrize(("name", "members"), OBJECTS)
def test_every_object_on_the_page_of_the_api_exists(name, members):
    found = pydoc.locate(name)
    assert found is not None
    fields = getattr(found, "__annotations__", {})
    assert [
        m for m in re.findall(r"\w+", members) if not hasattr(found, m) and m not in fields
    ] == []


def test_no_object_is_twice_on_the_page_of_the_api():
    names = [name for name, _ in OBJECTS]
    assert sorted(set(names)) == sorted(names)
