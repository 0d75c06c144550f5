#!/bin/bash
# On SLURM, one process a machine, each with all of its GPUs:
#   sbatch --nodes=4 --gpus-per-node=8 configs/launch/slurm.sh --config=configs/folder.py --workdir=/shared/runs/x …
# Every machine must see the same files: the repository, its .venv, the data and the work directory. Try it first with
# --dry_run behind the other flags. The same command goes on after a preemption, a time limit or a crash.
#SBATCH --job-name=vidjax
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=32
#SBATCH --requeue
# The state is saved at SIGTERM, which SLURM sends to the processes so long before the time limit:
#SBATCH --signal=TERM@120
# Each start adds to one file per process:
#SBATCH --open-mode=append

set -euo pipefail
cd "${SLURM_SUBMIT_DIR:-.}"
export SRUN_CPUS_PER_TASK="${SLURM_CPUS_PER_TASK:-1}"  # which srun does not take over by itself
exec srun --kill-on-bad-exit=1 "${PYTHON:-.venv/bin/python}" -u train.py "$@"
