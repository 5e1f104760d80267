#!/usr/bin/env bash
# Set up everything: what Debian must bring (where that is allowed), a virtual environment, the locked packages.
# Further Debian packages may be named as arguments.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
wanted=(python3-venv texlive-xetex fonts-noto-core fonts-noto-cjk fonts-symbola fonts-unifont wordnet-base "$@")

missing=()
for package in "${wanted[@]}"; do
    dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
elif ! command -v xelatex >/dev/null; then
    echo "setup: no XeLaTeX and no right to install it, so token text is drawn with Pillow" \
        "(for TeX: sudo apt-get install --no-install-recommends ${missing[*]})"
fi

if ! cmp -s requirements.lock "$venv/installed.lock"; then
    echo "setup: installing the locked Python packages into $venv (a few minutes, about 7 GB)"
    "${PYTHON:-python3}" -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
    cp requirements.lock "$venv/installed.lock"
fi
