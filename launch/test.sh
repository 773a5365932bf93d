#!/usr/bin/env bash
# Lint, import contracts, types and the CPU test-suite. usage: bash launch/test.sh [pytest arguments]
# M3IT_PYTHON chooses the interpreter, M3IT_VENV the environment folder (default .venv).
# What is compared with torch and transformers runs in an environment of its own: see reference.sh. Pages are opened in
# chromium where it is installed: see browser.sh.
set -uo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
. "$ROOT/launch/reference.sh"
. "$ROOT/launch/browser.sh"

failed=""
# check NAME COMMAND...: runs it, says how long it took, and goes on after a failure so that one run shows them all.
check() {
  local name="$1" start="$SECONDS"
  shift
  say "== $name"
  if "$@"; then
    say "== $name: passed in $((SECONDS - start)) s"
  else
    say "== $name: FAILED after $((SECONDS - start)) s"
    failed="$failed $name"
  fi
}

make_environment "[dev]"
make_reference
make_browser
cd "$ROOT" || exit 1
# One core is idle while the checks run, and what they do not need is most of what a test needs: reading each test file
# once writes the bytecode that every worker, and every program that a test starts, would else make for itself.
"$PYTHON" -m pytest --collect-only -q -m "not device and not network" >/dev/null 2>&1 &
warming=$!
# One more than there are cores: now and then a test waits for programs that it has started.
workers="$("$PYTHON" -c 'import os; print(min(4, 1 + (os.cpu_count() or 1)))')"
check lint ruff check .
check format ruff format --check .
check imports lint-imports --no-logo
check types mypy
wait "$warming" # whatever is wrong with a test file is told by the tests
# `not device and not network` and nothing else stays out, and no path is left out.
check tests "$PYTHON" -m pytest -n "$workers" --dist loadfile --no-loadscope-reorder --durations=20 -m "not device and not network" "$@"
say_reference
say_browser

if [ -n "$failed" ]; then
  say "failed:$failed (after $SECONDS s)"
  exit 1
fi
say "all passed in $SECONDS s"
