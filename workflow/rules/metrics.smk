# INPUT  maps/{shard}.h5, the answers they explain, the manifest with masks and captions; where the config asks for
#        faithfulness, perturb/{baseline}/{shard}.h5
# OUTPUT metrics/{shard}.parquet: one row a value


rule metrics:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation="results/{dataset}/{model}/generate/{shard}.h5",
        maps="results/{dataset}/{model}/maps/{shard}.h5",
        nltk_data=ancient(NLTK_DATA) if NLTK_DATA else [],
        perturb=perturbed(),
    output:
        "results/{dataset}/{model}/metrics/{shard}.parquet",
    log:
        "logs/{dataset}/{model}/metrics/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/metrics/{shard}.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        protocol=config["protocol"],
        nltk_data=nltk_data,
        perturb=files("perturb"),
        more=[
            *(["--sentences"] if config["tagging"] == "sentence" else []),
            *(["--grounding"] if config["grounding"] else []),
        ],
    shell:
        "env {params.nltk_data:q} python -m tam metrics --generation {input.generation:q} --maps {input.maps:q}"
        " --manifest {input.manifest:q} --protocol {params.protocol:q} {params.more:q} {params.perturb:q}"
        " --out {output:q} > {log:q} 2>&1"
