# OUTPUT data/{dataset}/manifest.jsonl: one line a sample; the emoji scenes are made beside it.
# Where Snakemake itself runs: a cluster's nodes may have no network.


rule dataset:
    output:
        "data/{dataset}/manifest.jsonl",
    log:
        "logs/{dataset}/dataset.log",
    benchmark:
        "benchmarks/{dataset}/dataset.tsv"
    localrule: True
    conda:
        "../../envs/tam.yaml"
    params:
        options=dataset_options,
        folder=subpath(output[0], parent=True),
    shell:
        "python -m tam dataset {params.options:q} --out {params.folder:q} > {log:q} 2>&1"


if config["nltk_data"] == "download":

    # The tagger and WordNet, for the metrics.
    rule nltk_data:
        output:
            directory(NLTK_DATA),
        log:
            "logs/nltk_data.log",
        benchmark:
            "benchmarks/nltk_data.tsv"
        localrule: True
        conda:
            "../../envs/tam.yaml"
        shell:
            "python -m tam dataset nltk --out {output:q} > {log:q} 2>&1"
