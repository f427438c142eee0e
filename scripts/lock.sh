#!/usr/bin/env bash
# Compile the hash-locked lists in requirements/ from pyproject.toml, for every supported Python and platform.
# Usage: scripts/lock.sh [--upgrade | --upgrade-package NAME ...]
set -euo pipefail
cd "$(dirname "$0")/.."

uv=${UV:-.venv/bin/uv}
compile() { # NAME SOURCE...: locked versions already in the file are kept
    local name=$1
    shift
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
        --no-emit-index-url --no-emit-find-links --fork-strategy fewest \
        --custom-compile-command "make lock" --output-file "requirements/$name.lock" "$@"
}

compile runtime pyproject.toml --group build "$@"
compile demo --no-deps --constraint requirements/runtime.lock --group demo-data "$@"
compile model-data --no-deps --group model-data "$@"
compile clients --group clients "$@"
compile interop --no-deps --group interop "$@"
compile train --constraint requirements/runtime.lock --group train "$@"
compile dev --constraint requirements/runtime.lock --group dev "$@"
compile serve --constraint requirements/runtime.lock --constraint requirements/dev.lock --extra serve pyproject.toml "$@"
compile lab --constraint requirements/runtime.lock --constraint requirements/dev.lock --constraint requirements/serve.lock \
    --extra lab pyproject.toml "$@"
compile bench --constraint requirements/runtime.lock --group bench "$@"
compile contracts --group contracts "$@"
