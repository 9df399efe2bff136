//! Native storage for Asteroid DB: redb, files and memory maps, and the one-writer lock.
