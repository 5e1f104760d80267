"""The workflow in other people's: imported as a module, and found where catalogues look for it."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from tests.workflow.test_workflow import CONFIG, ROOT, jobs

IMPORTING = """\
configfile: "config.yaml"

module maps:
    snakefile: "{root}/workflow/Snakefile"
    config: config
    prefix: "grounding"

use rule * from maps as tam_*

rule own:
    default_target: True
    input: "grounding/results/emoji/tiny/metrics/0-of-1.parquet"
    output: "own.txt"
    shell: "echo ${{{{PYTHONPATH-none}}}} $PATH > {{output}}"
"""


def test_another_workflow_imports_ours_and_keeps_its_own_shell(tmp_path):
    (tmp_path / "workflow").mkdir()
    (tmp_path / "workflow/config.py").write_text("raise ImportError('of the importing workflow')\n")
    (tmp_path / "Snakefile").write_text(IMPORTING.format(root=ROOT))
    config = CONFIG | {"datasets": {"emoji": {"kind": "emoji", "scenes": 1, "seed": 5}}, "shards": 1}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config | {"render": {"samples": []}}))
    # where `python -m tam` is installed, as docs/howto/cluster.md asks for; the folder stands for an installation
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} "$@"\n')
    (tmp_path / "bin/python").chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PATH"] = f"{tmp_path}/bin:{environment['PATH']}"
    snakemake = "import sys; sys.path.insert(0, sys.argv.pop(1)); from snakemake.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", snakemake, ROOT, "--cores", "2"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "grounding/results/emoji/tiny/metrics/0-of-1.parquet").is_file()
    assert (tmp_path / "own.txt").read_text().split() == ["none", environment["PATH"]]
    assert not (tmp_path / "results").exists()


def test_catalogues_find_the_workflow_with_its_profile_and_its_default_target(tmp_path):
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    for snakefile in ("Snakefile", "workflow/Snakefile"):
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "-n", "-s", ROOT / snakefile, "--configfile", "config.yaml"],
            cwd=tmp_path, capture_output=True, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert "profiles/default" in done.stdout + done.stderr and jobs(done)["generate"] == 2
    about = yaml.safe_load((ROOT / ".snakemake-workflow-catalog.yml").read_text(encoding="utf-8"))
    assert (
        about["usage"]["mandatory-flags"]["flags"] is None and "installed" in about["usage"]["mandatory-flags"]["desc"]
    )
    assert Path(ROOT / "config/README.md").is_file()  # what a catalogue shows beside it
