#!/usr/bin/env bash
# Starts N processes of a run on this machine, as a cluster starts one on each host.
# usage: bash launch/local.sh [--dry-run] N COMMAND...
#   bash launch/local.sh 2 m3it train configs/tiny.py --run-dir runs/tiny
# M3IT_PORT is the port where they meet (default: a free one). Each line of the output begins with the process's number.
# When one process fails, the others get SIGTERM; the exit code is that of the first that failed.
set -uo pipefail

say() { printf 'local.sh: %s\n' "$*" >&2; }

dry_run=""
if [ "${1:-}" = --dry-run ]; then
  dry_run=yes
  shift
fi
count="${1:-}"
case "$count" in
  '' | *[!0-9]* | 0)
    say "usage: bash launch/local.sh [--dry-run] N COMMAND..., N processes from 1"
    exit 2
    ;;
esac
shift
if [ "$#" -eq 0 ]; then
  say "no command; for instance: bash launch/local.sh 2 m3it train configs/tiny.py --run-dir runs/tiny"
  exit 2
fi

port="${M3IT_PORT:-}"
if [ -z "$port" ]; then
  port="$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')" || exit 1
fi
export JAX_COORDINATOR_ADDRESS="127.0.0.1:$port" JAX_NUM_PROCESSES="$count"

if [ -n "$dry_run" ]; then
  for ((rank = 0; rank < count; rank++)); do
    printf 'JAX_COORDINATOR_ADDRESS=%s JAX_NUM_PROCESSES=%s JAX_PROCESS_ID=%s' "$JAX_COORDINATOR_ADDRESS" "$count" "$rank"
    printf ' %q' "$@"
    printf '\n'
  done
  exit 0
fi

pids=()
stop() { for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null; done; }
trap stop TERM INT HUP
for ((rank = 0; rank < count; rank++)); do
  JAX_PROCESS_ID="$rank" "$@" > >(sed -u "s/^/[$rank] /") 2> >(sed -u "s/^/[$rank] /" >&2) &
  pids+=("$!")
done

code=0
deadline=""
while [ "${#pids[@]}" -gt 0 ]; do
  sleep 0.3
  running=()
  for pid in "${pids[@]}"; do
    if kill -0 "$pid" 2>/dev/null; then
      running+=("$pid")
      continue
    fi
    wait "$pid"
    ended=$?
    [ "$code" -ne 0 ] || code="$ended"
  done
  pids=(${running[@]+"${running[@]}"})
  if [ "$code" -ne 0 ] && [ "${#pids[@]}" -gt 0 ] && [ -z "$deadline" ]; then
    say "a process ended with exit code $code; the others have a minute to name it, then they are stopped"
    deadline=$((SECONDS + 60))
  elif [ -n "$deadline" ] && [ "$SECONDS" -ge "$deadline" ]; then
    stop
  fi
done
exit "$code"
