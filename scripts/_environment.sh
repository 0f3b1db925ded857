# The other scripts source this file. It creates or reuses .venv and installs this checkout with the named extras.
# PYTHON names the interpreter to use (3.11 to 3.13).
cd "$(dirname "${BASH_SOURCE[0]}")/.." || return

find_python() {
  for name in ${PYTHON:-} python3.12 python3.11 python3.13 python3; do
    if "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
      echo "$name"
      return
    fi
  done
  echo "tlkeras needs Python 3.11, 3.12 or 3.13 with venv; none was found on PATH (PYTHON=... names one)." >&2
  return 1
}

install() { # install EXTRAS: nothing is done where the same extras of the same setup.cfg are in .venv already
  local mark=".venv/.installed-$1" python
  if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -m venv .venv
  fi
  if [ ! -f "$mark" ] || [ setup.cfg -nt "$mark" ]; then
    echo "Installing tlkeras[$1] into .venv (TensorFlow is large: a minute or two) ..."
    .venv/bin/python -m pip install -qq --disable-pip-version-check -e ".[$1]"
    touch "$mark"
  fi
}
