//! The Node and Electron addon: conversion, scheduling and error mapping, no database logic.
//!
//! The JavaScript facade in `js/` checks every argument before it calls in here, so a call on the main
//! thread only copies its input, queues a job and returns a promise. Reads run on one process-wide thread
//! pool (`pool`), writes on one thread per open database (`handle`). Only searches that are known to be short are
//! answered on the thread that asks, where nothing else is under way (`at_once`).

// The macros export nothing in a test build, which makes everything look unused there.
#![cfg_attr(test, allow(dead_code))]

mod at_once;
mod bulk;
mod conversion;
mod convert;
mod database;
mod handle;
mod open;
mod outcomes;
mod patience;
mod pool;
mod reply;
mod signal;
mod stage;
mod teardown;
mod transfer;
mod writer;
