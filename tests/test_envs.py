import re
import tomllib
from pathlib import Path

import yaml

from tests import licences

ROOT = Path(__file__).resolve().parents[1]


def test_the_conda_environment_has_the_pins_of_the_lock():
    locked = dict(re.findall(r"^([a-z0-9._-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = project["dependencies"] + project["optional-dependencies"]["eval"]
    names = {re.match(r"[a-z0-9._-]+", line)[0] for line in declared}
    conda = yaml.safe_load((ROOT / "envs/tam.yaml").read_text())["dependencies"][-1]["pip"]
    assert sorted(conda) == sorted(f"{name}=={locked[name]}" for name in names)


def test_the_container_has_the_packages_of_the_set_up():
    setup, container = ((ROOT / "envs" / name).read_text() for name in ("setup.sh", "Dockerfile"))
    wanted = re.search(r'wanted=\((.*?) "\$@"\)', setup)[1].split()
    installed = re.search(r"--no-install-recommends(.*?)&& rm", container, re.DOTALL)[1].replace("\\\n", " ").split()
    assert installed == [name for name in wanted if name != "python3-venv"]
    assert "pip install --no-cache-dir --require-hashes -r /opt/tam/requirements.lock" in container
    assert "FROM python:3.11-slim-bookworm" in container  # the Debian and the Python of README.md
    assert "ENV HOME=/data USER=tam\nWORKDIR /data\n" in container  # Snakemake asks for both


def test_the_container_gets_what_the_wheel_is_built_from_and_nothing_else():
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = {name.split("/")[0] for name in [*wheel["packages"], *wheel["force-include"]]}
    sources |= {"LICENSE", "README.md", "pyproject.toml", "requirements.lock"}
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")]
    assert lines[0] == "*" and lines[-1] == "**/__pycache__"
    assert sorted(line.removeprefix("!") for line in lines[1:-1]) == sorted(sources)


def test_the_licences_of_all_that_is_installed_are_known_and_allowed():
    listed = dict(re.findall(r"^\| ([a-z0-9._-]+) \| ([^|]+?) \|", licences.TABLE.read_text(), re.MULTILINE))
    assert listed.pop("package") == "licence"
    assert list(listed) == licences.locked(), "write it anew: python -m tests.licences"
    assert [name for name, licence in listed.items() if not licences.allowed(licence)] == []
