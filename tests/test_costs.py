"""Seconds and energy are booked on what they were spent for; energy and grid say what they are."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resque import costs, energy
from resque.costs import CostMeter, Costs, Spent
from resque.energy import Energy, EnergyMeter, find_grid, foreign_tracker
from resque.errors import ResqueError, UsageError

PHASES = ("training", "evaluation", "overhead")


class Machine:
    """A clock that goes when told, and an energy meter whose power is told too."""

    def __init__(self):
        self.now, self.used, self.readings, self.stopped = 100.0, Energy(1, 2, 3), 0, False

    def run(self, seconds, watts=1.0):
        self.now += seconds
        self.used += Energy(1.0, 0.5, 0.25) * (watts * seconds)

    def perf_counter(self):
        return self.now

    def read(self):
        self.readings += 1
        return self.used

    def stop(self):
        self.stopped = True


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    monkeypatch.setattr(costs, "time", machine)
    monkeypatch.setattr(costs, "EnergyMeter", lambda: machine)
    return machine


def seconds(found):
    return tuple(getattr(found, name).seconds for name in PHASES)


def kwh(found):
    return tuple(getattr(found, name).energy.cpu for name in PHASES)


def test_time_and_energy_are_booked_on_the_phase(machine):
    with CostMeter() as meter:
        machine.run(2, watts=3)
        meter.switch("training")
        machine.run(5, watts=10)
        meter.switch("evaluation")
        machine.run(4)
        found = meter.costs()
        assert seconds(found) == pytest.approx((5, 4, 2))
        assert kwh(found) == pytest.approx((50, 4, 6))
        assert found.training.energy.gpu == pytest.approx(25)
        assert found.training.energy.ram == pytest.approx(12.5)
        machine.run(1)
        assert seconds(meter.costs()) == pytest.approx((5, 5, 2))
    assert machine.stopped


def test_phases_nest_and_go_back_even_after_an_error(machine):
    meter = CostMeter()
    meter.switch("training")
    machine.run(1)
    with meter.phase("evaluation"):
        machine.run(2)
        with meter.phase("overhead"):
            machine.run(3)
        machine.run(4)
    machine.run(5)
    with contextlib.suppress(KeyError), meter.phase("evaluation"):
        machine.run(6)
        raise KeyError
    machine.run(7)
    assert seconds(meter.costs()) == pytest.approx((1 + 5 + 7, 2 + 4 + 6, 3))


def test_short_phases_share_the_energy_between_two_readings_by_their_seconds(machine):
    meter = CostMeter()
    assert machine.readings == 1
    machine.run(0.1, watts=0)
    meter.switch("training")
    machine.run(0.6, watts=20)
    meter.switch("evaluation")
    machine.run(0.2, watts=0)
    meter.switch("training")
    assert machine.readings == 1  # less than a second
    machine.run(0.3, watts=4)
    meter.switch("evaluation")  # 1.2 s and 13.2 kWh since the first reading
    assert machine.readings == 2
    machine.run(0.5, watts=8)
    found = meter.costs()
    assert machine.readings == 3
    assert seconds(found) == pytest.approx((0.9, 0.7, 0.1))
    assert kwh(found) == pytest.approx((13.2 * 9 / 12, 13.2 * 2 / 12 + 4, 13.2 / 12))


@given(
    st.lists(st.tuples(st.sampled_from(PHASES), st.floats(1e-3, 3), st.floats(0, 9)), max_size=30)
)
@settings(max_examples=50)
def test_the_parts_add_up_to_the_whole(steps):
    machine = Machine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(costs, "time", machine)
        patch.setattr(costs, "EnergyMeter", lambda: machine)
        meter, began, first = CostMeter(), machine.now, machine.used
        spent = dict.fromkeys(PHASES, 0.0)
        for name, duration, watts in steps:
            meter.switch(name)
            machine.run(duration, watts)
            spent[name] += duration
        found = meter.costs()
    assert seconds(found) == pytest.approx(tuple(spent[name] for name in PHASES))
    assert found.total.seconds == pytest.approx(machine.now - began)
    used = machine.used - first
    for part in ("cpu", "gpu", "ram"):
        assert getattr(found.total.energy, part) == pytest.approx(getattr(used, part), abs=1e-9)
    assert found.total.energy.total == pytest.approx(used.total, abs=1e-9)


def test_waiting_is_a_part_of_training(machine):
    meter = CostMeter()
    meter.switch("training")
    machine.run(3)
    meter.wait(1.25)
    meter.wait(0.5)
    found = meter.costs()
    assert (found.waiting, found.training.seconds) == (1.75, 3)
    assert found.total.seconds == 3


def test_a_process_that_does_not_measure_books_seconds_alone(machine, monkeypatch):
    monkeypatch.setattr(costs, "EnergyMeter", None)
    with CostMeter(measures_energy=False) as meter:
        machine.run(4)
        found = meter.costs()
    assert found.overhead == Spent(4.0, Energy())


def test_other_threads_may_ask_while_phases_change(monkeypatch):
    counted = Machine()
    counted.read = lambda: (counted.run(1), counted.used)[1]  # each reading uses 1.75 kWh more
    monkeypatch.setattr(costs, "EnergyMeter", lambda: counted)
    monkeypatch.setattr(costs, "READ_EVERY", 1e-4)
    before = time.perf_counter()
    meter = CostMeter()
    began, first = time.perf_counter(), counted.used
    seen, done = [], threading.Event()

    def ask():
        while not done.is_set():
            seen.append(meter.costs().total)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for _ in range(300):
            with meter.phase("training"), meter.phase("evaluation"):
                meter.wait(1.0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    ended = time.perf_counter()
    found = meter.costs()
    assert ended - began - 1e-6 <= found.total.seconds <= time.perf_counter() - before + 1e-6
    assert found.total.energy.total == pytest.approx((counted.used - first).total, rel=1e-9)
    assert found.waiting == 300
    assert all(spent.seconds <= found.total.seconds + 1e-6 for spent in seen)


amounts = st.floats(0, 1e6)
energies = st.builds(Energy, amounts, amounts, amounts)
spents = st.builds(Spent, amounts, energies)
all_costs = st.builds(Costs, spents, spents, spents, amounts)


@given(all_costs, all_costs)
def test_costs_are_written_read_and_added(a, b):
    assert Costs.from_dict(json.loads(json.dumps(a.to_dict()))) == a
    assert a + b == b + a
    assert a + Costs() == a
    assert (a + b).total.seconds == pytest.approx(a.total.seconds + b.total.seconds)
    energy_of_a = a.energy_only()
    assert energy_of_a.total.energy == a.total.energy
    assert (energy_of_a.total.seconds, energy_of_a.waiting) == (0, 0)
    left = (a.total - a.total).energy.total
    assert left == 0


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A folder that is the working, home and temporary one, without codecarbon's settings."""
    from codecarbon import lock

    calls = []

    def refuse(_, method, url, **options):
        calls.append(url)
        raise ConnectionError("no network here")

    for name in [name for name in os.environ if name.upper().startswith("CODECARBON_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(lock, "LOCKFILE", str(tmp_path / ".codecarbon.lock"))
    monkeypatch.setattr("requests.Session.request", refuse)
    level = logging.getLogger("codecarbon").level
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield tmp_path
    for number, handler in before.items():  # codecarbon's lock takes them
        signal.signal(number, handler)
    logging.getLogger("codecarbon").setLevel(level)
    assert calls == []


def work(least=0.1):
    """Keep a processor busy for longer than the shortest time that codecarbon measures."""
    end = time.perf_counter() + least
    while time.perf_counter() < end:
        sum(range(1000))


def check(meter):
    """See that a meter reads more after work, and stop it."""
    try:
        first = meter.read()
        work()
        second = meter.read()
        work()
        third = meter.read()
    finally:
        meter.stop()
    assert first.ram >= 0
    for part in ("cpu", "gpu", "ram"):
        values = [getattr(reading, part) for reading in (first, second, third)]
        assert values == sorted(values)
    assert 0 < second.total < third.total < 0.1  # kWh
    assert meter.read() == third
    meter.stop()


def test_the_meter_reads_what_the_machine_used_and_how_it_knows(alone):
    before = set(threading.enumerate())
    meter = EnergyMeter()
    method = meter.method
    check(meter)
    assert {"cpu", "gpu", "ram"} <= method.keys()
    for part, text in method.items():
        assert text.startswith(("measured: ", "estimated: ", "none: ")[: 3 if part == "gpu" else 2])
    assert method["ram"].startswith("estimated: codecarbon")
    assert list(alone.iterdir()) == []
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
        assert not thread.is_alive()


def test_a_lock_that_was_left_behind_does_no_harm(alone, monkeypatch):
    assert foreign_tracker() is None
    monkeypatch.setenv("CODECARBON_ALLOW_MULTIPLE_RUNS", "false")
    lock = alone / ".codecarbon.lock"
    lock.touch()
    assert str(lock) in foreign_tracker()
    check(EnergyMeter())
    assert lock.exists()


def test_the_users_own_tracker_does_no_harm_and_takes_none(alone):
    from codecarbon import OfflineEmissionsTracker

    own = OfflineEmissionsTracker(
        country_iso_code="FRA", output_methods=[], allow_multiple_runs=False, log_level="critical"
    )
    own.start()
    try:
        assert "another codecarbon tracker" in foreign_tracker()
        check(EnergyMeter())
        work()
    finally:
        emissions = own.stop()
    assert emissions > 0
    assert foreign_tracker() is None


def test_codecarbons_settings_neither_stop_nor_send_nor_scale(alone):
    settings = {
        "output_dir": "/nowhere/at/all",
        "output_methods": "csv,api",
        "save_to_file": "true",
        "save_to_api": "true",
        "emissions_endpoint": "http://127.0.0.1:9/",
        "tracking_mode": "process",
        "measure_power_secs": "1",
        "allow_multiple_runs": "false",
        "pue": "1000000",
        "country_iso_code": "CAN",
    }
    config = alone / ".codecarbon.config"
    config.write_text("\n".join(["[codecarbon]", *(f"{k} = {v}" for k, v in settings.items())]))
    check(EnergyMeter())
    assert list(alone.iterdir()) == [config]


def test_a_tracker_that_does_not_start_is_an_error_and_not_zero(alone, monkeypatch):
    monkeypatch.setattr("codecarbon.OfflineEmissionsTracker.start", lambda self: None)
    with pytest.raises(ResqueError, match=r"cannot start.*CODECARBON_"):
        EnergyMeter()


@pytest.mark.parametrize(
    ("mode", "rating", "expected"),
    [
        ("intel_rapl", 65, "measured: rapl"),
        ("windows_emi", None, "measured: windows energy meter interface"),
        ("cpu_load", 65, "estimated: codecarbon 9, load × 65 W rating of Chip"),
        ("constant", 97.5, "estimated: codecarbon 9, constant share × 97.5 W rating of Chip"),
        ("constant", None, "estimated: codecarbon 9, constant share × no rating of Chip"),
    ],
)
def test_only_counters_count_as_measured(mode, rating, expected):
    part = SimpleNamespace(_tdp=rating, get_model=lambda: "Chip")
    assert energy._cpu_method(part, mode, "codecarbon 9") == expected


def test_a_grid_is_the_country_that_is_asked_for(alone, monkeypatch):
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", "DEU")
    monkeypatch.setenv("CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH", "1")
    grid = find_grid("fra")
    assert grid.country == "FRA"
    assert 10 < grid.intensity < 150
    assert "France" in grid.source
    assert grid.source.endswith("(as asked)")
    assert find_grid("FRA", 17).intensity == 17
    given_ = find_grid(intensity=0)
    assert (given_.intensity, given_.country, given_.source) == (0, None, "given (as asked)")


def test_without_a_country_it_is_the_worlds_average_and_no_other_country(alone):
    grid = find_grid()
    assert (grid.intensity, grid.country) == (475, None)
    assert "world average" in grid.source


@pytest.mark.parametrize(
    ("country", "intensity", "expected"),
    [("deu", None, "DEU"), (None, "123.5", None), ("DEU", "123.5", "DEU")],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_grid_is_what_codecarbons_settings_say(
    alone, monkeypatch, where, country, intensity, expected
):
    lines = ["[codecarbon]"]
    for name, value in (
        ("country_iso_code", country),
        ("force_carbon_intensity_g_co2e_kwh", intensity),
    ):
        if value and where == "environment":
            monkeypatch.setenv(f"CODECARBON_{name.upper()}", value)
        elif value:
            lines.append(f"{name} = {value}")
    (alone / ".codecarbon.config").write_text("\n".join(lines))
    grid = find_grid()
    assert grid.country == expected
    assert grid.intensity == 123.5 if intensity else 200 < grid.intensity < 475
    assert "codecarbon's settings" in grid.source


def test_every_country_that_codecarbon_knows_has_a_grid(alone):
    from codecarbon.input import DataSource

    for code in DataSource().get_global_energy_mix_data():
        assert 0 <= find_grid(code).intensity < 2000


@pytest.mark.parametrize(
    ("country", "words"),
    [("DEUT", "no country 'DEUT'.*DEU"), ("FRX", "'FRX'.*FRA"), ("Germany", "three letters")],
)
def test_an_unknown_country_is_told_the_nearest(alone, monkeypatch, country, words):
    with pytest.raises(UsageError, match=words):
        find_grid(country)
    monkeypatch.setenv("CODECARBON_COUNTRY_ISO_CODE", country)
    with pytest.raises(UsageError, match=words):
        find_grid()


@pytest.mark.parametrize("intensity", [-1, float("nan"), float("inf")])
def test_an_impossible_intensity_is_refused(alone, intensity):
    with pytest.raises(UsageError, match="0 or up"):
        find_grid(intensity=intensity)


def test_an_intensity_in_the_settings_that_is_no_number_is_named(alone, monkeypatch):
    monkeypatch.setenv("CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH", "low")
    with pytest.raises(UsageError, match="settings give a grid intensity of 'low'"):
        find_grid()
