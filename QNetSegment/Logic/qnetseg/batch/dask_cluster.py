"""Studies on a Dask cluster: of this machine, of a queueing system, or one that is running already.

Needs the extra `cluster`. Every worker runs one study at a time and keeps its networks; the files of the
studies, of the drawings and of the results must have the same paths on all machines. A worker that is lost
costs nothing: Dask gives its study to another one, which sees by the report whether it was finished.
"""

from __future__ import annotations

import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import ClusterError, QNetSegmentError
from .local_processes import deaf_to_the_terminal
from .plan import Plan
from .run_study import Ended, Endings, Runner, unexpected
from .studies import Study, StudyState

FORM = "Name local:4, KIND:FILE such as slurm:cluster.yaml, or the address of a scheduler such as tcp://host:8786."
INSTALL = "Install it: pip install 'qnetseg[cluster]'."
ADDRESSES = ("tcp://", "tls://", "ws://", "wss://", "ucx://")
PATIENCE = 30.0  # seconds until a scheduler has to answer
QUIET = logging.CRITICAL  # of what Dask has to say when workers come and go
SCHEDULER = {"distributed.scheduler.worker-saturation": 1.0}  # no study waits for a busy worker
JOBS = "jobs"  # the entry of the file that says how many jobs to ask for

_runners: dict[str, Runner] = {}  # in a worker: of each plan that it was sent
_one_at_a_time = threading.Lock()


def run_on_cluster(
    plan: Plan, studies: Sequence[Study], where: str, say: Callable[[str], None] = lambda line: None
) -> Endings:
    """Run the studies on a cluster; yields the index of each that has ended, and how.

    where: see FORM. say: is told where the studies have to wait. Closing the generator gives the cluster
    back; studies that wait are called off. Raises ClusterError for a cluster that cannot be reached or
    started.
    """
    _require_dask()
    from distributed import as_completed

    key = uuid.uuid4().hex
    with _client(where) as client:
        _send(client, key, plan)
        if not client.scheduler_info()["workers"]:
            say("The cluster has no worker yet; the studies wait for one.")
        futures = {
            client.submit(
                run_sent, key, study, key=f"qnetseg-{key}-{index}", pure=False, priority=-index
            ): index
            for index, study in enumerate(studies)
        }
        try:
            for future in as_completed(list(futures), loop=client.loop):
                yield futures[future], _end_of(future)
                future.release()
        finally:
            with suppress(Exception):  # whatever Dask raises where the scheduler has ended
                client.cancel(list(futures))
                client.unregister_worker_plugin(f"qnetseg-{key}")


def _send(client: Any, key: str, plan: Plan) -> None:
    """Give the plan to every worker. Raises ClusterError."""
    try:
        client.register_plugin(_plugin(key, plan), name=f"qnetseg-{key}")
    except Exception as error:  # whatever a worker raises
        raise ClusterError(
            f"The workers of the cluster cannot load QNetSegment ({type(error).__name__}: {error}).",
            "Install the same version of it in their Python.",
        ) from error


def run_sent(key: str, study: Study) -> Ended:
    """In a worker: run a study of a plan that was sent before, see `_plugin`."""
    with _one_at_a_time:  # whatever threads a worker has: a network has one user
        return _runners[key](study)


def take_plan(key: str, plan: Plan) -> None:
    """In a worker: keep a plan."""
    _runners[key] = Runner(plan)


def forget_plan(key: str) -> None:
    """In a worker: let go of a plan with its networks."""
    _runners.pop(key, None)


def _plugin(key: str, plan: Plan) -> Any:
    """Brings the plan to every worker once, also to those that come later."""
    from distributed import WorkerPlugin

    class Sent(WorkerPlugin):
        def setup(self, worker: Any) -> None:
            take_plan(key, plan)

        def teardown(self, worker: Any) -> None:
            forget_plan(key)

    return Sent()


