"""`qnetseg batch --cluster`: a real scheduler with two workers, one of them killed; kinds of clusters."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from qnetseg.batch import dask_cluster
from qnetseg.errors import ClusterError
from support.batch_engine import noted
from support.batch_studies import TESTING, Studies, wait_until
from support.worker_bed import LOGIC, PATIENCE

pytest.importorskip("distributed")

SLURM = "jobs: 3\nqueue: gpu\ncores: 4\nprocesses: 1\nmemory: 16GB\nwalltime: '02:00:00'\n"


@pytest.fixture
def cluster(tmp_path):
    """A scheduler's address and two worker processes, which nobody starts again."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(LOGIC), str(TESTING)]), "SLOW": "0.1"}
    env |= {"RUNS": str(tmp_path / "runs.txt"), "QNETSEG_RESOURCES": str(tmp_path / "resources")}
    file = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli"]
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    quiet = {"env": env, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    started = [
        subprocess.Popen(
            [*command[:2], f"{command[2]}.dask_scheduler", *options, "--port", "0", "--host", "127.0.0.1"],
            **quiet,
        )
    ]
    try:
        wait_until(file.exists)
        worker = [*command[:2], f"{command[2]}.dask_worker", *options, "--no-nanny", "--nthreads", "1"]
        started += [subprocess.Popen(worker, **quiet) for _ in range(2)]
        yield json.loads(file.read_text())["address"], started[1:]
    finally:
        for process in started:
            process.kill()
            process.wait()


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_a_worker_that_is_killed_costs_nothing_and_nothing_is_done_twice(tmp_path, cluster):
    address, workers = cluster
    studies = Studies(tmp_path, 30)
    studies.damage()
    process = studies.start("--cluster", address)
    pids = {str(worker.pid) for worker in workers}
    wait_until(lambda: pids <= working(studies) and len(studies.reports()) >= 3)
    before = studies.reports()
    workers[0].send_signal(signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 3, err  # for the damaged ones
    after = studies.reports()
    assert before.items() <= after.items() and set(after) == studies.good
    twice = [name for name in studies.good if noted(studies.runs, "begin").count(name) > 2]
    assert len(twice) <= 1, "only the study that was under way is run again"
    assert "Traceback" not in err and len([line for line in err.splitlines() if " of 30: " in line]) == 30
    assert studies.finish("--cluster", address)[0] == 3 and studies.reports() == after


def working(studies):
    """Process numbers of those that have begun a study."""
    lines = studies.runs.read_text().splitlines() if studies.runs.exists() else []
    return {line.split()[2] for line in lines}


def test_workers_of_this_machine_and_a_study_that_kills_them(tmp_path):
    studies = Studies(tmp_path, 4)
    code, _, err = studies.finish("--cluster", "local:2", ENGINE="deadly_engine", DEADLY="02", ALWAYS="1")
    assert code == 3 and set(studies.reports()) == {"00", "01", "03"}
    assert "Several workers ended in the middle of this study" in err and "Traceback" not in err


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_cluster_that_is_stopped_ends_with_its_workers(tmp_path):
    studies = Studies(tmp_path, 30)  # some seconds of work are left when the signal comes
    process = studies.start("--cluster", "local:2", SLOW="0.5")
    wait_until(lambda: len(studies.reports()) >= 1)
    os.killpg(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Stopped after" in err and "Traceback" not in err, err
    seen = len(noted(studies.runs, "begin"))
    time.sleep(1.0)
    assert len(noted(studies.runs, "begin")) == seen


def test_a_queueing_system_is_asked_for_jobs_of_one_study_at_a_time(tmp_path, monkeypatch):
    dask_jobqueue = pytest.importorskip("dask_jobqueue")
    asked = []
    monkeypatch.setattr(dask_jobqueue.SLURMCluster, "scale", lambda self, jobs: asked.append(jobs))
    file = tmp_path / "slurm.yaml"
    file.write_text(SLURM)
    with dask_cluster._started(f"slurm:{file}") as started:
        script = started.job_script()
    assert asked[0] == 3 and "#SBATCH -p gpu" in script and "#SBATCH -t 02:00:00" in script
    assert script.rindex("--nthreads 1") >= script.rindex("--nthreads")


@pytest.mark.parametrize(
    ("where", "text", "sentence"),
    [
        ("nonsense", "", "is not a cluster"),
        ("local:0", "", "how many workers"),
        ("local:", "", "is not a cluster"),
        ("chariot:FILE", "jobs: 1", "no cluster of the kind"),
        ("slurm:FILE", "- a\n- b\n", "does not describe"),
        ("slurm:FILE", "a: [", "cannot be read"),
        ("slurm:gone.yaml", "", "cannot be read"),
        ("slurm:FILE", "jobs: many", "not a whole number"),
        ("slurm:FILE", "no_such_argument: 1", "cannot be used"),
        ("tcp://127.0.0.1:9", "", "cannot be used"),
    ],
)
def test_a_cluster_that_cannot_be_used_says_why(tmp_path, monkeypatch, where, text, sentence):
    monkeypatch.setattr(dask_cluster, "PATIENCE", 1.0)
    file = tmp_path / "cluster.yaml"
    file.write_text(text)
    with pytest.raises(ClusterError, match=sentence), dask_cluster._client(where.replace("FILE", str(file))):
        pass


@pytest.mark.parametrize(("name", "where"), [("distributed", "local:2"), ("dask_jobqueue", "slurm:x.yaml")])
def test_the_extra_is_asked_for(monkeypatch, name, where):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ClusterError) as caught:
        next(dask_cluster.run_on_cluster(None, [], where))
    assert "qnetseg[cluster]" in caught.value.advice
