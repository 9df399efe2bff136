//! Helpers shared by the tests: data sets, exact search, simulated disks.
