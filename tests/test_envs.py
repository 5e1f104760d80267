import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]


def test_the_conda_environment_has_the_pins_of_the_lock():
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["eval"]
    names = {re.match(r"[a-z0-9._-]+", line)[0] for line in declared}
    conda = yaml.safe_load((ROOT / "envs/tam.yaml").read_text())["dependencies"][-1]["pip"]
    assert sorted(conda) == sorted(f"{name}=={locked[name]}" for name in names)
