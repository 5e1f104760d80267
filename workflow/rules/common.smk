# What the rules share: names of shards, how `tam` is called, options from the config.
import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

# Where the metrics find NLTK's tagger and WordNet; None leaves that to the environment.
NLTK_DATA = "downloads/nltk_data" if config["nltk_data"] == "download" else config["nltk_data"]

SHARDS = [f"{index}-of-{config['shards']}" for index in range(config["shards"])]

METHODS = [f"--method={name}" for name in config["methods"]]


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    shard=r"\d+-of-\d+",


# `python -m tam` works in any directory, with the packages of the environment that runs Snakemake unless a rule brings
# its own (--sdm conda). Idle OpenMP threads sleep: spinning, two jobs on two cores slow each other down many times.
own_environment = DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method
shell.prefix(
    f"export PATH={shlex.quote(f'{Path(sys.executable).parent}:' if own_environment else '')}$PATH"
    f" PYTHONPATH={shlex.quote(str(workflow.basedir))} OMP_WAIT_POLICY=passive"
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
    entry = config["models"][wildcards.model] | {"answers": given_answers(wildcards) or None}
    template = entry.pop("template", None) or {}
    given = {
        key.replace("_", "-"): value
        for key, value in entry.items()
        if value is not None and value is not False
    }
    return [
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items()),
        *(f"--template={key}={json.dumps(value)}" for key, value in template.items()),
    ]


def given_answers(wildcards):
    """The file of texts to explain, where the model has one for the dataset."""
    answers = config["models"][wildcards.model].get("answers") or []
    return answers.get(wildcards.dataset, []) if isinstance(answers, dict) else answers


def files(*kinds):
    """The rule's inputs of these names, each file as an option: --metrics=FILE --metrics=FILE ..."""
    return lambda wildcards, input: [f"--{kind}={path}" for kind in kinds for path in input[kind]]


def every(pattern):
    """The files of a run that match ``pattern``, for all shards."""
    return expand(f"results/{{dataset}}/{{model}}/{pattern}", shard=SHARDS, allow_missing=True)


def every_run(patterns):
    """The files of all runs that match the patterns, in the config's order."""
    return expand(patterns, dataset=config["datasets"], model=config["models"])


def queue(partition="partition"):
    """Where a job goes on a cluster, by the config; a profile's or the command line's resources win over it."""
    cluster = config["cluster"]
    asked = {
        "slurm_account": "account",
        "slurm_partition": partition if partition in cluster else "partition",
    }
    return {resource: cluster[key] for resource, key in asked.items() if key in cluster}
