"""What benchmarks said goes in; whether all that is promised was measured, and no request failed, comes out."""

from typing import Any

import pytest
from bench.__main__ import BENCHES, PROMISED, faults


def figure(name: str, **more: Any) -> dict[str, Any]:
    return {"figure": name, "by": "kato", "unit": "s", "max": 99.0, "target": 1.0} | more


@pytest.mark.parametrize("name", PROMISED)
def test_times_are_not_judged(name: str) -> None:
    assert faults(name, [figure(each) for each in PROMISED[name]]) == []


@pytest.mark.parametrize("name", PROMISED)
def test_a_promised_figure_that_did_not_come_out_is_told(name: str) -> None:
    rival = [figure(each, by="supervisor") for each in PROMISED[name]]
    absent = [{"figure": each, "by": "kato", "absent": "no wrk"} for each in PROMISED[name]]
    assert faults(name, rival + absent) == [f"{name}: {each} did not come out" for each in PROMISED[name]]


def test_one_failed_request_of_any_round_is_told() -> None:
    lines = [figure(each, unit="requests", max=0.0, target=0.0) for each in PROMISED["upgrade"]]
    assert faults("upgrade", lines) == []
    lines[1]["max"] = 1.0
    assert faults("upgrade", lines) == [f"upgrade: {PROMISED['upgrade'][1]} is 1, and may be 0"]


def test_a_rival_may_fail_requests_and_no_promise_is_without_its_benchmark() -> None:
    mine = [figure(each, unit="requests", max=0.0, target=0.0) for each in PROMISED["upgrade"]]
    assert (
        faults("upgrade", [*mine, figure("upgrade_posts_failed", by="supervisor", unit="requests", max=34.0)])
        == []
    )
    assert PROMISED.keys() <= BENCHES.keys()
