from __future__ import annotations

import datetime as dt
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from zoneinfo import ZoneInfo

import pytest
from alembic import op
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import MetaData, create_engine, inspect, select, text
from sqlalchemy.exc import IntegrityError, OperationalError, StatementError

from schedules.store import CommandRow, Database, PlanRow, SiteRow
from schedules.store.database import MIGRATIONS, TO_SERVER, engine_of, migrate
from schedules.store.models import Base, CommandKind, CommandState

NOON = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "store.sqlite"


@pytest.fixture
def sqlite_db(path):
    opened = Database.at(path)
    yield opened
    opened.close()


@pytest.fixture
def db(store):
    """Whatever does not say otherwise holds on both databases."""
    return store


def a_site() -> SiteRow:
    return SiteRow(name="home", assets={"battery": {"capacity_kwh": 10.0}}, adapter="alphaess", device_id="AL1")


def a_command(site_id: int, sent_at: dt.datetime) -> CommandRow:
    return CommandRow(
        site_id=site_id,
        kind=CommandKind.START,
        battery_kw=-2.5,
        payload={"ActivePower": 29500},
        state=CommandState.SENDING,
        sent_at=sent_at,
    )


def add(db: Database, *rows: Base) -> None:
    with db.session() as session, session.begin():
        session.add_all(rows)


def differences(db: Database) -> list:
    with db.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return compare_metadata(context, Base.metadata)


def test_sqlite_is_in_write_ahead_mode(sqlite_db, path):
    with sqlite_db.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
    with sqlite3.connect(path) as outside:
        assert outside.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    outside.close()


def test_every_connection_of_the_pool_is_tuned(sqlite_db):
    with sqlite_db.engine.connect() as one, sqlite_db.engine.connect() as two:
        for connection in (one, two):
            # 1 is NORMAL; SQLite's own defaults are FULL, off and 0.
            assert connection.execute(text("PRAGMA synchronous")).scalar() == 1
            assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
            assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 10_000


def test_a_reader_is_not_blocked_by_an_open_write(db):
    add(db, a_site())
    with db.session() as writer, writer.begin():
        writer.add(SiteRow(name="second", assets={}, adapter="alphaess", device_id="AL2"))
        writer.flush()
        with db.session() as reader:
            assert reader.scalars(select(SiteRow.name)).all() == ["home"]


def test_the_migrations_from_empty_make_the_models(db):
    assert differences(db) == []


def test_a_table_that_the_migrations_forgot_is_noticed(db):
    with db.engine.begin() as connection:
        connection.execute(text("DROP TABLE telemetry"))
        connection.execute(text("ALTER TABLE site DROP COLUMN adapter"))
    kinds = sorted(change[0] for change in differences(db))
    assert kinds == ["add_column", "add_index", "add_table"]


def test_the_unique_keys_that_dispatch_and_telemetry_rely_on_are_in_the_file(db):
    def unique(table: str) -> list:
        return sorted(key["column_names"] for key in inspect(db.engine).get_unique_constraints(table))

    assert unique("telemetry") == [["site_id", "channel", "measured_at"]]
    assert unique("intent") == [["site_id", "not_before", "plan_id"]]
    assert unique("site") == [["name"]]


def test_opening_twice_is_harmless(store_url):
    first = Database(store_url)
    add(first, a_site())
    second = Database(store_url)
    with second.session() as session:
        assert session.scalars(select(SiteRow.name)).all() == ["home"]
    add(second, SiteRow(name="second", assets={}, adapter="alphaess", device_id="AL2"))
    with first.session() as session:
        assert len(session.scalars(select(SiteRow)).all()) == 2
    first.close()
    second.close()


def test_migrating_a_store_that_is_up_to_date_changes_nothing(sqlite_db, path):
    with sqlite3.connect(path) as outside:
        before = outside.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        migrate(sqlite_db.engine)
        assert outside.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall() == before
    outside.close()
    assert "command" in [name for name, _ in before]


def test_a_store_whose_first_migration_was_killed_can_still_be_opened(store_url, monkeypatch):
    create_table, made = op.create_table, []

    def killed_in_the_middle(*arguments, **options):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(arguments[0])
        return create_table(*arguments, **options)

    monkeypatch.setattr(op, "create_table", killed_in_the_middle)
    with pytest.raises(KeyboardInterrupt):
        Database(store_url)
    monkeypatch.undo()
    assert made == ["site", "plan"]
    reopened = Database(store_url)
    assert differences(reopened) == []
    reopened.close()


