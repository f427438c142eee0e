"""What the gateway costs per request: the listeners over a router that answers at once, beside a bare handler."""
