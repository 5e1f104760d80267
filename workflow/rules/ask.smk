# INPUT  the manifest
# OUTPUT ask/{shard}.jsonl: the answers of a server, which `generate` explains instead of the model's own


rule ask:
    input:
        manifest="data/{dataset}/manifest.jsonl",
    output:
        "results/{dataset}/{model}/ask/{shard}.jsonl",
    log:
        "logs/{dataset}/{model}/ask/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/ask/{shard}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        engine=lambda wildcards: [
            f"--{key}={value}" for key, value in config["models"][wildcards.model]["engine"].items()
        ],
        max_new_tokens=config["generate"]["max_new_tokens"],
    shell:
        "exec python -m tam ask --manifest {input.manifest:q} --shard {wildcards.shard:q} {params.engine:q}"
        " --max-new-tokens {params.max_new_tokens:q} --out {output:q} > {log:q} 2>&1"