def test_while_one_process_migrates_no_other_can_begin(path, monkeypatch):
    # A worker, a beat and a console start together on one machine, and the store is new.
    create_table, seen = op.create_table, []

    def watched(*arguments, **options):
        made = create_table(*arguments, **options)
        with closing(sqlite3.connect(path, timeout=0)) as outside:
            try:
                outside.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                seen.append(str(error))
            else:
                seen.append("a second process got in")
        return made

    monkeypatch.setattr(op, "create_table", watched)
    Database.at(path).close()
    assert len(seen) >= 5
    assert set(seen) == {"database is locked"}


def test_a_naive_time_is_refused(db):
    add(db, a_site())
    with pytest.raises(StatementError, match="2024-04-10T12:00:00 has no zone"):
        add(db, a_command(1, NOON.replace(tzinfo=None)))
    with db.session() as session:
        assert session.scalars(select(CommandRow)).all() == []


def test_a_naive_time_is_refused_in_a_question_too(db):
    with db.session() as session, pytest.raises(StatementError, match="has no zone"):
        session.scalars(select(CommandRow).where(CommandRow.sent_at < NOON.replace(tzinfo=None)))


@pytest.mark.parametrize(
    "stored",
    [
        NOON,
        NOON.replace(microsecond=123456),
        NOON.astimezone(ZoneInfo("Europe/Amsterdam")),
        # Both passes through 02:30 on the day that clocks go back: an hour apart, the same on the wall.
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Amsterdam"), fold=0),
        dt.datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Amsterdam"), fold=1),
    ],
)
def test_times_come_back_as_the_same_instant_in_aware_utc(db, stored):
    add(db, a_site())
    add(db, a_command(1, stored))
    with db.session() as session:
        seen = session.scalars(select(CommandRow)).one()
    assert seen.sent_at == stored.astimezone(dt.UTC)
    assert seen.sent_at.tzinfo is dt.UTC
    assert seen.answered_at is None


def test_times_of_different_zones_are_ordered_as_instants(db):
    add(db, a_site())
    eastern = NOON.astimezone(ZoneInfo("Asia/Tokyo"))  # 21:00 on the wall
    add(db, a_command(1, NOON + dt.timedelta(hours=1)), a_command(1, eastern))
    with db.session() as session:
        first = session.scalars(select(CommandRow).order_by(CommandRow.sent_at)).first()
    assert first is not None
    assert first.sent_at == NOON


def test_data_survives_close_and_open(store_url):
    db = Database(store_url)
    add(db, a_site())
    add(db, a_command(1, NOON))
    db.close()
    db = Database(store_url)
    with db.session() as session:
        site = session.scalars(select(SiteRow)).one()
        command = session.scalars(select(CommandRow)).one()
    db.close()
    assert (site.name, site.assets) == ("home", {"battery": {"capacity_kwh": 10.0}})
    assert (command.kind, command.state) == (CommandKind.START, CommandState.SENDING)
    assert (command.battery_kw, command.payload, command.outcome) == (-2.5, {"ActivePower": 29500}, "")


def test_what_was_not_committed_is_gone_after_open(store_url):
    db = Database(store_url)
    with db.session() as session:
        session.add(a_site())
        session.flush()
    db.close()
    db = Database(store_url)
    with db.session() as session:
        assert session.scalars(select(SiteRow)).all() == []
    db.close()


def test_a_row_of_a_site_that_is_not_there_is_refused(db):
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        add(db, a_command(99, NOON))


def test_states_are_kept_as_words_that_people_can_read(db):
    add(db, a_site())
    add(db, a_command(1, NOON))
    with db.engine.connect() as connection:
        assert connection.execute(text("SELECT kind, state FROM command")).all() == [("start", "sending")]


def test_the_folder_of_a_store_is_made(tmp_path):
    db = Database.at(tmp_path / "new" / "folder" / "store.sqlite")
    db.close()
    assert (tmp_path / "new" / "folder" / "store.sqlite").exists()


def test_an_engine_without_migrations_has_no_tables(store_url):
    # Shows that the tables come from the migrations, not from somewhere that makes them on sight.
    engine = engine_of(store_url)
    assert inspect(engine).get_table_names() == []
    migrate(engine)
    assert {*Base.metadata.tables, "alembic_version"} == set(inspect(engine).get_table_names())
    engine.dispose()


