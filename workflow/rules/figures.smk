# INPUT  answers, maps and metrics of all methods
# OUTPUT figures/: methods side by side, distributions of scores, the lowest-scoring samples


rule figures:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation=every("generate/{shard}.h5"),
        maps=every("maps/{method}/{shard}.h5", method=config["methods"]),
        metrics=every("metrics/{method}/{shard}.parquet", method=config["methods"]),
    output:
        report(
            directory("results/{dataset}/{model}/figures"),
            patterns=["{name}.png"],
            caption="../report/figures.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "model": "{model}", "figure": "{name}"},
        ),
    log:
        "logs/{dataset}/{model}/figures.log",
    benchmark:
        "benchmarks/{dataset}/{model}/figures.tsv"
    conda:
        "../../envs/tam.yaml"
    params:
        run=run_folder,
    shell:
        "python -m tam figures --run {params.run:q} --manifest {input.manifest:q} --out {output:q} > {log:q} 2>&1"
