"""The simulated node: the same ports, in memory, with faults, one seed and a virtual clock."""
