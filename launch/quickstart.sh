#!/usr/bin/env bash
# From nothing to a trained vision-language model: data, stage 1, stage 2, scores, answers, report.
# usage: bash launch/quickstart.sh [--run-dir DIR]      (default runs/quickstart)
# M3IT_PYTHON chooses the interpreter, M3IT_VENV the environment folder, M3IT_EDITION (base or full) the edition.
# Safe to run again: it reuses what is there and resumes where it left off.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

usage() { sed -n '2,5s/^# //p' "${BASH_SOURCE[0]}"; }

RUN="$ROOT/runs/quickstart"
while [ $# -gt 0 ]; do
  case "$1" in
    --run-dir) [ $# -ge 2 ] || { say "quickstart.sh: --run-dir needs a folder"; exit 2; }; RUN="$2"; shift 2 ;;
    --run-dir=*) RUN="${1#*=}"; shift ;;
    -h | --help) usage; exit 0 ;;
    *) say "quickstart.sh: unknown argument $1; usage: bash launch/quickstart.sh [--run-dir DIR]"; exit 2 ;;
  esac
done
[ -n "$RUN" ] || { say "quickstart.sh: --run-dir needs a folder"; exit 2; }
case "$RUN" in /*) ;; *) RUN="$PWD/$RUN" ;; esac

# Seconds each phase takes on two cores. They only feed the estimate; it is scaled by how fast this machine proves.
PHASES="install data stage1 stage2 evaluation answers report"
expected() {
  if [ -f "$RUN/.phases/$1" ]; then cat "$RUN/.phases/$1.again" 2>/dev/null || echo 8; return; fi
  case "$1" in
    install) if [ -x "$VENV/bin/m3it" ]; then echo 2; else echo 60; fi ;;
    data) echo 50 ;; stage1) echo 80 ;; stage2) echo 300 ;; evaluation) echo 105 ;; answers) echo 17 ;; report) echo 5 ;;
  esac
}

clock() { printf '%d:%02d' $(($1 / 60)) $(($1 % 60)); }

# status PHASE: one line with the phase, what has passed and about what is left. `done_expected` and `done_actual`
# hold the sums over the phases that are finished.
status() {
  local rest=0 seen="" name inside=$((SECONDS - phase_start)) left_inside
  for name in $PHASES; do
    if [ -n "$seen" ]; then rest=$((rest + $(expected "$name"))); fi
    if [ "$name" = "$1" ]; then seen=yes; fi
  done
  left_inside=$(($(expected "$1") - inside))
  if [ "$left_inside" -lt 3 ]; then left_inside=3; fi
  rest=$((rest + left_inside))
  if [ "$done_expected" -gt 20 ]; then rest=$((rest * (done_actual + 10) / (done_expected + 10))); fi
  say "[quick start $number/7] $2 - $(clock "$SECONDS") passed, about $(clock "$rest") left"
}

number=0 done_expected=0 done_actual=0 phase=start phase_start=0 ticker=""
stop_ticker() {
  [ -z "$ticker" ] || kill "$ticker" 2>/dev/null || true
  ticker=""
}
leave() {
  local code=$?
  stop_ticker
  if [ "$code" -ne 0 ] && [ "$phase" != start ]; then
    say "quickstart.sh: stopped in phase '$phase' (exit code $code); the same command resumes from here"
  fi
}
trap leave EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# begin PHASE WORDS / finish: the frame around each phase.
begin() {
  phase="$1" words="$2" phase_start="$SECONDS" number=$((number + 1))
  status "$phase" "$words"
  # The sleep holds none of our pipes, so that nobody waits for it when this script has ended.
  (while sleep 20 <&- >/dev/null 2>&1; do status "$phase" "$words"; done) 9>&- &
  ticker=$!
  disown "$ticker" # it is stopped with a signal; the shell need not report that
}
finish() {
  local took=$((SECONDS - phase_start)) planned
  stop_ticker
  planned="$(expected "$phase")"
  done_expected=$((done_expected + planned)) done_actual=$((done_actual + took))
  mkdir -p "$RUN/.phases"
  if [ -f "$RUN/.phases/$phase" ]; then echo "$took" >"$RUN/.phases/$phase.again"; else echo "$took" >"$RUN/.phases/$phase"; fi
  phase=start
}

claim_folder() {
  if [ -d "$RUN" ] && [ -n "$(ls -A "$RUN")" ] && [ ! -d "$RUN/.phases" ]; then
    refuse "$RUN is not empty and holds no quick start; give another folder with --run-dir"
  fi
  mkdir -p "$RUN/.phases" 2>/dev/null || refuse "$RUN cannot be made; give another folder with --run-dir"
  # The lock is let go when the last program that this script started has ended.
  exec 9>"$RUN/.lock" || refuse "$RUN cannot be written; give another folder with --run-dir"
  if command -v flock >/dev/null && ! flock -n 9; then
    refuse "$RUN is in use by another quick start; wait for it or give another folder with --run-dir"
  fi
}

# Prints the edition to build: the one that is there, the one asked for, or the largest this machine can make.
choose_edition() {
  if [ -f "$RUN/data/m3it.json" ]; then
    "$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1], encoding="utf-8"))["edition"])' "$RUN/data/m3it.json"
  elif [ -n "${M3IT_EDITION:-}" ]; then
    echo "$M3IT_EDITION"
  elif command -v npm >/dev/null; then
    echo full
  else
    say "npm was not found: building the base edition, without emoji and flags (install npm and run into a new folder for full)"
    echo base
  fi
}

newest_step() { ls "$RUN/stage2/checkpoints" | grep -E '^[0-9]+$' | sort -n | tail -1; }

# answer LABEL KIND: asks the model about one held-out picture (KIND en, zh or video) and shows the reference beside.
answer() {
  local file="$RUN/answers/$2.json"
  mkdir -p "$RUN/answers"
  if [ ! "$file" -nt "$EVAL/scores.json" ]; then
    "$PYTHON" "$ROOT/launch/example.py" "$EVAL/examples" "$2" >"$RUN/answers/$2.arguments"
    xargs -0 m3it generate "$RUN" --json "$file.partial" <"$RUN/answers/$2.arguments" >/dev/null
    mv "$file.partial" "$file"
  fi
  "$PYTHON" "$ROOT/launch/example.py" "$EVAL/examples" "$2" --show "$file" --label "$1"
}

claim_folder
need_space "$RUN" 1000
begin install "installing packages"
make_environment ""
cd "$ROOT"
finish

edition="$(choose_edition)"
begin data "building m3it-mini ($edition edition)"
m3it mini "$RUN/data" --edition "$edition"
finish

preset=mini
if [ "$edition" = base ]; then preset=mini_base; fi

begin stage1 "stage 1: the bridge learns from captions"
m3it train configs/stage1_align.py:$preset --run-dir "$RUN/stage1" "--data.path=$RUN/data"
finish

begin stage2 "stage 2: instruction tuning"
m3it train configs/stage2_instruct.py:$preset --run-dir "$RUN/stage2" "--data.path=$RUN/data" "--init_from.all=$RUN/stage1"
finish

EVAL="$RUN/stage2/eval/$(newest_step)"
begin evaluation "scores on held-out pictures, beside their controls"
m3it eval "$RUN" --data "$RUN/data" --out "$EVAL" --controls
finish

begin answers "three questions about held-out pictures"
answer English en
answer Chinese zh
answer Video video
finish

# What the first pass over each phase took, for the report.
write_phases() {
  local name separator=""
  printf '['
  for name in $PHASES; do
    [ -f "$RUN/.phases/$name" ] || continue
    printf '%s{"phase": "%s", "seconds": %s}' "$separator" "$name" "$(cat "$RUN/.phases/$name")"
    separator=", "
  done
  printf ']\n'
}

begin report "writing the report"
write_phases >"$RUN/phases.json"
m3it report "$RUN" >/dev/null
finish

say "[quick start] done in $(clock "$SECONDS")"
"$PYTHON" "$ROOT/launch/example.py" "$EVAL/examples" suggest --run "$RUN" --program "$VENV/bin/m3it" >&2
printf '%s\n' "$RUN/report.html"