@contextmanager
def _client(where: str) -> Iterator[Any]:
    """A client of the cluster; the cluster ends with it unless it was running before."""
    from distributed import Client

    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(QUIET)  # each has a level of its own
    with ExitStack() as ending:
        try:
            address = where if where.startswith(ADDRESSES) else ending.enter_context(_started(where))
            client = ending.enter_context(Client(address, timeout=PATIENCE, set_as_default=False))
        except QNetSegmentError:
            raise
        except Exception as error:  # Dask and the queueing systems raise anything
            raise ClusterError(
                f"The cluster '{where}' cannot be used ({type(error).__name__}: {error}).",
                "Check its address or its file, and that it is running.",
            ) from error
        yield client


def _started(where: str) -> Any:
    import dask

    kind, _, rest = where.partition(":")
    if not kind or not rest:
        raise ClusterError(f"'{where}' is not a cluster.", FORM)
    with dask.config.set(SCHEDULER):
        return _local(rest) if kind == "local" else _queued(kind, Path(rest))


def _local(workers: str) -> Any:
    from distributed import LocalCluster

    if not workers.isdecimal() or int(workers) < 1:
        raise ClusterError(f"'local:{workers}' does not say how many workers to start.", FORM)
    alone = {"threads_per_worker": 1, "processes": True}
    unwatched = {"dashboard_address": None, "memory_limit": 0}  # Dask holds no data that it could move
    with deaf_to_the_terminal():
        return LocalCluster(n_workers=int(workers), **alone, **unwatched, silence_logs=QUIET)


def _queued(kind: str, file: Path) -> Any:
    """A cluster of jobs of a queueing system, for each of which dask-jobqueue has a class."""
    try:
        import dask_jobqueue
    except ImportError as error:
        raise ClusterError(f"The cluster '{kind}' needs dask-jobqueue.", INSTALL) from error
    ending = "cluster"
    kinds = {
        name.lower()[: -len(ending)]: getattr(dask_jobqueue, name)
        for name in dir(dask_jobqueue)
        if name.lower().endswith(ending)
    }
    if kind.lower() not in kinds:
        raise ClusterError(
            f"There is no cluster of the kind '{kind}'.", f"Use one of {', '.join(sorted(kinds))}."
        )
    entries = _entries(file)
    jobs = entries.pop(JOBS, 1)
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise ClusterError(
            f"'{JOBS}' in '{file.name}' is not a whole number from 1.", "Say how many jobs to ask for."
        )
    one_study_at_a_time = ["--nthreads", "1"]
    extra = [*entries.pop("worker_extra_args", ()), *one_study_at_a_time]
    cluster = kinds[kind.lower()](**entries, worker_extra_args=extra)
    cluster.scale(jobs=jobs)
    return cluster


def _entries(file: Path) -> dict[str, Any]:
    """The named arguments of a cluster's class. Raises ClusterError."""
    import yaml

    try:
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ClusterError(
            f"The file '{file}' of the cluster cannot be read: {' '.join(str(error).split())}.",
            "Name a YAML file.",
        ) from error
    if not isinstance(entries, dict):
        raise ClusterError(
            f"The file '{file}' does not describe a cluster.", "Write it as NAME: VALUE, line by line."
        )
    return {str(name): value for name, value in entries.items()}


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise ClusterError("A cluster needs the Python package distributed.", INSTALL) from error


def _end_of(future: Any) -> Ended:
    """How a study ended; waits where its worker was lost with the answer, and another one has to be asked."""
    from distributed.scheduler import KilledWorker

    try:
        ended: Ended = future.result()
    except KilledWorker:
        sentence = "Several workers ended in the middle of this study, perhaps because memory ran out."
    except CancelledError:
        sentence = "The cluster has cancelled this study, perhaps because its scheduler ended."
    except Exception as error:
        sentence = unexpected(error)
    else:
        return ended
    return Ended(StudyState.FAILED, sentence)
