"""Changes to a stack that runs: processes of ours are restarted and added one after the other, nobody is turned away.

A process is always ended by SIGTERM, never killed, unless it outlasts its own limit: gateways answer what they have
accepted, actors finish their round.
"""

import contextlib
import json
from collections.abc import Collection, Iterator
from dataclasses import replace

from ops import processes
from ops.errors import NothingRunning, OpsError, WrongUsage
from ops.local import configuration, health, supervision
from ops.local.ports import accepts, private_port
from ops.local.programs import KIND_ORDER
from ops.local.progress import Progress, ticks
from ops.local.supervision import Program
from ops.state import StateDir, read_json, write_private
from runtime import beat

SCALABLE = ("gateway", "relay", "actors", "reconciler", "courier")
SERVERS = ("postgres", "rabbitmq", "bank_sim")
"""Kinds that there is one of: while they restart, what needs them waits or gets 503."""
PROCESSES_MAX = 64
STOP_MARGIN_S = 10.0
ANSWERS_S_MAX = 60.0


class Fleet:
    """The processes of a running stack. Make a new one for each command: it knows what there was when it was made."""

    def __init__(self, state: StateDir, progress: Progress) -> None:
        """Raise NothingRunning if the stack of this folder does not run."""
        if processes.recorded(state, supervision.NAME) is None:
            raise NothingRunning(f"Nothing is running in {state.root}: start it with `wbs up`.")
        self._state = state
        self._progress = progress
        self._env = {name: str(value) for name, value in read_json(state.env_file).items()}
        self._programs = supervision.described(state)
        self._stopped = supervision.stopped(state)

    def members(self, kind: str) -> list[Program]:
        """Return the programs of a kind that are meant to run. Raises WrongUsage if there is none."""
        found = [one for one in self._programs if one.kind == kind and one.name not in self._stopped]
        if not found:
            kinds = dict.fromkeys(one.kind for one in self._programs if one.kind)
            known = ", ".join(sorted(kinds, key=KIND_ORDER.index))
            raise WrongUsage(f"There is no {kind} in this stack. Its kinds: {known}.")
        return found

    # --- Restart ---

    def restart(self, kind: str) -> None:
        """Restart each process of a kind, the next one once the one before answers. Raises OpsError if one does not."""
        members = self.members(kind)
        alone = kind == "gateway" and len(members) == 1
        if alone:  # another one answers meanwhile
            self.scale(kind, 2)
        for program in members:
            self._progress.say(f"Restarting {program.name}")
            self._stop(program)
            self._start(program)
        if alone:
            Fleet(self._state, self._progress).scale(kind, 1)

    # --- Scale ---

    def require_scalable(self, kind: str, number: int) -> None:
        """Raise WrongUsage if there can't be so many of a kind."""
        members = self.members(kind)
        if kind not in SCALABLE:
            raise WrongUsage(f"There is one {kind}: it can't be scaled.")
        if members[0].argv[-1] == "actors.in_memory":
            raise WrongUsage("Without RabbitMQ one process runs relay and actors: there can't be several.")
        if not 1 <= number <= PROCESSES_MAX:
            raise WrongUsage(f"{kind}={number}: there are 1 to {PROCESSES_MAX} processes of a kind.")

    def plan(self, kind: str, number: int) -> tuple[list[str], list[str]]:
        """Return the names of the programs to start and to stop, so that there are so many of a kind."""
        self.require_scalable(kind, number)
        running = [program.name for program in self.members(kind)]
        if number <= len(running):
            return [], running[number:]
        spare = [one.name for one in self._programs if one.kind == kind and one.name in self._stopped]
        missing = number - len(running)
        return [*spare, *self._new_names(kind, missing - len(spare))][:missing], []

    def _new_names(self, kind: str, number: int) -> Iterator[str]:
        taken = {program.name for program in self._programs}
        candidates = (
            f"{kind}_{count}" for count in range(1, 2 * PROCESSES_MAX) if count > 1 or kind not in taken
        )
        free = [name for name in candidates if name not in taken]
        return iter(free[: max(0, number)])

    def scale(self, kind: str, number: int) -> None:
        """Start or stop processes until there are so many of a kind. Raises OpsError if a new one does not answer."""
        to_start, to_stop = self.plan(kind, number)
        for name in to_start:
            program = next((one for one in self._programs if one.name == name), None) or self._add(kind, name)
            self._progress.say(f"Starting {name}")
            try:
                self._start(program)
            except OpsError:
                self._stop(program)
                raise
            self._stopped.discard(name)
        for name in reversed(to_stop):
            program = next(one for one in self._programs if one.name == name)
            self._progress.say(f"Stopping {name}: it finishes what it holds")
            self._stop(program)
            self._stopped.add(name)
        self._tell_prometheus(kind)

    def _add(self, kind: str, name: str) -> Program:
        """Add a program to the stack: a copy of the first of its kind, with a beat and a port of its own."""
        first = self.members(kind)[0]
        environment = {**first.environment, beat.VARIABLE: str(self._state.run / f"{name}.beat")}
        if "WBS_METRICS_PORT" in environment:
            environment["WBS_METRICS_PORT"] = str(private_port(self._state, f"metrics_{name}"))
        group = f"{first.group.partition('.')[0]}.{name}"
        program = replace(first, name=name, group=group, environment=environment)
        self._programs.append(program)
        configuration.write_configuration(self._state, self._programs)
        supervision.add_group(self._state, group)
        return program

    # --- All of several kinds ---

    @contextlib.contextmanager
    def paused(self, kinds: Collection[str]) -> Iterator[None]:
        """Stop all processes of these kinds for the length of the block; start them again whatever happens in it."""
        members = [one for one in self._programs if one.kind in kinds and one.name not in self._stopped]
        members.sort(key=lambda program: KIND_ORDER.index(program.kind))
        try:
            for program in members:
                self._progress.say(f"Stopping {program.name}: it finishes what it holds")
                self._stop(program)
            yield
        finally:
            for program in members:
                supervision.start_program(self._state, program.full_name)
            for program in members:
                self._progress.say(f"Waiting for {program.name}")
                self._start(program)

    # --- One program ---

    def _stop(self, program: Program) -> None:
        supervision.stop_program(self._state, program.full_name, program.stop_timeout_s + STOP_MARGIN_S)

    def _start(self, program: Program) -> None:
        """Start a program, and wait until this very process answers."""
        starts_before = supervision.starts(self._state, program.name)
        supervision.start_program(self._state, program.full_name)
        for _ in ticks(what=program.name, timeout_s=ANSWERS_S_MAX, progress=self._progress):
            if self._answers(program):
                return
            health.require_stays_up(self._state, program.name, starts_before)
        raise OpsError(
            f"{program.name} does not answer after {ANSWERS_S_MAX:.0f} s. "
            f"{health.log_end(self._state, program.name)}"
        )

    def _answers(self, program: Program) -> bool:
        pid = dict(supervision.running(self._state)).get(program.name)
        if program.kind in ("postgres", "rabbitmq"):
            return pid is not None and accepts(int(self._state.recall("ports", _PORTS[program.kind])))
        return health.answers(program, pid, self._env)

    def _tell_prometheus(self, kind: str) -> None:
        """Replace this kind's targets in `prometheus-targets.json`."""
        ports = [one.environment.get("WBS_METRICS_PORT") for one in self.members(kind)]
        if None in ports:  # gateways: one address answers for all
            return
        path = self._state.root / "prometheus-targets.json"
        jobs = json.loads(path.read_text(encoding="utf-8"))
        for job in jobs:
            if job["labels"]["job"] == kind:
                job["targets"] = [f"127.0.0.1:{port}" for port in ports]
        write_private(path, json.dumps(jobs, indent=1) + "\n")


_PORTS = {"postgres": "postgres", "rabbitmq": "amqp"}
"""The names under which the state folder keeps the servers' ports."""
