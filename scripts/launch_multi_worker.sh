#!/usr/bin/env bash
# Trains with several worker processes on this machine, to test strategy=multi_worker before you use a cluster.
#
#   scripts/launch_multi_worker.sh [--workers=N] [--port=P] [--dry_run] -- FLAGS OF tlkeras train
#   scripts/launch_multi_worker.sh --workers=2 -- --config=synthetic_smoke --workdir=runs/two
#
# Each worker gets TF_CONFIG. Only worker 0 writes to the workdir. The output of the others goes to LOGS/worker_N.log
# (--logs=DIR). If a worker fails, the others stop within 30 s. Start the same command again to continue.
set -euo pipefail

workers=2 port=22220 logs='' dry_run=false
while [ $# -gt 0 ]; do
  case $1 in
    --workers=*) workers=${1#*=} ;;
    --port=*) port=${1#*=} ;;
    --logs=*) logs=${1#*=} ;;
    --dry_run) dry_run=true ;;
    --help | -h)
      sed -n '2,8s/^# \{0,1\}//p' "$0"
      exit 0
      ;;
    --)
      shift
      break
      ;;
    *)
      echo "Unknown flag before --; those of tlkeras train come after it. Received: $1" >&2
      exit 2
      ;;
  esac
  shift
done
if ! [[ $workers =~ ^[1-9][0-9]*$ && $port =~ ^[1-9][0-9]*$ ]]; then
  echo "--workers and --port must be whole numbers above 0. Received: --workers=$workers --port=$port" >&2
  exit 2
fi

addresses=''
for ((i = 0; i < workers; i++)); do addresses+="${addresses:+,}\"127.0.0.1:$((port + i))\""; done
tf_config() { echo "{\"cluster\":{\"worker\":[$addresses]},\"task\":{\"type\":\"worker\",\"index\":$1}}"; }

tlkeras=(tlkeras)
checkout=$(cd "$(dirname "$0")/.." && pwd)
if [ -x "$checkout/.venv/bin/tlkeras" ]; then tlkeras=("$checkout/.venv/bin/tlkeras"); fi
command=("${tlkeras[@]}" train --strategy=multi_worker "$@")
if $dry_run; then
  for ((i = 0; i < workers; i++)); do echo "TF_CONFIG='$(tf_config "$i")' ${command[*]@Q}"; done
  exit 0
fi

logs=${logs:-$(mktemp -d -t tlkeras-workers-XXXXXX)}
mkdir -p "$logs"
echo "Output of the other workers: $logs/worker_N.log"
pids=()

trap 'kill "${pids[@]}" 2>/dev/null || true' INT TERM
for ((i = 1; i < workers; i++)); do
  TF_CONFIG=$(tf_config "$i") "${command[@]}" >"$logs/worker_$i.log" 2>&1 &
  pids+=($!)
done
TF_CONFIG=$(tf_config 0) "${command[@]}" &
pids+=($!)
code=0
for pid in "${pids[@]}"; do
  while true; do # a signal to this script ends one wait, not the worker
    ended=0
    wait "$pid" || ended=$?
    kill -0 "$pid" 2>/dev/null || break
  done
  if [ "$ended" -gt "$code" ]; then code=$ended; fi
done
exit "$code"
