#!/usr/bin/env bash
# Builds the sdist and the wheel of the last commit, checks them, installs the wheel into a new environment, and runs every
# command of README's table once, far from the checkout. Needs a package index and takes some minutes.
# Argument: a folder. If all commands succeed, dist/ in it gets what was built, in place of what an earlier run has built.
set -euo pipefail
source "$(dirname "$0")/_environment.sh"
built=
if [ $# -gt 0 ]; then
  built=$(mkdir -p "$1/dist" && cd "$1/dist" && pwd)
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python=$(find_python)

echo "Building"
mkdir "$work/source"
git archive HEAD | tar -x -C "$work/source"
"$python" -m venv "$work/tools"
"$work/tools/bin/pip" install -qq --disable-pip-version-check build twine
"$work/tools/bin/python" -m build --outdir "$work/dist" "$work/source" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
"$work/tools/bin/twine" check --strict "$work"/dist/*

echo "Installing"
"$python" -m venv "$work/env"
wheels=("$work"/dist/*.whl)
"$work/env/bin/pip" install -qq --disable-pip-version-check "${wheels[0]}[tensorflow,quickstart,export,search,demo]"
cd "$work"
export PATH="$work/env/bin:$PATH" XDG_CACHE_HOME="$work/cache" TLKERAS_EXTENSIONS=
unset PYTHONPATH

run() { # run COMMAND...: its output is shown only if it fails
  local begin=$SECONDS status=0
  "$@" </dev/null >"$work/log" 2>&1 || status=$?
  echo "$status  $((SECONDS - begin)) s  $*"
  [ "$status" = 0 ] || { cat "$work/log"; exit 1; }
}

demo() { # the page of the model answers a browser
  tlkeras demo runs/mine --nobrowser --port=8799 &
  local page=$! tries
  for tries in $(seq 90); do
    sleep 1
    if python -c 'import urllib.request; urllib.request.urlopen("http://127.0.0.1:8799").read()' 2>/dev/null; then
      echo "answered after $tries s" && kill "$page"
      return
    fi
  done
  kill "$page"
  return 1
}

python - <<'END'
from pathlib import Path

import numpy as np
from PIL import Image

rng = np.random.default_rng(0)
for label, kind in enumerate(("apples", "leaves", "skies")):
    Path("PICTURES", kind).mkdir(parents=True)
    for number in range(20):
        pixels = rng.integers(0, 90, (48, 60, 3)) + np.eye(3, dtype=int)[label] * 150
        Image.fromarray(pixels.astype(np.uint8)).save(f"PICTURES/{kind}/{number}.png")
END
pictures=(--config=image_folder --set data.source=folder:PICTURES --set stages.0.epochs=2 --set stages.1.epochs=1)

run tlkeras --version
run tlkeras doctor
run tlkeras train "${pictures[@]}" --workdir=runs/mine
run tlkeras train --config=synthetic_smoke --workdir=runs/smoke
run tlkeras extract --config=synthetic_smoke
run tlkeras plan "${pictures[@]}"
run tlkeras inspect "${pictures[@]}" --features --workdir=suspects
run tlkeras shards "${pictures[@]}" --output=shards
for what in backbones heads experiments sources optimizers methods validators regularizers; do
  run tlkeras list "$what"
done
run tlkeras evaluate runs/mine
run tlkeras predict runs/mine PICTURES/apples/0.png PICTURES/skies
run tlkeras report runs/mine
run tlkeras compare runs/mine runs/smoke --output=compare.html
run tlkeras embed runs/mine PICTURES
run tlkeras export runs/mine --format=saved_model,onnx,litert,keras
run tlkeras card runs/mine
run tlkeras push runs/mine --to=published
run tlkeras predict published PICTURES/apples
run demo
run tlkeras sweep --config=synthetic_smoke --seeds=2 --workdir=runs/seeds
run tlkeras train --config=synthetic_smoke --set stages.0.optimizer.learning_rate=2e-3 --workdir=runs/other_rate
run tlkeras merge runs/smoke runs/other_rate --workdir=runs/soup
run tlkeras rank "${pictures[@]}" --candidates='*lite0,small_cnn' --workdir=runs/ranking
run tlkeras auto --config=synthetic_smoke --candidates=small_cnn --budget=4m --workdir=runs/search
run tlkeras adapt runs/mine --target=folder:PICTURES
run tlkeras reproduce runs/smoke
run tlkeras find_lr --config=synthetic_smoke
run tlkeras profile --config=synthetic_smoke
run tlkeras cache list
run tlkeras cache clear --yes
if [ -n "$built" ]; then
  rm -f "$built"/tlkeras-*
  cp "$work"/dist/* "$built"
fi
echo "All commands succeeded."
