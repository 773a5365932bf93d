#!/usr/bin/env bash
# Trains on a Cloud TPU slice: asks for it, sets up every host, runs, gathers the logs, and deletes it in the end.
# usage: bash launch/tpu_vm.sh [--dry-run] NAME --zone ZONE --type TYPE [options] -- CONFIG --run-dir DIR [overrides]
#   bash launch/tpu_vm.sh ying --zone us-central2-b --type v4-32 --mount BUCKET -- \
#       configs/stage1_align.py:paper --run-dir /mnt/m3it/stage1 --data.path=/mnt/m3it/data --mesh.fsdp=-1
# options:
#   --project P      Google Cloud project (default: that of gcloud)
#   --version V      runtime of the TPU VM (default: tpu-ubuntu2204-base)
#   --spot           a spot slice: cheaper, may be taken away; it is asked for again and the run goes on
#   --mount BUCKET   mounts gs://BUCKET on every host as /mnt/m3it (gcsfuse); the run folder must lie on something shared
#   --repo URL       where the hosts clone the project from (default: `git remote get-url origin`)
#   --keep           leave the slice there when the run is over
#   --wait MINUTES   how long to wait for the slice (default: 1440)
#   --restarts N     how often a run that lost its slice or a host is started again (default: 20)
# The same command goes on with a slice that is already there. All settings of the training stand in CONFIG.
set -uo pipefail

say() { printf 'tpu_vm.sh: %s\n' "$*" >&2; }
refuse() {
  say "$*"
  exit 2
}

dry_run="" name="" zone="" type="" project="" mount="" repo="" keep="" spot="" wait_minutes=1440 restarts=20
version=tpu-ubuntu2204-base
while [ "$#" -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    --dry-run) dry_run=yes; shift ;;
    --spot) spot=yes; shift ;;
    --keep) keep=yes; shift ;;
    --zone | --type | --project | --version | --mount | --repo | --wait | --restarts)
      [ "$#" -ge 2 ] || refuse "$1 needs a value"
      case "$1" in
        --zone) zone="$2" ;;
        --type) type="$2" ;;
        --project) project="$2" ;;
        --version) version="$2" ;;
        --mount) mount="$2" ;;
        --repo) repo="$2" ;;
        --wait) wait_minutes="$2" ;;
        --restarts) restarts="$2" ;;
      esac
      shift 2
      ;;
    -*) refuse "there is no option $1; see the first lines of this file" ;;
    *)
      [ -z "$name" ] || refuse "$1: the slice has a name already, $name; what is trained stands behind --"
      name="$1"
      shift
      ;;
  esac
done
[ -n "$name" ] || refuse "give the slice a name: bash launch/tpu_vm.sh NAME --zone ZONE --type TYPE -- CONFIG --run-dir DIR"
[[ "$name" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || refuse "$name: a name has small letters, digits and -, and begins with a letter"
[ -n "$zone" ] || refuse "--zone is missing, for instance us-central2-b"
[ -n "$type" ] || refuse "--type is missing, for instance v4-32; see gcloud compute tpus accelerator-types list --zone $zone"
[[ "$wait_minutes" =~ ^[0-9]+$ ]] || refuse "--wait $wait_minutes: must be a number of minutes"
[[ "$restarts" =~ ^[0-9]+$ ]] || refuse "--restarts $restarts: must be a number"
[ "$#" -gt 0 ] || refuse "nothing to train: put -- CONFIG --run-dir DIR at the end"
case " $* " in
  *" --run-dir "* | *" --run-dir="*) ;;
  *) refuse "--run-dir is missing behind --; take a folder that all hosts share, such as /mnt/m3it/run with --mount" ;;
esac
if [ -z "$repo" ]; then
  repo="$(git remote get-url origin 2>/dev/null)" || refuse "this clone has no remote; say where the hosts clone from with --repo"
fi

