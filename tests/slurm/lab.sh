#!/usr/bin/env bash
# A SLURM of one node with two fake GPUs, for tests: lab.sh start|stop. Root only; it writes /etc/slurm, so run it on a
# machine that is no part of a cluster. No systemd, no cgroups, no accounting database.
set -euo pipefail

lab=${SLURM_LAB:?folder for its state}
host=$(hostname -s)

start() {
    if [ -e /etc/slurm/slurm.conf ] && ! grep -q '^ClusterName=tamlab$' /etc/slurm/slurm.conf; then
        echo "lab: this machine has a SLURM of its own" >&2
        exit 1
    fi
    mkdir -p "$lab"/{state,spool,log} /etc/slurm
    # A count alone is refused for GPUs, and SLURM sets CUDA_VISIBLE_DEVICES only for devices that it knows.
    for i in 0 1; do [ -e "/dev/fakegpu$i" ] || mknod -m 666 "/dev/fakegpu$i" c 1 3; done
    echo "NodeName=$host Name=gpu Type=fake File=/dev/fakegpu[0-1]" >/etc/slurm/gres.conf
    memory=$(slurmd -C | sed -n 's/.*RealMemory=\([0-9]*\).*/\1/p')
    # In /etc/slurm, because Snakemake's job steps drop SLURM_CONF. CPUs: more than there may be, so that jobs overlap.
    # OverMemoryKill limits memory without cgroups. All GPU partitions of one priority: a higher one would preempt.
    cat >/etc/slurm/slurm.conf <<EOF
ClusterName=tamlab
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation=$lab/state
SlurmdSpoolDir=$lab/spool
SlurmctldPidFile=$lab/slurmctld.pid
SlurmdPidFile=$lab/slurmd.pid
SlurmctldLogFile=$lab/log/slurmctld.log
SlurmdLogFile=$lab/log/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=sched_interval=1,sched_min_interval=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=10
MpiDefault=none
GresTypes=gpu
DefMemPerCPU=500
NodeName=$host NodeAddr=127.0.0.1 CPUs=4 RealMemory=$memory Gres=gpu:fake:2 State=UNKNOWN
PartitionName=cpu Nodes=$host Default=YES MaxTime=1000 State=UP
PartitionName=gpu Nodes=$host MaxTime=1000 State=UP
EOF
    if ! munge -n 2>/dev/null | unmunge >/dev/null 2>&1; then
        install -d -o munge -g munge -m 755 /run/munge
        runuser -u munge -- /usr/sbin/munged
        touch "$lab/own-munged"
    fi
    slurmctld -c
    slurmd
    for _ in $(seq 300); do
        [ "$(sinfo -h -o %T 2>/dev/null | sort -u)" = idle ] && break
        sleep 0.1
    done
    srun -p gpu --gpus=1 -t 1 bash -c 'test "$CUDA_VISIBLE_DEVICES" = 0'
}

stop() {
    scancel -u "$(id -un)" 2>/dev/null || true
    for _ in $(seq 150); do
        [ -z "$(squeue -h 2>/dev/null)" ] && break
        sleep 0.1
    done
    pids=()
    for daemon in slurmd slurmctld; do
        [ -f "$lab/$daemon.pid" ] && pids+=("$(cat "$lab/$daemon.pid")")
    done
    [ -f "$lab/own-munged" ] && pids+=("$(cat /run/munge/munged.pid)")
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    for pid in "${pids[@]}"; do while kill -0 "$pid" 2>/dev/null; do sleep 0.1; done; done
    rm -f /dev/fakegpu0 /dev/fakegpu1 /etc/slurm/slurm.conf /etc/slurm/gres.conf
}

"$1"
