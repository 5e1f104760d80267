# INPUT  manifests, answers, maps and metrics of all datasets and models
# OUTPUT results/report/index.html: a page to explore them in a browser, from disk


rule page:
    input:
        manifest=expand("data/{dataset}/manifest.jsonl", dataset=config["datasets"]),
        generation=every_run(every("generate/{shard}.h5")),
        maps=every_run(every("maps/{shard}.h5")),
        metrics=every_run(every("metrics/{shard}.parquet")),
    output:
        directory("results/report"),
    log:
        "logs/page.log",
    benchmark:
        "benchmarks/page.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("manifest", "generation", "maps", "metrics"),
        methods=METHODS,
        samples=config["page"]["samples"],
    shell:
        "python -m tam page {params.files:q} {params.methods:q} --samples {params.samples:q} --out {output:q}"
        " > {log:q} 2>&1"
