#!/usr/bin/env bash
# Creates .venv, installs tlkeras, and trains and evaluates the experiment quickstart.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart
.venv/bin/tlkeras train --config=quickstart --workdir=runs/quickstart "$@"
