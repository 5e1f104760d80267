"""Commands and code of README, CONTRIBUTING and docs/. ``python -m tests.documents`` draws docs/images by them.

A command is run, in its order, in a folder where a small run of the embedded model lies; or it says in its own line
what it needs that a test does not have (``# needs the hub``); or the comment ``<!-- asserted by FILE::NAME -->`` above
its block names the test that runs it.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import cv2
from PIL import Image

from tests.forked import forked

ROOT = Path(__file__).resolve().parents[1]
FILES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
IMAGES = ROOT / "docs/images"
SHELL, PYTHON = ("bash", "console"), "python"
LACKED = ("the hub", "a GPU", "a cluster", "a network", "a server", "root", "minutes")
NEEDS = re.compile(rf"#.*\bneeds ({'|'.join(LACKED)})\b")
FENCE = re.compile(
    r"(?:<!-- asserted by (?P<test>\S+) -->\n)?^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


class Block(NamedTuple):
    """A fenced block: where it stands, in which language, and the test that asserts it, if it names one."""

    file: Path
    line: int
    language: str
    text: str
    test: str

    @property
    def where(self) -> str:
        return f"{os.path.relpath(self.file, ROOT)}, line {self.line}"

    @property
    def written(self) -> str | None:
        """The name of the file that its first line says it is."""
        named = re.match(r"# ([\w-]+\.(?:py|yaml))\b", self.text)
        return named and named[1]

    @property
    def commands(self) -> list[str]:
        """Those that are run here: of a shell, its lines as one script; the whole of Python."""
        if self.test or (self.language == PYTHON and NEEDS.search(self.text)):
            return []
        if self.language == PYTHON:
            return [self.text]
        lines = self.text.splitlines() if self.language in SHELL else []
        script = [line.removeprefix("$ ") for line in lines if line and line[0] != "#" and not NEEDS.search(line)]
        return ["\n".join(script)] if script else []


def blocks(file: Path) -> list[Block]:
    text = file.read_text(encoding="utf-8")
    return [
        Block(
            file, text.count("\n", 0, found.start("language")) + 2, found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE), found["test"] or "",
        )
        for found in FENCE.finditer(text)
    ]  # fmt: skip


def prepare(folder: Path, python: Path) -> None:
    """What README and docs take to be there: a checkout whose default scenes are four, and its results; two photos, a
    clip, ``mine.yaml``."""
    for name in ("Snakefile", "workflow", "profiles", "tests"):
        (folder / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "config", folder / "config")
    for path in (folder / "config").glob("*.yaml"):
        path.write_text(path.read_text(encoding="utf-8").replace("scenes: 48", "scenes: 4"), encoding="utf-8")
    default = (folder / "config/config.yaml").read_text(encoding="utf-8")
    (folder / "config/config.yaml").write_text(re.sub(r"samples: .*", 'samples: ["000000000003"]', default))
    mine = (folder / "config/config.yaml").read_text(encoding="utf-8")
    (folder / "mine.yaml").write_text(re.sub(r"methods: .*", "methods: [activation, tam]", mine))
    binaries = folder / ".venv/bin"
    binaries.mkdir(parents=True)
    rules = python.with_name("python")  # which forks what the rules call
    workflow = f"exec {python} -m snakemake"  # of which `tam run` would start jobs that do not fork
    for name, start in {
        "python": f"exec {rules}", "snakemake": workflow,
        "tam": f'[ "$1" = run ] && shift && {workflow} "$@"\nexec {rules} -m tam',
    }.items():  # fmt: skip
        (binaries / name).write_text(f'#!/bin/sh\n{start} "$@"\n')
        (binaries / name).chmod(0o755)


def media(folder: Path) -> None:
    """Ten scenes of the embedded model's world, photos of a dog, an elephant and a pizza, and a clip."""
    from tam.datasets.emoji import scenes

    scenes.write(folder / "scenes", 10, 0)
    photo = folder / "scenes/image/000000000010.jpg"
    for name, number in (("photo", 10), ("before", 1), ("after", 2)):
        shutil.copy(folder / f"scenes/image/{number:012d}.jpg", folder / f"{name}.jpg")
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 2.0, (128, 128))
    for _ in range(4):
        writer.write(cv2.resize(cv2.imread(str(photo)), (128, 128)))
    writer.release()


def unasked(command: str, asked: set[str]) -> str:
    """A command's lines but questions that were asked already, of which no answer changes; those are noted."""
    kept = []
    for line in command.splitlines():
        question = re.sub(r"\s+# .*", "", line.removeprefix(".venv/bin/"))
        if not question.startswith("tam explain ") or question not in asked:
            kept.append(line)
        asked.add(question)
    return "\n".join(kept)


def run(command: str, folder: Path) -> str | None:
    """What a command said, if it failed."""
    environment = os.environ | {
        "PATH": f"{folder / '.venv/bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
        "HOME": str(folder),
    }  # fmt: skip
    done = subprocess.run(
        ["bash", "-euxc", command], cwd=folder, env=environment, text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )  # fmt: skip
    return f"exit code {done.returncode}: {done.stdout[-3000:]}" if done.returncode else None


def draw() -> None:
    """Run the tutorial's commands, and keep the pictures that its pages show."""
    tutorial = ROOT / "docs/tutorial.md"
    with tempfile.TemporaryDirectory() as name, forked(Path(name)) as python:
        folder = Path(name) / "run"
        folder.mkdir()
        prepare(folder, python)
        for block in blocks(tutorial):
            if block.written:
                (folder / block.written).write_text(block.text, encoding="utf-8")
            for command in block.commands if block.language in SHELL else ():
                if failed := run(command, folder):
                    sys.exit(failed)
        for name in shown(tutorial):
            found = drawn(folder, name)
            if found.suffix == ".png":
                Image.open(found).convert("RGB").quantize(256).save(IMAGES / name, optimize=True)
            else:
                shutil.copy(found, IMAGES / name)
            print(f"{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


def shown(page: Path) -> list[str]:
    """Names of the pictures on a page."""
    return re.findall(r"\(images/(\S+)\)", page.read_text(encoding="utf-8"))


def drawn(folder: Path, name: str) -> Path:
    """Where the tutorial's commands left a picture: a figure that was asked for, or in the results."""
    return next(path for path in (folder / name, *(folder / "results").rglob(name)) if path.is_file())


if __name__ == "__main__":
    draw()
