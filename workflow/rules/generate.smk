# INPUT  the manifest
# OUTPUT generate/{shard}.h5: answers and the logits that the maps need (docs/reference/cache.md). The only stage with the model.


rule generate:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        answers=given_answers,
    output:
        "results/{dataset}/{model}/generate/{shard}.h5",
    log:
        "logs/{dataset}/{model}/generate/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/generate/{shard}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue("gpu_partition"),
        mem_mb=4000,
        store=store("generate"),
        batch_size=config["generate"]["batch_size"],  # no param: it must not redo finished shards
    params:
        options=model_options,
        max_new_tokens=config["generate"]["max_new_tokens"],
        candidates=config["generate"]["candidates"],
    shell:
        # exec: a stop reaches the stage itself, and nothing dies around it while it finishes its batch
        "exec python -m tam generate --manifest {input.manifest:q} --shard {wildcards.shard:q} {params.options:q}"
        " --max-new-tokens {params.max_new_tokens:q} --candidates {params.candidates:q}"
        " --batch-size {resources.batch_size:q} {resources.store:q} --out {output:q} > {log:q} 2>&1"
