"""The `wbs` command: provisions, supervises, audits and measures a whole stack."""
