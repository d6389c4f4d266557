"""Whatever broker, payload, storage, server and power supply do: each range ends once, and every job ends."""

from random import Random

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from esfsm.core import facts as f

from .hostile import World

TROUBLES = {
    "classify_job": ["broke", "refused"],
    "select_executor": ["broke", "unavailable"],
    "stage_in": ["broke", "failed"],
    "run_es_payload": ["broke", "failed"],
    "measure_resources": ["broke", "too much", "proxy"],
    "request_ranges": ["broke", "empty", "forgets", "unanswered", "repeats"],
    "pack_outputs": ["broke", "failed", "lost"],
    "store_archive": ["broke", "failed", "refused", "unsure", "lost"],
    "remove_files": ["broke", "failed"],
    "report_ranges": ["broke", "unanswered", "unsure", "disowns", "doubts", "skips", "mumbles"],
    "pack_log": ["broke", "failed"],
    "report_job": ["broke", "unanswered"],
}
FOR_EVER = st.fixed_dictionaries({}, optional={name: st.sampled_from(troubles) for name, troubles in TROUBLES.items()})
"""What goes wrong each time from some time on."""


class HostileWorld(RuleBasedStateMachine):
    """Any order of steps; at the end of each example the job is let go to its end."""

    @initialize(
        chance=st.randoms(use_true_random=False),
        zip_max_ranges=st.integers(1, 4),
        failover=st.booleans(),
        for_ever=FOR_EVER,
        good_steps=st.integers(0, 100),
    )
    def begin(self, chance, zip_max_ranges, failover, for_ever, good_steps):
        """The trouble begins after so many good steps; what fails for ever does so when all else is over."""
        self.for_ever = for_ever
        self.world = World(
            chance,
            zip_max_ranges=zip_max_ranges,
            zip_time_gap_s=50,
            stage_out_rounds=2,
            report_attempts=3,
            failover_url="file:///failover" if failover else None,
        )
        for _ in range(good_steps):
            self.world.good_step()

    @precondition(lambda self: self.world.inbox)
    @rule(n=st.integers(1, 4))
    def facts_are_heard(self, n):
        for _ in range(min(n, len(self.world.inbox))):
            self.world.hear()

    @precondition(lambda self: self.world.pending)
    @rule(which=st.integers(0, 5))
    def an_action_succeeds(self, which):
        numbers = list(self.world.pending)
        self.world.perform(numbers[which % len(numbers)])

    @precondition(lambda self: self.world.pending)
    @rule(which=st.integers(0, 5), trouble=st.integers(0, 6))
    def an_action_meets_trouble(self, which, trouble):
        numbers = list(self.world.pending)
        number = numbers[which % len(numbers)]
        troubles = TROUBLES[self.world.pending[number].name]
        self.world.perform(number, troubles[trouble % len(troubles)])

    @precondition(lambda self: self.world.payload)
    @rule(n=st.integers(1, 5))
    def the_payload_wants_ranges(self, n):
        self.world.payload_wants(n)

    @precondition(lambda self: self.world.payload and self.world.payload.stock)
    @rule()
    def the_payload_takes_ranges(self):
        while self.world.payload.stock:
            self.world.payload_takes()

    @precondition(lambda self: self.world.payload and self.world.payload.inside)
    @rule(which=st.integers(0, 5))
    def the_payload_announces_a_result(self, which):
        inside = self.world.payload.inside
        self.world.payload_announces(inside[which % len(inside)])

    @precondition(lambda self: self.world.payload and self.world.payload.inside)
    @rule(which=st.integers(0, 5))
    def the_payload_gives_a_range_up(self, which):
        inside = self.world.payload.inside
        self.world.payload_gives_up(inside[which % len(inside)])

    @precondition(lambda self: self.world.payload)
    @rule(which=st.integers(0, 20), gives_up=st.booleans())
    def the_payload_speaks_of_a_range_that_it_does_not_have(self, which, gives_up):
        known = [*self.world.server.sent, "1-2-999-1"]
        event_range_id = known[which % len(known)]
        say = self.world.payload_gives_up if gives_up else self.world.payload_announces
        say(event_range_id)

    @precondition(lambda self: self.world.payload)
    @rule()
    def the_payload_babbles(self):
        self.world.payload_says(f.MessageUnreadable(text="?", why="it is no AthenaMP"))

    @precondition(lambda self: self.world.payload)
    @rule(exit_code=st.sampled_from([0, 65]))
    def the_payload_ends(self, exit_code):
        self.world.payload_ends(exit_code)

    @rule()
    def a_stop_is_asked_for(self):
        self.world.inbox.append(f.Preempted(why="SIGTERM"))

    @rule()
    def the_server_kills_the_job(self):
        self.world.inbox.append(f.JobKilled(why="tobekilled"))

    @rule()
    def a_limit_is_exceeded(self):
        self.world.inbox.append(f.LimitExceeded(error_code=1150, why="it loops"))

    @rule(within_s=st.floats(0.0, 1000.0))
    def somebody_else_gets_this_place(self, within_s):
        self.world.inbox.append(f.TimeLimited(until=self.world.now + within_s, why="the lifetime of the pilot"))

    @rule(seconds=st.floats(0.001, 100))
    def time_passes(self, seconds):
        self.world.now += seconds
        while self.world.alarms and min(self.world.alarms.values()) <= self.world.now:
            self.world.ring()

    @precondition(lambda self: not self.world.engine.ended or self.world.engine.resumable)
    @rule(
        back_s=st.sampled_from([0.0, 0.0, 500.0]),
        failover_url=st.sampled_from([None, "file:///failover"]),
        with_all=st.booleans(),
    )
    def the_power_fails_or_the_engine_dies_alone(self, back_s, failover_url, with_all):
        """Whoever takes the job up may have another idea of the time, and other settings."""
        self.world.now -= back_s
        settings = self.world.settings.model_copy(update={"failover_url": failover_url})
        (self.world.power_fails if with_all else self.world.engine_dies)(settings)

    @invariant()
    def the_books_are_right(self):
        if hasattr(self, "world"):
            self.world.check()

    def teardown(self):
        if hasattr(self, "world"):
            self.world.go_on_to_the_end(self.for_ever)
            self.world.check()
            self.world.check_end()
            self.whoever_takes_it_up_reports_what_nobody_answered()

    def whoever_takes_it_up_reports_what_nobody_answered(self):
        for troubles in (self.for_ever, {}):
            if self.world.engine.ranges.ledger.waiting("unanswered"):
                self.world.restart(self.world.settings)
                self.world.go_on_to_the_end(troubles)
                self.world.check_end()
        assert not self.world.engine.ranges.ledger.waiting("unanswered")


@given(
    seed=st.integers(0, 2**32),
    steps=st.integers(0, 200),
    zip_max_ranges=st.integers(1, 4),
    report_attempts=st.integers(1, 3),
    for_ever=FOR_EVER,
)
def test_ranges_granted_are_those_finished_failed_released_refused_and_unanswered(
    seed, steps, zip_max_ranges, report_attempts, for_ever
):
    world = World(Random(seed), zip_max_ranges=zip_max_ranges, stage_out_rounds=2, report_attempts=report_attempts)
    for _ in range(steps):
        world.any_step(TROUBLES)
    world.go_on_to_the_end(for_ever)
    words = world.engine.ranges.ledger.counts()
    assert words.keys() <= {"finished", "failed", "released", "refused", "unanswered"}
    assert sum(words.values()) == len(world.granted())
    world.check_end()


TestHostileWorld = HostileWorld.TestCase
TestHostileWorld.settings = settings(stateful_step_count=40, suppress_health_check=list(HealthCheck))
