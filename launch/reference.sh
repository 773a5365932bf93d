# Sourced by test.sh: an environment of its own with torch and transformers, which tests compare with (marker torch).
# It is made once, from tests/reference/requirements.txt, where disk and package index allow; else those tests skip, and
# what transformers computed before, stored under tests/golden, is all that is compared with.
# M3IT_REFERENCE_PYTHON names an interpreter that has both already, M3IT_REFERENCE_PYTHON_4 one with transformers 4.57;
# M3IT_NO_REFERENCE=1 leaves the tests out.
# M3IT_TORCH_INDEX names a package index with the torch that has no CUDA, where the usual one has the other alone.

REFERENCE="$ROOT/.venv-reference"
REFERENCE_MB=3000 # torch without CUDA, transformers and what they need take 1.2 GB, and the download as much again
no_reference="" # why there is none

skip_reference() {
  no_reference="$1"
  say "comparisons with transformers are skipped: $1"
}

# say_reference: what the tests compared with, in one line; test.sh ends with it.
say_reference() {
  local stored="what transformers 5.24.0 and 4.57.6 computed before, as stored" ran
  if [ -n "$no_reference" ] || [ -z "${M3IT_REFERENCE_PYTHON:-}" ]; then
    say "reference: $stored; the program itself did not run (${no_reference:-there is no interpreter for it})"
    return
  fi
  ran="$(reference_versions "$M3IT_REFERENCE_PYTHON")"
  if [ -n "${M3IT_REFERENCE_PYTHON_4:-}" ]; then
    ran="$ran, and $(reference_versions "$M3IT_REFERENCE_PYTHON_4")"
  else
    ran="$ran (4.57 did not run: M3IT_REFERENCE_PYTHON_4 is not set)"
  fi
  say "reference: the program itself, $ran, and $stored"
}

reference_versions() {
  "$1" -c 'from importlib.metadata import version as v; print("transformers", v("transformers"), "with torch", v("torch"))' ||
    echo "an interpreter that does not say its versions"
}

# make_reference: makes or reuses the environment; never fails, for nothing else needs it.
make_reference() {
  local stamp="$REFERENCE/.installed" wanted left base
  if [ -n "${M3IT_NO_REFERENCE:-}" ]; then
    skip_reference "M3IT_NO_REFERENCE is set"
    return
  fi
  if [ -n "${M3IT_REFERENCE_PYTHON:-}" ]; then
    "$M3IT_REFERENCE_PYTHON" -c 'import importlib.util as u, sys; sys.exit(not (u.find_spec("torch") and u.find_spec("transformers")))' ||
      skip_reference "M3IT_REFERENCE_PYTHON=$M3IT_REFERENCE_PYTHON has no torch or no transformers"
    return
  fi
  wanted="$(cat "$ROOT"/tests/reference/requirements*.txt | cksum)"
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
    use_reference
    return
  fi
  left="$(df -Pk "$ROOT" | awk 'NR == 2 { print int($4 / 1024) }')"
  if [ "${left:-$REFERENCE_MB}" -lt "$REFERENCE_MB" ]; then
    skip_reference "the disk under $ROOT has $left MB left and $REFERENCE_MB MB are needed"
    return
  fi
  base="$(find_python)" || return 0
  say "making $REFERENCE, which tests compare with (about a minute, more where torch is downloaded)"
  if ! { "$base" -m venv "$REFERENCE" && install_reference; } >"$REFERENCE.log" 2>&1; then
    rm -f "$stamp"
    skip_reference "the packages of tests/reference/requirements.txt could not be installed (details: $REFERENCE.log)"
    return
  fi
  install_version_4 >>"$REFERENCE.log" 2>&1 ||
    say "transformers 4.57 could not be installed, so that 5 alone is compared with (details: $REFERENCE.log)"
  printf '%s\n' "$wanted" >"$stamp"
  use_reference
}

# use_reference: names the interpreters that have been made.
use_reference() {
  export M3IT_REFERENCE_PYTHON="$REFERENCE/bin/python"
  if [ -x "$REFERENCE/bin/python-4" ] && [ -z "${M3IT_REFERENCE_PYTHON_4:-}" ]; then
    export M3IT_REFERENCE_PYTHON_4="$REFERENCE/bin/python-4"
  fi
}

# Version 4.57 in a folder of its own, in front of the other packages: torch is there once.
install_version_4() {
  local folder="$REFERENCE/version-4"
  rm -f "$REFERENCE/bin/python-4"
  "$REFERENCE/bin/python" -m pip install --retries 1 --no-compile --target "$folder" \
    -r "$ROOT/tests/reference/requirements-4.txt" || return 1
  printf '#!/bin/sh\nPYTHONPATH="%s" exec "%s" "$@"\n' "$folder" "$REFERENCE/bin/python" >"$REFERENCE/bin/python-4"
  chmod +x "$REFERENCE/bin/python-4"
}

# The ordinary torch brings gigabytes of CUDA, so it is taken only if it is the build without, or an index has that one.
install_reference() {
  local python="$REFERENCE/bin/python" torch
  torch="$(grep '^torch==' "$ROOT/tests/reference/requirements.txt")"
  set -- --retries 1 --no-compile -r "$ROOT/tests/reference/requirements.txt"
  if ! "$python" -m pip install --dry-run --no-deps --retries 1 "$torch" | grep -q '+cpu'; then
    if [ -z "${M3IT_TORCH_INDEX:-}" ]; then
      echo "the package index has $torch with CUDA alone; set M3IT_TORCH_INDEX to one that has it without"
      return 1
    fi
    set -- --extra-index-url "$M3IT_TORCH_INDEX" "$@"
  fi
  "$python" -m pip install "$@"
}
