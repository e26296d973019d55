#!/usr/bin/env bash
# Install this checkout, editable, into a virtual environment that is made where it is missing.
# usage: tools/install.sh VENV CONSTRAINTS SPEC      SPEC: "." or ".[plots,test]"; PYTHON: the interpreter
# With uv where it is there and can reach PyTorch's CPU builds, else with pip.
set -euo pipefail
venv=$1 constraints=$2 spec=$3
python=${PYTHON:-python3}

say() { printf 'install: %s\n' "$*" >&2; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || {
    say "needs Python 3.10 or newer; set PYTHON, for example: make PYTHON=python3.12 demo"
    exit 1
}

# An environment that uv made has no pip of its own, so one with pip stays with pip.
if command -v uv >/dev/null && [ ! -x "$venv/bin/pip" ]; then
    [ -x "$venv/bin/python" ] || uv venv --quiet --python "$python" "$venv"
    if uv pip install --python "$venv/bin/python" --torch-backend cpu -c "$constraints" -e "$spec"; then
        exit 0
    fi
    say "uv could not install with a CPU build of PyTorch (its message is above); taking pip instead"
    "$python" -m venv --clear "$venv"
fi

[ -x "$venv/bin/pip" ] || "$python" -m venv --clear "$venv"
say "pip installs $spec into $venv (a few minutes the first time)"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -c "$constraints" -e "$spec"
