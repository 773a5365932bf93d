#!/usr/bin/env bash
# Trains on a TPU slice of a GKE cluster that has JobSet installed.
# usage: bash launch/gke/run.sh [--dry-run] NAME --image IMAGE --accelerator A --topology T --hosts N --claim PVC \
#            [--chips 4] [--restarts 20] -- CONFIG --run-dir DIR [overrides]
#   bash launch/gke/run.sh ying --image REGISTRY/m3it --accelerator tpu-v5-lite-podslice --topology 4x4 --hosts 4 \
#       --claim shared -- configs/stage1_align.py:paper --run-dir /mnt/m3it/stage1 --data.path=/mnt/m3it/data
# IMAGE has the project installed (`pip install .[tpu]`); PVC is a volume that all hosts can write, mounted as /mnt/m3it.
set -uo pipefail

say() { printf 'gke/run.sh: %s\n' "$*" >&2; }
refuse() {
  say "$*"
  exit 2
}

# shellcheck disable=SC2034  # read by their names below
dry_run="" NAME="" IMAGE="" ACCELERATOR="" TOPOLOGY="" HOSTS="" CLAIM="" CHIPS=4 RESTARTS=20
while [ "$#" -gt 0 ]; do
  case "$1" in
    --) shift; break ;;
    --dry-run) dry_run=yes; shift ;;
    --image | --accelerator | --topology | --hosts | --claim | --chips | --restarts)
      [ "$#" -ge 2 ] || refuse "$1 needs a value"
      variable="${1#--}"
      printf -v "${variable^^}" '%s' "$2"
      shift 2
      ;;
    -*) refuse "there is no option $1; see the first lines of this file" ;;
    *)
      [ -z "$NAME" ] || refuse "$1: the run has a name already, $NAME; what is trained stands behind --"
      NAME="$1"
      shift
      ;;
  esac
done
for variable in NAME IMAGE ACCELERATOR TOPOLOGY HOSTS CLAIM; do
  [ -n "${!variable}" ] || refuse "--${variable,,} is missing; see the first lines of this file"
done
[[ "$NAME" =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || refuse "$NAME: a name has small letters, digits and -, and begins with a letter"
for variable in HOSTS CHIPS RESTARTS; do
  [[ "${!variable}" =~ ^[0-9]+$ ]] || refuse "--${variable,,} ${!variable}: must be a number"
done
for variable in IMAGE ACCELERATOR TOPOLOGY CLAIM; do
  [[ "${!variable}" =~ ^[A-Za-z0-9][-A-Za-z0-9._:/@]*$ ]] || refuse "--${variable,,} ${!variable}: has a character that no such name has"
done
case " $* " in
  *" --run-dir "* | *" --run-dir="*) ;;
  *) refuse "--run-dir is missing behind --; take a folder of the volume, such as /mnt/m3it/run" ;;
esac
# A JSON list is YAML too, so every word arrives as it was given.
# shellcheck disable=SC2034
ARGS="$(python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@")" || exit 1

text="$(cat "$(dirname "${BASH_SOURCE[0]}")/jobset.yaml")"
for variable in NAME IMAGE ACCELERATOR TOPOLOGY HOSTS CLAIM CHIPS RESTARTS ARGS; do
  text="${text//"@$variable@"/"${!variable}"}"
done
if [ -n "$dry_run" ]; then
  printf '%s\n' "$text"
  exit 0
fi
command -v kubectl >/dev/null || refuse "kubectl is not installed; see https://kubernetes.io/docs/tasks/tools"
printf '%s\n' "$text" | kubectl apply -f - || exit 1
say "follow it with: kubectl logs --follow --selector jobset.sigs.k8s.io/jobset-name=$NAME --prefix --max-log-requests $HOSTS"
say "remove it with: kubectl delete jobset $NAME"
