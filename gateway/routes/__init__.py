"""The endpoints: one module per group, with a class whose methods handle the requests. `gateway.app` makes them."""
