# INPUT  generate/{shard}.h5, the maps that say in which order cells are taken away, the pictures
# OUTPUT perturb/{baseline}/{shard}.h5: log p of every answer token without parts of the picture (docs/explained/faithfulness.md)
from tam.perturbed import forwards_said


rule perturb:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation="results/{dataset}/{model}/generate/{shard}.h5",
        maps="results/{dataset}/{model}/maps/{shard}.h5",
        nltk_data=ancient(NLTK_DATA) if NLTK_DATA else [],
    output:
        "results/{dataset}/{model}/perturb/{baseline}/{shard}.h5",
    log:
        "logs/{dataset}/{model}/perturb_{baseline}/{shard}.log",
    benchmark:
        "benchmarks/{dataset}/{model}/perturb_{baseline}/{shard}.tsv"
    wildcard_constraints:
        baseline="blur|mean",
    conda:
        ENVIRONMENT
    resources:
        **queue("gpu_partition"),
        mem_mb=4000,
        store=store("perturb/{baseline}"),
    params:
        nltk_data=nltk_data,
        checkpoint=checkpoint_options,
        asked=faithfulness_options,
    message:
        f"perturb {{wildcards.baseline}} of {{wildcards.dataset}}/{{wildcards.model}} {{wildcards.shard}}: {forwards_said(config['faithfulness'])}"
    shell:
        "exec env {params.nltk_data:q} python -m tam perturb --generation {input.generation:q} --maps {input.maps:q}"
        " --manifest {input.manifest:q} {params.checkpoint:q} --baseline {wildcards.baseline:q} {params.asked:q}"
        " {resources.store:q} --out {output:q} > {log:q} 2>&1"
