"""Which room of ``tam/`` knows which other, and which library: docs/project/architecture.md, checked."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TAM = Path(__file__).parents[1] / "tam"
DOCS = TAM.parent / "docs/project/architecture.md"

NOUNS = (
    "layout", "picture_grid", "manifest", "media", "pictures", "label_map", "protocol", "records", "evidence",
    "thoughts", "wordnet", "tagging", "words", "cell_sets", "perturbed", "cache", "scores", "maps", "rows", "run",
)  # fmt: skip
"""Each may know those before it."""

BASE = {*NOUNS, "errors", "system"}

ROOMS: dict[str, set[str]] = {
    "errors": set(),
    "system": {"errors"},
    **{noun: {"errors", "system", *NOUNS[:place]} for place, noun in enumerate(NOUNS)},
    # with the model
    "families": BASE,
    "model": BASE | {"families"},
    "shard": BASE,
    "generation": BASE | {"families", "model", "shard"},
    "attribution": BASE | {"families", "generation", "methods", "model", "shard"},
    "sanity": BASE | {"figures", "generation", "methods", "metrics", "model", "shard", "tables"},
    "perturb": BASE | {"families", "generation", "model", "shard"},
    # without it
    "ask": BASE,
    "datasets": BASE,
    "methods": BASE,
    "metrics": BASE | {"selection"},
    "tables": BASE | {"methods", "metrics"},
    "render": BASE,
    "figures": BASE | {"metrics", "render", "tables"},
    "export": BASE | {"metrics", "render", "selection"},
    "page": BASE | {"methods", "metrics", "render", "tables"},
    "progress": BASE | {"shard"},
    # doors
    "snakefile": set(),
    "config": BASE | {"methods", "snakefile"},
    "pin": {"errors", "system"},
    "check": BASE | {"attribution", "datasets", "embedded", "generation", "methods", "model", "pin"},
    "selection": {"errors"},
    "explanation": BASE
    | {"embedded", "attribution", "export", "figures", "generation", "methods", "model", "page", "render", "selection"},
    "demo": {"errors", "explanation", "media"},
    "embedded": BASE | {"datasets", "explanation", "model"},
    "__init__": {"explanation", "methods"},
    "__main__": {"cli"},
}
ROOMS["cli"] = set(ROOMS) - {"__main__"}
"""Room -> the rooms that it may import."""

LIBRARIES: dict[str, set[str]] = {
    "snakemake": set(),
    "transformers": {"attribution", "embedded", "families", "model"},
    "torch": {
        "attribution",
        "check",
        "embedded",
        "generation",
        "methods",
        "model",
        "perturb",
        "sanity",
        "shard",
        "system",
    },
    "h5py": {"cache", "maps", "perturbed", "sanity", "scores", "system"},
    "nltk": {"datasets", "embedded", "metrics", "tagging"},
    "matplotlib": {"figures", "sanity"},
    "pandas": {"figures"},
    "typer": {"cli", "datasets", "embedded"},
    "gradio": {"demo"},
}
"""Library -> the only rooms that may import it; methods know torch for its types."""


def broken_rules(root: Path) -> list[str]:
    """What is imported in the package at ``root`` against the tables: file, line, import, rule."""
    broken = []
    for path in sorted(root.rglob("*.py")):
        where, room = path.relative_to(root.parent), _room(path, root)
        if room not in ROOMS:
            broken.append(f"{where}: no room of tests/test_rooms.py; enter it there and in architecture.md")
            continue
        imports = [(line, name, _broken(room, name, root)) for line, name in imports_of(path, root)]
        broken += [f"{where}, line {line}: imports {name}; {rule}" for line, name, rule in imports if rule]
    return broken


def _broken(room: str, name: str, root: Path) -> str | None:
    """The rule against an import, if there is one."""
    top, _, rest = name.partition(".")
    if top != root.name:
        only = LIBRARIES.get(top)
        return None if only is None or room in only else f"{top} is for {_listed(only)}"
    other = rest.partition(".")[0]
    if other == room or other not in {_room(path, root) for path in root.rglob("*.py")}:
        return None  # its own, or the package itself, for its version
    return None if other in ROOMS[room] else f"{room} may know {_listed(ROOMS[room])}"


def imports_of(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything that a file imports, wherever it stands in it."""
    package = path.relative_to(root.parent).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) + 1 - node.level]] if node.level else []
            base += [node.module] if node.module else []
            yield from ((node.lineno, ".".join([*base, alias.name])) for alias in node.names)


def _room(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def _listed(rooms: set[str]) -> str:
    return ", ".join(sorted(rooms)) or "no room"


def test_every_room_imports_only_what_its_line_in_the_table_allows():
    broken = broken_rules(TAM)
    assert not broken, "\n".join(["", *broken])


def test_a_planted_import_is_found_with_its_file_line_and_rule(tmp_path):
    root = tmp_path / "tam"
    files = {
        "__init__.py": "",
        "errors.py": "import json\n",
        "page/stage.py": "from tam import errors\n\ndef late():\n    from tam.model import checkpoint\n",
        "page/near.py": "from ..model import checkpoint\nfrom . import stage\nfrom tam import __version__\n",
        "model/checkpoint.py": "import torch\nimport transformers\n",
        "maps.py": "import torch.nn as nn\nimport tam.page.stage\n",
        "attic/old.py": "import json\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    found = [line.partition(";")[0] for line in broken_rules(root)]
    assert found == [
        "tam/attic/old.py: no room of tests/test_rooms.py",
        "tam/maps.py, line 1: imports torch.nn",
        "tam/maps.py, line 2: imports tam.page.stage",
        "tam/page/near.py, line 1: imports tam.model.checkpoint",
        "tam/page/stage.py, line 4: imports tam.model.checkpoint",
    ]
    assert "page may know cache, cell_sets, errors" in broken_rules(root)[-1]
    assert "torch is for attribution, check, embedded" in broken_rules(root)[1]


@pytest.mark.parametrize(
    ("names", "heavy"),
    [
        (
            [
                *(noun for noun in NOUNS if noun not in ("media", "pictures", "label_map")),
                "methods.registry",
                "metrics.catalogue",
                "cli",
            ],
            {"cv2", "nltk", "pandas", "torch"},
        ),
        (["methods.stage", "metrics.stage", "tables.overview", "render.stage", "figures.stage"], {"nltk", "torch"}),
        (["media", "pictures", "label_map", "page.stage"], {"nltk", "pandas", "matplotlib", "torch"}),
    ],
    ids=["names", "stages", "page"],
)
def test_a_mere_import_loads_no_heavy_library(names, heavy):
    modules = ", ".join(f"tam.{name}" for name in names)
    code = f"import sys, {modules}; loaded = {heavy} & sys.modules.keys(); sys.exit(str(loaded) if loaded else 0)"
    done = subprocess.run([sys.executable, "-c", code], cwd=TAM.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_tables_name_only_rooms_that_are_there():
    assert set(ROOMS) == {_room(path, TAM) for path in TAM.rglob("*.py")}
    assert set().union(*ROOMS.values(), *LIBRARIES.values()) <= set(ROOMS)


def test_the_plan_of_the_house_names_every_room():
    text = DOCS.read_text(encoding="utf-8")
    missing = [room for room in ROOMS if not room.startswith("__") and f"`{room}`" not in text]
    assert not missing, f"docs/project/architecture.md does not name {missing}"
