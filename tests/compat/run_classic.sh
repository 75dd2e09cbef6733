#!/usr/bin/env bash
# Build the upstream line of OpenMMLab (mmcv 2.1.0, mmengine 0.10.7, mmsegmentation 1.2.2) in an environment of its own, and
# run the tests on it. Compiling mmcv takes about 15 minutes on 2 cores; the environment is kept for the next time.
#
#   tests/compat/run_classic.sh [ENVIRONMENT] [arguments of pytest ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
ENVIRONMENT="$(realpath -m "${1:-.venv-classic}")"
shift || true
PYTHON="$(command -v python3.11 || command -v python3)"
READY="$ENVIRONMENT/.ready"

if [ ! -e "$READY" ]; then
    "$PYTHON" -m venv "$ENVIRONMENT"
    pip() { "$ENVIRONMENT/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
    # mmcv's setup.py imports pkg_resources, which setuptools 81 has no more, and torch, which an isolated build lacks.
    pip "setuptools<81" wheel ninja
    # Everything of the tested set but the maintained line itself, so that both runs differ in OpenMMLab alone.
    grep -v '^onedl-' requirements.txt > "$ENVIRONMENT/requirements.txt"
    pip -r "$ENVIRONMENT/requirements.txt"
    pip mmengine==0.10.7
    MMCV_WITH_OPS=1 MAX_JOBS="$(nproc)" pip --no-build-isolation mmcv==2.1.0
    pip mmsegmentation==1.2.2 ftfy regex
    pip --no-deps -r tests/oracles.txt
    # mmengine asks for opencv-python in any version; the tested one stays.
    pip -r "$ENVIRONMENT/requirements.txt"
    touch "$READY"
fi
exec "$ENVIRONMENT/bin/python" -m pytest "$@"
