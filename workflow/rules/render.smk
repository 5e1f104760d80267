# INPUT  answers and the maps of the method that the config names in `render`
# OUTPUT render/{sample}/: an overlay and the coloured text of every token of the chosen samples


rule render:
    input:
        manifest="data/{dataset}/manifest.jsonl",
        generation=every("generate/{shard}.h5"),
        maps=every("maps/{shard}.h5"),
    output:
        report(
            directory("results/{dataset}/{model}/render"),
            patterns=["{sample}/sheet.png"],
            caption="../report/render.rst",
            category="Samples",
            labels={"dataset": "{dataset}", "model": "{model}", "sample": "{sample}"},
        ),
    log:
        "logs/{dataset}/{model}/render.log",
    benchmark:
        "benchmarks/{dataset}/{model}/render.tsv"
    conda:
        ENVIRONMENT
    resources:
        **queue(),
    params:
        files=files("generation", "maps"),
        method=config["render"]["method"],
        samples=lambda wildcards: [f"--sample={name}" for name in config["render"]["samples"]],  # no wildcards in them
        colormap=config["render"]["colormap"],
        outline=["--outline"] if config["render"]["outline"] else [],
    shell:
        "python -m tam render {params.files:q} --manifest {input.manifest:q} --method {params.method:q}"
        " {params.samples:q} --colormap {params.colormap:q} {params.outline:q} --out {output:q} > {log:q} 2>&1"
