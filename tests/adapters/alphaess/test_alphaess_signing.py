"""The signature and the password encryption, against vectors that were made by hand with other tools."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.alphaess.signing import encrypt_password, sign

API_ACCOUNT = "apiacct01"
SECRET = "0123456789abcdef0123456789abcdef"
TIMESTAMP = 1_700_000_000
TOKEN = "11111111-2222-3333-4444-555555555555"
SERIAL_NUMBER = "AL0000000000001"

ACCOUNT = {"api_account": API_ACCOUNT, "timestamp": TIMESTAMP}
RUNNING_DATA = {**ACCOUNT, "Token": TOKEN, "Sn": SERIAL_NUMBER}
RUNNING_DATA_SIGNATURE = "b324f5e497ded97b062ea43250bb16b3"

VECTORS = {
    "Login": (
        {**ACCOUNT, "username": "installer01", "password": "S+QtkJNDR5d82NFl7czJ2A=="},
        "17a3ded38dd07ba863f597fcfb3637d9",
    ),
    "GetSystemList": (
        {**ACCOUNT, "Token": TOKEN, "pageindex": 1, "pagesize": 50},
        "4d823ccbc84118ce154e5dffbedd07b4",
    ),
    "GetRunningData": (RUNNING_DATA, RUNNING_DATA_SIGNATURE),
    "GetHistoryRunningData": (
        {**RUNNING_DATA, "Starttime": "2023/11/14 00:00:00", "endtime": "2023/11/14 23:59:59"},
        "ca7c4e8a40084c5822e1729ece0412eb",
    ),
    "GetEnergySummary": (
        {**RUNNING_DATA, "TheDate": "2023-11-14"},
        "6498ec1c22a103ebc540f2a0b5a79c2d",
    ),
    "RemoteDispatch": (
        {
            **RUNNING_DATA,
            "ActivePower": 34_500,
            "ReactivePower": 32_000,
            "SOC": 95,
            "Status": 1,
            "ControlMode": 2,
        },
        "8479119a63579f2b91c452840690daca",
    ),
}

# Keys that differ by more than case: the vendor has no others, and a sorted list would not say which comes first.
fields = st.dictionaries(
    st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=12),
    st.one_of(st.text(max_size=12), st.integers(-(10**9), 10**9)),
    min_size=1,
    max_size=10,
).filter(lambda params: len({key.lower() for key in params} - {"sign", "secretkey"}) == len(params))


@pytest.mark.parametrize("call", VECTORS)
def test_each_call_is_signed_as_the_vector_says(call):
    params, expected = VECTORS[call]

    assert sign(params, SECRET) == expected


@pytest.mark.parametrize(
    ("key_seed", "expected"),
    [
        pytest.param("installer01", "S+QtkJNDR5d82NFl7czJ2A==", id="username"),
        pytest.param(SECRET, "e5gLt9ijeDmQHIRn3slwsw==", id="api secret"),
    ],
)
def test_the_password_is_encrypted_as_the_vector_says(key_seed, expected):
    assert encrypt_password("pass1234", key_seed) == expected


@given(password=st.text(max_size=80), key_seed=st.text(min_size=1, max_size=40))
def test_any_password_can_be_decrypted_again(decryption, password, key_seed):
    assert decryption(encrypt_password(password, key_seed), key_seed) == password


def test_keys_are_ordered_without_regard_to_case():
    mixed = {"B": 1, "a": 2, "C": 3, "d": 4}

    # MD5 of a=2B=1C=3d=4secretkey=s; in ASCII order the capitals would come first.
    assert sign(mixed, "s") == "bf7e1420c15d4020d7b02c2f6317e4b8"


def test_the_secret_is_sorted_among_the_keys_not_appended():
    # MD5 of a=1secretkey=sz=2.
    assert sign({"a": 1, "z": 2}, "s") == "f2af588275762a3802c89c3dec0d7c1d"


def test_the_token_takes_part():
    other = {**RUNNING_DATA, "Token": "11111111-2222-3333-4444-555555555556"}
    without = {key: value for key, value in RUNNING_DATA.items() if key != "Token"}

    assert len({sign(RUNNING_DATA, SECRET), sign(other, SECRET), sign(without, SECRET)}) == 3


@pytest.mark.parametrize("key", ["sign", "Sign", "SIGN"])
def test_a_sign_that_is_there_already_is_left_out(key):
    assert sign({**RUNNING_DATA, key: "anything"}, SECRET) == RUNNING_DATA_SIGNATURE


def test_a_key_that_only_contains_sign_takes_part():
    assert sign({**RUNNING_DATA, "signature": "x"}, SECRET) != RUNNING_DATA_SIGNATURE


def test_none_counts_as_empty_text():
    signed = sign({**RUNNING_DATA, "Remark": None}, SECRET)

    assert signed == sign({**RUNNING_DATA, "Remark": ""}, SECRET)
    assert signed != RUNNING_DATA_SIGNATURE


def test_zero_is_not_taken_for_empty_text():
    assert sign({**ACCOUNT, "Status": 0}, SECRET) != sign({**ACCOUNT, "Status": None}, SECRET)


def test_a_decimal_is_signed_as_it_is_written_in_the_json():
    assert sign({"SOC": 95}, SECRET) != sign({"SOC": 95.0}, SECRET)


def test_another_secret_gives_another_signature():
    assert sign(RUNNING_DATA, SECRET[:-1] + "0") != RUNNING_DATA_SIGNATURE


def test_signing_leaves_the_request_as_it_is():
    params = dict(RUNNING_DATA)

    sign(params, SECRET)

    assert params == RUNNING_DATA


@given(params=fields, data=st.data())
def test_the_order_of_the_fields_makes_no_difference(params, data):
    shuffled = dict(data.draw(st.permutations(list(params.items()))))

    assert sign(shuffled, SECRET) == sign(params, SECRET)


@given(params=fields, data=st.data())
def test_any_changed_value_changes_the_signature(params, data):
    key = data.draw(st.sampled_from(sorted(params)))
    value = data.draw(st.text(max_size=12).filter(lambda text: text != str(params[key])))

    assert sign({**params, key: value}, SECRET) != sign(params, SECRET)


@given(params=fields)
def test_an_independent_implementation_agrees(signature, params):
    assert sign(params, SECRET) == signature(params, SECRET)
