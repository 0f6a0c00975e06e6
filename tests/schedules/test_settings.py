from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from engine.errors import InputError
from schedules.celery_app import VISIBILITY_S, configuration
from schedules.job_runs import HARD_LIMIT_S
from schedules.settings import Settings

SECRET = "postgresql://tidewatt:hunter2-canary@db/tidewatt"


def test_unset_means_files_in_one_folder(tmp_path: Path) -> None:
    settings = Settings.from_environment({"TIDEWATT_STATE": str(tmp_path), "TIDEWATT_BROKER": ""})
    assert settings.store_url == f"sqlite:///{tmp_path}/tidewatt.sqlite"
    assert settings.broker_url.startswith("filesystem://")
    assert settings.results_url == f"db+sqlite:///{tmp_path}/results.sqlite"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TIDEWATT_STORE", "hunter2-canary"),
        ("TIDEWATT_LOG_LEVEL", "hunter2-canary"),
        ("TIDEWATT_BROKER", "hunter2-canary"),
    ],
)
def test_what_is_wrong_is_named_by_its_variable_and_never_shown(name: str, value: str) -> None:
    with pytest.raises(InputError, match=name) as caught:
        Settings.from_environment({name: value})
    assert "hunter2-canary" not in str(caught.value)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="TIDEWATT_STATE"):
        Settings.from_environment({"TIDEWATT_STATE": str(tmp_path / "file" / "state")}).make_folders()


def test_no_repr_shows_an_address() -> None:
    settings = Settings.from_environment({"TIDEWATT_STORE": SECRET})
    assert "hunter2" not in repr(settings) + str(settings.model_dump())
    assert settings.secrets == [SECRET, "hunter2-canary"]


@pytest.fixture
def found(tmp_path: Path) -> dict[str, Any]:
    """Celery's configuration with a Redis as broker."""
    environment = {"TIDEWATT_STATE": str(tmp_path), "TIDEWATT_BROKER": "redis://127.0.0.1/0"}
    return configuration(Settings.from_environment(environment))


def test_messages_outlive_their_workers(found: dict[str, Any]) -> None:
    """The shortest visibility timeout among all that share a Redis wins, so it stands in all three places."""
    assert found["task_acks_late"]
    assert found["task_reject_on_worker_lost"]
    assert found["worker_prefetch_multiplier"] == 1
    assert VISIBILITY_S == 3 * HARD_LIMIT_S == 3 * found["task_time_limit"]
    assert found["visibility_timeout"] == VISIBILITY_S
    assert found["broker_transport_options"]["visibility_timeout"] == VISIBILITY_S
    assert found["result_backend_transport_options"]["visibility_timeout"] == VISIBILITY_S


def test_only_json_is_read_from_the_broker(found: dict[str, Any]) -> None:
    assert found["accept_content"] == ["json"]


def test_a_ring_that_nobody_heard_is_over_within_a_minute(found: dict[str, Any]) -> None:
    assert 0 < max(entry["options"]["expires"] for entry in found["beat_schedule"].values()) <= 60


def test_two_beats_agree_by_a_lock_that_outlasts_their_sleep(tmp_path: Path) -> None:
    found = configuration(
        Settings.from_environment({"TIDEWATT_STATE": str(tmp_path), "TIDEWATT_BEAT_LOCK": "redis://127.0.0.1/1"})
    )
    assert found["beat_scheduler"] == "redbeat.RedBeatScheduler"
    assert found["redbeat_lock_timeout"] > found["beat_max_loop_interval"]
