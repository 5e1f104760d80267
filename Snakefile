# Token activation maps: dataset -> generate (-> attribute) -> maps -> metrics -> tables, render, figures, page
import sys

from snakemake.utils import min_version

from tam.errors import InputError
from tam.config import check, method_files, record

min_version("9.27")

# A config of one's own replaces the default, it does not extend it: else the embedded data would always run along.
if not workflow.overwrite_configfiles:

    configfile: workflow.source_path("config/config.yaml")


try:
    check(config)
except InputError as error:
    sys.exit(f"tam: error: {error}")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/ask.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/attribute.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/tables.smk"


if "faithfulness" in config:

    include: "workflow/rules/perturb.smk"


if "sanity" in config:

    include: "workflow/rules/sanity.smk"


include: "workflow/rules/render.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/page.smk"


rule all:
    default_target: True
    input:
        "results/report",
        "results/tables",
        # all of them, not only the last: a lost shard is then noticed and made again
        every_run(
            [
                *every("generate/{shard}.h5"),
                *(every("attribute/{shard}.h5") if SCORED else []),
                *every("maps/{shard}.h5"),
                *every("metrics/{shard}.parquet"),
                "results/{dataset}/{model}/tables",
                # without names of samples `tam render` draws all of them
                *(["results/{dataset}/{model}/render"] if config["render"]["samples"] else []),
                "results/{dataset}/{model}/figures",
                *(["results/{dataset}/{model}/sanity/sanity.h5"] if "sanity" in config else []),
            ]
        ),
        expand("results/{dataset}/comparison", dataset=config["datasets"])
        if len(config["models"]) > 1
        else [],
    localrule: True


# What this start asks for, so that `tam status` knows what an earlier one left.
onstart:
    record(config, "results/config.json")


# What it took, and how far it is: samples by status, time and memory a stage
onsuccess:
    shell("python -m tam status results || true")


# What the jobs of this start that failed said themselves
onerror:
    shell(
        "find logs -name '*.log' -newer results/config.json -exec grep -Hs -B2 'tam: error' {{}} + 2>/dev/null || true"
    )
    shell("python -m tam status results || true")
