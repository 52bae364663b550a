"""Jobs and nodes, from Slurm's own JSON. Where there is no Slurm, that is said plainly."""

import json
import os
import shutil
import subprocess
import time

ABSENT = "Slurm is not installed on this head"
SHOWN = 200
YEAR = 365 * 24 * 60
"""Minutes that Slurm gives to a job that has no limit, once it runs."""


def _ask(command):
    """Return (answer, message): the tool's JSON, or None and why there is none."""
    tool = shutil.which(command[0], path=os.environ.get("SLURM_PATH"))
    if tool is None:
        return None, ABSENT
    try:
        done = subprocess.run(
            [tool, *command[1:]], capture_output=True, text=True, timeout=10, check=True
        )
        return json.loads(done.stdout), ""
    except subprocess.CalledProcessError as error:
        return None, f"{command[0]}: {error.stderr.strip() or error.returncode}"
    except (subprocess.TimeoutExpired, ValueError) as error:
        return None, f"{command[0]} gave no answer: {error}"


def _number(value):
    """Slurm spells a number as itself, or as {"set": …, "number": …}."""
    if isinstance(value, dict):
        return value.get("number", 0) if value.get("set", True) else 0
    return value or 0


def _word(value):
    return value[0] if isinstance(value, list) and value else value or ""


def _clock(seconds):
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def _elapsed(job, now):
    """Seconds that a job has run; Slurm tells when one that runs will have to end."""
    start, end = _number(job.get("start_time")), _number(job.get("end_time"))
    if not 0 < start <= now:
        return 0
    return max(0, (end if 0 < end <= now else now) - start)


def _job(job, now):
    limit = _number(job.get("time_limit"))
    reason = _word(job.get("state_reason"))
    state = _word(job.get("job_state"))
    task = job.get("array_task_id")
    array = _number(job.get("array_job_id"))
    tasks = job.get("array_task_string") or ("" if task is None else _number(task))
    return {
        "id": job.get("job_id"),
        "label": f"{array}_{tasks}" if array else str(job.get("job_id")),
        "name": job.get("name"),
        "user": job.get("user_name"),
        "state": state,
        "reason": reason if state == "PENDING" and reason != "None" else "",
        "partition": job.get("partition"),
        "nodes": job.get("nodes") or str(_number(job.get("node_count"))),
        "elapsed": _clock(_elapsed(job, now)),
        "limit": _clock(60 * limit) if 0 < limit < YEAR else "none",
    }


def _place(job):
    """What runs comes first, then what waits, then what ended, the newest first."""
    states = ("RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "PENDING")
    state = job["state"]
    return states.index(state) if state in states else len(states), -job["id"]


def _node(node):
    return {
        "name": node.get("name"),
        "state": str(_word(node.get("state"))).lower(),
        "cpus": _number(node.get("cpus")),
        "cpus_used": _number(node.get("alloc_cpus")),
        "memory_mb": _number(node.get("real_memory")),
        "memory_used_mb": _number(node.get("alloc_memory")),
    }


def _this_head():
    """The head itself, as the one node there is to show without Slurm."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    free = os.sysconf("SC_AVPHYS_PAGES")
    cpus = os.cpu_count() or 1
    return {
        "name": os.uname().nodename,
        "state": "idle",
        "cpus": cpus,
        "cpus_used": min(cpus, round(os.getloadavg()[0])),
        "memory_mb": pages * size // 2**20,
        "memory_used_mb": (pages - free) * size // 2**20,
    }


def jobs():
    answer, message = _ask(["squeue", "--json"])
    if answer is None:
        return {"source": "none", "message": message, "jobs": []}
    now = time.time()
    found = sorted((_job(j, now) for j in answer["jobs"]), key=_place)
    return {"source": "slurm", "message": "", "jobs": found[:SHOWN]}


def nodes():
    answer, message = _ask(["sinfo", "--json"])
    if answer is None:
        return {"source": "none", "message": message, "nodes": [_this_head()]}
    return {"source": "slurm", "message": "", "nodes": [_node(n) for n in answer["nodes"]]}
