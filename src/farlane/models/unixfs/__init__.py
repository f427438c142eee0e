"""UnixFS without a disk: files and directories as DAGs of blocks, by the rules other IPFS implementations use."""