gcloud_tpu() { call gcloud compute tpus "$@" --zone "$zone" ${project:+--project "$project"}; }
call() {
  if [ -n "$dry_run" ]; then
    printf '%q ' "$@"
    printf '\n'
  else
    "$@"
  fi
}
on_all() { gcloud_tpu tpu-vm ssh "$name" --worker=all --command "$1"; }
state() { gcloud_tpu queued-resources describe "$name" --format 'value(state.state)' 2>/dev/null; }

ask() {
  say "asking for $type in $zone as $name"
  gcloud_tpu queued-resources create "$name" --node-id "$name" --accelerator-type "$type" \
    --runtime-version "$version" ${spot:+--spot}
}

# Waits until the slice is there; a request that failed or was taken away is made anew.
wait_for_slice() {
  local begin="$SECONDS" now last=""
  while [ $((SECONDS - begin)) -le $((wait_minutes * 60)) ]; do
    now="$(state)"
    [ "$now" = "$last" ] || say "the slice is ${now:-not asked for}"
    last="$now"
    case "$now" in
      ACTIVE) return 0 ;;
      "") ask || return 1 ;;
      FAILED | SUSPENDED | SUSPENDING)
        delete
        ask || return 1
        ;;
    esac
    sleep "${M3IT_POLL_S:-20}"
  done
  say "no slice within $wait_minutes minutes; the request stays in the queue: run the same command again"
  return 1
}

delete() { gcloud_tpu queued-resources delete "$name" --force --quiet; }

set_up() {
  say "setting up every host"
  local folder='$HOME/m3it_jax' steps
  steps="set -e; [ -d $folder ] || git clone --quiet $(printf %q "$repo") $folder; cd $folder; git pull --quiet --ff-only"
  steps="$steps; [ -d .venv ] || python3 -m venv .venv; .venv/bin/pip install --quiet -e '.[tpu]' -r requirements.txt"
  if [ -n "$mount" ]; then
    steps="$steps; sudo mkdir -p /mnt/m3it; mountpoint -q /mnt/m3it || sudo gcsfuse -o allow_other --implicit-dirs $(printf %q "$mount") /mnt/m3it"
  fi
  on_all "$steps"
}

train() {
  local words
  words="$(printf '%q ' "$@")"
  # One process a host; JAX finds the others by the slice's own variables.
  on_all "cd \$HOME/m3it_jax && .venv/bin/m3it train $words"
}

gather_logs() {
  mkdir -p "logs/$name" 2>/dev/null
  say "the hosts' notes go to logs/$name"
  gcloud_tpu tpu-vm scp "$name:/tmp/tpu_logs" "logs/$name" --recurse --worker=0 >/dev/null 2>&1 || say "there were none"
}

if [ -n "$dry_run" ]; then
  ask
  set_up
  train "$@"
  [ -n "$keep" ] || delete
  exit 0
fi
command -v gcloud >/dev/null || refuse "gcloud is not installed; see https://cloud.google.com/sdk/docs/install"

for ((try = 0; try <= restarts; try++)); do
  wait_for_slice || exit 1
  if set_up; then
    train "$@"
    code=$?
  else
    code=255
  fi
  if [ "$code" -ne 0 ] && [ "$(state)" = ACTIVE ]; then
    # ssh gives 255 when a host is gone; 75 is a lost peer, 134 the loss of the first, 130 and 143 a signal: worth another try. Else a mistake.
    case "$code" in
      75 | 130 | 134 | 143 | 255) say "ended with exit code $code; started again, it goes on from the newest checkpoint" ;;
      *)
        say "ended with exit code $code: see the messages above. The slice is left there; delete it with"
        say "  gcloud compute tpus queued-resources delete $name --force --zone $zone${project:+ --project $project}"
        gather_logs
        exit "$code"
        ;;
    esac
  elif [ "$code" -ne 0 ]; then
    say "the slice was taken away; it is asked for again"
  else
    gather_logs
    [ -n "$keep" ] || delete
    say "done"
    exit 0
  fi
done
say "given up after $restarts restarts; the run goes on from its newest checkpoint with the same command"
exit "$code"
