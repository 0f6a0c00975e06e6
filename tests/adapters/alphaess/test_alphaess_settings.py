"""Settings of an account that cannot be right are refused when the adapter is built, by name of the field."""

from __future__ import annotations

import asyncio

import pytest

from adapters.alphaess.adapter import create
from adapters.alphaess.client import Settings
from adapters.contract import ConfigurationError

ACCOUNT = {
    "base_url": "http://127.0.0.1:1",
    "api_account": "apiacct01",
    "api_secret": "0123456789abcdef0123456789abcdef",
    "username": "installer01",
    "password": "pass1234",
}


@pytest.mark.parametrize("field", ["api_account", "api_secret", "username", "password"])
def test_each_credential_must_be_given(manual_clock, field):
    incomplete = {name: value for name, value in ACCOUNT.items() if name != field}

    with pytest.raises(ConfigurationError, match=field):
        create(incomplete, manual_clock)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("api_secert", "a misspelt name"),
        ("encryption_key", "sn"),
        ("upload_time_zone", "Mars/Olympus"),
        ("upload_time_zone", ""),
        ("base_url", "api.alphaess.com"),
        ("base_url", "ftp://api.alphaess.com"),
        ("base_url", ""),
        ("base_url", "http://[::1"),
        ("base_url", "http://127.0.0.1:99999"),
        ("base_url", "http://127.0.0.1:0"),
        ("base_url", "http://127.0.0.1:port"),
        ("base_url", "https://api.alphaess.com/ "),
        ("base_url", "https://api.alphaess.com/\x00"),
        ("base_url", "https://api.alphaess.com\n"),
        ("timeout_s", 0),
        ("timeout_s", -1),
        ("timeout_s", "soon"),
        ("password", ["pass1234"]),
        ("api_account", None),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(manual_clock, field, value):
    with pytest.raises(ConfigurationError, match=field):
        create({**ACCOUNT, field: value}, manual_clock)


def test_what_need_not_be_set_has_the_documents_values(manual_clock):
    settings = Settings.model_validate({name: value for name, value in ACCOUNT.items() if name != "base_url"})

    assert settings.base_url == "https://api.alphaess.com"
    assert settings.encryption_key == "username"
    assert settings.upload_time_zone == "UTC"
    adapter = create(settings.model_dump(), manual_clock)
    asyncio.run(adapter.close())


def test_settings_cannot_be_changed_afterwards():
    settings = Settings.model_validate(ACCOUNT)

    with pytest.raises(ValueError, match="frozen"):
        settings.password = "another"

    assert settings.password.get_secret_value() == "pass1234"
