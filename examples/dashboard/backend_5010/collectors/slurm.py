"""Jobs and nodes, from Slurm's own JSON. Where there is no Slurm, that is said plainly."""

import json
import os
import shutil
import subprocess
import time

ABSENT = "Slurm is not installed on this head"


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


def _job(job, now):
    start = _number(job.get("start_time"))
    return {
        "id": job.get("job_id"),
        "name": job.get("name"),
        "user": job.get("user_name"),
        "state": _word(job.get("job_state")),
        "partition": job.get("partition"),
        "nodes": job.get("nodes") or str(_number(job.get("node_count"))),
        "elapsed": _clock(max(0, now - start)) if 0 < start <= now else "0:00:00",
        "limit": _clock(60 * _number(job.get("time_limit"))),
    }


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
    return {"source": "slurm", "message": "", "jobs": [_job(j, now) for j in answer["jobs"]]}


def nodes():
    answer, message = _ask(["sinfo", "--json"])
    if answer is None:
        return {"source": "none", "message": message, "nodes": [_this_head()]}
    return {"source": "slurm", "message": "", "nodes": [_node(n) for n in answer["nodes"]]}
