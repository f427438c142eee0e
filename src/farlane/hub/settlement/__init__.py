"""Settlement: the hub's way to the chain, where channels are filled and vouchers claimed, through an outbox."""
