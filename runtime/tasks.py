"""Supervised tasks: every task that lives as long as its process is started here, and nowhere else.

If an error ends a bare task, it disappears silently: its queue fills, and the process looks healthy. Here every
unexpected end of a task is logged with its traceback and counted, and the task restarts after a pause. A task that
fails to keep running for long makes the process fail its liveness probe.

A task that waits for a server that is away counts as running: it handles that itself, and answers its callers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

from runtime.telemetry import TASK_RESTARTS, log
from runtime.throttle import Throttle

Run = Callable[[], Awaitable[None]]

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 2.0
"""Pause between an unexpected end and the restart: doubled each time, until the task runs steadily again."""

STEADY_S = 5.0
"""A task that has run for this long is healthy again, whatever happened before."""

FAILING_AFTER_S = 30.0
"""A task that did not run steadily for this long is failing."""

LOG_INTERVAL_S = 1.0
"""Each task logs at most one line per interval; the next line counts the suppressed ones."""

STOP_TIMEOUT_S = 10.0


def _never() -> bool:
    return False


class SupervisedTask:
    """One task, restarted whenever it ends unexpectedly. Made by `SupervisedTasks.start`."""

    def __init__(self, name: str, run: Run, ends_when: Callable[[], bool], owner: "SupervisedTasks") -> None:
        self.name = name
        self._run = run
        self._ends_when = ends_when
        self._owner = owner
        self._began_at = owner.clock()
        self._unsteady_since: float | None = None
        self._pausing = False
        self._pause_s = owner.pause_s_min
        self._throttle = Throttle(LOG_INTERVAL_S, clock=owner.clock)
        self._task = asyncio.get_running_loop().create_task(self._supervise(), name=f"{name} (supervisor)")
        self._task.add_done_callback(self._gone)

    @property
    def failing(self) -> bool:
        """True if the task did not run steadily during the last 30 s."""
        if self._task.done():
            return not self._ended_as_wanted()
        now = self._owner.clock()
        if self._unsteady_since is None or (not self._pausing and now - self._began_at >= STEADY_S):
            return False
        return now - self._unsteady_since >= FAILING_AFTER_S

    async def ended(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Wait until the task has ended by itself, as `ends_when` allows; stop it after `timeout_s`.

        Return False if it had to be stopped.
        """
        await asyncio.wait([self._task], timeout=timeout_s)
        if self._task.done():
            return True
        log.warning("task_ended_late", task=self.name, timeout_s=timeout_s)
        await self.stop()
        return False

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Cancel the task and wait until it has ended, `timeout_s` at most."""
        self._task.cancel()
        await asyncio.wait([self._task], timeout=timeout_s)
        if not self._task.done():
            log.error("task_not_stopped", task=self.name, timeout_s=timeout_s)

    def _ended_as_wanted(self) -> bool:
        """Return whether it was stopped or returned as expected. Any other end is a fault of the supervision itself."""
        return self._task.cancelled() or self._task.exception() is None

    def _gone(self, _: object) -> None:
        if self._ended_as_wanted():
            self._owner.forget(self)
        else:
            log.error("supervision_broke", exc_info=self._task.exception() or False, task=self.name)

    async def _supervise(self) -> None:
        """Run the task again and again, until this supervisor is cancelled or the task returns as expected.

        The work runs in an asyncio task of its own. So an unrequested cancellation of the work can be distinguished
        from a cancellation of the supervisor, by `stop` or by the event loop at its end.
        """
        while True:
            self._pausing = False
            self._began_at = self._owner.clock()
            running = asyncio.get_running_loop().create_task(_outcome(self._run), name=self.name)
            try:
                await asyncio.wait([running])
            except asyncio.CancelledError:
                running.cancel()
                await asyncio.wait([running])
                raise
            error = asyncio.CancelledError("before it began") if running.cancelled() else running.result()
            if error is None and self._ends_when():
                return
            self._pausing = True
            self._judge(error)
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(2 * self._pause_s, self._owner.pause_s_max)

    def _judge(self, error: BaseException | None) -> None:
        """Count and log an unexpected end, and note the time since which the task has been unsteady."""
        now = self._owner.clock()
        if now - self._began_at >= STEADY_S:
            self._unsteady_since = None
            self._pause_s = self._owner.pause_s_min
        if self._unsteady_since is None:
            self._unsteady_since = now
        TASK_RESTARTS.labels(self.name).inc()
        if self._throttle.lets_through():
            log.error(
                "task_ended_unexpectedly",
                exc_info=error or False,
                task=self.name,
                error="it returned" if error is None else f"{type(error).__name__}: {error}",
                again_in_s=self._pause_s,
                not_logged=self._throttle.left_out,
            )


class SupervisedTasks:
    """The tasks that live as long as their process (or as long as their owner).

    All tasks of one instance belong to one event loop.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float] = time.monotonic,
        pause_s_min: float = PAUSE_S_MIN,
        pause_s_max: float = PAUSE_S_MAX,
    ) -> None:
        self.clock = clock
        """A monotonic clock, in seconds."""
        self.pause_s_min = pause_s_min
        self.pause_s_max = pause_s_max
        self._tasks: set[SupervisedTask] = set()

    def start(self, name: str, run: Run, *, ends_when: Callable[[], bool] = _never) -> SupervisedTask:
        """Run a task on the running event loop from now on.

        A return of `run` ends the task if `ends_when()` is true then (for example because a writer was closed); any
        other end is a fault. `name` appears in the log, in a metric's label and in health; tasks of the same kind
        share it.
        """
        TASK_RESTARTS.labels(name)  # so that the first restart shows as an increase
        task = SupervisedTask(name, run, ends_when, self)
        self._tasks.add(task)
        return task

    def failing(self) -> list[str]:
        """Return the names of the tasks that did not run steadily for 30 s. May be called from any thread."""
        return sorted({task.name for task in list(self._tasks) if task.failing})

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Cancel all tasks and wait until they have ended, `timeout_s` at most."""
        await asyncio.gather(*(task.stop(timeout_s) for task in list(self._tasks)))

    def forget(self, task: SupervisedTask) -> None:
        """Note that a task has ended for good."""
        self._tasks.discard(task)


async def _outcome(run: Run) -> BaseException | None:
    """Run to the end and return the error that ended it: a task that *raised* SystemExit would end the event loop."""
    try:
        await run()
    except BaseException as error:  # noqa: BLE001  # whatever it is, the supervisor judges it
        return error
    return None
