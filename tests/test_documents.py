"""Commands and code that people copy from README and docs/ do what they say; links between the files lead somewhere."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from markdown.extensions.toc import slugify
from PIL import Image

from tests.documents import (
    FILES,
    IMAGES,
    LACKED,
    PYTHON,
    ROOT,
    SHELL,
    Block,
    blocks,
    drawn,
    media,
    prepare,
    run,
    shown,
    unasked,
)
from tests.forked import forked

ALL = [block for file in FILES for block in blocks(file)]
COMMANDS = re.compile(r"(\$ |\.venv/|tam |python |snakemake |make |pip |apt-get )(?!.*->)")
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
CHECKED = [*FILES, ROOT / "CHANGELOG.md", ROOT / "config/README.md", *ROOT.glob("tam/*/README.md"),
           *ROOT.glob("tam/datasets/*/README.md")]  # fmt: skip


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """The folder in which every block was run that can be run here, in the order of the files."""
    folder, jobs = tmp_path_factory.mktemp("checkout"), tmp_path_factory.mktemp("jobs")
    failed, asked = [], set[str]()
    with forked(jobs) as python:
        prepare(folder, python)
        media(folder)
        for file in FILES:
            known: dict[str, object] = {"__name__": "__main__"}
            for block in blocks(file):
                if why := _run(block, folder, known, asked):
                    failed.append(f"{block.where}: {why}")
    assert not failed, "\n\n".join(["", *failed])
    return folder


def _run(block: Block, folder: Path, known: dict[str, object], asked: set[str]) -> str | None:
    if block.written and not (folder / block.written).exists():  # but `mine.yaml`, which asks for nobody's data
        (folder / block.written).write_text(block.text, encoding="utf-8")
    for command in block.commands:
        if why := _python(command, folder, known) if block.language == PYTHON else run(unasked(command, asked), folder):
            return f"{command}\n{why}"
    return None


def _python(code: str, folder: Path, known: dict[str, object]) -> str | None:
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(code, known)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        os.chdir(before)
    return None


def test_every_command_and_every_piece_of_python_runs_or_says_what_it_needs(ran):
    assert (ran / "results/tables/index.html").is_file()
    assert {path.name for path in ran.glob("*.svg")} == {"elephant.svg", "methods.svg"}


@pytest.mark.parametrize("name", shown(ROOT / "docs/tutorial.md"))
def test_pictures_of_the_tutorial_are_what_its_commands_draw(ran, name):
    """Letters may be smoothed otherwise, and maps differ in last bits."""
    kept, made = (np.asarray(Image.open(path).convert("RGB"), float) for path in (IMAGES / name, drawn(ran, name)))
    assert kept.shape == made.shape
    assert np.abs(kept - made).mean() < 4


def test_pictures_are_small_and_each_is_shown():
    pages = [path.read_text(encoding="utf-8") for path in FILES]
    for path in IMAGES.iterdir():
        assert path.stat().st_size < 700_000
        assert any(f"images/{path.name})" in page for page in pages)


def test_a_test_that_asserts_a_command_is_there():
    named = {block.test for block in ALL if block.test}
    for test in named:
        file, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8") if name else (ROOT / file).is_file(), test
    assert named


def test_commands_stand_in_blocks_that_are_looked_at():
    """Indented, or in a block without a language, nobody would run them."""
    for file in FILES:
        rest = file.read_text(encoding="utf-8")
        for block in blocks(file):
            if block.language not in SHELL:
                found = [line for line in block.text.splitlines() if COMMANDS.match(line)]
                assert not found or block.language in ("snakemake", "yaml", "csv", PYTHON), (block.where, found)
        indented = re.findall(r"^    (.*)$", re.sub(r"```.*?```", "", rest, flags=re.DOTALL), re.MULTILINE)
        assert not [line for line in indented if COMMANDS.match(line)], file


def test_a_make_target_that_is_told_of_is_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for file in CHECKED:
        for target in re.findall(r"`make ([\w-]+)", file.read_text(encoding="utf-8")):
            assert f"\n{target}:" in makefile, (file, target)


@pytest.mark.parametrize("needs", LACKED)
def test_a_command_that_needs_what_is_not_here_says_so_in_its_line(needs, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        f"```bash\ntam a  # 1 second; needs {needs}\ntam b\n```\n\n```python\n1 / 0  # needs {needs}\n```\n"
    )
    shell, python = blocks(page)
    assert shell.commands == ["tam b"] and not python.commands


def test_a_command_or_code_that_fails_is_named_with_its_place(tmp_path):
    (tmp_path / ".venv/bin").mkdir(parents=True)
    page = tmp_path / "page.md"
    page.write_text("1. Do:\n\n   ```bash\n   true\n   false   # no\n   ```\n\n```python\n1 / 0\n```\n")
    shell, python = blocks(page)
    assert shell.line == 4 and python.line == 9
    assert _run(shell, tmp_path, {}, set()) is not None
    assert "ZeroDivisionError" in _run(python, tmp_path, {}, set())


@pytest.mark.parametrize("file", CHECKED, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_to_files_of_the_repository_lead_to_a_file_and_to_a_heading_in_it(file):
    for target, heading in LINK.findall(re.sub(r"```.*?```", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)):
        found = (file.parent / unquote(target)).resolve() if target else file
        generated = found == ROOT / "docs/reference/commands.md"
        assert found.exists() or _made(found) or generated, f"{file}: {target}"
        if heading and found.exists():
            known = {slugify(text.replace("`", ""), "-") for text in HEADING.findall(found.read_text(encoding="utf-8"))}
            assert heading in known, f"{file}: {target}#{heading}"


def _made(page: Path) -> bool:
    """Whether a page of the site stands elsewhere in the repository."""
    from docs.pages import PAGES

    return page.is_relative_to(ROOT / "docs") and str(page.relative_to(ROOT / "docs")) in PAGES.values()


def test_every_document_that_code_rules_and_config_name_is_there():
    files = [path for part in ("tam", "workflow", "config", "profiles") for path in (ROOT / part).rglob("*")]
    texts = [path.read_text("utf-8") for path in files if path.suffix in (".py", ".smk", ".yaml", ".md", ".js")]
    named = {name for text in texts for name in re.findall(r"\bdocs/[\w/-]+\.md", text)}
    assert len(named) > 10 and [name for name in sorted(named) if not (ROOT / name).is_file()] == []
