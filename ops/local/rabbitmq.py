"""A private RabbitMQ node with its management page: from an installed `rabbitmq-server`, or in Docker."""

import contextlib
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from ops.errors import OpsError
from ops.local import apt
from ops.local.ports import private_port
from ops.local.postgres_binaries import Account
from ops.local.progress import Progress
from ops.local.rabbitmq_docker import in_docker, running_docker
from ops.local.rabbitmq_node import RabbitMQ
from ops.local.server_accounts import server_account, writable
from ops.rabbitmq_users import USERS, definitions
from ops.state import StateDir, write_private

PACKAGE = "rabbitmq-server"
# The package's own command switches to user `rabbitmq`; the script behind it runs as its caller.
INSTALLED_SCRIPTS = "rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"

COOKIE = ".erlang.cookie"
"""The password between Erlang's nodes. Erlang's own comes from 36 bits of the clock; ours has 192 random ones."""

_MANAGEABLE = re.compile(r"[\w ./+=,@~-]+")

CONFIGURATION = """\
# Written by `wbs up` at every start; see ops/local/rabbitmq.py.
listeners.tcp.local = 127.0.0.1:{amqp}
management.tcp.ip = 127.0.0.1
management.tcp.port = {management}
prometheus.tcp.ip = 127.0.0.1
prometheus.tcp.port = {prometheus}
load_definitions = {definitions}
disk_free_limit.absolute = 100MB
log.console = true
log.console.level = warning
log.file = false
"""


def prepare(state: StateDir, environment: Mapping[str, str], progress: Progress) -> RabbitMQ | None:
    """Return a node of an installed server, else in Docker, else of one that apt-get installs; None if none is."""
    script = find_script(environment)
    if script is None:
        docker = running_docker(environment)
        if docker is not None:
            return in_docker(state, docker)
        if apt.command_prefix(environment) is not None:
            progress.say(f"RabbitMQ: installing {PACKAGE} with apt-get (its service is not started)")
            log = state.log / "apt.log"
            if not apt.install(PACKAGE, log=log, progress=progress, environment=environment):
                progress.say(f"RabbitMQ: apt-get failed, see {log}")
            script = find_script(environment)
    return None if script is None else installed(state, script, environment)


# --- Installed on the machine ---


def find_script(environment: Mapping[str, str]) -> Path | None:
    """Return the server's start script as any user may call it, of the newest version; None if not installed."""
    scripts = [
        path for base in ("/usr/lib", "/opt", "/usr/local/lib") for path in Path(base).glob(INSTALLED_SCRIPTS)
    ]
    if scripts:
        return max(scripts)
    on_path = shutil.which(PACKAGE, path=environment.get("PATH", os.defpath))
    if on_path is None:
        return None
    script = Path(on_path).resolve()
    return script if (script.parent / "rabbitmq-env").exists() else None


def installed(state: StateDir, script: Path, environment: Mapping[str, str]) -> RabbitMQ:
    """Return a node of the installed server with everything of its own: data, logs, cookie, ports, epmd."""
    account = server_account(state, "rabbitmq")
    home = home_folder(state, account)
    names = ("amqp", "management", "rabbitmq_prometheus", "rabbitmq_dist", "epmd")
    ports = {name: private_port(state, name) for name in names}
    passwords = {name: state.secret(f"rabbitmq_{name}") for name in USERS}
    configuration = CONFIGURATION.format(
        amqp=ports["amqp"],
        management=ports["management"],
        prometheus=ports["rabbitmq_prometheus"],
        definitions=home / "definitions.json",
    )
    files = {
        "rabbitmq.conf": configuration,
        "definitions.json": definitions(passwords),
        "enabled_plugins": "[rabbitmq_management,rabbitmq_prometheus].\n",
        "rabbitmq-env.conf": "",
        COOKIE: state.secret("erlang_cookie"),
    }
    for name, text in files.items():
        write_private(home / name, text)
        give(home / name, account)
    (home / COOKIE).chmod(0o400)
    loopback = "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
    idle = (
        "+sbwt none +sbwtdcpu none +sbwtdio none"  # schedulers sleep instead of spinning on a shared machine
    )
    node_environment = {
        "HOME": str(home),
        "TERM": "dumb",  # no colours in a log file
        "LC_ALL": "C.UTF-8",  # how Erlang spells the names of files, whatever the shell's locale is
        "RABBITMQ_BASE": str(home),
        # The data folder is named after the node, so the name has to stay when a port is chosen anew.
        "RABBITMQ_NODENAME": f"wbs-{state.digest}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(ports["amqp"]),
        "RABBITMQ_DIST_PORT": str(ports["rabbitmq_dist"]),
        "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
        "RABBITMQ_LOG_BASE": str(home / "log"),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "ERL_EPMD_PORT": str(ports["epmd"]),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        # With input "allowed" the script becomes the Erlang machine instead of waiting for it as a child: the
        # supervised pid is then the node's own, and no shell is left by a kill -9. Input is off all the same.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-noinput +B i {loopback} {idle}",
    }
    return RabbitMQ(
        source=f"node of {script.parent.parent.name.replace('_server-', ' ')}",
        amqp_port=ports["amqp"],
        management_port=ports["management"],
        prometheus_port=ports["rabbitmq_prometheus"],
        passwords=passwords,
        argv=[str(script)],
        environment=node_environment,
        epmd_argv=[find_epmd(environment), "-address", "127.0.0.1", "-port", str(ports["epmd"])],
        epmd_port=ports["epmd"],
        account=account,
    )


def home_folder(state: StateDir, account: Account | None) -> Path:
    """Return the node's folder: in the state folder, or outside if the node's user can't get there (below /root).

    It is outside, too, if RabbitMQ does not manage the name: it asks for free disk by `df '…'` in a shell, which waits
    for ever for the end of a quotation.
    """
    folder = make_home(state.root, account)
    if not _MANAGEABLE.fullmatch(str(folder)) or not writable(folder, account):
        with contextlib.suppress(OSError):  # a node that ran as root has left something in it
            folder.rmdir()
        folder = make_home(state.make_public_folder(), account)
        if not writable(folder, account):
            raise OpsError(f"User {account and account.name} cannot write {folder}: set WBS_STATE_DIR.")
    return folder


def make_home(parent: Path, account: Account | None) -> Path:
    """Make a folder `rabbitmq` that belongs to the node's user, with what one that ran as root left in it."""
    folder = parent / "rabbitmq"
    folder.mkdir(mode=0o700, exist_ok=True)
    if account is not None and folder.stat().st_uid != account.uid:
        for path in (*folder.rglob("*"), folder):
            give(path, account)
    return folder


def give(path: Path, account: Account | None) -> None:
    """Let the node's user own a file or folder."""
    if account is not None:
        os.chown(path, account.uid, account.gid, follow_symlinks=False)


def find_epmd(environment: Mapping[str, str]) -> str:
    """Return Erlang's port mapper. We run it ourselves, since one that a node starts outlives that node."""
    on_path = shutil.which("epmd", path=environment.get("PATH", os.defpath))
    if on_path:
        return on_path
    found = sorted(Path("/usr/lib/erlang").glob("erts-*/bin/epmd"))
    if not found:
        raise OpsError(
            "RabbitMQ is installed but Erlang's epmd is not: reinstall rabbitmq-server, or set RABBITMQ_URL."
        )
    return str(found[-1])
