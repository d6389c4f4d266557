"""What several monitors have measured, put together."""

from esfsm.model.resources import Resources


def test_each_adds_what_it_has_measured_and_the_later_one_wins() -> None:
    first, second = Resources(memory_bytes=1, cpu_s=2.0), Resources(cpu_s=3.0, free_bytes=0)
    assert first | second == Resources(memory_bytes=1, cpu_s=3.0, free_bytes=0)
    assert first | Resources() == first
