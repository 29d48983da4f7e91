"""What runs around each payout and at each process start and end; one class a file."""
