# INPUT  answers, maps and metrics
# OUTPUT figures/: methods side by side, tokens, their correlation, distributions of scores, the lowest-scoring samples,
#        a video and several pictures where the dataset has them; comparison/: the models of a dataset side by side


rule figures:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation=every("generate/{shard}.h5"),
        maps=every("maps/{shard}.h5"),
        metrics=every("metrics/{shard}.parquet"),
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
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("generation", "maps", "metrics"),
        methods=METHODS,
    shell:
        "python -m tam figures {params.files:q} --manifest {input.manifest:q} {params.methods:q} --out {output:q}"
        " > {log:q} 2>&1"


rule comparison:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation=expand(every("generate/{shard}.h5"), model=config["models"], allow_missing=True),
        maps=expand(every("maps/{shard}.h5"), model=config["models"], allow_missing=True),
        metrics=expand(every("metrics/{shard}.parquet"), model=config["models"], allow_missing=True),
    output:
        report(
            directory("results/{dataset}/comparison"),
            patterns=["{name}.png"],
            caption="../report/comparison.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "model": "all", "figure": "{name}"},
        ),
    log:
        "logs/{dataset}/comparison.log",
    benchmark:
        "benchmarks/{dataset}/comparison.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("generation", "maps", "metrics"),
    shell:
        "python -m tam compare {params.files:q} --manifest {input.manifest:q} --out {output:q} > {log:q} 2>&1"
