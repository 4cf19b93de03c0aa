"""What operators are told: counts that add up, in the formats of others."""

from __future__ import annotations

import re

import pytest
from opentelemetry.metrics import CallbackOptions, NoOpMeter, NoOpMeterProvider

import backstory
from backstory.capture.metrics import INSTRUMENTS, Metrics, prometheus_text
from backstory.interop.opentelemetry import observe
from backstory.storage.world import World

SECOND = 10**9
METRICS = Metrics(
    records_total=7,
    refused_total=0,
    watermark_lag_records=2,
    buffer_bytes=120,
    spool_bytes=4096,
    seal_lag_seconds=1.5,
    checkpoint_age_seconds=60.0,
)


class Collecting(NoOpMeterProvider):
    """Asks the callbacks of the instruments it gave out, as OpenTelemetry's SDK does when it collects."""

    def __init__(self) -> None:
        self.callbacks: dict[str, object] = {}

    def get_meter(self, name: str, *_: object, **__: object) -> NoOpMeter:
        """Return a meter whose observable instruments are collected here."""
        meter = NoOpMeter(name)
        meter.create_observable_counter = meter.create_observable_gauge = self._create
        return meter

    def _create(self, name: str, *, callbacks: list[object], **_: str) -> None:
        (self.callbacks[name],) = callbacks

    def collect(self) -> dict[str, float]:
        """Return what is observed now, by instrument."""
        return {name: next(iter(ask(CallbackOptions()))).value for name, ask in self.callbacks.items()}


class _Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ns = 1_790_000_000 * SECOND

    def now_ns(self) -> int:
        return self.ns


@pytest.fixture
def clock():
    """A clock that stands."""
    return _Clock()


@pytest.fixture
def archive(tmp_path, clock):
    """A new archive that goes by that clock."""
    world = World()
    object.__setattr__(world, "now_ns", clock.now_ns)
    with backstory.init(tmp_path / "audit", origin="example.org/metrics", world=world) as archive:
        yield archive


def record(archive, count: int) -> None:
    """Record so many predictions and have them on disk."""
    for number in range(count):
        with archive.prediction() as p:
            p.features({"x": number})
            p.output(number)
    archive._recorder.sync()


def test_records_are_counted(archive):
    """Recorded, and on disk; sealing takes nothing back."""
    record(archive, 3)
    metrics = archive.metrics()
    assert (metrics.records_total, metrics.watermark_lag_records, metrics.buffer_bytes) == (3, 0, 0)
    archive.flush()
    record(archive, 2)
    assert archive.metrics().records_total == 5


def test_the_seal_lag_is_the_age_of_the_oldest_unsealed_record(archive, clock):
    """Nothing waits, then a record does, then it is sealed."""
    assert archive.metrics().seal_lag_seconds == 0
    record(archive, 1)
    clock.ns += 40 * SECOND
    record(archive, 1)
    clock.ns += 2 * SECOND
    assert archive.metrics().seal_lag_seconds == 42
    archive.flush()
    assert archive.metrics().seal_lag_seconds == 0


def test_records_behind_the_head_do_not_wait(archive, clock):
    """Of a stream that is sealed in part, the first record that is not counts."""
    record(archive, 2)
    archive.flush()
    clock.ns += 30 * SECOND
    record(archive, 1)
    clock.ns += 5 * SECOND
    assert archive.metrics().seal_lag_seconds == 5


def test_the_age_of_the_checkpoint_is_since_the_last_entry(archive, clock):
    """It grows until something is sealed."""
    clock.ns += 100 * SECOND
    assert archive.metrics().checkpoint_age_seconds == 100
    record(archive, 1)
    archive.flush()
    assert archive.metrics().checkpoint_age_seconds == 0


def test_a_clock_that_was_set_back_gives_no_negative_age(archive, clock):
    """An age below zero would look like a healthy archive."""
    record(archive, 1)
    clock.ns -= 100 * SECOND
    metrics = archive.metrics()
    assert (metrics.seal_lag_seconds, metrics.checkpoint_age_seconds) == (0, 0)


def test_the_spool_is_measured(archive):
    """It grows with what waits."""
    before = archive.metrics().spool_bytes
    record(archive, 100)
    assert archive.metrics().spool_bytes > before + 100


def test_prometheus_reads_the_text():
    """Each metric has its help, its type and one sample, in lines of the exposition format."""
    lines = prometheus_text(METRICS).splitlines()
    assert len(lines) == 3 * len(INSTRUMENTS)
    for one, (description, kind, sample) in zip(INSTRUMENTS, zip(*[iter(lines)] * 3, strict=True), strict=True):
        assert re.fullmatch(rf"# HELP {one.name} [^\n]+\.", description)
        assert kind == f"# TYPE {one.name} {one.kind}"
        assert float(sample.removeprefix(f"{one.name} ")) == getattr(METRICS, one.field)


def test_the_names_are_those_on_dashboards():
    """Renaming one breaks an alarm somewhere."""
    assert [one.name for one in INSTRUMENTS] == [
        "backstory_records_total",
        "backstory_refused_total",
        "backstory_watermark_lag_records",
        "backstory_buffer_bytes",
        "backstory_spool_bytes",
        "backstory_seal_lag_seconds",
        "backstory_checkpoint_age_seconds",
    ]


def test_opentelemetry_observes_what_the_archive_says(archive):
    """Every instrument, whenever it collects."""
    provider = Collecting()
    observe(archive, provider)
    assert provider.collect()["backstory_records_total"] == 0
    record(archive, 4)
    collected = provider.collect()
    assert collected["backstory_records_total"] == 4
    assert set(collected) == {one.name for one in INSTRUMENTS}
