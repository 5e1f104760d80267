# INPUT  generate/{shard}.h5, files of methods of one's own, attribute/{shard}.h5 where a method needs scores
# OUTPUT maps/{shard}.h5: the map of every token by every method


rule maps:
    input:
        generation="results/{dataset}/{model}/generate/{shard}.h5",
        methods=method_files(config),
        scores="results/{dataset}/{model}/attribute/{shard}.h5" if SCORED else [],
    output:
        "results/{dataset}/{model}/maps/{shard}.h5",
    log:
        "logs/{dataset}/{model}/maps/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/maps/{shard}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        methods=METHODS,
        protocol=config["protocol"],
        exact=["--exact"] if config["exact"] else [],
        eci_cap=[] if config["eci_cap"] is None else [f"--eci-cap={config['eci_cap']}"],
        scores=scores_options,
    shell:
        "python -m tam maps --generation {input.generation:q} {params.methods:q} --protocol {params.protocol:q}"
        " {params.exact:q} {params.eci_cap:q} {params.scores:q} --out {output:q} > {log:q} 2>&1"
