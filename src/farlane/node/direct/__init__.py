"""Direct calls: a node that publishers find on chain and call themselves, without any hub."""
