#!/usr/bin/env bash
# What takes too long for CI (an hour and a half on two cores): further variants of its tests (pytest --long), killed
# runs, generated mistakes, memory. Arguments go to benchmarks/soak.py, e.g. --only=tests or --only=memory.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart,export,text,sound,test
exec .venv/bin/python benchmarks/soak.py "$@"
