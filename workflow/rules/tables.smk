# INPUT  metrics/{shard}.parquet of all shards
# OUTPUT tables/: the ablation table of the paper as CSV, Markdown and LaTeX


rule tables:
    input:
        metrics=every("metrics/{shard}.parquet"),
    output:
        report(
            directory("results/{dataset}/{model}/tables"),
            patterns=["{name}.csv"],
            caption="../report/tables.rst",
            category="Tables",
            labels={"dataset": "{dataset}", "model": "{model}", "table": "{name}"},
        ),
    log:
        "logs/{dataset}/{model}/tables.log",
    benchmark:
        "benchmarks/{dataset}/{model}/tables.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("metrics"),
        methods=METHODS,
    shell:
        "python -m tam tables {params.files:q} {params.methods:q} --out {output:q} > {log:q} 2>&1"


# INPUT  metrics of all runs, published numbers
# OUTPUT results/tables: the tables of the paper over all runs, with published numbers beside ours, and a page of them


rule overview:
    input:
        metrics=every_run(every("metrics/{shard}.parquet")),
        published=workflow.source_path("../../config/published.yaml"),
    output:
        report(
            directory("results/tables"),
            patterns=["{name}.html"],
            caption="../report/overview.rst",
            category="Tables",
            labels={"dataset": "all", "model": "all", "table": "{name}"},
        ),
    log:
        "logs/overview.log",
    benchmark:
        "benchmarks/overview.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("metrics"),
        methods=METHODS,
    shell:
        "python -m tam overview {params.files:q} {params.methods:q} --published {input.published:q} --out {output:q}"
        " --report results/report/index.html"
        " > {log:q} 2>&1"
