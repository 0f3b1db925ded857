#!/usr/bin/env bash
# Makes or reuses .venv, installs what the tests need, runs them. Arguments go to pytest; --quick takes a minute.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart,export,text,sound,test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# a file's tests stay in one process, since they share what they trained;
# tests/conftest.py says which files begin
exec .venv/bin/python -m pytest -n logical --maxprocesses=4 --dist loadfile --no-loadscope-reorder "$@"
