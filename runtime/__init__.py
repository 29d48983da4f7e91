"""The parts that each of our processes has: settings, telemetry, supervised tasks, and a beat that shows its life."""
