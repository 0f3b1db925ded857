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
# one process more than cores, because tests wait for the processes that they start
processes=$(.venv/bin/python -c "import os; print(min(4, 1 + (os.cpu_count() or 1)))")
exec .venv/bin/python -m pytest -n "$processes" --dist loadfile --no-loadscope-reorder "$@"
