"""The documentation as a site: built strictly, without a network, and read without one."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from typer.main import get_command

import tam
from tam import cache, config, maps, perturbed, rows, scores
from tam.sanity import record
from tests.browser import Browser
from tests.documents import FILES, blocks

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = re.findall(r"^::: (\S+)$", (ROOT / "docs/reference/python.md").read_text(encoding="utf-8"), re.MULTILINE)
FORMATS = {"cache": cache, "maps": maps, "scores": scores, "perturbed": perturbed, "sanity": record, "metrics": rows}


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The folder of the built site; a link or anchor that leads nowhere, or a page that no menu has, is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_pages_ask_no_other_machine_for_anything(site):
    for page in site.rglob("*.html"):
        asked = re.findall(r'<(?:script|img|link|iframe)[^>]*?(?:src|href)="(\w+:)?//', page.read_text("utf-8"))
        assert not asked, page


def test_the_front_page_fits_a_telephone_and_asks_for_nothing(site):
    browser = Browser()
    try:
        for width in (1300, 390):
            browser.protocol(
                "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 400
            )
            browser.open(site / "index.html")
            browser.until("document.readyState == 'complete'")
            assert browser.run("return document.documentElement.scrollWidth") <= width
        assert not [address for address in browser.requests() if address.startswith("http")]
        assert not browser.complaints()
    finally:
        browser.close()


def test_the_config_s_page_has_every_key_of_the_schema(site):
    page = (site / "reference/config.html").read_text("utf-8")
    assert all(f"<code>{key}" in page for key in config.schema()["properties"])


def test_the_commands_page_has_every_command_with_its_options(site):
    from tam.cli import app

    page = (site / "reference/commands.html").read_text("utf-8")
    commands = get_command(app).commands
    for before, names in (("tam", commands), ("tam dataset", commands["dataset"].commands)):
        assert names and all(f"<code>{before} {name}</code>" in page for name in names)
    assert "--eci-cap" in page


def test_every_public_name_is_in_the_reference(site):
    page = (site / "reference/python.html").read_text("utf-8")
    assert all(f'id="{name}"' in page or f'id="{_own(name)}"' in page for name in PUBLIC)
    assert {f"tam.{name}" for name in tam.__all__} <= {*PUBLIC}
    said = {name for file in FILES for name in re.findall(r"`(tam(?:\.\w+)+)", file.read_text("utf-8"))}
    code = {name for file in FILES for block in blocks(file) for name in re.findall(r"\b(tam\.\w+)\(", block.text)}
    names = {name for name in said | code if _is_object(name)}
    assert names <= {*PUBLIC}, names - {*PUBLIC}


def _found(name: str) -> object:
    module, _, last = name.rpartition(".")
    return getattr(importlib.import_module(module), last)


def _own(name: str) -> str:
    """The name that an object has where it is made."""
    found = _found(name)
    return f"{found.__module__}.{found.__qualname__}"


def _is_object(name: str) -> bool:
    """A class or a function, not a module."""
    try:
        found = _found(name)
    except (ImportError, AttributeError):
        return False
    return inspect.isclass(found) or inspect.isfunction(found)


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_public_says_what_it_is_what_it_takes_and_what_it_holds(name):
    found = _found(name)
    assert found.__doc__ and found.__doc__.strip(), name
    if inspect.isclass(found):
        silent = [key for key, value in vars(found).items() if not key.startswith("_") and _undocumented(value)]
        assert not silent, f"{name} says nothing of {silent}"
    arguments = inspect.signature(found).parameters if not issubclass(_kind(found), Exception) else ()
    held = [key for key in arguments if not key.startswith("_")]
    text = inspect.getdoc(found)
    missing = [key for key in held if not re.search(rf"\b{key}\b", text)]
    assert not missing or "docs/explained/protocol.md`` explains each" in text, f"{name} says nothing of {missing}"


def _kind(found: object) -> type:
    return found if inspect.isclass(found) else object


def _undocumented(value: object) -> bool:
    function = value.__func__ if isinstance(value, classmethod) else getattr(value, "fget", None)
    function = function or getattr(value, "func", None) or value
    return inspect.isfunction(function) and not function.__doc__


@pytest.mark.parametrize("page", FORMATS)
def test_a_page_of_a_file_is_of_the_version_that_is_written(page):
    text = (ROOT / f"docs/reference/{page}.md").read_text("utf-8")
    assert re.search(r"^## The file, version (\d+)$", text, re.MULTILINE)[1] == str(FORMATS[page].VERSION)


def test_the_site_is_built_where_git_does_not_look():
    built = yaml.safe_load((ROOT / "mkdocs.yml").read_text("utf-8").replace("!!python", ""))["site_dir"]
    assert f"/{built.partition('/')[0]}/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
