#!/usr/bin/env bash
# The long part of the fault tests (about an hour on two cores): killed runs, generated mistakes, memory.
# Arguments go to benchmarks/soak.py, e.g. --only=memory.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart,export,test
exec .venv/bin/python benchmarks/soak.py "$@"
