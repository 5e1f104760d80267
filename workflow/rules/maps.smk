# INPUT  generate/{shard}.h5
# OUTPUT maps/{method}/{shard}.h5: the map of every token


rule maps:
    input:
        "results/{dataset}/{model}/generate/{shard}.h5",
    output:
        "results/{dataset}/{model}/maps/{method}/{shard}.h5",
    log:
        "logs/{dataset}/{model}/maps/{method}/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/maps/{method}/{shard}.tsv"
    conda:
        "../../envs/tam.yaml"
    params:
        protocol=config["protocol"],
        exact=["--exact"] if config["exact"] else [],
        eci_cap=[] if config["eci_cap"] is None else [f"--eci-cap={config['eci_cap']}"],
    shell:
        "python -m tam maps --generation {input:q} --method {wildcards.method:q} --protocol {params.protocol:q}"
        " {params.exact:q} {params.eci_cap:q} --out {output:q} > {log:q} 2>&1"
