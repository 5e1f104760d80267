# INPUT  metrics/{method}/{shard}.parquet of all methods and shards
# OUTPUT tables/: the ablation table of the paper as CSV, Markdown and LaTeX


rule tables:
    input:
        every("metrics/{method}/{shard}.parquet", method=config["methods"]),
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
        "../../envs/tam.yaml"
    params:
        metrics=subpath(input[0], ancestor=2),
    shell:
        "python -m tam tables --metrics {params.metrics:q} --out {output:q} > {log:q} 2>&1"
