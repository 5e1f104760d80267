# INPUT  generate/{shard}.h5, the manifest with the pictures that were shown
# OUTPUT attribute/{shard}.h5: raw scores of the methods that need the model (docs/reference/scores.md); asked for by `maps`


rule attribute:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation="results/{dataset}/{model}/generate/{shard}.h5",
    output:
        "results/{dataset}/{model}/attribute/{shard}.h5",
    log:
        "logs/{dataset}/{model}/attribute/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/attribute/{shard}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue("gpu_partition"),
        mem_mb=4000,
        store=store("attribute"),
        chunk=config["attribute"]["chunk"],  # no param: it must not redo finished shards
    params:
        methods=[f"--method={name}" for name in SCORED],
        options=checkpoint_options,
        settings=attribute_options(),
    shell:
        # exec: a stop reaches the stage itself, and nothing dies around it while it finishes its sample
        "exec python -m tam attribute --generation {input.generation:q} --manifest {input.manifest:q} {params.options:q}"
        " {params.methods:q} {params.settings:q} --chunk {resources.chunk:q} {resources.store:q} --out {output:q} > {log:q} 2>&1"
