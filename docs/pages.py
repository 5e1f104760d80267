"""Pages of the site that stand elsewhere or are made: a hook of MkDocs (mkdocs.yml).

Texts that belong beside what they speak of, as CONTRIBUTING.md, become pages, and every link to one of them leads to
its page. The commands' page is what ``tam COMMAND --help`` says. Nothing is written down twice.
"""

import re
from pathlib import Path
from posixpath import dirname, join, normpath, relpath

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.main import get_command

from tam.cli import app

ROOT = Path(__file__).parents[1]

PAGES = {
    "CHANGELOG.md": "project/changes.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "config/README.md": "reference/config.md",
    "README.md": "readme.md",
    "tam/datasets/emoji/README.md": "project/emoji.md",
    "tam/embedded/README.md": "project/embedded.md",
}
"""File of the repository -> its page."""

LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
MENTION = re.compile(r"<code>docs/([\w/]+)\.md</code>")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    made = {page: (ROOT / file).read_text(encoding="utf-8") for file, page in PAGES.items()}
    for page, text in (made | {"reference/commands.md": commands()}).items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Links from where the text stands, to pages from where it is shown."""
    shown = page.file.src_uri
    stands = next((file for file, place in PAGES.items() if place == shown), f"docs/{shown}")
    return LINK.sub(lambda link: _link(link, stands, shown), markdown)


def _link(link: re.Match[str], stands: str, shown: str) -> str:
    """As it is to stand in the page; a file that the site does not have is text."""
    shows, text, target, place = link.groups("")
    file = normpath(join(dirname(stands), target))
    if file not in PAGES and not file.startswith("docs/"):
        return text if (ROOT / file).exists() else link[0]
    page = PAGES.get(file, file.removeprefix("docs/"))
    return f"{shows}[{text}]({relpath(page, dirname(shown) or '.')}{place})"


def on_page_content(html: str, page: Page, **_: object) -> str:
    """What docstrings, help texts and the config's schema call ``docs/...md`` becomes a link."""
    here = dirname(page.file.dest_uri) or "."
    return MENTION.sub(lambda name: f'<a href="{relpath(f"{name[1]}.html", here)}">{name[1]}</a>', html)


def commands() -> str:
    """All commands with their options, as Markdown."""
    command = get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="tam", title="Commands")
    return re.sub(r"docs/([\w/]+)\.md", r"[\1](../\1.md)", text)
