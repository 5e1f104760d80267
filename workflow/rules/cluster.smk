# Where a cluster's jobs go: `cluster` in the config. Resources of a profile or of the command line win over it.

for each in workflow.rules:
    partition = (
        "gpu_partition" if each.name == "generate" and "gpu_partition" in config["cluster"] else "partition"
    )
    for resource, key in {"slurm_account": "account", "slurm_partition": partition}.items():
        if key in config["cluster"] and resource not in each.resources:
            each.resources[resource] = config["cluster"][key]
