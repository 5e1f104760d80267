"""The profiles that ship: each plans the whole run, and says where a cluster's jobs go."""

import re

import pytest

from tests.workflow.test_workflow import CONFIG, ROOT, jobs, snakemake

LOCAL = {"all", "dataset"}  # where Snakemake itself runs
PLAN = {"dataset": 1, "generate": 2, "maps": 2, "metrics": 2, "tables": 1, "render": 1, "figures": 1, "page": 1}


def resources(said: str) -> dict[str, dict[str, str]]:
    """Rule -> resource -> value, of a dry run; of a rule's jobs the last."""
    found = re.findall(r"rule (\w+):\n.*?resources: ([^\n]*)", said, re.DOTALL)
    return {rule: dict(one.split("=", 1) for one in line.split(", ")) for rule, line in found}


@pytest.mark.parametrize("name", ["default", "gpu", "slurm"])
def test_a_profile_plans_the_whole_run(tmp_path, name):
    done = snakemake(tmp_path, "-n", "--workflow-profile", str(ROOT / "workflow/profiles" / name))
    counts = jobs(done)
    assert {rule: counts[rule] for rule in PLAN} == PLAN
    asks = {rule for rule, wanted in resources(done.stdout).items() if wanted.get("gpu") == "1"}
    assert asks == (set() if name == "default" else {"generate"})


def test_the_config_says_where_a_cluster_s_jobs_go(tmp_path):
    cluster = {"account": "vision", "partition": "cpu", "gpu_partition": "a100"}
    slurm = ["-n", "--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
    wanted = resources(snakemake(tmp_path, *slurm, config=CONFIG | {"cluster": cluster}).stdout)
    assert {each["slurm_account"] for rule, each in wanted.items() if rule not in LOCAL} == {"vision"}
    assert (wanted["generate"]["slurm_partition"], wanted["maps"]["slurm_partition"]) == ("a100", "cpu")
    wanted = resources(snakemake(tmp_path, *slurm, config=CONFIG | {"cluster": {"partition": "all"}}).stdout)
    assert (wanted["generate"]["slurm_partition"], wanted["maps"]["slurm_partition"]) == ("all", "all")
    assert "slurm_partition" not in resources(snakemake(tmp_path, *slurm).stdout)["maps"]


def test_resources_of_the_command_line_win_over_the_config(tmp_path):
    slurm = ["-n", "--workflow-profile", str(ROOT / "workflow/profiles/slurm")]
    own = ["--set-resources", "generate:slurm_partition=h100"]
    done = snakemake(tmp_path, *slurm, *own, config=CONFIG | {"cluster": {"partition": "all"}})
    assert resources(done.stdout)["generate"]["slurm_partition"] == "h100"


def test_the_profiles_that_people_are_told_of_are_there():
    files = (ROOT / "README.md", *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md"))
    texts = [path.read_text(encoding="utf-8") for path in files]
    named = {name for text in texts for name in re.findall(r"--workflow-profile (workflow/profiles/\w+)", text)}
    assert named and all((ROOT / name / "config.yaml").is_file() for name in named)
