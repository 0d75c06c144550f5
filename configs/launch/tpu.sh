#!/bin/bash
# On a Cloud TPU slice, one process a machine:
#   configs/launch/tpu.sh NAME ZONE --config=configs/folder.py --workdir=/mnt/shared/runs/x …
# The slice exists already, its machines have this repository at ~/vidjax with the extra `tpu` installed in .venv, and see
# the same data and work directory (Filestore, or a bucket mounted by gcsfuse):
#   gcloud compute tpus tpu-vm create NAME --zone=ZONE --accelerator-type=v5litepod-64 --version=v2-alpha-tpuv5-lite
#   gcloud compute tpus tpu-vm ssh NAME --zone=ZONE --worker=all --command='git clone REPOSITORY vidjax && cd vidjax &&
#     python3 -m venv .venv && .venv/bin/pip install -e ".[tpu]"'
# Try it first with --dry_run behind the other flags. The same command goes on after a preemption or a crash.

set -euo pipefail
if [ $# -lt 3 ]; then
  echo "usage: $0 NAME ZONE FLAGS OF train.py …" >&2
  exit 2
fi
name=$1 zone=$2
shift 2
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all \
  --command="cd ${VIDJAX_DIR:-vidjax} && exec ${PYTHON:-.venv/bin/python} -u train.py $(printf '%q ' "$@")"
