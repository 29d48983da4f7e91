"""Tasks that live as long as their process: nothing that ends one goes unseen, nothing ends it for good."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio

from runtime.tasks import FAILING_AFTER_S, LOG_INTERVAL_S, STEADY_S, SupervisedTasks
from runtime.telemetry import TASK_RESTARTS
from tests.polling import poll_until


class Clock:
    """A monotonic clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Work:
    """A task's work: each run does the next thing that was planned, then it goes on until cancelled."""

    def __init__(self, *plan: Callable[[], None]) -> None:
        self.plan = list(plan)
        self.runs = 0
        self.cancelled = 0

    async def run(self) -> None:
        self.runs += 1
        if self.plan:
            self.plan.pop(0)()
            return
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest_asyncio.fixture
async def tasks(clock: Clock) -> AsyncIterator[SupervisedTasks]:
    tasks = SupervisedTasks(clock=clock, pause_s_min=0.001, pause_s_max=0.002)
    yield tasks
    await tasks.stop()


def raises(error: BaseException) -> Callable[[], None]:
    def raise_it() -> None:
        raise error

    return raise_it


def returns() -> None:
    """Return where nothing should."""


def cancels_itself() -> None:
    task = asyncio.current_task()
    assert task is not None
    task.cancel()


def restarts(name: str) -> float:
    return float(TASK_RESTARTS.labels(name)._value.get())


ENDINGS = {
    "exception": raises(RuntimeError("a bug")),
    "exit": raises(SystemExit(1)),
    "interrupt": raises(KeyboardInterrupt()),
    "base": raises(BaseException("odd")),
    "cancelled from within": raises(asyncio.CancelledError()),
    "return": returns,
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_whatever_ends_it_it_begins_anew(
    tasks: SupervisedTasks, ending: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: an end by any exception, unrequested cancellation or return is logged, counted, and undone."""
    before = restarts(ending)
    work = Work(ENDINGS[ending])
    tasks.start(ending, work.run)
    await poll_until(lambda: work.runs == 2)
    assert restarts(ending) == before + 1
    [record] = caplog.records
    assert record.message == "task_ended_unexpectedly"
    assert record.ids["task"] == ending  # type: ignore[attr-defined]
    assert bool(record.exc_info) == (ending != "return"), "the traceback is with it"


async def test_a_cancellation_from_outside_does_not_end_it(tasks: SupervisedTasks) -> None:
    """Goal: a library that cancels the task it runs in stops that run and not the task."""
    work = Work()

    async def run() -> None:
        if work.runs == 0:
            cancels_itself()
        await work.run()

    tasks.start("cancelled", run)
    await poll_until(lambda: work.runs == 2)
    assert work.cancelled == 1


async def test_a_return_may_be_the_end(tasks: SupervisedTasks) -> None:
    """Goal: a writer that was closed ends by returning, and only once it was closed."""
    closed = False
    work = Work(returns)
    task = tasks.start("writer", work.run, ends_when=lambda: closed)
    await poll_until(lambda: work.runs == 2)
    closed = True
    work.plan.append(returns)
    other = tasks.start("writer", work.run, ends_when=lambda: closed)
    assert await other.ended(timeout_s=60)
    assert not await task.ended(timeout_s=0.01), "this one waits for ever: it is stopped after its time"
    assert work.cancelled == 1


async def test_stop_ends_all_of_them(tasks: SupervisedTasks) -> None:
    """Goal: at the end of the process every task is cancelled and waited for, also one that pauses."""
    works = [Work() for _ in range(3)]
    for number, work in enumerate(works):
        tasks.start(f"work {number}", work.run)
    broken = SupervisedTasks(pause_s_min=1_000)
    short = Work(raises(RuntimeError()))
    broken.start("pauses", short.run)
    await poll_until(lambda: all(work.runs == 1 for work in [*works, short]))
    await tasks.stop()
    await broken.stop()
    assert [work.cancelled for work in works] == [1, 1, 1]
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_stop_is_bounded(tasks: SupervisedTasks, caplog: pytest.LogCaptureFixture) -> None:
    """Goal: a task that does not let itself be cancelled does not keep the process from ending, and is named."""
    let_go = asyncio.Event()

    async def stubborn() -> None:
        while not let_go.is_set():
            try:
                await let_go.wait()
            except asyncio.CancelledError:
                continue

    tasks.start("stubborn", stubborn)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await tasks.stop(timeout_s=0.01)
    assert [record.message for record in caplog.records] == ["task_not_stopped"]
    let_go.set()
    await poll_until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_loop_can_end_without_stop() -> None:
    """Goal: an event loop that ends cancels the supervisor too; `asyncio.run` must not wait for ever."""
    work = Work()

    async def main() -> None:
        SupervisedTasks().start("left over", work.run)
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    await asyncio.wait_for(asyncio.to_thread(asyncio.run, main()), 60)
    assert work.runs == work.cancelled == 1


async def test_what_can_not_keep_running_fails(tasks: SupervisedTasks, clock: Clock) -> None:
    """Goal: liveness fails after 30 s in which a task did not run steadily, not before, and recovers with it."""
    work = Work()
    broken = True

    async def run() -> None:
        if broken:
            work.runs += 1
            raise RuntimeError
        await work.run()

    tasks.start("broken", run)
    tasks.start("well", Work().run)
    await poll_until(lambda: work.runs > 1)
    for _ in range(int(FAILING_AFTER_S)):
        assert tasks.failing() == []
        seen = work.runs
        clock.now += 1
        await poll_until(lambda seen=seen: work.runs > seen + 1)  # type: ignore[misc]
    assert tasks.failing() == ["broken"]
    broken = False
    seen = work.runs
    await poll_until(lambda: work.runs > seen)
    clock.now += STEADY_S
    assert tasks.failing() == []


async def test_a_task_that_waits_is_running(tasks: SupervisedTasks, clock: Clock) -> None:
    """Goal: waiting for a server that is away, for however long, is not failing."""
    work = Work(raises(RuntimeError()))
    tasks.start("waits", work.run)
    await poll_until(lambda: work.runs == 2)
    clock.now += 3_600
    assert tasks.failing() == []


async def test_the_log_is_not_flooded(
    tasks: SupervisedTasks, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Goal: a task that ends again and again logs one line per second, with the number of suppressed ones."""
    later, waiting = asyncio.Event(), asyncio.Event()
    work = Work(*[raises(RuntimeError()) for _ in range(11)])

    async def run() -> None:
        if work.runs == 10:
            waiting.set()
            await later.wait()
        await work.run()

    tasks.start("floods", run)
    await poll_until(waiting.is_set)  # only then the tenth end is counted
    assert [record.ids["not_logged"] for record in caplog.records] == [0]  # type: ignore[attr-defined]
    clock.now += LOG_INTERVAL_S
    later.set()
    await poll_until(lambda: work.runs == 12)
    assert [record.ids["not_logged"] for record in caplog.records] == [0, 9]  # type: ignore[attr-defined]


async def test_pauses_grow(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goal: a task that fails once is back at once; one that fails for ever costs next to nothing."""
    pauses: list[float] = []
    proper_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        await proper_sleep(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    tasks = SupervisedTasks(clock=clock)
    work = Work(*[raises(RuntimeError()) for _ in range(8)])
    tasks.start("fails", work.run)
    while work.runs < 9:
        await proper_sleep(0)
    await tasks.stop()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
