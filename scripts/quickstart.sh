#!/usr/bin/env bash
# From a fresh clone to a trained, evaluated model: makes .venv, installs, trains the default experiment.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart
.venv/bin/tlkeras train --config=quickstart --workdir=runs/quickstart "$@"
