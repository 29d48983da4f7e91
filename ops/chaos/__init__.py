"""`wbs chaos`: random load and seeded faults on a stack of its own, and an independent checker of what happened."""
