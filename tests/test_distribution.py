"""What people install: wheel and sdist, used in an environment of their own, without a checkout."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import tam
from tam.cli import EXTRAS
from tests.test_rooms import imports_of

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with the sdist, and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("built")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module")
def python(built, tmp_path_factory) -> Path:
    """The Python of an environment that holds the wheel; its dependencies are seen where the tests have them."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    (wheel,) = built.glob("*.whl")
    pip = [folder / "bin/python", "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(str(Path(yaml.__file__).parents[1]))
    return folder / "bin/python"


def call(python: Path, *arguments: object, folder: Path, check: bool = True) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [python, *map(str, arguments)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 or not check, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def test_wheel_and_sdist_hold_all_files_of_the_package_and_the_workflow(built):
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in tracked if name.startswith("tam/")} <= names
    workflow = {name for name in tracked if name.startswith(("config/", "workflow/rules/", "workflow/schemas/"))}
    assert {f"tam/pipeline/{name}" for name in workflow | {"Snakefile", "envs/tam.yaml"}} <= names
    with tarfile.open(sdist) as archive:
        within = {name.partition("/")[2] for name in archive.getnames()}
    parts = (
        "tam/", "tests/", "workflow/", "config/", "docs/", "envs/", "mkdocs.yml", "Snakefile", "LICENSE", "README.md",
        "CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff", "Makefile", "pyproject.toml", "requirements.lock",
    )  # fmt: skip
    assert {name for name in tracked if name.startswith(parts)} <= within
    assert not any(name.startswith(("results", ".venv", "data/")) for name in within)


def test_an_installed_package_explains_makes_data_and_runs_the_pipeline(python, tmp_path):
    where = call(python, "-c", "import tam; print(tam.__file__)", folder=tmp_path).stdout
    assert str(ROOT) not in where
    config = {
        "datasets": {"emoji": {"kind": "emoji", "scenes": 1, "seed": 0}},
        "models": {"tiny": {"model": "embedded"}},
        "shards": 1,
        "render": {"samples": []},
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    done = call(python, "-m", "tam", "run", "--configfile", "mine.yaml", "--until", "tables", folder=tmp_path)
    assert "profiles/default" in done.stdout + done.stderr  # found beside the Snakefile
    assert (tmp_path / "results/emoji/tiny/tables/ablation.csv").is_file()
    call(python, "-m", "tam", "dataset", "emoji", "--scenes", "1", "--out", "scenes", folder=tmp_path)
    picture = next((tmp_path / "scenes/image").iterdir())
    call(python, "-m", "tam", "explain", picture, folder=tmp_path)
    assert (tmp_path / f"explanation/{picture.stem}/index.html").is_file()


def test_a_package_that_is_missing_is_named_with_the_extra_that_brings_it(python, tmp_path):
    code = "import sys, tam.cli; sys.modules[{0!r}] = None; tam.cli.app = lambda: __import__({0!r}); tam.cli.main()"
    for name, extra in EXTRAS.items():
        done = call(python, "-c", code.format(name), folder=tmp_path, check=False)
        said = f'tam: error: {name} is not installed; cure: pip install "token-activation-maps[{extra}]"'
        assert (done.returncode, done.stderr.strip()) == (1, said)


def test_every_package_outside_of_the_core_is_known_with_its_extra():
    """What ``tam`` imports is a dependency of the core, or has an extra in ``EXTRAS``."""
    core = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    core += ["tokenizers, which transformers brings"]
    names = {"cv2": "opencv-python-headless", "PIL": "pillow", "fontTools": "fonttools"}
    imported = {
        name.partition(".")[0] for path in (ROOT / "tam").rglob("*.py") for _, name in imports_of(path, ROOT / "tam")
    }
    foreign = imported - set(sys.stdlib_module_names) - {"tam", "peft"}
    wanted = {names.get(name, name.replace("_", "-")) for name in foreign - set(EXTRAS)}
    missing = {name for name in wanted if not any(line.startswith(name) for line in core)}
    assert not missing


def test_the_version_stands_in_one_place(built):
    assert [path.name.split("-")[1] for path in built.glob("*.whl")] == [tam.__version__]
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))["version"] == tam.__version__


def test_what_each_extra_brings_is_told():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    table = (ROOT / "docs/start.md").read_text(encoding="utf-8").partition("| extra |")[2].partition("\n\n")[0]
    assert {*re.findall(r"`(\w+)`", "".join(re.findall(r"^\|([^|]+)\|", table, re.MULTILINE)))} == {*extras}
    assert {*EXTRAS.values()} <= {*extras}
