"""The processes of a run: a launcher starts one on each host, and they find each other before JAX is used.

Rank 0 alone writes to the run folder, except for checkpoints, which all write together. Who started the processes is
told by the environment: launch/local.sh and launch/gke set JAX' own variables, Slurm's srun, Open MPI and a TPU slice
have theirs, which JAX knows.
"""

import logging
import os
from collections.abc import Mapping

import jax
from jax.experimental import multihost_utils

from m3it_jax import errors

# Number of processes -> how JAX finds the others where that variable says several: "own" is the three variables below.
_COUNTS = {"JAX_NUM_PROCESSES": "own", "SLURM_STEP_NUM_TASKS": "slurm", "OMPI_COMM_WORLD_SIZE": "ompi"}
_UNKNOWN = ("PMI_SIZE", "WORLD_SIZE")  # MPICH and PyTorch's launcher: JAX does not know how their processes meet
_HOSTS = "TPU_WORKER_HOSTNAMES"  # of a TPU slice, its hosts with commas between them
_ADDRESS, _RANK = "JAX_COORDINATOR_ADDRESS", "JAX_PROCESS_ID"

_MEET_S = 120  # CHOICE: hosts of a slice start within seconds of each other; images are pulled before


def found(environ: Mapping[str, str]) -> str:
    """Returns how the other processes are found: `own`, `slurm`, `ompi` or `tpu`; empty for a run of one process.

    Raises:
      UserError: variables contradict each other, one is missing, or the launcher is one that JAX does not know.
    """
    counts = {name: _number(environ, name) for name in (*_COUNTS, *_UNKNOWN) if environ.get(name)}
    hosts = [host for host in environ.get(_HOSTS, "").split(",") if host]
    if len(hosts) > 1:
        counts[_HOSTS] = len(hosts)
    several = {name: count for name, count in counts.items() if count > 1}
    if not several:
        return ""
    if len(set(several.values())) > 1:
        told = " and ".join(f"{name}={count}" for name, count in several.items())
        raise errors.UserError(f"{told} contradict each other: one is left from another job; unset it and start again")
    if "JAX_NUM_PROCESSES" in several:
        _check_own(environ, several["JAX_NUM_PROCESSES"])
        return "own"
    known = [name for name in several if name in _COUNTS or name == _HOSTS]
    if not known:
        name, count = next(iter(several.items()))
        raise errors.UserError(
            f"{name}={count}: m3it train does not know how these processes find each other; start them with srun, "
            f"mpirun of Open MPI or launch/local.sh, or set {_ADDRESS}, JAX_NUM_PROCESSES and {_RANK}"
        )
    return _COUNTS.get(known[0], "tpu")


def _check_own(environ: Mapping[str, str], count: int) -> None:
    address, rank = environ.get(_ADDRESS, ""), environ.get(_RANK, "")
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise errors.UserError(f"{_ADDRESS}={address!r}: must be HOST:PORT of process 0, the same for all processes")
    if not rank.isdecimal() or int(rank) >= count:
        raise errors.UserError(f"{_RANK}={rank!r}: must be a number from 0 to {count - 1}, another one in each process")


def _number(environ: Mapping[str, str], name: str) -> int:
    text = environ[name]
    if not text.isdecimal() or not int(text):
        raise errors.UserError(f"{name}={text!r}: must be a number of processes, 1 or more; unset or mend it")
    return int(text)


def join(environ: Mapping[str, str] = os.environ) -> None:
    """Meets the other processes of the run, if a launcher has started several; JAX must not have been used before.

    Raises:
      UserError: as `found`, or the processes did not meet.
    """
    how = found(environ)
    if not how:
        return
    own = {}
    if how == "own":
        own = {
            "coordinator_address": environ[_ADDRESS],
            "num_processes": int(environ["JAX_NUM_PROCESSES"]),
            "process_id": int(environ[_RANK]),
        }
    # A process that is lost would end all others at once, without a word; peers.py names it before.
    jax.config.update("jax_enable_recoverability", True)
    logging.getLogger("jax._src.distributed").setLevel(logging.ERROR)  # it warns of every proxy variable
    try:
        jax.distributed.initialize(**own, initialization_timeout=_MEET_S)
    except (RuntimeError, ValueError) as error:
        where = own.get("coordinator_address", f"process 0, as {how} says")
        raise errors.UserError(
            f"the processes of the run did not meet at {where} within {_MEET_S} s: start all of them, check that every "
            f"host reaches that address, and that no other job has its port ({str(error).splitlines()[0][:200]})"
        ) from error


def is_first() -> bool:
    """Returns whether this process is rank 0, which writes to the run folder."""
    return jax.process_index() == 0


def meet(name: str) -> None:
    """Waits until all processes are here; `name` tells one place from another."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def should_stop(step: int, *, is_asked: bool) -> bool:
    """Returns whether the run stops after this step: the same answer in all processes.

    Args:
      step: Finished updates; every process asks once after each.
      is_asked: A run of one process was asked to stop. In one of several, JAX notes SIGTERM and agrees on a step.
    """
    if jax.process_count() == 1:
        return is_asked
    return bool(multihost_utils.reached_preemption_sync_point(step))
