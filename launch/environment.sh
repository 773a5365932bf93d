# Sourced by quickstart.sh and test.sh: finds a Python, makes the environment and installs into it.
# Sets PYTHON (the environment's interpreter) and puts the environment's programs first on PATH.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
VENV="${M3IT_VENV:-$ROOT/.venv}"
case "$VENV" in /*) ;; *) VENV="$PWD/$VENV" ;; esac

say() { printf '%s\n' "$*" >&2; }
refuse() {
  phase=start # quickstart.sh adds no line of its own to a refusal
  say "${0##*/}: $*"
  exit 1
}

# Prints the first interpreter that is new enough, or refuses.
find_python() {
  local candidate version
  for candidate in ${M3IT_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    version="$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" || continue
    case "$version" in
      3.11 | 3.12 | 3.13) printf '%s\n' "$candidate"; return ;;
      *) found="$candidate is Python $version" ;;
    esac
  done
  if [ -n "${M3IT_PYTHON:-}" ]; then
    refuse "Python 3.11, 3.12 or 3.13 is needed (${found:-$M3IT_PYTHON does not run}); set M3IT_PYTHON to one"
  fi
  refuse "Python 3.11, 3.12 or 3.13 is needed (${found:-none was found}); install one and set M3IT_PYTHON to it"
}

# need_space FOLDER MEGABYTES: refuses when the disk under FOLDER has less left.
need_space() {
  local folder="$1" left
  while [ ! -d "$folder" ]; do folder="$(dirname "$folder")"; done
  left="$(df -Pk "$folder" | awk 'NR == 2 { print int($4 / 1024) }')"
  if [ "${left:-$2}" -lt "$2" ]; then
    refuse "the disk under $folder has $left MB left and $2 MB are needed; free some space, then run it again"
  fi
}

# What an installation depends on: when it is unchanged, nothing is installed again.
fingerprint() {
  { printf '%s\n' "$1" "$ROOT"; cat "$ROOT/requirements.txt" "$ROOT/pyproject.toml"; } | cksum
}

# explain_failure LOG: why the installation failed, in one line.
explain_failure() {
  if grep -qi 'no space left' "$1"; then
    refuse "the disk is full; free some space, then run it again (details: $1)"
  fi
  if grep -qiE 'connection|resolve|dns error|timed out|unreachable|failed to fetch|proxy|getaddrinfo' "$1"; then
    refuse "the package index cannot be reached; check the network or PIP_INDEX_URL, then run it again (details: $1)"
  fi
  refuse "the packages could not be installed; see $1, mend the cause, then run it again"
}

# make_environment EXTRA: EXTRA is empty or a list of extras such as [dev].
make_environment() {
  local extra="$1" stamp log base ours theirs
  PYTHON="$VENV/bin/python"
  stamp="$VENV/.m3it-installed${extra}"
  log="$VENV/install.log"
  base="$(find_python)" || { phase=start; exit 1; }
  if [ -x "$PYTHON" ] && [ -n "${M3IT_PYTHON:-}" ]; then
    ours="$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo broken)"
    theirs="$("$base" -c 'import sys; print("%d.%d" % sys.version_info[:2])')"
    [ "$ours" = "$theirs" ] ||
      refuse "$VENV holds Python $ours, M3IT_PYTHON is $theirs; remove the folder or set M3IT_VENV to another"
  fi
  export PATH="$VENV/bin:$PATH" VIRTUAL_ENV="$VENV"
  # Without bytecode kept, each program would compile the sources of JAX and TensorFlow again: ten seconds every time.
  unset PYTHONHOME PYTHONPATH PYTHONDONTWRITEBYTECODE
  if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(fingerprint "$extra")" ]; then
    return
  fi
  need_space "$VENV" 2500
  make_venv "$base" "$VENV.log"
  say "installing packages into $VENV (about half a minute with uv, two minutes with pip)"
  install_packages "$extra" "$log" || explain_failure "$log"
  fingerprint "$extra" >"$stamp"
}

# make_venv BASE LOG: makes the environment, or mends one that was cut off while it was made; nothing is deleted.
make_venv() {
  if "$PYTHON" -m pip --version >/dev/null 2>&1; then return; fi
  if [ ! -x "$PYTHON" ]; then
    if [ -d "$VENV" ] && [ -n "$(ls -A "$VENV")" ] && [ ! -d "$VENV/bin" ]; then
      refuse "$VENV is not empty and holds no Python environment; set M3IT_VENV to another folder"
    fi
    say "making $VENV with $("$1" --version 2>&1)"
    mkdir -p "$VENV" 2>/dev/null || refuse "$VENV cannot be made; set M3IT_VENV to a folder that can"
  fi
  if ! { "$1" -m venv "$VENV" || "$PYTHON" -m ensurepip; } >"$2" 2>&1; then
    refuse "$1 -m venv failed; install its venv module (Debian: python3-venv), then run it again (details: $2)"
  fi
  rm -f "$2"
}

# uv installs several times faster than pip; pip is the way that always works.
install_packages() {
  local extra="$1" log="$2"
  : >"$log"
  if [ -z "${M3IT_NO_UV:-}" ] && use_uv "$log" &&
    uv pip install --python "$PYTHON" -r "$ROOT/requirements.txt" -e "$ROOT$extra" >>"$log" 2>&1; then
    return
  fi
  "$PYTHON" -m pip install --retries 2 -r "$ROOT/requirements.txt" -e "$ROOT$extra" >>"$log" 2>&1
}

use_uv() {
  # uv reads its own variables only; an index chosen for pip is meant for it as well.
  [ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
  [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
  [ -x "$VENV/bin/uv" ] || "$PYTHON" -m pip install --retries 1 uv >>"$1" 2>&1
}
