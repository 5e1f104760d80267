# INPUT  maps/{method}/{shard}.h5, the answers they explain, the manifest with masks and captions
# OUTPUT metrics/{method}/{shard}.parquet: one row a value


rule metrics:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation="results/{dataset}/{model}/generate/{shard}.h5",
        maps="results/{dataset}/{model}/maps/{method}/{shard}.h5",
        nltk_data=ancient(NLTK_DATA) if NLTK_DATA else [],
    output:
        "results/{dataset}/{model}/metrics/{method}/{shard}.parquet",
    log:
        "logs/{dataset}/{model}/metrics/{method}/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/metrics/{method}/{shard}.tsv"
    conda:
        "../../envs/tam.yaml"
    params:
        protocol=config["protocol"],
        tagging=["--sentences"] if config["tagging"] == "sentence" else [],
    shell:
        "python -m tam metrics --generation {input.generation:q} --maps {input.maps:q} --manifest {input.manifest:q}"
        " --protocol {params.protocol:q} {params.tagging:q} --out {output:q} > {log:q} 2>&1"