def test_a_server_that_says_nothing_holds_nobody():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        engine = engine_of(f"postgresql+psycopg://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="timeout"):
            engine.connect()
        assert time.monotonic() - begun < 2 * TO_SERVER["connect_timeout"]


def test_intervals_of_a_plan_come_back_as_they_went(db):
    add(db, a_site())
    intervals = [{"start": NOON.isoformat(), "soc": 0.55, "charge_kw": 2.0}]
    add(
        db,
        PlanRow(
            site_id=1,
            made_at=NOON,
            begins_at=NOON,
            ends_at=NOON + dt.timedelta(minutes=15),
            initial_soc=0.5,
            cost_eur=-0.25,
            cost_without_battery_eur=0.5,
            solver="lp",
            intervals=intervals,
            why="test",
        ),
    )
    with db.session() as session:
        plan = session.scalars(select(PlanRow)).one()
    assert plan.intervals == intervals
    assert plan.cost_eur == -0.25


REVISIONS = sorted(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def sample(column) -> object:
    """A value that a column takes; where the models have words for it, one of those."""
    model = Base.metadata.tables[column.table.name].columns.get(column.name)
    words = getattr(getattr(model, "type", None), "enum_class", None)
    if words:
        return next(iter(words)).value
    samples = {int: 1, float: 0.5, bool: True, str: "word", bytes: b"blob", object: {"key": [1]}}
    samples |= {dt.datetime: NOON, dt.date: NOON.date()}
    return samples[column.type.python_type]


def fill(engine) -> None:
    """One row in each table there is, with a value in every column."""
    tables = MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                connection.execute(table.insert().values({column.name: sample(column) for column in table.columns}))


def rows(engine) -> dict[str, dict[str, object]]:
    tables = MetaData()
    tables.reflect(engine)
    with engine.connect() as connection:
        return {
            table.name: dict(connection.execute(select(table)).mappings().one())
            for table in tables.sorted_tables
            if table.name != "alembic_version" and connection.execute(select(table)).first() is not None
        }


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_store_of_any_earlier_revision_is_migrated_with_its_rows(store_url, revision):
    engine = engine_of(store_url)
    migrate(engine, revision)
    fill(engine)
    before = rows(engine)
    assert {"site", "plan", "intent", "command", "telemetry"} <= set(before)
    engine.dispose()

    db = Database(store_url)
    after = rows(db.engine)
    assert {name: {key: after[name][key] for key in row} for name, row in before.items()} == before
    assert differences(db) == []
    with db.session() as session:
        for mapper in Base.registry.mappers:
            assert len(session.scalars(select(mapper.class_)).all()) == (mapper.local_table.name in before)
    orphan = a_command(99, NOON)
    orphan.id = 2
    with pytest.raises(IntegrityError, match=r"(?i)foreign key"):
        add(db, orphan)
    db.close()


def test_a_writing_transaction_takes_the_right_to_write_before_it_reads(sqlite_db, path):
    with sqlite_db.write() as session:
        assert session.scalars(select(SiteRow)).all() == []
        with closing(sqlite3.connect(path, timeout=0)) as outside, pytest.raises(sqlite3.OperationalError):
            outside.execute("BEGIN IMMEDIATE")
        session.add(a_site())
    with sqlite_db.session() as session:
        assert session.scalars(select(SiteRow.name)).all() == ["home"]


def test_processes_that_start_together_make_the_tables_once(store_url):
    opens = "import sys; from schedules.store import Database; Database(sys.argv[1]).close()"
    together = [subprocess.Popen([sys.executable, "-c", opens, store_url], stderr=subprocess.PIPE) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in together] == [(b"", 0)] * 4


def test_an_error_of_the_database_does_not_show_what_was_to_be_written(db):
    with pytest.raises(IntegrityError) as fault:
        add(db, SiteRow(name="canary-site", assets={}, adapter="x", device_id="canary-device", account_id=99))
    assert "canary" not in str(fault.value)


def test_a_server_that_was_started_again_costs_nobody_a_failure(postgresql):
    url = postgresql.new_database()
    store = Database(url)
    with store.session() as session:
        backend = session.scalar(text("SELECT pg_backend_pid()"))
    other = create_engine(url)
    with other.connect() as connection:
        connection.execute(text("SELECT pg_terminate_backend(:backend, 10000)"), {"backend": backend})
    other.dispose()
    with store.session() as session:
        assert session.scalar(text("SELECT 1")) == 1
    store.close()
    postgresql.drop(url)
