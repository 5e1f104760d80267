# INPUT  manifests, answers, maps and metrics of all datasets, models and methods
# OUTPUT results/report/index.html: a page to explore them in a browser, from disk


rule page:
    input:
        manifests=every_run("data/{dataset}/manifest.jsonl"),
        generation=every_run(every("generate/{shard}.h5")),
        maps=every_run(every("maps/{method}/{shard}.h5", method=config["methods"])),
        metrics=every_run(every("metrics/{method}/{shard}.parquet", method=config["methods"])),
    output:
        directory("results/report"),
    log:
        "logs/page.log",
    benchmark:
        "benchmarks/page.tsv"
    conda:
        "../../envs/tam.yaml"
    params:
        runs=[
            option
            for dataset in config["datasets"]
            for model in config["models"]
            for option in (f"--run=results/{dataset}/{model}", f"--manifest=data/{dataset}/manifest.jsonl")
        ],
        samples=config["page"]["samples"],
    shell:
        "python -m tam page {params.runs:q} --samples {params.samples:q} --out {output:q} > {log:q} 2>&1"
