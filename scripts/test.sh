#!/usr/bin/env bash
# Creates or reuses .venv, installs what the tests need, and runs them. Arguments go to pytest. --quick takes 90 s.
# --long runs only the further variants of expensive tests, which scripts/soak.sh runs too.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
install tensorflow,quickstart,export,text,sound,test
.venv/bin/ruff check .
.venv/bin/ruff format --check .
# the tests of a file run in one process, because they share trained models;
# tests/conftest.py determines which files start first
exec .venv/bin/python -m pytest -n logical --maxprocesses=4 --dist loadfile --no-loadscope-reorder "$@"
