# Token activation maps: dataset -> generate -> maps -> metrics -> tables, render, figures, page
from snakemake.utils import min_version, validate

min_version("9.27")

# A config of one's own replaces the default, it does not extend it: else the embedded data would always run along.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


validate(config, "workflow/schemas/config.schema.yaml")


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/dataset.smk"
include: "workflow/rules/generate.smk"
include: "workflow/rules/maps.smk"
include: "workflow/rules/metrics.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/render.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/page.smk"
include: "workflow/rules/cluster.smk"


localrules:
    all,


rule all:
    default_target: True
    input:
        "results/report",
        "results/tables",
        # all of them, not only the last: a lost shard or map is then noticed and made again
        expand(
            [
                *every("generate/{shard}.h5"),
                *every("maps/{method}/{shard}.h5", method=config["methods"]),
                *every("metrics/{method}/{shard}.parquet", method=config["methods"]),
                "results/{dataset}/{model}/tables",
                # without names of samples `tam render` draws all of them
                *(["results/{dataset}/{model}/render"] if config["render"]["samples"] else []),
                "results/{dataset}/{model}/figures",
            ],
            dataset=config["datasets"],
            model=config["models"],
        ),
        expand("results/{dataset}/comparison", dataset=config["datasets"])
        if len(config["models"]) > 1
        else [],


# What it took, and how far it is: samples by status, time and memory a stage (tam status)
onsuccess:
    shell("python -m tam status results || true")


onerror:
    shell("python -m tam status results || true")
