"""The kinds of processes, as `wbs ps` names them: for commands that must not import what only `wbs up` needs."""

KINDS = ("gateway", "relay", "actors", "reconciler", "courier", "bank_sim", "postgres", "rabbitmq")
