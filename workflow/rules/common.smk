# What the rules share: names of shards, how `tam` is called, options from the config.
import json
import re
import shlex
import sys
from pathlib import Path

from snakemake.settings.types import DeploymentMethod

from tam.config import scored_methods
from tam.snakefile import PACKAGE, alone

# Where the metrics find NLTK's tagger and WordNet; None leaves that to the environment.
NLTK_DATA = "downloads/nltk_data" if config["nltk_data"] == "download" else config["nltk_data"]

SHARDS = [f"{index}-of-{config['shards']}" for index in range(config["shards"])]

METHODS = [f"--method={name}" for name in config["methods"]]

# Those that the stage `attribute` has to compute scores of, with the model.
SCORED = scored_methods(config)


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    shard=r"\d+-of-\d+",


# `python -m tam` works in any directory, with the packages of the environment that runs Snakemake, or with those of the
# one that a rule brings (--sdm conda), to which `tam` alone is added. A workflow that imports this one keeps its own
# shell; so nothing is added there, and our rules run where `tam` is installed.
MAIN = workflow.modifier.is_main_snakefile()
ENVIRONMENT = "../../envs/tam.yaml" if MAIN else None
if MAIN and DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method:
    shell.prefix(f"export PYTHONPATH={shlex.quote(str(alone(Path('.snakemake/tam').absolute())))}; ")
elif MAIN:
    shell.prefix(
        f"export PATH={shlex.quote(f'{Path(sys.executable).parent}:')}$PATH"
        f" PYTHONPATH={shlex.quote(str(PACKAGE.parent))}; "
    )


def dataset_options(wildcards):
    """The dataset's entry in the config as options of `tam dataset`."""
    entry = config["datasets"][wildcards.dataset]
    return [
        entry["kind"],
        *(
            f"--{key.replace('_', '-')}={value}"
            for key, value in entry.items()
            if key != "kind" and value is not None
        ),
    ]


def model_options(wildcards, input):
    """The model's entry in the config as options of `tam generate`."""
    entry = config["models"][wildcards.model] | {"answers": input.answers or None}
    template = entry.pop("template", None) or {}
    given = {
        key.replace("_", "-"): value
        for key, value in entry.items()
        if key != "engine" and value is not None and value is not False
    }
    return [
        *(f"--{key}" if value is True else f"--{key}={value}" for key, value in given.items()),
        *(f"--template={key}={json.dumps(value)}" for key, value in template.items()),
    ]


def checkpoint_options(wildcards):
    """The model's entry as options of the stages that take its answers up again: which weights, and where."""
    entry = config["models"][wildcards.model]
    options = [
        f"--{key}={entry[key]}" for key in ("model", "revision", "device") if entry.get(key) is not None
    ]
    return options + (["--trust-remote-code"] if entry.get("trust_remote_code") else [])


def attribute_options():
    """What scores depend on, as options of `tam attribute`."""
    asked = config["attribute"]
    layers = asked["attention_layers"]
    given = {
        "attention-layers": layers if isinstance(layers, str) else ",".join(map(str, layers)),
        "answer-layer": asked["answer_layer"],
        "surgery-layers": asked["surgery_layers"],
        "occlusion-cells": asked["occlusion"]["cells"],
        "occlusion-step": asked["occlusion"]["step"],
    }
    return [f"--{key}={value}" for key, value in given.items()] + (["--prompt"] if asked["prompt"] else [])


def scores_options(wildcards, input):
    """Of `tam maps`, where a method needs scores: what is made of them needs no model."""
    asked = config["attribute"]
    return (
        [f"--scores={input.scores}", f"--sign={asked['sign']}", f"--scope={asked['scope']}"] if SCORED else []
    )


def faithfulness_options(wildcards):
    """What the config asks of `tam perturb`."""
    asked = config["faithfulness"]
    return [
        *(f"--method={name}" for name in asked["methods"]),
        *(f"--fraction={fraction}" for fraction in asked["fractions"]),
        *([] if asked["samples"] == "all" else [f"--samples={asked['samples']}"]),
        *(f"--{key}={asked[key]}" for key in ("seed", "blocks", "sets", "words")),
        *([] if asked["ordered"] else ["--shared"]),
        *(["--sentences"] if config["tagging"] == "sentence" else []),
    ]


def perturbed():
    """The memos of a shard, one a baseline; none where the config asks for no faithfulness."""
    return expand(
        "results/{dataset}/{model}/perturb/{baseline}/{shard}.h5",
        baseline=config.get("faithfulness", {}).get("baselines", []),
        allow_missing=True,
    )


def given_answers(wildcards):
    """The file of texts to explain, where somebody else answers for the model."""
    entry = config["models"][wildcards.model]
    if entry.get("engine"):
        return "results/{dataset}/{model}/ask/{shard}.jsonl"
    answers = entry.get("answers") or []
    return answers.get(wildcards.dataset, []) if isinstance(answers, dict) else answers


def nltk_data(wildcards, input):
    """Where the tagger and WordNet are, as a variable of the environment; nothing where the environment says it."""
    return [f"NLTK_DATA={path}" for path in [input.nltk_data] if path]


def files(*kinds):
    """The rule's inputs of these names, each file as an option: --metrics=FILE --metrics=FILE ..."""
    return lambda wildcards, input: [f"--{kind}={path}" for kind in kinds for path in input[kind]]


def store(stage):
    """Where a stage that resumes keeps what is finished, as an option; empty where the config names no folder. A
    resource: a param would redo finished shards."""
    folder = f"--store={config['store']}/{{dataset}}/{{model}}/{stage}"
    return lambda wildcards: folder.format(**wildcards) if config["store"] else ""


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
