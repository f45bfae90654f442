#!/usr/bin/env bash
# launch: bash recipes/accelerate/srun.sh CONFIG        inside a SLURM job: one `accelerate launch` on each of its nodes
# What follows the config (-m stages train STEP) is passed on. The project's folder must be on a file system of all nodes.
set -euo pipefail
config=$1
shift
port=$((20000 + SLURM_JOB_ID % 20000))
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
gpus=${SLURM_GPUS_ON_NODE:?ask for GPUs: --gpus-per-node=8}
# single quotes: SLURM_NODEID is each node's own
# shellcheck disable=SC2016
exec srun --ntasks-per-node=1 --kill-on-bad-exit=1 bash -c 'exec accelerate launch --config_file "$0" \
  --num_machines "$SLURM_NNODES" --machine_rank "$SLURM_NODEID" --num_processes "$(($SLURM_NNODES * $1))" \
  --main_process_ip "$2" --main_process_port "$3" "${@:4}"' "$config" "$gpus" "$first" "$port" "$@"
