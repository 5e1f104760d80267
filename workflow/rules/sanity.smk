# INPUT  generate/{shard}.h5 of the first shard, the manifest with the pictures
# OUTPUT sanity/: how the maps of its answers change when the model's weights are drawn anew; a table and a figure


rule sanity:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation=f"results/{{dataset}}/{{model}}/generate/{SHARDS[0]}.h5",
        methods=method_files(config),
        nltk_data=ancient(NLTK_DATA) if NLTK_DATA else [],
    output:
        values="results/{dataset}/{model}/sanity/sanity.h5",
        tables=multiext("results/{dataset}/{model}/sanity/sanity", ".csv", ".md", ".tex", ".pdf", ".svg"),
        figure=report(
            "results/{dataset}/{model}/sanity/sanity.png",
            caption="../report/sanity.rst",
            category="Figures",
            labels={"dataset": "{dataset}", "model": "{model}", "figure": "sanity"},
        ),
    log:
        "logs/{dataset}/{model}/sanity.log",
    benchmark:
        "benchmarks/{dataset}/{model}/sanity.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue("gpu_partition"),
        mem_mb=4000,
        store=store("sanity"),
    params:
        checkpoint=checkpoint_options,
        methods=[f"--method={name}" for name in config["methods"] if name not in SCORED],
        nltk_data=nltk_data,
        samples=config["sanity"]["samples"],
        drawn=[
            *(f"--order={order}" for order in config["sanity"]["orders"]),
            *(f"--seed={seed}" for seed in config["sanity"]["seeds"]),
        ],
    shell:
        "exec env {params.nltk_data:q} python -m tam sanity --generation {input.generation:q}"
        " --manifest {input.manifest:q} {params.checkpoint:q} {params.methods:q} --samples {params.samples:q} {params.drawn:q}"
        " {resources.store:q} --out {output.values:q} > {log:q} 2>&1"
