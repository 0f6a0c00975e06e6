"""The Celery application: how messages travel. What they mean is in `schedules.tasks`, when they come in `beat`.

The broker carries wake-ups, the store carries what is wanted: losing all messages costs a tick, nothing else.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from adapters import registry
from schedules import spool
from schedules.beat import DEFAULT, HEARTBEAT_S, JOBS, SAFETY, queues
from schedules.job_runs import HARD_LIMIT_S
from schedules.settings import Settings

SOFT_LIMIT_S = 75.0
# After so long an unacknowledged message is given to another worker. The shortest among all that share a broker wins.
VISIBILITY_S = 3 * HARD_LIMIT_S
# Running tasks have so long to end when a worker is asked to stop [s].
SOFT_SHUTDOWN_S = 30.0
TASKS = "schedules.tasks"


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings for an installation; makes the folders that they name."""
    settings.make_folders()
    names = queues(registry.names())
    exchange = Exchange("tidewatt")
    found: dict[str, Any] = {
        "broker_url": settings.broker_url,
        "broker_transport_options": _transport_options(settings),
        "broker_connection_retry_on_startup": True,
        "result_backend": settings.results_url,
        "result_backend_transport_options": {"visibility_timeout": VISIBILITY_S},
        "visibility_timeout": VISIBILITY_S,
        "result_expires": 86_400,
        # What came of a task is in the store; only a round trip of `tidewatt check` waits for a result.
        "task_ignore_result": True,
        "task_serializer": "json",
        "result_serializer": "json",
        "accept_content": ["json"],
        "timezone": "UTC",
        "enable_utc": True,
        "task_queues": [Queue(name, exchange, routing_key=name) for name in names],
        "task_default_queue": DEFAULT,
        "task_create_missing_queues": False,
        # A message is done when its task is, not when it begins: what dies with its worker comes again.
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        # A task that fails has said so in the store, and the next tick comes anyway.
        "task_acks_on_failure": True,
        "task_acks_on_timeout": True,
        # Whether a process that died had left a result; the message comes again after it, while it is worth doing.
        "worker_lost_wait": 2.0,
        "task_time_limit": HARD_LIMIT_S,
        "task_soft_time_limit": SOFT_LIMIT_S,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": True,
        "worker_soft_shutdown_timeout": SOFT_SHUTDOWN_S,
        "worker_enable_soft_shutdown_on_idle": True,
        "worker_max_tasks_per_child": 500,
        "worker_max_memory_per_child": 800_000,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "beat_schedule": _beat_schedule(names),
        # The store knows what is done, so beat need not: a clean start is always right.
        "beat_scheduler": "celery.beat:Scheduler",
        "beat_max_loop_interval": 5.0,
    }
    if settings.beat_lock.get_secret_value():
        found |= {
            "beat_scheduler": "redbeat.RedBeatScheduler",
            "redbeat_redis_url": settings.beat_lock.get_secret_value(),
            # Longer than beat ever sleeps, or it would lose the lock in its sleep.
            "redbeat_lock_timeout": 30,
        }
    return found


def _transport_options(settings: Settings) -> dict[str, Any]:
    if not settings.broker_url.startswith("filesystem"):
        return {"visibility_timeout": VISIBILITY_S}
    spool = settings.state / "spool"
    folders = {name: spool / name for name in ("messages", "processed", "control")}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return {
        "data_folder_in": str(folders["messages"]),
        "data_folder_out": str(folders["messages"]),
        "processed_folder": str(folders["processed"]),
        "control_folder": str(folders["control"]),
        "store_processed": False,
        # A busy worker takes one message each time that it looks.
        "polling_interval": 0.05,
    }


def _beat_schedule(names: list[str]) -> dict[str, Any]:
    rings = {
        job.name: {
            "task": f"{TASKS}.{'fan_out' if job.of_accounts else 'run'}",
            "args": [job.name],
            "schedule": job.ring_s,
            "options": {"queue": SAFETY if job.of_accounts else job.queue, "expires": job.worth_s},
        }
        for job in JOBS.values()
    }
    beats = {
        f"heartbeat/{name}": {
            "task": f"{TASKS}.heartbeat",
            "args": [name],
            "schedule": HEARTBEAT_S,
            "options": {"queue": name, "expires": HEARTBEAT_S},
        }
        for name in names
    }
    return rings | beats


spool.install()
app = Celery("tidewatt", include=[TASKS])
# Read when first asked for, so that importing this needs no environment.
app.add_defaults(lambda: configuration(Settings.from_environment()))
