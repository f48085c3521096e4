#!/usr/bin/env bash
# Runs a Python program with packages that Debian does not have.
#
#   run_in_venv.sh PYTHON VENV_FOLDER REQUIREMENTS PROGRAM
#
# The virtual environment is made once and again when the requirements change.
# Ends with 77 (ctest: skipped) when PyPI cannot be reached.

set -euo pipefail
readonly PYTHON="$1" VENV="$2" REQUIREMENTS="$3" PROGRAM="$4"

if ! cmp -s "$REQUIREMENTS" "$VENV/requirements.txt"; then
  rm -rf "$VENV"
  "$PYTHON" -m venv "$VENV"
  if ! output="$("$VENV/bin/pip" install --quiet --disable-pip-version-check \
    --retries 2 -r "$REQUIREMENTS" 2>&1)"; then
    printf '%s\n' "$output" >&2
    if grep -qiE 'connection (broken|error)|timed out|name resolution' \
      <<<"$output"; then
      echo "skipped: PyPI, which has the validator, cannot be reached"
      exit 77
    fi
    exit 1
  fi
  cp "$REQUIREMENTS" "$VENV/requirements.txt"
fi
exec "$VENV/bin/python" -B "$PROGRAM"
