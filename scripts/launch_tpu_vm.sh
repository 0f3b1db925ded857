#!/usr/bin/env bash
# Creates a TPU VM with gcloud, installs this checkout there, trains, and copies the run back.
#
#   scripts/launch_tpu_vm.sh --name=NAME --zone=ZONE [--type=v3-8] [--project=P] [--version=V] [--spot] [--keep]
#     [--dry_run] -- --config=EXPERIMENT [flags of tlkeras train]
#   scripts/launch_tpu_vm.sh --name=cats --zone=us-central1-b --dry_run -- --config=vgg16_cats_vs_dogs
#
# The script prints each command before it runs. --dry_run only prints. The machine costs money until it is
# deleted. The script deletes it at its end, even after an error, unless --keep is given. TPU types with several
# hosts are refused. A run with --workdir=gs://... is not copied back. This script has not been tried on
# a TPU yet. docs/clusters_and_colab.md lists what is known about each generation.
set -euo pipefail

name='' zone='' kind=v3-8 project='' version='' spot=false keep=false dry_run=false
while [ $# -gt 0 ]; do
  case $1 in
    --name=*) name=${1#*=} ;;
    --zone=*) zone=${1#*=} ;;
    --type=*) kind=${1#*=} ;;
    --project=*) project=${1#*=} ;;
    --version=*) version=${1#*=} ;;
    --spot) spot=true ;;
    --keep) keep=true ;;
    --dry_run) dry_run=true ;;
    --help | -h)
      sed -n '2,11s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *)
      echo "Unknown flag before --. Received: $1" >&2
      exit 2
      ;;
  esac
  shift
done
if [ -z "$name" ] || [ -z "$zone" ]; then
  echo "--name and --zone are needed. Received: --name=$name --zone=$zone" >&2
  exit 2
fi
pjrt=false # the interface to TPUs that TensorFlow has had from the first: v2 to v4
case $kind in
  v2-8 | v3-8 | v4-8) image=tpu-ubuntu2204-base ;;
  v5litepod-[148]) image=v2-alpha-tpuv5-lite pjrt=true ;;
  v5p-8) image=v2-alpha-tpuv5 pjrt=true ;;
  v6e-[148]) image=v2-alpha-tpuv6e pjrt=true ;;
  v7* | tpu7*)
    echo "TensorFlow does not run on TPU7x, and this interface does not make any (GKE does). Received: --type=$kind" >&2
    exit 2
    ;;
  *)
    echo "--type must be a TPU of one host: v2-8, v3-8, v4-8, v5litepod-1, -4 or -8, v5p-8, v6e-1, -4 or -8. Received: --type=$kind" >&2
    exit 2
    ;;
esac
version=${version:-$image}
workdir=run
for ((i = 1; i <= $#; i++)); do # the last one counts, as it does in tlkeras
  case ${!i} in
    --workdir=* | -workdir=*) workdir=${!i#*=} ;;
    --workdir | -workdir) j=$((i + 1)) && workdir=${!j:-$workdir} ;;
  esac
done
if ! $dry_run && ! command -v gcloud >/dev/null; then
  echo "gcloud is not installed: see https://cloud.google.com/sdk/docs/install, or use --dry_run." >&2
  exit 2
fi

run() {
  echo "+ ${*@Q}"
  if ! $dry_run; then "$@"; fi
}
where=(--zone="$zone")
if [ -n "$project" ]; then where+=(--project="$project"); fi
tpu() { # tpu VERB ARGUMENTS
  local verb=$1
  shift
  run gcloud compute tpus tpu-vm "$verb" "$name" "${where[@]}" "$@"
}
on_host() { tpu ssh --command="$1"; }
if $pjrt; then
  echo "Note: TensorFlow reaches $kind by PJRT only, which Google documents up to TensorFlow 2.18; v2-8 to v4-8 need none." >&2
fi
libtpu=https://storage.googleapis.com/libtpu-tf-releases/index.html

create=(--accelerator-type="$kind" --version="$version")
if $spot; then create+=(--spot); fi
cd "$(dirname "$0")/.."
if ! $keep; then trap 'tpu delete --quiet' EXIT; fi
tpu create "${create[@]}"
archive=$(mktemp -d)/tlkeras.tar.gz
run git archive --format=tar.gz --output="$archive" HEAD
run gcloud compute tpus tpu-vm scp "$archive" "$name:tlkeras.tar.gz" "${where[@]}"
on_host "mkdir -p tlkeras && tar -xzf tlkeras.tar.gz -C tlkeras"
# the images have Python 3.10, which is too old for tlkeras, so uv installs another one
on_host "curl -LsSf https://astral.sh/uv/install.sh | sh"
on_host ".local/bin/uv venv --quiet --python=3.12 .venv"
on_host ".local/bin/uv pip install --quiet --python=.venv/bin/python --find-links=$libtpu -e './tlkeras[tpu]'"
code=0
variables=''
if $pjrt; then
  driver='$(.venv/bin/python -c "import libtpu; print(libtpu.get_library_path())")'
  variables="PJRT_DEVICE=TPU NEXT_PLUGGABLE_DEVICE_USE_C_API=true TF_PLUGGABLE_DEVICE_LIBRARY_PATH=$driver "
fi
on_host "$variables.venv/bin/tlkeras train --strategy=tpu --workdir=run ${*@Q}" || code=$?
case $workdir in
  *://*) echo "The saved run is in $workdir." ;;
  *)
    run mkdir -p runs
    # a training that failed early has nothing to copy, so its own exit code is returned
    run gcloud compute tpus tpu-vm scp --recurse "$name:$workdir" "runs/$name" "${where[@]}" || code=$((code ? code : 1))
    ;;
esac
exit "$code"
