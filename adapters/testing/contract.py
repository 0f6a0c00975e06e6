"""What every adapter promises, as numbered cases against the vendor's emulator over real HTTP.

Under pytest: import everything from here into a test module that has a fixture `subject` (`adapters.testing.Subject`).
Each case is a plain function of a subject; what does not apply to a vendor is skipped with the reason. A case says what
was promised and what was seen instead, and needs no more of a vendor than `Subject` has.
"""

from __future__ import annotations

from adapters.testing.case import Case
from adapters.testing.cases import failures, intents, itself, refusals, secrets, telemetry

CASES = [
    Case.of(run)
    for run in (
        itself.test_c01_nothing_is_contacted_at_creation,
        itself.test_c02_abilities_are_consistent,
        itself.test_c03_wrong_settings_are_named_and_never_shown,
        telemetry.test_c04_telemetry_of_a_charging_battery,
        telemetry.test_c05_telemetry_of_a_discharging_battery,
        telemetry.test_c06_telemetry_of_an_exporting_site,
        telemetry.test_c07_telemetry_of_an_importing_site,
        telemetry.test_c08_times_are_the_vendors_own,
        telemetry.test_c09_frozen_telemetry_grows_old,
        telemetry.test_c10_null_is_unknown,
        telemetry.test_c11_not_available_is_unknown,
        telemetry.test_c12_numbers_may_be_texts,
        telemetry.test_c13_odd_json_is_read_or_refused,
        telemetry.test_c14_devices_are_listed,
        telemetry.test_c15_readings_come_by_themselves,
        intents.test_c16_charge_charges,
        intents.test_c17_discharge_discharges,
        intents.test_c18_hold_holds,
        intents.test_c19_self_consumption_lets_go,
        intents.test_c20_release_lets_go,
        intents.test_c21_commands_end_by_themselves,
        intents.test_c22_progress_can_be_followed,
        intents.test_c23_batches_have_a_receipt_each,
        intents.test_c24_schedules_take_no_more_calls_than_intents,
        refusals.test_c25_power_over_the_rating_is_refused,
        refusals.test_c26_no_device_is_refused,
        refusals.test_c27_the_batterys_own_limits_bind,
        refusals.test_c28_quotas_refuse_before_a_socket_opens,
        refusals.test_c29_too_frequent_is_left_alone,
        failures.test_c30_a_lost_answer_is_unknown_and_never_sent_twice,
        failures.test_c31_a_server_error_on_a_write_is_not_retried,
        failures.test_c32_a_server_error_on_a_read_is_retried,
        failures.test_c33_retries_of_reads_are_bounded,
        failures.test_c34_silence_ends_in_time,
        failures.test_c35_an_expired_token_costs_one_login,
        failures.test_c36_a_stolen_session_costs_one_login,
        failures.test_c37_a_command_survives_an_expired_token,
        failures.test_c38_a_command_survives_a_stolen_session,
        failures.test_c39_nobody_there_is_a_rejection,
        secrets.test_c40_wrong_credentials_are_tried_once,
        secrets.test_c41_secrets_are_never_told,
        itself.test_c42_closing_closes,
    )
]
# Under their own names, for pytest to find.
globals().update({case.run.__name__: case.run for case in CASES})

__all__ = [case.run.__name__ for case in CASES]
