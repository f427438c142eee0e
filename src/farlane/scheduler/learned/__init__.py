"""The learned scheduler: features, the network that scores them, and the policy made of both; pure."""
