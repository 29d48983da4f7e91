"""The endpoints, one file a group. Each has `register(app)`, called by `gateway.app`."""
