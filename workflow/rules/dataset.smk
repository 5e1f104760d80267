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
        ENVIRONMENT
    params:
        options=dataset_options,
        folder=subpath(output[0], parent=True),
    shell:
        "python -m tam dataset {params.options:q} --out {params.folder:q} > {log:q} 2>&1"


# OUTPUT data/{dataset}/phrases.jsonl: its phrases as texts to explain, where a model's `answers` name it
rule phrases:
    input:
        manifest="data/{dataset}/manifest.jsonl",
    output:
        "data/{dataset}/phrases.jsonl",
    log:
        "logs/{dataset}/phrases.log",
    benchmark:
        "benchmarks/{dataset}/phrases.tsv"
    localrule: True
    conda:
        ENVIRONMENT
    shell:
        "python -m tam dataset phrases --manifest {input.manifest:q} --out {output:q} > {log:q} 2>&1"


# OUTPUT data/{dataset}/swapped.jsonl: captions with a noun that is not in the picture, where a model's `answers` name it
rule swap_nouns:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        nltk_data=ancient(NLTK_DATA) if NLTK_DATA else [],
    output:
        "data/{dataset}/swapped.jsonl",
    log:
        "logs/{dataset}/swap_nouns.log",
    benchmark:
        "benchmarks/{dataset}/swap_nouns.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        nltk_data=nltk_data,
    shell:
        "env {params.nltk_data:q} python -m tam dataset swap-nouns --manifest {input.manifest:q} --out {output:q} > {log:q} 2>&1"


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
            ENVIRONMENT
        shell:
            "python -m tam dataset nltk --out {output:q} > {log:q} 2>&1"
