"""What every process of ours has: tasks that are watched over, a beat that says that it lives."""
