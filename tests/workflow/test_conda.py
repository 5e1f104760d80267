"""`--sdm conda`: rules with the packages of `envs/tam.yaml`, to which `tam` alone is added. `conda` is played here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.workflow.test_module import IMPORTING
from tests.workflow.test_workflow import CONFIG, ROOT

SAYS = {
    "info": {"conda_prefix": "", "root_prefix": "", "platform": "linux-64"},
    "config": {"get": {"channel_priority": "strict"}},
}
CONDA = """#!{python}
import json, os, sys
from pathlib import Path
said, asked = {said!r}, sys.argv[1:]
if asked == ["--version"]:
    print("conda 24.7.1")
elif asked[:2] == ["env", "create"]:
    binaries = Path(asked[asked.index("--prefix") + 1]) / "bin"
    binaries.mkdir(parents=True)
    (binaries / "python").write_text({within!r})
    (binaries / "python").chmod(0o755)
elif asked[0] in said:
    print(json.dumps(said[asked[0]]))
"""
WITHIN = """#!/bin/sh
[ "$(ls -A "$PYTHONPATH")" = tam ] || {{ echo "not tam alone: '$PYTHONPATH'"; exit 3; }}
exec {python} "$@"
"""


@pytest.fixture
def conda(tmp_path) -> Path:
    """The folder of a ``conda`` whose environments have a Python that wants ``tam`` alone added to its packages."""
    binaries = tmp_path / "conda/bin"
    binaries.mkdir(parents=True)
    says = json.loads(json.dumps(SAYS).replace('""', json.dumps(str(binaries.parent))))
    within = WITHIN.format(python=sys.executable)
    (binaries / "conda").write_text(CONDA.format(python=sys.executable, said=says, within=within))
    (binaries / "activate").write_text('export PATH="$1/bin:$PATH"\n')
    (binaries / "conda").chmod(0o755)
    return binaries


def run(folder: Path, path: list[Path], *options: str) -> Path:
    """The only environment that was made, or the folder where it would be."""
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | {"shards": 1}))
    names = {"PATH": os.pathsep.join([*map(str, path), os.environ["PATH"]])}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | names
    snakemake = "import sys; sys.path.insert(0, sys.argv.pop(1)); from snakemake.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", snakemake, ROOT, "--cores", "1", "--sdm", "conda", *options], cwd=folder,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / ".snakemake/conda"


def test_rules_run_with_the_packages_of_their_environment_and_tam(conda, tmp_path):
    made = run(tmp_path, [conda], "-s", str(ROOT / "Snakefile"), "--configfile", "config.yaml", "--",
               "data/emoji/manifest.jsonl")  # fmt: skip
    assert (tmp_path / "data/emoji/manifest.jsonl").is_file() and list(made.glob("*/bin/python"))


def test_a_workflow_that_imports_ours_runs_it_where_tam_is_installed_with_conda_too(conda, tmp_path):
    (tmp_path / "Snakefile").write_text(IMPORTING.format(root=ROOT))
    installed = tmp_path / "installed"
    installed.mkdir()
    (installed / "python").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    (installed / "python").chmod(0o755)
    made = run(tmp_path, [installed, conda], "--", "grounding/data/emoji/manifest.jsonl")
    assert (tmp_path / "grounding/data/emoji/manifest.jsonl").is_file() and not list(made.glob("*/bin/python"))
