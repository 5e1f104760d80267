# What the rules share: names of shards, how `tam` is called, options from the config.
import re
import shlex
import statistics
import sys
from pathlib import Path

# Where the metrics find NLTK's tagger and WordNet; None leaves that to the environment.
NLTK_DATA = "downloads/nltk_data" if config["nltk_data"] == "download" else config["nltk_data"]

SHARDS = [f"{index}-of-{config['shards']}" for index in range(config["shards"])]


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(config["models"]),
    method="|".join(config["methods"]),
    shard=r"\d+-of-\d+",


# `python -m tam` works in any directory, with the packages of the environment that runs Snakemake unless a rule brings
# its own (--sdm conda). Idle OpenMP threads sleep: spinning, two jobs on two cores slow each other down many times.
own_environment = "" if workflow.deployment_settings.deployment_method else f"{Path(sys.executable).parent}:"
shell.prefix(
    f"export PATH={shlex.quote(own_environment)}$PATH PYTHONPATH={shlex.quote(str(workflow.basedir))}"
    " OMP_WAIT_POLICY=passive"
    f"{f' NLTK_DATA={shlex.quote(NLTK_DATA)}' if NLTK_DATA else ''}; "
)


def dataset_options(wildcards):
    """The dataset's entry in the config as options of `tam dataset`."""
    entry = config["datasets"][wildcards.dataset]
    return [
        entry["kind"],
        *(f"--{key}={value}" for key, value in entry.items() if key != "kind" and value is not None),
    ]


def model_options(wildcards):
    """The model's entry in the config as options of `tam generate`."""
    entry = config["models"][wildcards.model]
    given = {
        key.replace("_", "-"): value
        for key, value in entry.items()
        if value is not None and value is not False
    }
    return [f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items()]


def given_answers(wildcards):
    """The file of texts to explain, where the model has one."""
    return config["models"][wildcards.model].get("answers") or []


def run_folder(wildcards):
    """Everything of one dataset and model."""
    return f"results/{wildcards.dataset}/{wildcards.model}"


def every(pattern, **values):
    """The files of a run that match ``pattern``, for all shards and the given values of other wildcards."""
    return expand(f"results/{{dataset}}/{{model}}/{pattern}", shard=SHARDS, allow_missing=True, **values)


def every_run(patterns):
    """The files of all runs that match the patterns, run after run."""
    return expand(patterns, dataset=config["datasets"], model=config["models"])


def took_last_time():
    """Jobs and their median time by rule, from the benchmarks of earlier runs in this folder."""
    taken = {}
    for path in sorted(Path("benchmarks").rglob("*.tsv")):
        parts = path.relative_to("benchmarks").parts  # RULE, DATASET/RULE or DATASET/MODEL/RULE...
        if seconds := re.match(r"s\t.*\n([0-9.]+)\t", path.read_text(errors="replace")):
            taken.setdefault(Path(parts[min(2, len(parts) - 1)]).stem, []).append(float(seconds[1]))
    return ", ".join(
        f"{rule} {len(times)} x {statistics.median(times):.0f} s" for rule, times in taken.items()
    )


# Snakemake says that a run is dry only after it has read the rules, and runs no onstart for it.
if any(re.fullmatch(r"--dry-?run|-[a-zA-Z]*n[a-zA-Z]*", option) for option in sys.argv):
    if took := took_last_time():
        print(f"It took, last time (jobs x median): {took}", file=sys.stderr)
