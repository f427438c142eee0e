"""The ledger: receipts, vouchers and channels, the contracts they settle on, and the chains those live on."""
